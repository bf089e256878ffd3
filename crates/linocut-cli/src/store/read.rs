//! What reads from a store.

use super::{age, score, time};
use crate::output::{aligned, print, print_json, short, shown};
use crate::place;
use clap::Args;
use linocut::checkpoint::write_file;
use linocut::output::{check_free, in_words};
use linocut::store::{Store, Trusted};
use linocut::{Error, Result};
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Fetch a task's cut from a store.
///
/// Its bytes are checked by their digest. Where it is signed, the signature is written beside it, for
/// `minisign -V -m FILE -p KEY.pub`.
#[derive(Args)]
#[command(disable_version_flag = true)] // its own --version is a task's
#[command(after_help = "\
Example:
  linocut pull billing fleet --out billing.cut --trust signing.key.pub")]
pub(crate) struct PullArgs {
    /// Task
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Folder or bucket
    #[arg(value_name = "STORE")]
    pub store: String,

    /// Cut to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Number of the version [default: the one in force]
    #[arg(long = "version", value_name = "VERSION")]
    pub number: Option<u64>,

    /// Only what one of these public keys signed
    #[arg(long, value_name = "KEYS")]
    pub trust: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

pub(crate) fn pull(args: PullArgs) -> Result<()> {
    let _held = place::claim(&args.out, "out", args.force)?;
    let beside = beside(&args.out);
    check_free(&beside, "out", args.force)?;
    let trusted = args.trust.as_deref().map(Trusted::read).transpose()?;
    let store = Store::open(&args.store)?;
    let record = store.record(&args.name)?;
    let version = match args.number {
        Some(number) => record.find(Some(number))?,
        None => record.current(),
    };
    let bytes = store.read(version)?;
    if let Some(trusted) = trusted {
        trusted.check(&args.name, &bytes, version.signature.as_deref())?;
    }
    write_file(&args.out, args.force, |out| out.write_all(&bytes))?;
    match &version.signature {
        Some(signature) => {
            write_file(&beside, args.force, |out| out.write_all(signature.as_bytes()))?;
        }
        // One that is there is of the file that was replaced.
        None if beside.exists() => {
            std::fs::remove_file(&beside).map_err(|e| Error::io(&beside, "remove", e))?;
        }
        None => {}
    }
    let (number, size, digest) = (version.version, in_words(version.bytes), short(&version.digest));
    let line = format!("{}: {} version {number}, {size}, {digest}", args.out.display(), args.name);
    print(&format!("{}\n", shown(&line)))
}

/// The file of a cut's signature, under the name that minisign looks for.
fn beside(cut: &Path) -> PathBuf {
    let mut name = OsString::from(cut);
    name.push(".minisig");
    name.into()
}

/// Show the versions of a task in a store, the one in force marked.
#[derive(Args)]
pub(crate) struct HistoryArgs {
    /// Task
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Folder or bucket
    #[arg(value_name = "STORE")]
    pub store: String,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn history(args: HistoryArgs) -> Result<()> {
    let record = Store::open(&args.store)?.record(&args.name)?;
    if args.json {
        return print_json(&json!(record));
    }
    let header = ["version", "pushed", "age", "bytes", "content", "method", "score", "signed"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for version in record.versions.iter().rev() {
        let mark = if version.version == record.current { " in force" } else { "" };
        rows.push(vec![
            format!("{}{mark}", version.version),
            time(version),
            age(version),
            in_words(version.bytes),
            short(&version.digest).into(),
            version.about.method.clone(),
            score(&version.about),
            if version.signature.is_some() { "yes" } else { "no" }.into(),
        ]);
    }
    print(&aligned(&rows))
}
