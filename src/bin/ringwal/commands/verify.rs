//! `ringwal verify`: every checksum, hash, number and chain value.

use std::path::PathBuf;

use clap::Args;
use ringwal::{JournalReader, VerifyOptions, VerifyReport};
use serde_json::{Value, json};

use crate::exit::{self, Outcome};
use crate::output::{self, Progress};
use crate::text;

#[derive(Args)]
pub(crate) struct Verify {
    /// The journal's directory
    journal: PathBuf,
    /// Read past the page cache: what the device holds
    #[arg(long)]
    deep: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self) -> exit::Result {
        let reader = JournalReader::open(&self.journal)?;
        let mut progress = None;
        let report = reader.verify(&VerifyOptions::new().deep(self.deep), &mut |report| {
            let total = report.durable_end.get() - report.start.get();
            let done = report.checked_to.get() - report.start.get();
            progress.get_or_insert_with(|| Progress::new(total, "verifying")).at(done);
        })?;
        drop(progress);
        let outcome = if report.is_sound() { Outcome::Good } else { Outcome::Damage };
        let told = if self.json { output::json(&as_json(&report)) } else { output::text(&as_text(&report)) };
        exit::told(outcome, told)
    }
}

fn as_text(report: &VerifyReport) -> String {
    let mut lines = vec![format!(
        "{}: {} records ({}) in {} commits and {} segments, offsets {} to {}",
        if report.is_sound() { "sound" } else { "DAMAGED" },
        report.records,
        text::bytes(report.payload_bytes),
        report.commits,
        report.segments,
        report.start,
        report.durable_end,
    )];
    lines.extend(report.damage.iter().map(|damage| format!("  {damage}")));
    if let Some(head) = report.head {
        lines.push(format!("head: {}", text::head(&head)));
    }
    lines.join("\n")
}

fn as_json(report: &VerifyReport) -> Value {
    let damage = |damage: &ringwal::Corruption| {
        json!({
            "path": damage.path,
            "from": damage.range.start.get(),
            "to": damage.range.end.get(),
            "kind": damage.kind.to_string(),
        })
    };
    json!({
        "sound": report.is_sound(),
        "segments": report.segments,
        "commits": report.commits,
        "records": report.records,
        "payload_bytes": report.payload_bytes,
        "start": report.start.get(),
        "durable_end": report.durable_end.get(),
        "damage": report.damage.iter().map(damage).collect::<Vec<_>>(),
        "head": report.head.as_ref().map(text::head_json),
    })
}
