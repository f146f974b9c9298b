//! The subcommands, one file each.

mod append;
mod audit;
mod bench;
mod bench_floor;
mod bench_plot;
mod cat;
mod cleanup;
mod cursor;
mod demo;
mod demo_audit;
mod demo_check;
mod follow;
mod inspect;
mod recover;
mod salvage;
#[cfg(feature = "sim")]
mod simulate;
mod verify;

use clap::Subcommand;

use crate::exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Kill a writing process in the middle, recover, and check that nothing acknowledged is lost
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoWriter(demo::DemoWriter),
    /// Append lines, or a whole file, as records; each is durable before the program ends
    Append(append::Append),
    /// Print records
    Cat(cat::Cat),
    /// Print records as they become durable
    Follow(follow::Follow),
    /// Show what a journal consists of; beside a living writer too
    Inspect(inspect::Inspect),
    /// Check every record, commit and hash
    Verify(verify::Verify),
    /// Put the end of a journal in order after a crash
    Recover(recover::Recover),
    /// Copy what can still be read of a damaged journal into a new one
    Salvage(salvage::Salvage),
    /// List, set and remove cursors
    Cursor(cursor::Cursor),
    /// Remove segments that no pinned cursor needs any more
    Cleanup(cleanup::Cleanup),
    /// Ask an audit trail what was asked, what was answered and why; fill it, prove it, export it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Measure durable appends against the bare device
    Bench(bench::Bench),
    /// Run simulated histories of crashes and faults, and judge each
    #[cfg(feature = "sim")]
    Simulate(simulate::Simulate),
}

impl Command {
    pub(crate) fn run(self) -> exit::Result {
        match self {
            Self::Demo(command) => command.run(),
            Self::DemoWriter(command) => command.run(),
            Self::Append(command) => command.run(),
            Self::Cat(command) => command.run(),
            Self::Follow(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Recover(command) => command.run(),
            Self::Salvage(command) => command.run(),
            Self::Cursor(command) => command.run(),
            Self::Cleanup(command) => command.run(),
            Self::Audit(command) => command.run(),
            Self::Bench(command) => command.run(),
            #[cfg(feature = "sim")]
            Self::Simulate(command) => command.run(),
        }
    }
}
