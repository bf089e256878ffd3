//! `linocut list`

use super::{age, score};
use crate::output::{aligned, counted, print, print_json, say, short};
use clap::Args;
use linocut::cut::Cut;
use linocut::output::in_words;
use linocut::store::{About, Cuts, Records, Store};
use linocut::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// List the tasks of a store, or the cuts in a folder.
///
/// Says of each its bytes, base, method and score, and of a store its version in force and age; and what all take
/// together, equal content counted once.
#[derive(Args)]
#[command(after_help = "\
Examples:
  linocut list fleet
  linocut list s3://models/fleet --json
  linocut list cuts")]
pub(crate) struct ListArgs {
    /// Store (a folder or bucket), or a folder of cuts
    #[arg(value_name = "STORE|DIR")]
    pub store: String,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// One line of a list.
struct Line {
    name: String,
    version: Option<u64>,
    digest: String,
    bytes: u64,
    age: Option<String>,
    pushed: Option<String>,
    signed: bool,
    about: About,
}

pub(crate) fn list(args: ListArgs) -> Result<()> {
    let folder = Path::new(&args.store);
    let in_folder = folder.is_dir() && !folder.join("store.json").exists();
    let (lines, failed, cuts) = match in_folder {
        true => of_folder(folder)?,
        false => of_store(&Store::open(&args.store)?)?,
    };
    if args.json {
        print_json(&as_json(&lines, &failed, cuts))?;
    } else if lines.is_empty() && failed.is_empty() {
        print("no task\n")?;
    } else {
        print(&text(&lines, cuts))?;
    }
    failed.iter().for_each(|(file, error)| say(&format!("warning: {file}: {error}")));
    match failed.len() {
        0 => Ok(()),
        n => Err(Error::new(ErrorKind::Cut, format!("{n} of {} cannot be read", n + lines.len()))),
    }
}

type Listed = (Vec<Line>, BTreeMap<String, String>, Option<Cuts>);

fn of_store(store: &Store) -> Result<Listed> {
    let Records { tasks, failed, .. } = store.records()?;
    let line = |(name, known): (String, linocut::store::Known)| {
        let version = known.current;
        Line {
            name,
            version: Some(version.version),
            age: Some(age(&version)),
            signed: version.signature.is_some(),
            digest: version.digest,
            bytes: version.bytes,
            pushed: Some(version.pushed),
            about: version.about,
        }
    };
    Ok((tasks.into_iter().map(line).collect(), failed, Some(store.cuts()?)))
}

fn of_folder(folder: &Path) -> Result<Listed> {
    let unreadable = |e| Error::io(folder, "read the folder", e);
    let (mut lines, mut failed) = (Vec::new(), BTreeMap::new());
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|e| e != "cut") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e));
        match read.and_then(|bytes| Ok((Cut::from_bytes(&bytes)?, bytes))) {
            Ok((cut, bytes)) => lines.push(Line {
                name,
                version: None,
                digest: blake3::hash(&bytes).to_hex().to_string(),
                bytes: bytes.len() as u64,
                age: None,
                pushed: None,
                signed: false,
                about: About::of(cut.card()),
            }),
            Err(e) => drop(failed.insert(path.display().to_string(), e.message().into())),
        }
    }
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((lines, failed, None))
}

fn text(lines: &[Line], cuts: Option<Cuts>) -> String {
    let is_store = cuts.is_some();
    let mut header = vec!["task", "bytes", "content", "base", "method", "score"];
    if is_store {
        header.extend(["version", "age", "signed"]);
    }
    let mut rows = vec![header.into_iter().map(String::from).collect::<Vec<_>>()];
    for line in lines {
        let mut row = vec![
            line.name.clone(),
            in_words(line.bytes),
            short(&line.digest).into(),
            format!("{} {}", line.about.base.name, short(&line.about.base.fingerprint)),
            line.about.method.clone(),
            score(&line.about),
        ];
        if let (Some(version), Some(age)) = (line.version, &line.age) {
            let signed = if line.signed { "yes" } else { "no" };
            row.extend([version.to_string(), age.clone(), signed.into()]);
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);
    let distinct: BTreeMap<&str, u64> =
        lines.iter().map(|line| (line.digest.as_str(), line.bytes)).collect();
    let bases: BTreeSet<&str> =
        lines.iter().map(|line| line.about.base.fingerprint.as_str()).collect();
    text += &format!(
        "\n{} in {}, {}, of {}\n",
        counted(lines.len(), "task"),
        counted(distinct.len(), "cut"),
        in_words(distinct.values().sum()),
        counted(bases.len(), "base")
    );
    if let Some(cuts) = cuts.filter(|cuts| cuts.cuts > distinct.len()) {
        text += &format!(
            "the store holds {} cuts, {}, with those of earlier versions and of removed tasks\n",
            cuts.cuts,
            in_words(cuts.bytes)
        );
    }
    text
}

fn as_json(lines: &[Line], failed: &BTreeMap<String, String>, cuts: Option<Cuts>) -> Value {
    let tasks: Vec<Value> = lines
        .iter()
        .map(|line| {
            let Line { name, version, digest, bytes, pushed, signed, about, .. } = line;
            json!({
                "task": name, "version": version, "digest": digest, "bytes": bytes,
                "pushed": pushed, "signed": signed, "about": about,
            })
        })
        .collect();
    json!({
        "tasks": tasks,
        "failed": failed,
        "cuts": cuts.map(|cuts| cuts.cuts),
        "cut_bytes": cuts.map(|cuts| cuts.bytes),
    })
}
