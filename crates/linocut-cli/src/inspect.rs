//! `linocut inspect`

mod most;

use crate::output::{aligned, print, print_json, rounded, short, shortened, shown};
use clap::Args;
use linocut::Result;
use linocut::cut::{Card, Cut, Decision, EditKind, Sizes, TensorNote};
use linocut::data::Problem;
use linocut::model::Kind;
use linocut::model::family::canonical;
use linocut::output::in_words;
use most::most;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Say what a cut is, what it was trained for and where its bytes go. Needs no base.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut inspect trec6.cut")]
pub(crate) struct InspectArgs {
    /// Cut to describe
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(args: InspectArgs) -> Result<()> {
    let cut = Cut::read(&args.cut)?;
    let (card, sizes) = (cut.card(), cut.sizes());
    if args.json {
        return print_json(&as_json(&args, card, &sizes));
    }
    let mut text = about(card);
    text.push('\n');
    text += &size_table(&sizes);
    let tables = [
        slim_table(card),
        zeros_table(card, &sizes),
        replaced_table(card, &sizes),
        differences_table(card, &sizes),
    ];
    for table in tables {
        if !table.is_empty() {
            text.push('\n');
            text += &table;
        }
    }
    print(&text)
}

fn as_json(args: &InspectArgs, card: &Card, sizes: &Sizes) -> Value {
    let tensors: Map<String, Value> = card
        .tensors
        .iter()
        .map(|(name, note)| {
            let mut about = json!(note);
            if let Some(zeros) = note.zeros {
                about["sparsity"] = json!(zeros as f64 / entries(note) as f64);
            }
            about["bytes"] = json!(sizes.tensors.get(name));
            (name.clone(), about)
        })
        .collect();
    let mut about = json!(card);
    about["tensors"] = Value::Object(tensors);
    json!({
        "cut": args.cut,
        "card": about,
        "bytes": {
            "file": sizes.file,
            "zeros": sizes.zeros,
            "replaced": sizes.replaced,
            "differences": sizes.differences,
            "others": sizes.others,
            "head": sizes.head,
            "probes": sizes.probes,
            "card": sizes.card,
            "container": sizes.container,
        },
    })
}

fn entries(note: &TensorNote) -> u64 {
    note.shape.iter().map(|&n| n as u64).product()
}

/// How logits become answers.
fn decided(decision: &Decision) -> String {
    let answers = decision.answers_from().map(|answers| format!(", {answers}"));
    let (temperature, fitted) = (decision.temperature, flat(&decision.fitted));
    format!("temperature {temperature:.3}{}; fitted: {fitted}", answers.unwrap_or_default())
}

/// The task, its base and how it was trained.
fn about(card: &Card) -> String {
    let kind = match card.problem {
        Problem::SingleLabel => format!("one of {} labels", card.labels.len()),
        Problem::MultiLabel => format!("any of {} labels", card.labels.len()),
        Problem::Regression => "a number".into(),
    };
    let texts = if card.pairs { "a pair of texts" } else { "a text" };
    let pooling = card.pooling.name();
    let part = card.long.map_or(String::new(), |long| format!(" ({})", long.name()));
    let mut lines = vec![
        ("task", format!("{}: {kind} for {texts}", card.task)),
        ("input", format!("at most {}{part}, {pooling} pooling", card.extent())),
    ];
    if !card.labels.is_empty() {
        lines.push(("labels", labels(&card.labels)));
    }
    lines.push((
        "base",
        format!("{}, fingerprint {}…", card.base.name, short(&card.base.fingerprint)),
    ));
    lines.push(("tokenizer", format!("fingerprint {}…", short(&card.tokenizer))));
    lines.push(("method", flat(&card.method)));
    lines.push(("training", flat(&card.training)));
    if !card.metrics.is_empty() {
        let metrics = card.metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
        lines.push(("metrics", metrics.collect::<Vec<_>>().join(", ")));
    }
    if let Some(decision) = &card.decision {
        lines.push(("decision", decided(decision)));
    }
    if let Some(before) = card.training["metrics_before"].as_object() {
        let before = before.iter().filter_map(|(name, v)| Some((name, v.as_f64()?)));
        let before = before.map(|(name, value)| format!("{name} {value:.4}"));
        lines.push(("unpacked", before.collect::<Vec<_>>().join(", ")));
    }
    lines.iter().map(|(name, value)| format!("{name:<10} {}\n", shown(value))).collect()
}

/// Characters of labels shown.
const LABELS: usize = 200;

/// As many whole labels as fit, and how many more there are.
fn labels(labels: &[String]) -> String {
    let (mut text, mut shown) = (String::new(), 0);
    for label in labels {
        let label = shortened(label, LABELS);
        if shown > 0 && text.chars().count() + 2 + label.chars().count() > LABELS {
            break;
        }
        if shown > 0 {
            text += ", ";
        }
        text += &label;
        shown += 1;
    }
    match labels.len() - shown {
        0 => text,
        more => format!("{text} and {more} more (--json has all)"),
    }
}

/// A JSON object as `key value, key value`; the value of `name` stands first and alone.
fn flat(value: &Value) -> String {
    let Some(fields) = value.as_object() else { return value.to_string() };
    let name = fields.get("name").map(plain);
    // What a pack left of every tensor's movement stands in a table below, scores in a line; what
    // compute counts in the help of `train`.
    let others = fields.iter().filter(|(key, value)| {
        let elsewhere =
            ["name", "left", "metrics_before", "compute_counts"].contains(&key.as_str());
        // Rows held out to stop by; others may be what the metrics are of.
        !elsewhere && (key.as_str(), value.as_u64()) != ("held_out_rows", Some(0))
    });
    let others = others.map(|(key, value)| format!("{} {}", key.replace('_', " "), plain(value)));
    name.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// A JSON value with short numbers: `(scores [0.8, 1], mean 0.91)`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), rounded),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, v)| format!("{} {}", key.replace('_', " "), plain(v)));
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn size_table(sizes: &Sizes) -> String {
    let parts = [
        ("file", sizes.file),
        ("  zeros", sizes.zeros),
        ("  replaced tensors", sizes.replaced),
        ("  differences", sizes.differences),
        ("  other tensors", sizes.others),
        ("  head", sizes.head),
        ("  probes", sizes.probes),
        ("  card", sizes.card),
        ("  container", sizes.container),
    ];
    // Few cuts have these two.
    let rare = |name: &str| matches!(name.trim(), "differences" | "other tensors");
    let parts = parts.iter().filter(|(name, n)| *n > 0 || !rare(name));
    let rows = parts.map(|(name, n)| vec![name.to_string(), in_words(*n)]);
    aligned(&rows.collect::<Vec<_>>())
}

/// Zeros, entries and bytes of some masks together.
#[derive(Clone, Copy, Default)]
struct Sum {
    zeros: u64,
    entries: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.zeros += other.zeros;
        self.entries += other.entries;
        self.bytes += other.bytes;
    }

    fn share(self) -> String {
        if self.entries == 0 {
            return "·".into();
        }
        format!("{:.2}%", 100.0 * self.zeros as f64 / self.entries as f64)
    }
}

/// What a slim task keeps of every layer.
fn slim_table(card: &Card) -> String {
    let Some(slim) = &card.slim else { return String::new() };
    let mut rows =
        vec![["kept by layer", "heads", "groups of 16 neurons"].map(String::from).to_vec()];
    let share = |bits: &[bool]| {
        let kept = bits.iter().filter(|kept| **kept).count();
        format!("{kept} of {}", bits.len())
    };
    for (layer, kept) in slim.layers.iter().enumerate() {
        rows.push(vec![layer.to_string(), share(&kept.heads), share(&kept.groups)]);
    }
    aligned(&rows) + &format!("the lowest {} layers of the base\n", slim.depth)
}

/// Share of zeros, layer by kind. Matrices whose mask keeps everything are not in the cut.
fn zeros_table(card: &Card, sizes: &Sizes) -> String {
    let mut cells: BTreeMap<(Option<usize>, Kind), Sum> = BTreeMap::new();
    for (name, note) in &card.tensors {
        let (Some(zeros), Some(tensor)) = (note.zeros, canonical(name)) else { continue };
        let sum = Sum {
            zeros,
            entries: entries(note),
            bytes: sizes.tensors.get(name).copied().unwrap_or(0),
        };
        cells.entry((tensor.layer, tensor.role.kind())).or_default().add(sum);
    }
    if cells.is_empty() {
        return String::new();
    }
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|k| cells.keys().any(|(_, kind)| kind == k)).collect();
    // Layers in order, then what belongs to none.
    let mut layers: Vec<Option<usize>> = cells.keys().map(|(layer, _)| *layer).collect();
    layers.sort_by_key(|layer| layer.unwrap_or(usize::MAX));
    layers.dedup();

