//! `ringwal inspect`: what a journal consists of. Reads headers and state files only, takes no lock.

use std::path::PathBuf;

use clap::Args;
use ringwal::{Cursors, JournalReader, RecoveryPolicy, plan_recovery};
use serde_json::{Value, json};

use super::cursor::kind_name;
use crate::exit::{self, Outcome};
use crate::{output, text};

#[derive(Args)]
pub(crate) struct Inspect {
    /// The journal's directory
    journal: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

struct Facts {
    reader: JournalReader,
    durable_end: u64,
    floor: u64,
    writer: Option<Option<u32>>,
    segments: Vec<ringwal::SegmentInfo>,
    cursors: ringwal::Result<Vec<ringwal::Cursor>>,
    /// What opening for writing would find; only without a living writer.
    recovery: Option<ringwal::Result<ringwal::RecoveryReport>>,
    cut: Vec<String>,
    foreign: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(self) -> exit::Result {
        let facts = self.look()?;
        let refused = matches!(&facts.recovery, Some(Err(error)) if error.is_corruption());
        let are_damaged = matches!(&facts.cursors, Err(error) if error.is_corruption());
        let outcome = if refused || are_damaged { Outcome::Damage } else { Outcome::Good };
        let told = match self.json {
            true => output::json(&self.as_json(&facts)),
            false => output::text(&self.as_text(&facts)),
        };
        // That something could not be found out is no answer; that a writer has come since is one.
        match (facts.recovery, facts.cursors) {
            (Some(Err(error)), _) if !refused && !matches!(error, ringwal::Error::Locked { .. }) => {
                Err(error.into())
            }
            (_, Err(error)) if outcome == Outcome::Good => Err(error.into()),
            _ => exit::told(outcome, told),
        }
    }

    fn look(&self) -> anyhow::Result<Facts> {
        let reader = JournalReader::open(&self.journal)?;
        let writer = reader.writer()?.map(|writer| writer.pid);
        let recovery =
            writer.is_none().then(|| plan_recovery(&self.journal, RecoveryPolicy::TolerateTornTail));
        let (cut, foreign) = self.names();
        Ok(Facts {
            durable_end: reader.durable_end()?.get(),
            floor: reader.floor()?.get(),
            writer,
            segments: reader.segments()?.segments().collect(),
            cursors: Cursors::open_read(&self.journal)?.list(),
            recovery,
            cut,
            foreign,
            reader,
        })
    }

    /// Files in `cut/`, and names in the directory that are not the journal's.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let list = |path: &std::path::Path| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let is_own = |name: &String| {
            name.ends_with(".seg")
                || name.ends_with(".tmp")
                || ["LOCK", "watermark", "floor", "cursors", "cut"].contains(&name.as_str())
        };
        let foreign = list(&self.journal).into_iter().filter(|name| !is_own(name)).collect();
        (list(&self.journal.join("cut")), foreign)
    }

    fn as_text(&self, facts: &Facts) -> String {
        let mut lines = vec![
            format!("journal      {}", self.journal.display()),
            format!("id           {}", facts.reader.journal_id()),
            format!("file system  {}", facts.reader.file_system()),
        ];
        lines.extend(facts.reader.warning().map(|warning| format!("warning      {warning}")));
        lines.push(match facts.writer {
            None => "writer       none".to_owned(),
            Some(None) => "writer       a process that does not say which".to_owned(),
            Some(Some(pid)) => format!("writer       process {pid}"),
        });
        lines.push(format!("floor        {}", facts.floor));
        lines.push(format!("durable end  {}", facts.durable_end));
        match &facts.recovery {
            Some(Ok(report)) => lines.push(format!("opening      {}", text::recovery(report))),
            Some(Err(error)) => lines.push(format!("opening      refused: {error}")),
            None => {}
        }
        let mut table = output::table(&["segment", "from offset", "to offset", "used", "created"]);
        for segment in &facts.segments {
            let used = facts.durable_end.clamp(segment.base.get(), segment.end.get()) - segment.base.get();
            let name =
                segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let created = text::time(segment.created);
            table.add_row([
                name,
                segment.base.to_string(),
                segment.end.to_string(),
                text::bytes(used),
                created,
            ]);
        }
        lines.push(table.to_string());
        match &facts.cursors {
            Ok(cursors) => lines.extend(cursors.iter().map(|cursor| {
                format!("cursor       {} at {} ({})", cursor.name, cursor.offset, kind_name(cursor.kind))
            })),
            Err(error) => lines.push(format!("cursors      {error}")),
        }
        lines.extend(facts.cut.iter().map(|name| format!("cut          cut/{name}")));
        lines.extend(facts.foreign.iter().map(|name| format!("not ours     {name}")));
        lines.join("\n")
    }

    fn as_json(&self, facts: &Facts) -> Value {
        let segment = |segment: &ringwal::SegmentInfo| {
            json!({
                "path": segment.path,
                "base": segment.base.get(),
                "end": segment.end.get(),
                "created": text::time(segment.created),
            })
        };
        let cursor = |cursor: &ringwal::Cursor| json!({ "name": cursor.name, "offset": cursor.offset.get(), "kind": kind_name(cursor.kind) });
        json!({
            "journal": self.journal,
            "id": facts.reader.journal_id().to_string(),
            "file_system": facts.reader.file_system(),
            "warning": facts.reader.warning(),
            "writer": facts.writer.map(|pid| json!({ "pid": pid })),
            "floor": facts.floor,
            "durable_end": facts.durable_end,
            "segments": facts.segments.iter().map(segment).collect::<Vec<_>>(),
            "cursors": match &facts.cursors {
                Ok(cursors) => json!(cursors.iter().map(cursor).collect::<Vec<_>>()),
                Err(error) => json!({ "error": error.to_string() }),
            },
            "recovery": match &facts.recovery {
                None => Value::Null,
                Some(Ok(report)) => text::recovery_json(report),
                Some(Err(error)) => json!({ "error": error.to_string() }),
            },
            "cut": facts.cut,
            "not_ours": facts.foreign,
        })
    }
}
