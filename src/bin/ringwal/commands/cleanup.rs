//! `ringwal cleanup`: remove what no pinned cursor needs, from a journal that no writer has open.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringwal::{Options, cleanup_directory};
use serde_json::json;

use crate::exit::{self, Outcome};
use crate::{output, text};

#[derive(Args)]
pub(crate) struct Cleanup {
    /// The journal's directory
    journal: PathBuf,
    /// Also remove the oldest segments while the journal holds more than this many bytes
    #[arg(long)]
    retain_bytes: Option<u64>,
    /// Also remove segments last written more than this many seconds ago
    #[arg(long)]
    retain_age: Option<u64>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Cleanup {
    pub(crate) fn run(self) -> exit::Result {
        let options = Options::new()
            .retention_bytes(self.retain_bytes)
            .retention_age(self.retain_age.map(Duration::from_secs));
        let report = cleanup_directory(&self.journal, &options)?;
        if self.json {
            output::json(&json!({
                "floor": report.floor.get(),
                "raised": report.raised,
                "segments_removed": report.segments_removed,
                "bytes_removed": report.bytes_removed,
            }))?;
        } else {
            output::text(&format!(
                "floor at offset {}{}; {} segments ({}) removed",
                report.floor,
                if report.raised { ", raised" } else { "" },
                report.segments_removed,
                text::bytes(report.bytes_removed),
            ))?;
        }
        Ok(Outcome::Good)
    }
}
