//! `ringwal`: look inside journals, append to them, check, mend and measure them. Never disturbs a living writer.

mod commands;
mod exit;
mod input;
mod output;
mod text;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// Look inside ringwal journals, append to them, check, mend and measure them.
///
/// Exit codes: 0 good, 1 damage found, 2 wrong use, 3 input/output failed.
#[derive(Parser)]
#[command(version, about, long_about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let outcome = Arguments::parse().command.run();
    exit::code(outcome)
}
