//! `linocut export`

mod push;

use crate::args::BaseArgs;
use crate::output::print;
use crate::place;
use crate::{choices, model};
use clap::Args;
use linocut::bank::Dtype;
use linocut::cut::TaskModel;
use linocut::export::{self, Format, onnx};
use linocut::output::{TemporaryFolder, in_words};
use linocut::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Write base and cut together, for Hugging Face Transformers or for an ONNX runtime.
///
/// `transformers` loads the folder and computes the same logits. With `cls` pooling it is of the base's own
/// class, such as BertForSequenceClassification; with mean or first-token pooling the folder brings its own class,
/// to be loaded with trust_remote_code=True. With `--format onnx` the folder holds model.onnx, which any ONNX runtime
/// loads, and the tokenizer.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut export trec6.cut --out trec6-hf
  python -c \"from transformers import pipeline as p; \\
    t = p('text-classification', 'trec6-hf', trust_remote_code=True); \\
    print(t('Who wrote Faust?'))\"
  linocut export trec6.cut --format onnx --out trec6-onnx
  linocut export trec6.cut --push me/trec6 --private")]
pub(crate) struct ExportArgs {
    /// Cut to export
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    #[command(flatten)]
    pub base: BaseArgs,

    /// Folder to write
    #[arg(long, value_name = "DIR", required_unless_present = "push")]
    pub out: Option<PathBuf>,

    /// Push what was written to this model on the Hugging Face hub, as one commit; a new model is made. The token is
    /// HF_TOKEN, or that of `hf auth login`
    #[arg(long, value_name = "OWNER/NAME")]
    pub push: Option<String>,

    /// Make the new model private
    #[arg(long, requires = "push")]
    pub private: bool,

    /// Replace an earlier export
    #[arg(long)]
    pub force: bool,

    /// What is to read the folder
    #[arg(long, default_value = "transformers", value_parser = choices::format())]
    pub format: Format,

    /// Number format of what is written. Hidden: f32 is the only one, but other commands know int8
    #[arg(long, default_value = "f32", hide = true, value_parser = choices::dtype())]
    pub dtype: Dtype,
}

pub(crate) fn run(args: ExportArgs) -> Result<()> {
    if args.dtype != Dtype::F32 {
        return Err(no_int8());
    }
    let push = args.push.as_deref().map(push::to).transpose()?;
    let (temporary, aside);
    let out = match &args.out {
        Some(out) => out,
        // What is only pushed goes away again.
        None => {
            let place = std::env::temp_dir();
            temporary =
                TemporaryFolder::new(&place).map_err(|e| Error::io(&place, "write into", e))?;
            aside = temporary.path().join("export");
            &aside
        }
    };
    let _held = export::claim(out, args.force, &place::doing())?;
    let model = model::open(&args.cut, &args.base)?;
    export::write(&model, out, args.format)?;
    let shown = args.out.as_deref().or(args.push.as_deref().map(Path::new)).unwrap_or(out);
    let mut text = match args.format {
        Format::Transformers => {
            let size = size(&out.join("model.safetensors"))?;
            format!("{}: {}, {}\n", shown.display(), export::class(&model), in_words(size))
        }
        Format::Onnx => about_onnx(&model, out, shown)?,
    };
    for note in export::notes(&model, args.format) {
        text += &format!("{note}\n");
    }
    // What is only pushed is nowhere before it is on the hub.
    if args.out.is_some() {
        print(&text)?;
        text.clear();
    }
    if let Some(push) = push {
        text += &push.send(out, args.private, args.base.quiet)?;
        print(&text)?;
    }
    Ok(())
}

/// What was written, and how it is to be fed.
fn about_onnx(model: &TaskModel, out: &Path, shown: &Path) -> Result<String> {
    let card = model.cut.card();
    let data = out.join(onnx::DATA);
    let (mut total, mut beside) = (size(&out.join(onnx::FILE))?, String::new());
    if data.exists() {
        total += size(&data)?;
        beside = format!(", tensors in {}", onnx::DATA);
    }
    Ok(format!(
        "{}: opset {}, {}{beside}\n\
         inputs {}: int64 [batch, tokens], padded on the right\n\
         output logits: float32 [batch, {}]\n\
         a text has at most {} tokens: the folder's tokenizer cuts longer ones where it is told to truncate\n",
        shown.join(onnx::FILE).display(),
        onnx::OPSET,
        in_words(total),
        onnx::inputs(model).join(", "),
        card.outputs,
        card.max_length,
    ))
}

fn size(path: &Path) -> Result<u64> {
    Ok(path.metadata().map_err(|e| Error::io(path, "read", e))?.len())
}

/// Why nothing is exported in whole numbers.
fn no_int8() -> Error {
    let message = "an export is in f32: ONNX quantises inputs by the tensor, linocut's int8 by the token, so that an \
                   int8 model of ONNX would give other logits than --dtype int8 of `predict`";
    Error::new(ErrorKind::Config, message).with_hint(
        "export with --format onnx, quantise the file and see what it changes: \
         onnxruntime.quantization.quantize_dynamic(\"model.onnx\", \"int8.onnx\")",
    )
}