    let mut header = vec!["zeros by layer".to_string()];
    header.extend(kinds.iter().map(|kind| kind.name().to_string()));
    header.extend(["all", "zeros", "bytes"].map(String::from));
    let mut rows = vec![header];
    let mut of_kind = vec![Sum::default(); kinds.len()];
    let mut line = |name: String, sums: &[Sum]| {
        let mut all = Sum::default();
        sums.iter().for_each(|sum| all.add(*sum));
        let mut row = vec![name];
        row.extend(sums.iter().map(|sum| sum.share()));
        row.extend([all.share(), all.zeros.to_string(), all.bytes.to_string()]);
        rows.push(row);
    };
    for &layer in &layers {
        let of = |kind: &Kind| cells.get(&(layer, *kind)).copied().unwrap_or_default();
        let sums: Vec<Sum> = kinds.iter().map(of).collect();
        of_kind.iter_mut().zip(&sums).for_each(|(total, sum)| total.add(*sum));
        line(layer.map_or("none".into(), |n| n.to_string()), &sums);
    }
    line("all".into(), &of_kind);
    let zeros = |layer: Option<usize>| -> u64 {
        cells.iter().filter(|((of, _), _)| *of == layer).map(|(_, sum)| sum.zeros).sum()
    };
    let by_layer = layers.iter().map(|&layer| (layer, zeros(layer))).collect();
    let by_kind: Vec<(&str, Sum)> = kinds.iter().map(|kind| kind.name()).zip(of_kind).collect();
    aligned(&rows) + &most(by_layer, &by_kind)
}

