//! A key-value store of one's own on the journal: every write is one durable record, the rest is a map in memory that is made
//! anew from the journal. Shows: atomic batches, replay after a restart, and that whatever is a `KvStore` carries an audit trail.
//!
//! `cargo run --release --features audit --example own_store [DIRECTORY]`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ringwal::{
    AuditStore, BatchOp, Direction, Entry, GenericAuditStore, Journal, KeyRange, KvStore, Offset, Options,
    QueryAudit, QueryParams, Scan, StoreError, StoreResult, WriteBatch, Written,
};

/// The store: a journal, and what its records come to. One record holds one batch.
struct OwnStore {
    journal: Journal,
    /// Held over the append too, so that the map goes by the journal's order.
    map: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl OwnStore {
    fn open(directory: &Path) -> StoreResult<Self> {
        let journal = Journal::open(directory, Options::new())?;
        let mut map = BTreeMap::new();
        for record in journal.iter_from(Offset::ZERO)? {
            let record = record?;
            // A record that this program did not write is the end of it: better no answer than a wrong one.
            let batch = decode(&record.payload).ok_or(StoreError::NotABatch { offset: record.offset })?;
            apply(&mut map, batch);
        }
        Ok(Self { journal, map: Mutex::new(map) })
    }
}

fn apply(map: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: WriteBatch) {
    for op in batch.into_ops() {
        match op {
            BatchOp::Put { key, value } => drop(map.insert(key, value)),
            BatchOp::Delete { key } => drop(map.remove(&key)),
            _ => {}
        }
    }
}

/// Each operation: 1 or 0 for put or delete, then key and value, each behind its length.
fn encode(batch: &WriteBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in batch.ops() {
        let (kind, value) = match op {
            BatchOp::Put { value, .. } => (1, value.as_slice()),
            _ => (0, &[][..]),
        };
        bytes.push(kind);
        for part in [op.key(), value] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<WriteBatch> {
    fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        *bytes = rest;
        Some(part)
    }
    let mut batch = WriteBatch::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        let (key, value) = (part(&mut bytes)?, part(&mut bytes)?);
        match kind {
            1 => batch.put(key, value),
            0 => batch.delete(key),
            _ => return None,
        };
    }
    Some(batch)
}

impl KvStore for OwnStore {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.map.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        batch.check_keys()?;
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        // Durable first, visible then: nobody sees what a power cut could take back.
        let receipt = self.journal.append(&encode(&batch))?;
        apply(&mut map, batch);
        Ok(Written::new(Some(receipt)))
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        if range.is_empty() {
            return Ok(Scan::new(std::iter::empty()));
        }
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.lower(), range.upper());
        let entries =
            map.range::<[u8], _>(bounds).map(|(key, value)| Ok(Entry::new(key.clone(), value.clone())));
        let found: Vec<_> = match direction {
            Direction::Forward => entries.take(limit).collect(),
            Direction::Reverse => entries.rev().take(limit).collect(),
        };
        Ok(Scan::new(found.into_iter()))
    }

    fn flush(&self) -> StoreResult<()> {
        Ok(())
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn run(directory: &Path) -> Outcome {
    let store = OwnStore::open(directory)?;
    let mut batch = WriteBatch::new();
    batch.put("account/alice", "5").put("account/bob", "7");
    let written = store.write(batch)?;
    println!("two accounts, one record: {:?}", written.receipt.map(|receipt| receipt.offset));
    store.delete(b"account/bob")?;
    let trail = GenericAuditStore::new(store);
    let audit = QueryAudit {
        query_id: [1; 32],
        agent_id: None,
        timestamp: 1,
        params: QueryParams { subject: "account/alice".to_owned(), ..QueryParams::default() },
        result_hash: None,
        result_confidence: 1.0,
        contributing_assertions: Vec::new(),
    };
    trail.put_audit(&audit)?;
    trail.into_store().journal.close()?;

    let trail = GenericAuditStore::new(OwnStore::open(directory)?);
    let balance = trail.store().get(b"account/alice")?;
    let accounts = trail.store().scan_prefix(b"account/", Direction::Forward, 10)?.count();
    println!(
        "after a restart: {accounts} account, alice has {:?}",
        balance.as_deref().map(String::from_utf8_lossy)
    );
    if balance.as_deref() != Some(b"5") || accounts != 1 || trail.list_recent_audits(9)? != [audit] {
        return Err("the store is not what was written".into());
    }
    Ok(())
}

fn main() -> Outcome {
    let keep = tempfile::tempdir()?;
    let given = std::env::args_os().nth(1);
    run(given.as_deref().map_or(&keep.path().join("journal"), Path::new))
}

#[test]
fn it_runs_and_runs_again_on_what_it_left() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let directory = keep.path().join("journal");
    run(&directory).expect("the first run");
    run(&directory).expect("the second run");
    assert!(decode(b"\x02").is_none() && decode(b"\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF").is_none());
}
