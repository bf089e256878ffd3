//! What changes a store.

use super::{keys, time};
use crate::output::{counted, print, print_json, say, short, shown};
use clap::Args;
use linocut::output::in_words;
use linocut::store::{Pushed, Store};
use linocut::{Error, ErrorKind, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Put cuts into a store: each is the next version of its task, and in force from then on.
///
/// A store is a folder, or a path in a bucket: s3://bucket/path, gs://bucket/path, az://container/path; keys and regions
/// come from the environment by the clouds' own names (AWS_ACCESS_KEY_ID, …). The first push makes it. Equal content is
/// kept once, and what is in force already makes no new version. Servers that `linocut serve --store` started take
/// the new version within seconds.
#[derive(Args)]
#[command(after_help = "\
Examples:
  linocut push billing.cut fleet
  linocut push billing.cut s3://models/fleet --sign signing.key")]
pub(crate) struct PushArgs {
    /// Cuts
    #[arg(value_name = "CUT", required = true, num_args = 1..)]
    pub cuts: Vec<PathBuf>,

    /// Folder or bucket
    #[arg(value_name = "STORE", required = true)]
    pub store: String,

    /// Name of the task [default: the file's, without .cut]
    #[arg(long)]
    pub name: Option<String>,

    /// Sign with this secret key of minisign's or `linocut keygen`'s; its password is asked for, or taken from
    /// LINOCUT_KEY_PASSWORD
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,

    /// Print one JSON object a cut
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn push(args: PushArgs) -> Result<()> {
    if args.name.is_some() && args.cuts.len() > 1 {
        let message = format!("--name is one task's, found {} cuts", args.cuts.len());
        return Err(Error::new(ErrorKind::Config, message).with_hint("push them one by one"));
    }
    let mut cuts = Vec::new();
    for path in &args.cuts {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        linocut::store::check_name(&name)?;
        // All are looked at before one is pushed.
        let bytes = read(path)?;
        linocut::cut::Cut::from_bytes(&bytes).map_err(|e| e.at(path.display()))?;
        cuts.push((name, bytes));
    }
    let signer = args.sign.as_deref().map(keys::signer).transpose()?;
    let is_new = Store::open(&args.store).is_err();
    let store = Store::create(&args.store)?;
    if is_new {
        say(&format!("note: {} is a new store", args.store));
    }
    for (name, bytes) in cuts {
        let Pushed { version, is_new_content, is_new_version, .. } =
            store.push(&name, &bytes, signer.as_ref())?;
        if args.json {
            print_json(&json!({
                "task": name,
                "version": version.version,
                "digest": version.digest,
                "bytes": version.bytes,
                "is_new_version": is_new_version,
                "is_new_content": is_new_content,
                "signed": version.signature.is_some(),
            }))?;
            continue;
        }
        let content = match (is_new_version, is_new_content) {
            (false, _) => "in force already",
            (true, true) => "in force",
            (true, false) => "in force; the store had this content",
        };
        let signed = if version.signature.is_some() { ", signed" } else { "" };
        let (number, size) = (version.version, in_words(version.bytes));
        let digest = short(&version.digest);
        let line = format!("{name}: version {number}, {size}, {digest}{signed}: {content}");
        print(&format!("{}\n", shown(&line)))?;
    }
    Ok(())
}

/// A cut file's bytes.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, "read", e))
}

/// Put an earlier version of a task in force again.
///
/// Nothing is removed: `linocut history` shows all versions, and a later rollback can go forth again.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut rollback billing fleet --to 3")]
pub(crate) struct RollbackArgs {
    /// Task
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Folder or bucket
    #[arg(value_name = "STORE")]
    pub store: String,

    /// Number of the version [default: the one before that in force]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<u64>,
}

pub(crate) fn roll_back(args: RollbackArgs) -> Result<()> {
    let version = Store::open(&args.store)?.roll_back(&args.name, args.to)?;
    let (number, digest) = (version.version, short(&version.digest));
    let line = format!("{}: version {number} of {}, {digest}: in force", args.name, time(&version));
    print(&format!("{}\n", shown(&line)))
}

/// Remove a task and all its versions from a store.
///
/// Its cuts stay in the store until `linocut gc`, as do those that other tasks have, too.
#[derive(Args)]
pub(crate) struct RemoveArgs {
    /// Task
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Folder or bucket
    #[arg(value_name = "STORE")]
    pub store: String,
}

pub(crate) fn remove(args: RemoveArgs) -> Result<()> {
    Store::open(&args.store)?.remove(&args.name)?;
    print(&format!("{}: removed\n", shown(&args.name)))
}

/// Remove cuts from a store that no version of a task names any more.
#[derive(Args)]
pub(crate) struct GcArgs {
    /// Folder or bucket
    #[arg(value_name = "STORE")]
    pub store: String,
}

pub(crate) fn gc(args: GcArgs) -> Result<()> {
    let store = Store::open(&args.store)?;
    let removed = store.collect()?;
    let left = store.cuts()?;
    print(&format!(
        "{} removed, {}; {} left, {}\n",
        counted(removed.cuts, "cut"),
        in_words(removed.bytes),
        left.cuts,
        in_words(left.bytes)
    ))
}