fn replaced_table(card: &Card, sizes: &Sizes) -> String {
    let header = ["replaced tensor", "shape", "stored as", "bytes"].map(String::from).to_vec();
    let mut rows = vec![header];
    for (name, note) in &card.tensors {
        let (Some(store), EditKind::Replace) = (note.store, note.edit) else { continue };
        let size = sizes.tensors.get(name).copied().unwrap_or(0);
        rows.push(vec![name.clone(), shape(note), store.name().into(), size.to_string()]);
    }
    if rows.len() == 1 { String::new() } else { aligned(&rows) }
}

/// Exact, sparse, one-bit and low-rank differences, and the share of each tensor's movement that is not kept.
fn differences_table(card: &Card, sizes: &Sizes) -> String {
    let header = ["difference", "shape", "kind", "entries moved", "error left", "bytes"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for (name, note) in &card.tensors {
        if note.zeros.is_some() || note.edit == EditKind::Replace {
            continue;
        }
        let moved = note.moved.map_or("all".into(), |n| n.to_string());
        let left = match card.training["left"][name].as_f64() {
            Some(left) => format!("{:.1}%", 100.0 * left),
            None => "none".into(),
        };
        let size = sizes.tensors.get(name).copied().unwrap_or(0).to_string();
        rows.push(vec![name.clone(), shape(note), note.edit.name().into(), moved, left, size]);
    }
    if rows.len() == 1 { String::new() } else { aligned(&rows) }
}

fn shape(note: &TensorNote) -> String {
    note.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}
