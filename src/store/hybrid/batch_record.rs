//! The journal record of one write batch: encoding, and decoding of any bytes.
//!
//! ```text
//! 0       4        8
//! | magic | count  | operations, one at least
//!
//! 0     1         5           9     9 + key
//! | tag | key u32 | value u32 | key | value |    a put
//! | tag | key u32 | key |                        a delete
//! ```
//! Guarantees: decoding is total and allocates nothing; what decodes encodes to the same bytes. Must not know: what an
//! operation does.

use std::ops::Range;

use crate::store::batch::{BatchOp, WriteBatch};
use crate::store::kv::KEY_BYTES_MAX;

const MAGIC: Range<usize> = 0..4;
const COUNT: Range<usize> = MAGIC.end..MAGIC.end + 4;
const OPERATIONS: usize = COUNT.end;
/// The last byte is the version of what follows.
const MAGIC_BYTES: [u8; 4] = *b"rwb\x01";
const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_HEAD_BYTES: usize = 9;
const DELETE_HEAD_BYTES: usize = 5;

/// Where one operation lies in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpPlace {
    /// Where its key begins; the value follows the key.
    pub(super) key_at: u32,
    pub(super) key_bytes: u32,
    /// `None`: the key is deleted.
    pub(super) value_bytes: Option<u32>,
}

/// The bytes that the batch takes as a record's payload.
pub(super) fn encoded_bytes(batch: &WriteBatch) -> u64 {
    let of_op = |op: &BatchOp| match op {
        BatchOp::Put { key, value } => PUT_HEAD_BYTES as u64 + key.len() as u64 + value.len() as u64,
        BatchOp::Delete { key } => DELETE_HEAD_BYTES as u64 + key.len() as u64,
    };
    OPERATIONS as u64 + batch.ops().iter().map(of_op).sum::<u64>()
}

/// The batch as a record's payload. Its keys were checked and its size is one that a record can have.
pub(super) fn encode(batch: &WriteBatch) -> Vec<u8> {
    let bytes = usize::try_from(encoded_bytes(batch)).expect("a batch in memory fits into memory");
    let length = |bytes: usize| u32::try_from(bytes).expect("smaller than a record").to_le_bytes();
    let mut payload = Vec::with_capacity(bytes);
    payload.extend_from_slice(&MAGIC_BYTES);
    payload.extend_from_slice(&length(batch.len()));
    for op in batch.ops() {
        match op {
            BatchOp::Put { key, value } => {
                payload.push(PUT);
                payload.extend_from_slice(&length(key.len()));
                payload.extend_from_slice(&length(value.len()));
                payload.extend_from_slice(key);
                payload.extend_from_slice(value);
            }
            BatchOp::Delete { key } => {
                payload.push(DELETE);
                payload.extend_from_slice(&length(key.len()));
                payload.extend_from_slice(key);
            }
        }
    }
    assert_eq!(payload.len(), bytes, "the size that was computed is not the size that was written");
    payload
}

/// Where the operations lie in a record's payload, in order; `None` for anything but a batch record.
pub(super) fn places(payload: &[u8]) -> Option<Places<'_>> {
    if payload.get(MAGIC)? != MAGIC_BYTES {
        return None;
    }
    // A record without operations, which nobody writes, would be memory that no checkpoint gives back.
    let count = u32_at(payload, COUNT.start).filter(|count| *count > 0)?;
    let places = Places { payload, at: OPERATIONS, left: count };
    // Every operation is looked at before the first is used: a batch is decoded whole or not at all.
    let mut end = places.clone();
    while end.left > 0 {
        end.take_one()?;
    }
    (end.at == payload.len()).then_some(places)
}

/// The operations of a record that was found sound.
#[derive(Clone, Debug)]
pub(super) struct Places<'a> {
    payload: &'a [u8],
    at: usize,
    left: u32,
}

impl Places<'_> {
    fn take_one(&mut self) -> Option<OpPlace> {
        let (tag, at) = (*self.payload.get(self.at)?, self.at);
        let key_bytes = u32_at(self.payload, at + 1)?;
        if key_bytes == 0 || key_bytes as usize > KEY_BYTES_MAX {
            return None;
        }
        let (key_at, value_bytes) = match tag {
            PUT => (at + PUT_HEAD_BYTES, Some(u32_at(self.payload, at + 5)?)),
            DELETE => (at + DELETE_HEAD_BYTES, None),
            _ => return None,
        };
        let end =
            key_at.checked_add(key_bytes as usize)?.checked_add(value_bytes.unwrap_or_default() as usize)?;
        if end > self.payload.len() {
            return None;
        }
        self.at = end;
        self.left -= 1;
        Some(OpPlace { key_at: u32::try_from(key_at).ok()?, key_bytes, value_bytes })
    }
}

impl Iterator for Places<'_> {
    type Item = OpPlace;

    fn next(&mut self) -> Option<OpPlace> {
        if self.left == 0 {
            return None;
        }
        Some(self.take_one().expect("the record was found sound"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

/// The batch that a record's payload holds; `None` for anything but a batch record.
pub(super) fn decode(payload: &[u8]) -> Option<WriteBatch> {
    let mut batch = WriteBatch::new();
    for place in places(payload)? {
        let key_at = place.key_at as usize;
        let value_at = key_at + place.key_bytes as usize;
        let key = payload.get(key_at..value_at)?;
        match place.value_bytes {
            Some(bytes) => batch.put(key, payload.get(value_at..value_at + bytes as usize)?),
            None => batch.delete(key),
        };
    }
    Some(batch)
}

/// Decodes any bytes, for fuzzers.
///
/// # Panics
/// When something is accepted that does not come back.
#[cfg(feature = "sim")]
pub(crate) fn decode_any(bytes: &[u8]) {
    let Some(batch) = decode(bytes) else {
        assert!(places(bytes).is_none(), "places in what is no batch");
        return;
    };
    assert_eq!(places(bytes).map(Iterator::count), Some(batch.len()), "an operation for each place");
    assert_eq!(encode(&batch), bytes, "a batch comes back as another one");
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests;
