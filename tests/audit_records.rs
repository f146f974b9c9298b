//! The stored form of audits: golden files, any change to the bytes, and whatever else stands in place of a record.
//!
//! `RINGWAL_WRITE_GOLDEN=1` writes the golden files anew, for a new schema only.
#![cfg(feature = "audit")]

mod common;
mod trail;

use std::path::{Path, PathBuf};

use ringwal::key_codec::AuditKey;
use ringwal::{AuditError, AuditStore, GenericAuditStore, KvStore, MemStore, QueryAudit, RecordFault};

fn key(audit: &QueryAudit) -> Vec<u8> {
    AuditKey::Record { query_id: audit.query_id }.encode()
}

fn record(audit: &QueryAudit) -> Vec<u8> {
    let trail = GenericAuditStore::new(MemStore::new());
    trail.put_audit(audit).expect("an audit");
    trail.store().get(&key(audit)).expect("a store in memory").expect("the record")
}

/// What a trail makes of these bytes in place of the record.
fn read(audit: &QueryAudit, bytes: &[u8]) -> Result<QueryAudit, AuditError> {
    let store = MemStore::new();
    store.put(&key(audit), bytes).expect("a store in memory");
    GenericAuditStore::new(store).get_audit(&audit.query_id).map(|audit| audit.expect("an audit"))
}

fn fault(audit: &QueryAudit, bytes: &[u8]) -> RecordFault {
    match read(audit, bytes) {
        Err(AuditError::BadRecord { query_id, fault }) if query_id == audit.query_id => fault,
        other => panic!("not refused as a record: {other:?}"),
    }
}

/// The same bytes with a checksum that fits.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..2]), &bytes[6..]);
    bytes[2..6].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audit")
}

/// The audits of schema 1 whose bytes are kept.
fn audits_v1() -> Vec<(&'static str, QueryAudit)> {
    let full = QueryAudit { agent_id: Some(trail::agent(1)), ..trail::audit(180 + 7 * 60) };
    let mut full = QueryAudit { contributing_assertions: trail::audit(3).contributing_assertions, ..full };
    full.result_hash = Some(trail::id(5));
    let bare = QueryAudit {
        query_id: [0; 32],
        agent_id: None,
        timestamp: u64::MAX,
        params: ringwal::QueryParams::default(),
        result_hash: None,
        result_confidence: 0.0,
        contributing_assertions: Vec::new(),
    };
    vec![("full", full), ("bare", bare)]
}

#[test]
fn the_golden_records_of_schema_1_are_read_and_written_so() {
    for (name, audit) in audits_v1() {
        let path = golden().join(format!("v1-{name}.bin"));
        if std::env::var_os("RINGWAL_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden()).expect("a directory");
            std::fs::write(&path, record(&audit)).expect("the golden file");
        }
        let bytes = std::fs::read(&path).expect("the golden file");
        assert_eq!(read(&audit, &bytes).expect("an audit"), audit, "{name}");
        assert_eq!(record(&audit), bytes, "{name}: schema 1 is written otherwise than it was");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_a_typed_error() {
    for (_, audit) in audits_v1() {
        let bytes = record(&audit);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let RecordFault::Checksum { stored, computed } = fault(&audit, &flipped) else {
                panic!("bit {bit} is no checksum error");
            };
            assert_ne!(stored, computed);
        }
        for length in 0..bytes.len() {
            fault(&audit, &bytes[..length]);
        }
        fault(&audit, &[&bytes[..], &[0]].concat());
    }
}

#[test]
fn with_fitting_checksums_too_every_flip_and_cut_gives_an_audit_or_a_typed_error() {
    let (_, audit) = audits_v1().remove(0);
    let bytes = record(&audit);
    let mut faults = std::collections::BTreeSet::new();
    let mut accepted = 0;
    let mut note = |bytes: &[u8]| match read(&audit, bytes) {
        Ok(other) => {
            other.check().expect("an audit that a trail takes");
            accepted += 1;
        }
        Err(AuditError::BadRecord { fault, .. }) => {
            faults.insert(match fault {
                RecordFault::Layout { schema: 1 } => "layout",
                RecordFault::Layout { .. } => "no such schema",
                RecordFault::UnknownSchema { found, newest: 1 } if found > 1 => "newer",
                RecordFault::Value { .. } => "value",
                RecordFault::OtherQuery { .. } => "other query",
                other => panic!("{other}"),
            });
        }
        Err(error) => panic!("{error}"),
    };
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        note(&with_checksum(&flipped));
    }
    for length in 6..bytes.len() {
        note(&with_checksum(&bytes[..length]));
    }
    assert!(accepted > 100, "{accepted}");
    let all = ["layout", "newer", "no such schema", "other query", "value"];
    assert_eq!(faults.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn a_record_of_another_query_and_one_that_is_too_large_are_refused() {
    let (audit, other) = (trail::audit(1), trail::audit(2));
    let found = other.query_id;
    assert_eq!(fault(&audit, &record(&other)), RecordFault::OtherQuery { found });
    let large = vec![1; 20 << 20];
    assert_eq!(fault(&audit, &large), RecordFault::Length { bytes: 20 << 20 });
    assert!(matches!(fault(&audit, b""), RecordFault::Length { bytes: 0 }));
}

#[test]
fn drawn_audits_come_back_and_so_does_the_largest() {
    let mut rng = fastrand::Rng::with_seed(common::seed());
    for _ in 0..3_000 {
        let audit = trail::drawn(&mut rng);
        assert_eq!(read(&audit, &record(&audit)).expect("an audit"), audit);
    }
    let mut audit = trail::audit(3);
    let text = "\u{1F4D3}".repeat(QueryAudit::TEXT_BYTES_MAX / 4);
    (audit.params.subject, audit.params.predicate, audit.params.lens) =
        (text.clone(), Some(text.clone()), Some(text));
    audit.contributing_assertions = vec![audit.contributing_assertions[0]; QueryAudit::ASSERTIONS_MAX];
    let bytes = record(&audit);
    assert!(bytes.len() < 5 << 20, "fits into a record of the journal with room to spare: {}", bytes.len());
    assert_eq!(read(&audit, &bytes).expect("an audit"), audit);
}
