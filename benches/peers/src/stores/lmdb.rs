//! LMDB, by heed.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions};

use super::{Pair, Store};

pub(super) struct Lmdb {
    environment: Env,
    trail: Database<Bytes, Bytes>,
}

/// Address space, of which only what is written takes room.
const MAP_BYTES: usize = 64 << 30;

impl Store for Lmdb {
    fn open(directory: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the file is mapped, and must not be changed but through this environment: the directory is the
        // contender's own, and opened once.
        let environment = unsafe { options.open(directory)? };
        let mut transaction = environment.write_txn()?;
        let trail = environment.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { environment, trail })
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut transaction = self.environment.write_txn()?;
        for (key, value) in pairs {
            self.trail.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let transaction = self.environment.read_txn()?;
        Ok(self.trail.get(&transaction, key)?.map(<[u8]>::len))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize> {
        let transaction = self.environment.read_txn()?;
        let range = (Bound::Included(from), Bound::Included(to));
        let mut count = 0;
        for entry in self.trail.range(&transaction, &range)?.take(limit) {
            entry?;
            count += 1;
        }
        Ok(count)
    }
}
