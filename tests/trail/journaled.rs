//! A store whose every write stands in a journal on the simulated disk; its index can be taken out, edited and put back.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use ringwal::sim::SimDisk;
use ringwal::{
    BatchOp, Direction, Entry, Error, JournalReader, JournalWriter, JournaledStore, KeyRange, KvStore,
    Offset, Options, Receipt, Scan, StoreError, StoreResult, WriteBatch, Written,
};

/// Every key, its value, and the journal record that put it.
pub(crate) type Index = BTreeMap<Vec<u8>, (Vec<u8>, Offset)>;

pub(crate) struct JournalStore {
    /// `None` where there is only the reading half.
    writer: Mutex<Option<JournalWriter>>,
    reader: JournalReader,
    pub(crate) index: Mutex<Index>,
}

pub(crate) fn options() -> Options {
    Options::new().segment_bytes(64 << 10).commit_bytes_max(16 << 10)
}

impl JournalStore {
    /// Opens the journal for writing, and makes the index anew from it.
    pub(crate) fn open(disk: &SimDisk) -> StoreResult<Self> {
        let writer = JournalWriter::open_simulated(disk, options())?;
        let reader = writer.reader()?;
        let mut index = Index::new();
        for record in reader.iter_from(Offset::ZERO)? {
            let record = record?;
            apply(&mut index, decode(&record.payload)?, record.offset);
        }
        Ok(Self { writer: Mutex::new(Some(writer)), reader, index: Mutex::new(index) })
    }

    /// The reading half, with an index from elsewhere.
    pub(crate) fn with_index(disk: &SimDisk, index: Index) -> StoreResult<Self> {
        let reader = JournalReader::open_simulated(disk)?;
        Ok(Self { writer: Mutex::new(None), reader, index: Mutex::new(index) })
    }

    pub(crate) fn close(&self) -> StoreResult<()> {
        let writer = self.writer.lock().expect("no panic").take();
        Ok(writer.map_or(Ok(()), |writer| writer.close())?)
    }
}

fn apply(index: &mut Index, batch: WriteBatch, offset: Offset) {
    for op in batch.into_ops() {
        match op {
            BatchOp::Put { key, value } => index.insert(key, (value, offset)),
            BatchOp::Delete { key } => index.remove(&key),
            _ => unreachable!("a batch puts and deletes"),
        };
    }
}

fn encode(batch: &WriteBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in batch.ops() {
        let (kind, key, value) = match op {
            BatchOp::Put { key, value } => (1, key, value.as_slice()),
            BatchOp::Delete { key } => (0, key, &b""[..]),
            _ => unreachable!("a batch puts and deletes"),
        };
        bytes.push(kind);
        for part in [key, value] {
            bytes.extend(u32::try_from(part.len()).expect("a small part").to_le_bytes());
            bytes.extend(part);
        }
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> StoreResult<WriteBatch> {
    fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *bytes = rest;
        Some(part)
    }
    let mut batch = WriteBatch::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        let (Some(key), Some(value)) = (part(&mut bytes), part(&mut bytes)) else {
            return Err(StoreError::EmptyKey);
        };
        match kind {
            1 => batch.put(key, value),
            _ => batch.delete(key),
        };
    }
    Ok(batch)
}

impl KvStore for JournalStore {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        Ok(self.get_with_origin(key)?.map(|(value, _)| value))
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        let mut writer = self.writer.lock().expect("no panic");
        let receipt = writer.as_mut().ok_or(Error::Closed)?.append(&encode(&batch))?;
        apply(&mut self.index.lock().expect("no panic"), batch, receipt.offset);
        Ok(Written::new(Some(receipt)))
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        let index = self.index.lock().expect("no panic");
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (range.lower(), range.upper());
        let mut found: Vec<_> = index
            .range::<[u8], _>(bounds)
            .map(|(key, (value, _))| Ok(Entry::new(key.clone(), value.clone())))
            .collect();
        if direction == Direction::Reverse {
            found.reverse();
        }
        found.truncate(limit);
        Ok(Scan::new(found.into_iter()))
    }

    fn flush(&self) -> StoreResult<()> {
        Ok(())
    }
}

impl JournaledStore for JournalStore {
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
        Ok(self.index.lock().expect("no panic").get(key).cloned())
    }

    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
        let record = self.reader.read(offset)?;
        let batch = decode(&record.payload)?;
        let receipt = Receipt::new(offset, record.hash);
        self.reader.check_receipt(&receipt)?;
        Ok((receipt, batch))
    }

    fn shown_end(&self) -> StoreResult<Offset> {
        // The index is made before anybody looks, and kept under the writer's lock.
        Ok(self.reader.durable_end()?)
    }

    fn journal_reader(&self) -> JournalReader {
        self.reader.clone()
    }
}
