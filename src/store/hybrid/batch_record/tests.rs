//! Round trips, and decoding of anything.

use super::*;

/// A small generator of numbers: the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit).expect("small")
    }

    fn bytes(&mut self, least: usize, limit: u64) -> Vec<u8> {
        let count = least + self.below(limit);
        (0..count).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }

    fn batch(&mut self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for _ in 0..1 + self.below(5) {
            if self.below(3) == 0 {
                batch.delete(self.bytes(1, 20));
            } else {
                batch.put(self.bytes(1, 20), self.bytes(0, 40));
            }
        }
        batch
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut numbers = Numbers(1);
    for _ in 0..2000 {
        let batch = numbers.batch();
        let payload = encode(&batch);
        assert_eq!(payload.len() as u64, encoded_bytes(&batch));
        assert_eq!(decode(&payload), Some(batch.clone()));
        assert_eq!(places(&payload).expect("sound").count(), batch.len());
    }
    let mut longest = WriteBatch::new();
    longest.put(vec![7; KEY_BYTES_MAX], "");
    assert_eq!(decode(&encode(&longest)), Some(longest));
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let mut batch = WriteBatch::new();
    batch.put("k", "value").delete("old");
    let expected = b"rwb\x01\x02\0\0\0\x01\x01\0\0\0\x05\0\0\0kvalue\x02\x03\0\0\0old";
    assert_eq!(encode(&batch), expected);
}

#[test]
fn any_bytes_give_a_batch_that_encodes_to_them_or_none() {
    let mut numbers = Numbers(7);
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut payload = encode(&numbers.batch());
        match numbers.below(4) {
            0 => payload.truncate(numbers.below(payload.len() as u64 + 1)),
            1 => payload.extend(numbers.bytes(1, 4)),
            2 => payload = numbers.bytes(0, 60),
            _ => {
                let at = numbers.below(payload.len() as u64);
                payload[at] ^= 1 << numbers.below(8);
            }
        }
        match decode(&payload) {
            Some(batch) => {
                sound += 1;
                assert_eq!(encode(&batch), payload);
                batch.check_keys().expect("only keys that a store takes");
            }
            None => refused += 1,
        }
    }
    assert!(sound > 1000, "flips in keys and values leave a batch: {sound}");
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn every_shorter_record_and_claims_of_more_are_refused() {
    let mut batch = WriteBatch::new();
    batch.put("key", "value").delete("old").put("k", "");
    let payload = encode(&batch);
    for bytes in 0..payload.len() {
        assert_eq!(decode(&payload[..bytes]), None, "{bytes} bytes");
    }
    let with = |at: usize, value: u32| {
        let mut changed = payload.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        decode(&changed)
    };
    assert_eq!(with(4, u32::MAX), None, "more operations than bytes");
    assert_eq!(with(9, 0), None, "an empty key");
    assert_eq!(with(9, 65_537), None, "a key that is too long");
    assert_eq!(with(13, u32::MAX), None, "a value beyond the record");
    assert_eq!(decode(b"rwb\x01\0\0\0\0"), None, "no operations");
    let next_version = [&b"rwb\x02"[..], &payload[4..]].concat();
    assert_eq!(decode(&next_version), None);
}
