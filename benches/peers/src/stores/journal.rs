//! The journal alone: what durability costs without an index.

use std::path::Path;

use anyhow::Result;
use ringwal::{Journal, Options};

use super::{Pair, Store};
use crate::contenders::flushes_of_the_ring;

pub(super) struct Bare(Journal);

impl Store for Bare {
    fn open(directory: &Path) -> Result<Self> {
        Ok(Self(Journal::open(directory.join("journal"), Options::new())?))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let bytes: Vec<u8> =
            pairs.iter().flat_map(|(key, value)| key.iter().chain(*value)).copied().collect();
        self.0.append(&bytes)?;
        Ok(())
    }

    fn get(&self, _key: &[u8]) -> Result<Option<usize>> {
        Ok(None)
    }

    fn scan(&self, _from: &[u8], _to: &[u8], _limit: usize) -> Result<usize> {
        Ok(0)
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }

    fn uncounted_flushes(&self) -> u64 {
        flushes_of_the_ring(&self.0)
    }
}
