//! `ringwal cursor list|set|remove`; beside a living writer too.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ringwal::{CursorKind, Cursors, Offset};
use serde_json::json;

use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Cursor {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show all cursors
    List {
        /// The journal's directory
        journal: PathBuf,
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a cursor, durably; it is made if it is not there
    Set {
        /// The journal's directory
        journal: PathBuf,
        /// The cursor's name: 1 to 64 characters out of a-z, 0-9, '_' and '-'
        name: String,
        /// The first offset that the consumer has not dealt with
        offset: u64,
        /// The cursor does not hold cleanup back
        #[arg(long)]
        advisory: bool,
    },
    /// Remove a cursor
    Remove {
        /// The journal's directory
        journal: PathBuf,
        /// The cursor's name
        name: String,
    },
}

impl Cursor {
    pub(crate) fn run(self) -> exit::Result {
        match self.action {
            Action::List { journal, json } => list(&journal, json)?,
            Action::Set { journal, name, offset, advisory } => {
                let kind = if advisory { CursorKind::Advisory } else { CursorKind::Pinned };
                Cursors::open(journal)?.set(&name, Offset::new(offset), kind)?;
            }
            Action::Remove { journal, name } => Cursors::open(journal)?.remove(&name)?,
        }
        Ok(Outcome::Good)
    }
}

pub(crate) const fn kind_name(kind: CursorKind) -> &'static str {
    match kind {
        CursorKind::Pinned => "pinned",
        CursorKind::Advisory => "advisory",
        _ => "other",
    }
}

fn list(journal: &std::path::Path, as_json: bool) -> anyhow::Result<()> {
    let cursors = Cursors::open_read(journal)?.list()?;
    if as_json {
        let line = |cursor: &ringwal::Cursor| json!({ "name": cursor.name, "offset": cursor.offset.get(), "kind": kind_name(cursor.kind) });
        return output::json(&json!(cursors.iter().map(line).collect::<Vec<_>>()));
    }
    let mut table = output::table(&["cursor", "offset", "kind"]);
    for cursor in &cursors {
        table.add_row([&cursor.name, &cursor.offset.to_string(), kind_name(cursor.kind)]);
    }
    output::text(&table.to_string())
}
