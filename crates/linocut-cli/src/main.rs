//! The `linocut` command.

mod args;
mod base;
mod interrupt;
mod progress;
mod task;
mod train;

use args::{Cli, Command};
use clap::Parser;
use linocut::{ErrorKind, Result};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error.kind() {
                // As clap's own errors.
                ErrorKind::Config => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Train(args) => train::run(args),
    }
}
