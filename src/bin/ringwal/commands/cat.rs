//! `ringwal cat`: records, as lines, raw, or JSON.

use std::io::Write;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ringwal::{JournalReader, Offset, RecordRef};
use serde_json::json;

use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Cat {
    /// The journal's directory
    journal: PathBuf,
    /// Begin at this offset: of a record, a cursor, or the floor. Without it, at the first record kept
    #[arg(long)]
    from: Option<u64>,
    /// Print at most so many records
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    form: Form,
}

/// How records are printed.
#[derive(Args)]
pub(crate) struct Form {
    /// One JSON object a line, with offset, blake3 and the payload in base64
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// The payloads' bytes, with nothing between them
    #[arg(long)]
    raw: bool,
}

impl Form {
    pub(crate) fn write(&self, out: &mut impl Write, record: &RecordRef<'_>) -> std::io::Result<()> {
        if self.json {
            let line = json!({
                "offset": record.offset.get(),
                "blake3": record.hash.to_string(),
                "payload_base64": STANDARD.encode(record.payload),
            });
            return writeln!(out, "{line}");
        }
        out.write_all(record.payload)?;
        if self.raw { Ok(()) } else { out.write_all(b"\n") }
    }
}

impl Cat {
    pub(crate) fn run(self) -> exit::Result {
        let reader = JournalReader::open(&self.journal)?;
        let from = match self.from {
            Some(from) => Offset::new(from),
            None => first_kept(&reader)?,
        };
        let mut records = reader.iter_from(from)?;
        let mut out = output::out();
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(record) = records.next_ref().inspect_err(|_| drop(out.flush()))? else { break };
            self.form.write(&mut out, &record)?;
            left -= 1;
        }
        out.flush()?;
        Ok(Outcome::Good)
    }
}

/// Where the records that are kept begin: the floor, or the first segment where no floor was set.
pub(crate) fn first_kept(reader: &JournalReader) -> ringwal::Result<Offset> {
    let floor = reader.floor()?;
    let first = reader.segments()?.segments().next().map_or(floor, |segment| segment.base);
    Ok(floor.max(first))
}
