//! The `linocut` command.

mod args;
mod base;
mod calibrate;
mod choices;
mod compare;
mod describe;
mod doctor;
mod eval;
mod export;
mod flags;
mod health;
mod inspect;
mod interrupt;
mod measure;
mod model;
mod output;
mod pack;
mod place;
mod plan;
mod predict;
mod progress;
mod rows;
mod serve;
mod store;
mod study;
mod task;
mod time;
mod train;
mod verify;

use args::{Cli, Command};
use linocut::{ErrorKind, Result};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::read();
    interrupt::listen();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if output::is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            output::print_error(&error);
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
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Export(args) => export::run(args),
        Command::Measure(args) => measure::run(*args),
        Command::Pack(args) => pack::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Study(args) => study::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Push(args) => store::push(args),
        Command::Pull(args) => store::pull(args),
        Command::List(args) => store::list(args),
        Command::History(args) => store::history(args),
        Command::Rollback(args) => store::roll_back(args),
        Command::Remove(args) => store::remove(args),
        Command::Gc(args) => store::gc(args),
        Command::Keygen(args) => store::keygen(args),
        Command::Base(args) => store::base(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Health(args) => health::run(args),
        Command::Completions(args) => describe::completions(args),
        Command::Man(args) => describe::man(args),
    }
}
