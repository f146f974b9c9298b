//! `ringwal audit export`: all audits as JSON lines.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ringwal::{AuditStore, Direction};

use super::{form, open, time};
use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Export {
    /// The store's directory
    store: PathBuf,
    /// From this time on (RFC 3339, or nanoseconds since the Unix epoch)
    #[arg(long, value_parser = time::parse, default_value = "0")]
    from: u64,
    /// Up to this time, itself included
    #[arg(long, value_parser = time::parse)]
    to: Option<u64>,
    /// As JSON lines: the only form there is
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn run(self) -> exit::Result {
        let Self { store, from, to, json: _ } = self;
        let trail = open::for_reading(&store)?;
        let mut out = output::out();
        for audit in trail.audits_between(from, to, Direction::Forward, usize::MAX)? {
            writeln!(out, "{}", form::audit(&audit?))?;
        }
        out.flush()?;
        Ok(Outcome::Good)
    }
}
