//! `linocut export`

use crate::args::BaseArgs;
use crate::model;
use crate::output::print;
use crate::place;
use clap::Args;
use linocut::export;
use linocut::output::in_words;
use linocut::{Error, Result};
use std::path::PathBuf;

/// Write base and cut together as a Hugging Face model folder.
///
/// `transformers` loads it and computes the same logits. With `cls` pooling it is of the base's own
/// class, such as BertForSequenceClassification; with mean or first-token pooling the folder brings its own class,
/// to be loaded with trust_remote_code=True.
#[derive(Args)]
#[command(after_help = "\
Example:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut export trec6.cut --out trec6-hf
  python -c \"from transformers import pipeline as p; \\
    t = p('text-classification', 'trec6-hf', trust_remote_code=True); \\
    print(t('Who wrote Faust?'))\"")]
pub(crate) struct ExportArgs {
    /// Cut to export
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    #[command(flatten)]
    pub base: BaseArgs,

    /// Folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an earlier export
    #[arg(long)]
    pub force: bool,
}

pub(crate) fn run(args: ExportArgs) -> Result<()> {
    let _held = export::claim(&args.out, args.force, &place::doing())?;
    let model = model::open(&args.cut, &args.base)?;
    export::write(&model, &args.out)?;
    let weights = args.out.join("model.safetensors");
    let size = weights.metadata().map_err(|e| Error::io(&weights, "read", e))?.len();
    let mut text =
        format!("{}: {}, {}\n", args.out.display(), export::class(&model), in_words(size));
    if let Some(slim) = export::slim_in_words(&model) {
        text += &format!("{slim}\n");
    }
    if let Some(unread) = export::unread_in_words(&model) {
        text += &format!("{unread}\n");
    }
    if let Some(undecided) = export::undecided_in_words(&model) {
        text += &format!("{undecided}\n");
    }
    print(&text)
}
