//! Key-value stores, put to what an audit trail does: a record and its index entries in one durable transaction, point
//! gets, and ranges of one agent. Seen as a [`Log`], so that they are measured like everything else.

mod fjall;
#[cfg(feature = "hybrid")]
mod hybrid;
mod journal;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

use crate::contender::{Address, Appender, Contender, Log, Reader};
use crate::payload::Random;

/// Everybody.
pub(crate) fn all() -> Vec<Box<dyn Contender>> {
    fn of<S: Store + 'static>(name: &'static str, what: &'static str) -> Box<dyn Contender> {
        Box::new(Named::<S> { name, what, of: std::marker::PhantomData })
    }
    vec![
        #[cfg(feature = "hybrid")]
        of::<hybrid::Hybrid>("hybrid-store", "this crate's HybridStore, its defaults"),
        of::<journal::Bare>("bare-journal", "this crate's journal, one record of the same bytes, no index"),
        #[cfg(feature = "rocksdb")]
        of::<rocksdb::RocksDb>("store-rocksdb", "RocksDB by rocksdb 0.25.0, a sync write batch a put"),
        of::<lmdb::Lmdb>("store-lmdb", "LMDB by heed 0.22.1, one transaction a put, synced"),
        of::<redb::Redb>("store-redb", "redb 4.6.0, one transaction a put"),
        of::<fjall::Fjall>("store-fjall", "fjall 3.1.13, a batch with PersistMode::SyncData a put"),
        of::<sqlite::Sqlite>(
            "store-sqlite",
            "SQLite, WAL, synchronous=FULL, one transaction a put, one connection",
        ),
    ]
}

/// A key and its value.
pub(crate) type Pair<'a> = (Vec<u8>, &'a [u8]);

/// What a store must be able to do.
pub(crate) trait Store: Sync + Send + Sized {
    fn open(directory: &Path) -> Result<Self>;

    /// All pairs in one transaction, durable when this returns.
    fn put(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// The value's length; none where nothing can be looked up by key.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;

    /// How many of the first `limit` keys from one to another there are.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<usize>;

    /// As [`Log::checkpoint`].
    fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    /// Whether each record is to be put by itself also where many are handed over at once.
    fn puts_one_by_one(&self) -> bool {
        false
    }

    fn close(self) -> Result<()> {
        Ok(())
    }

    /// As [`Log::uncounted_flushes`].
    fn uncounted_flushes(&self) -> u64 {
        0
    }
}

struct Named<S> {
    name: &'static str,
    what: &'static str,
    of: std::marker::PhantomData<fn() -> S>,
}

impl<S: Store + 'static> Contender for Named<S> {
    fn name(&self) -> &str {
        self.name
    }

    fn what(&self) -> &'static str {
        self.what
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        Ok(Box::new(Trail { store: S::open(directory)?, next: AtomicU64::new(1) }))
    }
}

/// An audit trail on a store.
struct Trail<S> {
    store: S,
    next: AtomicU64,
}

/// Records belong to one of so many agents in turn.
pub(crate) const AGENTS: u64 = 64;
const SCANNED: usize = 100;

fn id(number: u64) -> [u8; 32] {
    let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut id = [0; 32];
    id.chunks_exact_mut(8).for_each(|piece| piece.copy_from_slice(&random.next().to_le_bytes()));
    id
}

fn record_key(number: u64) -> Vec<u8> {
    [b"\0AUD:", &id(number)[..]].concat()
}

fn agent_key(agent: u64, time: u64) -> Vec<u8> {
    [b"\0AUDA:", &id(agent | 1 << 63)[..], b":", &time.to_be_bytes()].concat()
}

impl<S: Store> Log for Trail<S> {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        Ok(Box::new(self))
    }

    fn uncounted_flushes(&self) -> u64 {
        self.store.uncounted_flushes()
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader + '_>>> {
        let known = self.store.get(&record_key(1))?;
        Ok(known.is_some().then(|| Box::new(self) as Box<dyn Reader + '_>))
    }

    fn checkpoint(&self) -> Result<()> {
        self.store.checkpoint()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.store.close()
    }
}

impl<S: Store> Appender for &Trail<S> {
    fn append(&mut self, payload: &[u8]) -> Result<Address> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.store.put(&pairs(number, payload))?;
        Ok((number, 0))
    }

    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let first = self.next.fetch_add(payloads.len() as u64, Ordering::Relaxed);
        addresses.extend((first..).take(payloads.len()).map(|number| (number, 0)));
        let mut records = (first..).zip(payloads).map(|(number, payload)| pairs(number, payload));
        if self.store.puts_one_by_one() {
            return records.try_for_each(|pairs| self.store.put(&pairs));
        }
        self.store.put(&records.flatten().collect::<Vec<_>>())
    }
}

/// A record and its index entries.
fn pairs(number: u64, payload: &[u8]) -> [Pair<'_>; 3] {
    let id = id(number);
    let by_agent = [&agent_key(number % AGENTS, number)[..], b":", &id].concat();
    let by_time = [b"\0AUDT:", &number.to_be_bytes()[..], b":", &id].concat();
    [(record_key(number), payload), (by_agent, &[]), (by_time, &[])]
}

impl<S: Store> Reader for &Trail<S> {
    fn read(&mut self, address: Address) -> Result<usize> {
        let length = self.store.get(&record_key(address.0))?;
        ensure!(length.is_some(), "record {} is not there", address.0);
        Ok(length.unwrap_or(0))
    }

    fn scan(&mut self, address: Address) -> Result<usize> {
        let agent = address.0 % AGENTS;
        let (from, to) = (agent_key(agent, address.0), agent_key(agent, u64::MAX));
        self.store.scan(&from, &to, SCANNED)
    }
}
