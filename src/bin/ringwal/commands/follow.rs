//! `ringwal follow`: records as they become durable.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringwal::{JournalReader, Offset};

use super::cat::Form;
use crate::exit::{self, Outcome};
use crate::output;

/// So long one wait lasts. That nobody reads the output any more shows with the next record that is written.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Follow {
    /// The journal's directory
    journal: PathBuf,
    /// Begin at this offset; without it, at the durable end
    #[arg(long)]
    from: Option<u64>,
    /// End after so many records
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    form: Form,
}

impl Follow {
    pub(crate) fn run(self) -> exit::Result {
        let reader = JournalReader::open(&self.journal)?;
        let from = match self.from {
            Some(from) => Offset::new(from),
            None => reader.durable_end()?,
        };
        let mut follow = reader.follow(from)?;
        let mut out = output::out();
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            // What is there already goes out in one piece; before waiting, everything is handed over.
            match follow.next_timeout(Duration::ZERO)? {
                Some(record) => {
                    self.form.write(&mut out, &record)?;
                    left -= 1;
                    continue;
                }
                None => out.flush()?,
            }
            if let Some(record) = follow.next_timeout(LOOK)? {
                self.form.write(&mut out, &record)?;
                left -= 1;
            }
        }
        out.flush()?;
        Ok(Outcome::Good)
    }
}
