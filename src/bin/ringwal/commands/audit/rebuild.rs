//! `ringwal audit rebuild`: a new index, from the journal alone.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ringwal::{HybridStore, KvStore};
use serde_json::json;

use super::open;
use crate::exit::{self, Outcome};
use crate::output::{self, Progress};
use crate::text;

#[derive(Args)]
#[command(
    after_long_help = "For an index that is damaged, or does not fit its journal. The old index stays until the new one is whole \
and durable; what it held and the journal does not is gone then. Needs a journal that holds everything from its first record on, \
which that of a trail does; else nothing is changed. That journal is kept from then on, as a trail's is: for a store that is \
no trail, remove its cursor `keep-journal` (`ringwal cursor remove`). Put the index aside first if whoever altered it matters."
)]
pub(crate) struct Rebuild {
    /// The store's directory
    store: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Rebuild {
    pub(crate) fn run(self) -> exit::Result {
        let started = std::time::Instant::now();
        let mut progress: Option<Progress> = None;
        let mut bytes = 0;
        let store = HybridStore::rebuild_index_telling(&self.store, open::options(), &mut |done, all| {
            bytes = all;
            progress.get_or_insert_with(|| Progress::new(all, "reading the journal")).at(done);
        })?;
        store.flush()?;
        drop(progress);
        let applied = store.checkpointed_below();
        store.close()?;
        let told = self.report(bytes, applied.get(), started.elapsed());
        exit::told(Outcome::Good, told)
    }

    fn report(&self, bytes: u64, applied: u64, elapsed: std::time::Duration) -> anyhow::Result<()> {
        if self.json {
            return output::json(
                &json!({ "journal_bytes": bytes, "applied": applied, "seconds": elapsed.as_secs_f64() }),
            );
        }
        let (bytes, elapsed) = (text::bytes(bytes), text::duration(elapsed));
        Ok(writeln!(io::stderr(), "the index is made anew from {bytes} of journal, {elapsed}")?)
    }
}
