//! Anchors behind damage: they vouch for what was followed without a break, and for nothing before.
#![cfg(all(feature = "audit", feature = "sim"))]

mod common;
#[path = "trail/journaled.rs"]
mod journaled;
mod trail;

use journaled::JournalStore;
use ringwal::sim::SimDisk;
use ringwal::{AnchorFinding, AuditError, AuditStore, GenericAuditStore, Offset, VerifyOptions};

#[test]
fn an_anchor_behind_damage_does_not_hold() {
    let disk = SimDisk::new(common::seed());
    let trail = GenericAuditStore::new(JournalStore::open(&disk).expect("a new journal"));
    let mut anchors = Vec::new();
    for number in 1..=20 {
        trail.put_audit(&trail::audit(number)).expect("an audit");
        anchors.push(trail.head().expect("a head").expect("a commit"));
    }
    trail.store().close().expect("a close");
    let index = trail.store().index.lock().expect("no panic").clone();
    let mut offsets: Vec<_> = index.values().map(|(_, origin)| origin.get()).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let damaged = 7;
    let segment = disk.files().into_iter().filter(|name| name.ends_with(".seg")).min().expect("a segment");
    let position = 4096 + usize::try_from(offsets[damaged]).expect("a small file") + 90;
    assert!(disk.rot(&segment, position, &[1]));
    let trail = GenericAuditStore::checking(JournalStore::with_index(&disk, index).expect("the store"));
    let report = trail.verify(&anchors, &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report");
    let first = report.journal.first_damaged_commit.expect("a damaged commit");
    assert_eq!((report.is_sound(), first), (false, anchors[damaged].commit_number));
    for check in &report.journal.anchors {
        let number = check.anchor.commit_number;
        let expected = match number {
            _ if number < first => AnchorFinding::Holds,
            _ if number == first => AnchorFinding::Damaged,
            _ => AnchorFinding::HoldsFrom { first_commit: first + 1 },
        };
        assert_eq!(check.finding, expected, "the anchor at commit {number}, damage in {first}");
    }
}

/// Found by reading: an index that names a place of the journal where there is no record was called a wrong use.
#[test]
fn an_index_that_names_no_record_is_told_as_altered() {
    let disk = SimDisk::new(common::seed());
    let trail = GenericAuditStore::new(JournalStore::open(&disk).expect("a new journal"));
    let audit = trail::audit(1);
    trail.put_audit(&audit).expect("an audit");
    let end = trail.head().expect("a head").expect("a commit").offset;
    trail.store().close().expect("a close");
    let index = trail.store().index.lock().expect("no panic").clone();
    for wrong in [1, end.get() + 4096] {
        let edited = index.iter().map(|(key, (value, _))| (key.clone(), (value.clone(), Offset::new(wrong))));
        let store = JournalStore::with_index(&disk, edited.collect()).expect("the store");
        let found = GenericAuditStore::checking(store).get_audit(&audit.query_id);
        assert!(matches!(found, Err(AuditError::Altered { .. })), "{wrong}: {found:?}");
    }
}
