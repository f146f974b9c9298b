//! `ringwal audit recent`: what was asked last.

use std::path::PathBuf;

use clap::Args;
use ringwal::{AuditStore, Direction};

use super::{list, open};
use crate::exit;

#[derive(Args)]
pub(crate) struct Recent {
    /// The store's directory
    store: PathBuf,
    /// How many
    #[arg(default_value_t = 10)]
    count: usize,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

impl Recent {
    pub(crate) fn run(self) -> exit::Result {
        let trail = open::for_reading(&self.store)?;
        list::print(trail.audits_between(0, None, Direction::Reverse, self.count)?, self.json)
    }
}
