//! `linocut completions` and `linocut man`: what the description of the arguments makes.

use crate::args::Cli;
use crate::output::{print, stdout_error};
use clap::Args;
use clap_complete::Shell;
use linocut::{Error, Result};
use std::io::Write;
use std::path::PathBuf;

/// Print what completes this command's options in a shell.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut completions bash > /etc/bash_completion.d/linocut")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub(crate) fn completions(args: CompletionsArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command_line(), "linocut", &mut text);
    std::io::stdout().lock().write_all(&text).map_err(stdout_error)
}

/// Write manual pages, one a command.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut man --out ~/.local/share/man/man1 && man linocut-train")]
pub(crate) struct ManArgs {
    /// Folder for them, made where there is none
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

pub(crate) fn man(args: ManArgs) -> Result<()> {
    let unwritten = |e| Error::io(&args.out, "write manual pages into", e);
    std::fs::create_dir_all(&args.out).map_err(unwritten)?;
    clap_mangen::generate_to(Cli::command_line(), &args.out).map_err(unwritten)?;
    print(&format!("{}: manual pages\n", args.out.display()))
}
