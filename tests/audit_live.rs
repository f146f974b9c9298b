//! Verifying a trail while it grows: what is put meanwhile is never taken for tampering.
#![cfg(feature = "audit")]

mod trail;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringwal::{
    AuditError, AuditStore, GenericAuditStore, HybridOptions, HybridReader, HybridStore, Options,
    TrailReport, VerifyOptions,
};

fn options() -> HybridOptions {
    HybridOptions::new().keep_journal(true).journal(Options::new().segment_bytes(1 << 20))
}

fn verified<S: ringwal::JournaledStore>(trail: &GenericAuditStore<S>) -> TrailReport {
    trail.verify(&[], &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report")
}

#[test]
fn a_reader_that_shows_an_earlier_moment_judges_only_what_it_shows() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let directory = keep.path().join("trail");
    let writing = GenericAuditStore::new(HybridStore::open(&directory, options()).expect("a store"));
    for number in 1..=30 {
        writing.put_audit(&trail::audit(number)).expect("an audit");
    }
    let reading = GenericAuditStore::checking(HybridReader::open(&directory).expect("a reader"));
    for number in 31..=50 {
        writing.put_audit(&trail::audit(number)).expect("an audit");
    }
    let report = verified(&reading);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.audits, 30);
    reading.store().refresh().expect("the present");
    assert_eq!(verified(&reading).audits, 50);
}

#[test]
fn a_store_that_is_written_to_meanwhile_is_sound() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let store = HybridStore::open(keep.path().join("trail"), options()).expect("a store");
    let trail = GenericAuditStore::checking(store);
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    trail.put_audit(&trail::audit(number)).expect("an audit");
                }
            });
        }
        while reports.len() < 50 || next.load(Ordering::Relaxed) < 500 {
            reports.push(verified(&trail));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for report in &reports {
        assert!(report.is_sound(), "{:?}", report.problems);
    }
    assert_eq!(verified(&trail).audits, next.into_inner());
}

/// Found by reading: the receipt of what was put since a reader was opened was told to be of an altered trail.
#[test]
fn a_receipt_that_is_newer_than_what_a_reader_shows_is_no_tampering() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let directory = keep.path().join("trail");
    let writing = GenericAuditStore::new(HybridStore::open(&directory, options()).expect("a store"));
    let put = |number| writing.put_audit_with_receipt(&trail::audit(number)).expect("an audit").receipt;
    let first = put(1).expect("a receipt");
    let reading = GenericAuditStore::checking(HybridReader::open(&directory).expect("a reader"));
    reading.check_receipt(&first).expect("shown");
    let second = put(2).expect("a receipt");
    let error = reading.check_receipt(&second).expect_err("not shown");
    assert!(matches!(error, AuditError::NotShown { offset, .. } if offset == second.offset), "{error:?}");
    assert!(!error.is_corruption() && error.to_string().contains("refresh"), "{error}");
    reading.store().refresh().expect("the present");
    reading.check_receipt(&second).expect("shown");
}
