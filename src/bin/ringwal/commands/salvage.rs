//! `ringwal salvage`: what can still be read, into a new journal.

use std::path::PathBuf;

use clap::Args;
use ringwal::{JournalWriter, Options, Salvaged};
use serde_json::json;

use crate::exit::{self, Outcome, WrongUse};
use crate::output::{self, Progress};

/// Records are made durable together by this many bytes, their headers among them: one without a payload takes memory too.
const GROUP_BYTES: usize = 1 << 20;
const RECORD_HEADER_BYTES: usize = 40;

#[derive(Args)]
pub(crate) struct Salvage {
    /// The damaged journal's directory; nothing in it is changed
    journal: PathBuf,
    /// The new journal's directory; must not exist
    out: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Report {
    records: u64,
    lost: Vec<(u64, u64, String)>,
    unusable: Vec<String>,
}

impl Salvage {
    pub(crate) fn run(self) -> exit::Result {
        if self.out.exists() {
            let message = format!("{} exists already; name a new directory", self.out.display());
            return Err(WrongUse(message).into());
        }
        let mut salvage = ringwal::Salvage::open(&self.journal)?;
        let mut writer = JournalWriter::open(&self.out, options_for(&self.journal))?;
        let mut report = Report::default();
        let mut group: Vec<Vec<u8>> = Vec::new();
        let mut group_bytes = 0;
        let total = total_bytes(&self.journal);
        let mut progress = Progress::new(total, "salvaging");
        loop {
            match salvage.next_item() {
                Ok(Some(Salvaged::Record { offset, payload, .. })) => {
                    progress.at(offset.get().min(total));
                    group_bytes += payload.len() + RECORD_HEADER_BYTES;
                    group.push(payload.to_vec());
                    report.records += 1;
                }
                Ok(Some(Salvaged::Lost { range, kind })) => {
                    report.lost.push((range.start.get(), range.end.get(), kind.to_string()));
                }
                Ok(Some(Salvaged::Unusable { error })) | Err(error) => {
                    report.unusable.push(error.to_string())
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
            if group_bytes >= GROUP_BYTES {
                writer.append_group(&group)?;
                group.clear();
                group_bytes = 0;
            }
        }
        writer.append_group(&group)?;
        writer.close()?;
        drop(progress);
        self.tell(&report)
    }

    fn tell(&self, report: &Report) -> exit::Result {
        let is_whole = report.lost.is_empty() && report.unusable.is_empty();
        let told = if self.json {
            let lost =
                |(from, to, kind): &(u64, u64, String)| json!({ "from": from, "to": to, "kind": kind });
            output::json(&json!({
                "records": report.records,
                "lost": report.lost.iter().map(lost).collect::<Vec<_>>(),
                "unusable": report.unusable,
                "out": self.out,
            }))
        } else {
            let mut lines = vec![format!("{} records copied to {}", report.records, self.out.display())];
            lines.extend(
                report.lost.iter().map(|(from, to, kind)| format!("lost: offsets {from} to {to}: {kind}")),
            );
            lines.extend(report.unusable.iter().map(|error| format!("unusable: {error}")));
            output::text(&lines.join("\n"))
        };
        exit::told(if is_whole { Outcome::Good } else { Outcome::Damage }, told)
    }
}

/// Segments as large as the largest there is: whatever record stood in one of those fits into one of these.
fn options_for(journal: &std::path::Path) -> Options {
    const SEGMENT_BYTES_MIN: u64 = 64 << 10;
    const SEGMENT_BYTES_MAX: u64 = 2 << 30;
    const BLOCK_BYTES: u64 = 4096;
    /// The header of a segment, a commit record, and the header of a record.
    const HEADERS_BYTES: u64 = BLOCK_BYTES + 104 + RECORD_HEADER_BYTES as u64;
    let files = std::fs::read_dir(journal).into_iter().flatten().flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "seg"));
    let largest = segments.flat_map(|file| file.metadata()).map(|metadata| metadata.len()).max().unwrap_or(0);
    let segment_bytes = largest.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).next_multiple_of(BLOCK_BYTES);
    let payload_bytes_max = (segment_bytes - HEADERS_BYTES).min((1 << 30) - 1);
    Options::new().segment_bytes(segment_bytes).payload_bytes_max(payload_bytes_max)
}

/// Roughly: for the progress bar only.
fn total_bytes(journal: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(journal) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
