//! Verifying a trail while it grows: what is put meanwhile is never taken for tampering.
#![cfg(feature = "audit")]

mod trail;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringwal::{
    AuditStore, GenericAuditStore, HybridOptions, HybridReader, HybridStore, Options, TrailReport,
    VerifyOptions,
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
