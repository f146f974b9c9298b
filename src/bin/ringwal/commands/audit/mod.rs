//! `ringwal audit`: the subcommands, one file each, and what they share.

mod agent;
mod explain;
mod export;
mod form;
mod generate;
mod head;
mod id;
mod import;
mod list;
mod open;
mod parse;
mod rebuild;
mod recent;
mod sample;
mod show;
mod time;
mod verify;

use clap::Subcommand;

use crate::exit;
pub(super) use explain::Look;
pub(super) use sample::audits as sample_audits;

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Put audits from a file of JSON lines into a trail; may be killed and run again
    Import(import::Import),
    /// Show an audit as it is
    Show(show::Show),
    /// Tell what was asked, what was answered, and because of which assertions
    Explain(explain::Explain),
    /// List the audits of an agent, oldest first
    Agent(agent::Agent),
    /// List the most recent audits, newest first
    Recent(recent::Recent),
    /// Print the end of the chain; kept elsewhere, it is an anchor for `verify`
    Head(head::Head),
    /// Check that nobody altered the trail
    Verify(verify::Verify),
    /// Make the index anew from the journal
    Rebuild(rebuild::Rebuild),
    /// Print all audits as JSON lines, oldest first
    Export(export::Export),
    /// Print made-up audits as JSON lines, the same for the same seed
    Generate(generate::Generate),
}

impl Audit {
    pub(crate) fn run(self) -> exit::Result {
        match self {
            Self::Import(command) => command.run(),
            Self::Show(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Agent(command) => command.run(),
            Self::Recent(command) => command.run(),
            Self::Head(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Rebuild(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Generate(command) => command.run(),
        }
    }
}
