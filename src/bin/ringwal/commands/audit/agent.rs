//! `ringwal audit agent`: what one agent asked.

use std::path::PathBuf;

use clap::Args;
use ringwal::{AuditStore, Direction};

use super::{id, list, open, time};
use crate::exit;

#[derive(Args)]
pub(crate) struct Agent {
    /// The store's directory
    store: PathBuf,
    /// The agent: hex, or as much of its beginning as no other has
    #[arg(value_parser = id::prefix)]
    id: id::Prefix,
    /// From this time on (RFC 3339, or nanoseconds since the Unix epoch)
    #[arg(long, value_parser = time::parse, default_value = "0")]
    from: u64,
    /// Up to this time, itself included
    #[arg(long, value_parser = time::parse)]
    to: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

impl Agent {
    pub(crate) fn run(self) -> exit::Result {
        let trail = open::for_reading(&self.store)?;
        let agent = id::agent(&trail, &self.id)?;
        list::print(
            trail.audits_of_agent(&agent, self.from, self.to, Direction::Forward, self.limit)?,
            self.json,
        )
    }
}
