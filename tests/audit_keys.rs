//! The keys of the audit trail: both ways, in order, and any bytes.
#![cfg(feature = "audit")]

mod common;

use ringwal::key_codec::{self, AuditKey, KeyError, subject_hash};
use ringwal::{Hash, KeyRange};
use std::ops::Bound;

/// Few values, those at which bytes carry over among them, so that parts of keys are often alike.
fn number(rng: &mut fastrand::Rng) -> u64 {
    [0, 1, 0x3A, 0xFF, 0x100, u64::MAX - 1, u64::MAX, rng.u64(..)][rng.usize(..8)]
}

fn id(rng: &mut fastrand::Rng) -> [u8; 32] {
    let mut id = [[0, b':', 0xFF, 7][rng.usize(..4)]; 32];
    id[rng.usize(..32)] = rng.u8(..);
    id
}

fn key(rng: &mut fastrand::Rng) -> AuditKey {
    let (query_id, timestamp) = (id(rng), number(rng));
    match rng.usize(..4) {
        0 => AuditKey::Record { query_id },
        1 => AuditKey::Agent { agent_id: id(rng), timestamp, query_id },
        2 => AuditKey::Time { timestamp, query_id },
        _ => AuditKey::Subject { subject: Hash(id(rng)), timestamp, query_id },
    }
}

fn is_in(range: &KeyRange, key: &[u8]) -> bool {
    let above = match range.lower() {
        Bound::Included(lower) => key >= lower,
        Bound::Excluded(lower) => key > lower,
        Bound::Unbounded => true,
    };
    above
        && match range.upper() {
            Bound::Included(upper) => key <= upper,
            Bound::Excluded(upper) => key < upper,
            Bound::Unbounded => true,
        }
}

#[test]
fn every_key_comes_back_and_the_order_of_the_bytes_is_that_of_the_values() {
    let mut rng = fastrand::Rng::with_seed(common::seed());
    let rank = |key: &AuditKey| match *key {
        AuditKey::Record { query_id } => (0, [0; 32], 0, query_id),
        AuditKey::Agent { agent_id, timestamp, query_id } => (1, agent_id, timestamp, query_id),
        AuditKey::Subject { subject, timestamp, query_id } => (2, subject.0, timestamp, query_id),
        AuditKey::Time { timestamp, query_id } => (3, [0; 32], timestamp, query_id),
        _ => unreachable!("all kinds are named"),
    };
    for _ in 0..100_000 {
        let (one, other) = (key(&mut rng), key(&mut rng));
        let (bytes, other_bytes) = (one.encode(), other.encode());
        assert_eq!(AuditKey::decode(&bytes), Ok(one));
        assert_eq!(bytes.cmp(&other_bytes), rank(&one).cmp(&rank(&other)), "{one:?} {other:?}");
        assert!(!other_bytes.starts_with(&bytes) || one == other, "a key is the beginning of another one");
        assert!(is_in(&key_codec::trail(), &bytes));
    }
}

#[test]
fn ranges_hold_what_they_say_and_nothing_else() {
    let mut rng = fastrand::Rng::with_seed(common::seed());
    for _ in 0..100_000 {
        let (agent, subject, from) = (id(&mut rng), Hash(id(&mut rng)), number(&mut rng));
        let to = rng.bool().then(|| number(&mut rng));
        let one = key(&mut rng);
        let in_time = |time: u64| from <= time && to.is_none_or(|to| time <= to);
        let bytes = one.encode();
        let is_of_agent = matches!(one, AuditKey::Agent { agent_id, timestamp, .. }
            if agent_id == agent && in_time(timestamp));
        assert_eq!(is_in(&key_codec::agent_range(&agent, from, to), &bytes), is_of_agent, "{one:?}");
        let is_of_subject = matches!(one, AuditKey::Subject { subject: own, timestamp, .. }
            if own == subject && in_time(timestamp));
        assert_eq!(is_in(&key_codec::subject_range(&subject, from, to), &bytes), is_of_subject);
        let is_in_time = matches!(one, AuditKey::Time { timestamp, .. } if in_time(timestamp));
        assert_eq!(is_in(&key_codec::time_range(from, to), &bytes), is_in_time, "{one:?} {from} {to:?}");
        let is_behind = matches!(one, AuditKey::Agent { agent_id, .. } if agent_id >= agent);
        assert_eq!(is_in(&key_codec::agent_from(&agent), &bytes), is_behind);
        let other = id(&mut rng);
        let is_record =
            matches!(one, AuditKey::Record { query_id } if agent <= query_id && query_id <= other);
        assert_eq!(is_in(&key_codec::record_range(&agent, &other), &bytes), is_record);
    }
}

#[test]
fn any_bytes_are_a_key_or_an_error() {
    let mut rng = fastrand::Rng::with_seed(common::seed());
    let mut refused = [0_u64; 3];
    for _ in 0..200_000 {
        let mut bytes = key(&mut rng).encode();
        match rng.usize(..4) {
            0 => bytes.truncate(rng.usize(..=bytes.len())),
            1 => bytes.extend((0..rng.usize(1..9)).map(|_| rng.u8(..))),
            2 => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
            _ => bytes = (0..rng.usize(..90)).map(|_| rng.u8(..)).collect(),
        }
        match AuditKey::decode(&bytes) {
            Ok(key) => assert_eq!(key.encode(), bytes),
            Err(KeyError::Prefix) => refused[0] += 1,
            Err(KeyError::Length { bytes: found, expected }) => {
                assert!(found == bytes.len() && found != expected);
                refused[1] += 1;
            }
            Err(KeyError::Separator { at }) => {
                assert_ne!(bytes[at], b':');
                refused[2] += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused.iter().all(|count| *count > 100), "a kind of error was not tried: {refused:?}");
}

#[test]
fn the_bytes_of_keys_are_those_of_the_documentation() {
    let hex = |key: AuditKey| key.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (query_id, agent_id, timestamp) = ([0xAA; 32], [0xBB; 32], 0x0102_0304_0506_0708);
    let (query, agent) = ("aa".repeat(32), "bb".repeat(32));
    assert_eq!(hex(AuditKey::Record { query_id }), format!("004155443a{query}"));
    assert_eq!(hex(AuditKey::Time { timestamp, query_id }), format!("00415544543a01020304050607083a{query}"));
    assert_eq!(
        hex(AuditKey::Agent { agent_id, timestamp, query_id }),
        format!("00415544413a{agent}3a01020304050607083a{query}")
    );
    let subject = subject_hash("");
    assert_eq!(
        hex(AuditKey::Subject { subject, timestamp, query_id }),
        format!("00415544533a{subject}3a01020304050607083a{query}")
    );
    assert!(subject.to_string().starts_with("af1349b9"), "blake3 of nothing");
}
