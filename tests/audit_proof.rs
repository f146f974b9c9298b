//! Proof that nothing was altered: a thousand manipulations of a trail, all of them found.
#![cfg(all(feature = "audit", feature = "sim"))]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;
#[path = "trail/journaled.rs"]
mod journaled;
mod trail;

use std::collections::BTreeMap;

use journaled::{Index, JournalStore};
use ringwal::key_codec::AuditKey;
use ringwal::sim::SimDisk;
use ringwal::{
    AnchorFinding, AuditStore, BatchOp, GenericAuditStore, Head, JournalReader, JournaledStore, KvStore,
    Offset, QueryAudit, TrailProblem, TrailReport, VerifyOptions, WriteBatch,
};

const AUDITS: u64 = 130;
/// An anchor is taken every so many audits.
const ANCHOR_EVERY: u64 = 10;

/// A trail as its owner left it, and what the investigator has elsewhere.
struct Original {
    /// The journal with nothing in it: from here an attacker can write everything anew, with the right identity.
    blank: SimDisk,
    disk: SimDisk,
    index: Index,
    audits: Vec<QueryAudit>,
    anchors: Vec<Head>,
    /// The disk as it was at each anchor.
    earlier: Vec<(SimDisk, Index)>,
}

fn original(seed: u64) -> Original {
    let disk = SimDisk::new(seed);
    JournalStore::open(&disk).and_then(|store| store.close()).expect("a new journal");
    let blank = disk.snapshot(seed);
    let trail = GenericAuditStore::new(JournalStore::open(&disk).expect("the journal"));
    let (mut anchors, mut earlier) = (Vec::new(), Vec::new());
    let audits: Vec<_> = (1..=AUDITS).map(trail::audit).collect();
    for (number, audit) in (1..).zip(&audits) {
        trail.put_audit(audit).expect("an audit");
        if number % ANCHOR_EVERY == 0 {
            anchors.push(trail.head().expect("a head").expect("a commit"));
            let index = trail.store().index.lock().expect("no panic").clone();
            earlier.push((disk.snapshot(seed), index));
        }
    }
    trail.store().close().expect("a close");
    let index = trail.store().index.lock().expect("no panic").clone();
    Original { blank, disk, index, audits, anchors, earlier }
}

fn verify(disk: &SimDisk, index: Index, anchors: &[Head]) -> Result<TrailReport, ringwal::AuditError> {
    let trail = GenericAuditStore::checking(JournalStore::with_index(disk, index)?);
    trail.verify(anchors, &VerifyOptions::new(), &mut |_, _, _| ())
}

/// What an attacker gets who writes these batches anew, everything else being right.
fn forge(original: &Original, batches: impl IntoIterator<Item = WriteBatch>) -> (SimDisk, Index) {
    let disk = original.blank.snapshot(1);
    let store = JournalStore::open(&disk).expect("the blank journal");
    for batch in batches {
        store.write(batch).expect("a forged record");
    }
    store.close().expect("a close");
    let index = store.index.lock().expect("no panic").clone();
    (disk, index)
}

/// The batches that put these audits.
fn batches(audits: &[QueryAudit]) -> Vec<WriteBatch> {
    let store = JournalStore::open(&SimDisk::new(1)).expect("a new journal");
    let trail = GenericAuditStore::new(store);
    let batch = |audit: &QueryAudit| {
        let put = trail.put_audit_with_receipt(audit).expect("an audit");
        trail.store().batch_at(put.receipt.expect("a receipt").offset).expect("its batch").1
    };
    audits.iter().map(batch).collect()
}

/// One way of altering history, with everything that can be computed computed anew; the position of the first change.
fn rewrite(
    rng: &mut fastrand::Rng,
    all: &mut Vec<WriteBatch>,
    audits: &[QueryAudit],
) -> (&'static str, usize) {
    let at = rng.usize(..all.len() - 1);
    match rng.usize(..4) {
        0 => {
            let mut changed = audits[at].clone();
            match rng.usize(..4) {
                0 => changed.result_confidence = 1.0 - changed.result_confidence * 0.9,
                1 => changed.params.subject.push('.'),
                2 => changed.timestamp ^= 1 << rng.u32(..64),
                _ => changed.result_hash = Some([rng.u8(..); 32]),
            }
            all[at] = batches(&[changed]).remove(0);
            ("changed", at)
        }
        1 => {
            all.remove(at);
            ("removed", at)
        }
        2 => {
            let new = QueryAudit { query_id: trail::id(rng.u64(1_000_000..)), ..audits[at].clone() };
            all.insert(at, batches(&[new]).remove(0));
            ("inserted", at)
        }
        _ => {
            let other = rng.usize(at + 1..all.len());
            all.swap(at, other);
            ("swapped", at)
        }
    }
}

/// The anchors that tell of another history; each names the commits among which the first that differs is.
fn check_anchors(report: &TrailReport, first: u64, how: &str) {
    let mut contradictions = 0;
    for check in &report.journal.anchors {
        match check.finding {
            AnchorFinding::Holds => {
                assert!(check.anchor.commit_number < first, "{how}: an anchor behind the change holds")
            }
            AnchorFinding::Differs { first_commit, last_commit, .. } => {
                assert_eq!(last_commit, check.anchor.commit_number);
                assert!(
                    first_commit <= first && first <= last_commit,
                    "{how} in {first}, not in {first_commit}..={last_commit}"
                );
                contradictions += 1;
            }
            AnchorFinding::RolledBack { last_commit } => {
                assert!(last_commit < Some(check.anchor.commit_number));
                contradictions += 1;
            }
            other => panic!("{how}: {other:?}"),
        }
    }
    assert!(contradictions > 0, "{how} in commit {first} and no anchor tells");
}

/// The journal is written anew from the first changed record on: only an anchor tells, and it does.
fn forge_history(original: &Original, honest: &[WriteBatch], rng: &mut fastrand::Rng) -> String {
    let mut all = honest.to_vec();
    let (how, at) = rewrite(rng, &mut all, &original.audits);
    let (disk, index) = forge(original, all);
    // Whoever has no anchor is shown a trail that is sound in itself: what docs/durability.md says.
    let report = verify(&disk, index.clone(), &[]).expect("a report");
    assert!(report.is_sound(), "{how}: {:?}", report.problems);
    let report = verify(&disk, index, &original.anchors).expect("a report");
    assert!(!report.is_sound(), "{how} at {at} and not found");
    // Commit 0 is that of the first close, commit 1 takes it back.
    check_anchors(&report, at as u64 + 2, how);
    format!("history {how}")
}

/// A record is written a second time, or removed by a record of its own: found without an anchor too.
fn forge_record(original: &Original, honest: &[WriteBatch], rng: &mut fastrand::Rng) -> String {
    let mut all = honest.to_vec();
    let at = rng.usize(..all.len());
    let what = rng.usize(..3);
    let how = match what {
        0 => {
            all.insert(rng.usize(at + 1..=all.len()), all[at].clone());
            "replayed"
        }
        1 => {
            let mut batch = WriteBatch::new();
            for op in all[at].ops() {
                batch.delete(op.key());
            }
            all.push(batch);
            "deleted by a record"
        }
        _ => {
            let mut batch = WriteBatch::new();
            let op = &all[at].ops()[0];
            batch.put(op.key(), b"another record");
            all.push(batch);
            "overwritten by a record"
        }
    };
    let (disk, index) = forge(original, all);
    let report = verify(&disk, index, &[]).expect("a report");
    let query_id = original.audits[at].query_id;
    let names_it = report.problems.iter().any(|problem| match problem {
        TrailProblem::PutAgain { query_id: named, .. } => what != 1 && *named == query_id,
        TrailProblem::StrangeBatch { .. } | TrailProblem::BadAudit { .. } => what != 0,
        _ => false,
    });
    assert!(names_it, "{how}: {:?}", report.problems);
    format!("record {how}")
}

/// The whole directory is put back to an earlier state, and perhaps written on.
fn roll_back(original: &Original, rng: &mut fastrand::Rng) -> String {
    let at = rng.usize(..original.earlier.len() - 1);
    let (disk, index) = &original.earlier[at];
    let disk = disk.snapshot(rng.u64(..));
    let goes_on = rng.bool();
    let index = if goes_on {
        let trail = GenericAuditStore::new(JournalStore::open(&disk).expect("the journal"));
        for _ in 0..rng.usize(1..20) {
            trail.put_audit(&trail::audit(rng.u64(1_000..1_000_000))).expect("an audit");
        }
        trail.store().close().expect("a close");
        trail.store().index.lock().expect("no panic").clone()
    } else {
        index.clone()
    };
    assert!(verify(&disk, index.clone(), &[]).expect("a report").is_sound());
    let report = verify(&disk, index, &original.anchors).expect("a report");
    check_anchors(&report, original.anchors[at].commit_number + 1, "rolled back");
    let tells = |check: &ringwal::AnchorCheck| matches!(check.finding, AnchorFinding::RolledBack { .. });
    assert!(goes_on || report.journal.anchors.iter().any(tells));
    if goes_on { "rolled back and written on".into() } else { "rolled back".into() }
}

/// Bytes of a segment file are changed, and nothing else with them.
fn change_bytes(original: &Original, rng: &mut fastrand::Rng) -> String {
    let disk = original.disk.snapshot(rng.u64(..));
    let mut segments: Vec<(u64, String)> = disk
        .files()
        .into_iter()
        .filter_map(|name| Some((name.strip_suffix(".seg")?.parse().ok()?, name)))
        .collect();
    segments.sort();
    // A byte of some record, or of the commit record in front of it.
    let origins: Vec<_> = original.index.values().map(|(_, origin)| origin.get()).collect();
    let at = origins[rng.usize(..origins.len())] - 104 + rng.u64(..400);
    let (base, name) = segments.iter().rev().find(|(base, _)| *base <= at).expect("a segment");
    let position = 4096 + usize::try_from(at - base).expect("a small file");
    assert!(disk.rot(name, position, &[rng.u8(1..)]));
    match verify(&disk, original.index.clone(), &original.anchors) {
        Ok(report) => {
            assert!(!report.is_sound(), "byte {position} of {name} changed and not found");
            assert!(
                report.journal.first_damaged_commit.is_some() || report.journal.damage.is_empty(),
                "no commit is named: {:?}",
                report.journal.damage
            );
        }
        Err(error) => assert!(error.is_corruption(), "{error}"),
    }
    "byte of a segment changed".into()
}

/// The index is edited; the journal is what it was.
fn edit_index(original: &Original, rng: &mut fastrand::Rng) -> String {
    let mut index = original.index.clone();
    let keys: Vec<_> = index.keys().cloned().collect();
    let key = keys[rng.usize(..keys.len())].clone();
    let other = keys[rng.usize(..keys.len())].clone();
    let (value, origin) = index[&key].clone();
    let how = match rng.usize(..6) {
        0 => {
            let mut value = value;
            match value.is_empty() {
                true => value.push(rng.u8(..)),
                false => {
                    let at = rng.usize(..value.len());
                    value[at] ^= 1 << rng.u8(..8);
                }
            }
            index.insert(key.clone(), (value, origin));
            "value changed"
        }
        1 => {
            index.remove(&key);
            "entry removed"
        }
        2 => {
            let mut strange = key.clone();
            let at = rng.usize(5..strange.len());
            strange[at] ^= 1 << rng.u8(..8);
            index.insert(strange, (value, origin));
            "entry added"
        }
        3 => {
            let moved = [Offset::new(rng.u64(..100_000)), Offset::MAX, index[&other].1][rng.usize(..3)];
            if moved == origin {
                return "nothing".into();
            }
            index.insert(key.clone(), (value, moved));
            "entry with another origin"
        }
        4 => {
            if index[&other] == (value.clone(), origin) {
                return "nothing".into();
            }
            let taken = index.insert(other.clone(), (value, origin)).expect("it was there");
            index.insert(key.clone(), taken);
            "two values swapped"
        }
        _ => {
            // Another audit, sound in itself, in place of the one that was put.
            let number = rng.usize(..original.audits.len());
            let changed = QueryAudit { result_confidence: 0.123, ..original.audits[number].clone() };
            let key = AuditKey::Record { query_id: changed.query_id }.encode();
            let forged = batches(&[changed]).remove(0);
            let BatchOp::Put { value, .. } = &forged.ops()[0] else { panic!("an audit is put") };
            let origin = index[&key].1;
            index.insert(key, (value.clone(), origin));
            "audit replaced"
        }
    };
    let report = verify(&original.disk, index.clone(), &[]).expect("a report");
    assert!(
        report.journal.is_sound() && report.is_complete && report.problems_found > 0,
        "index, {how}: not found"
    );
    // Reading through the edited index gives what was put, or an error, or nothing; never another audit.
    let store = JournalStore::with_index(&original.disk, index).expect("the store");
    let trail = GenericAuditStore::checking(store);
    for audit in &original.audits {
        if let Ok(Some(found)) = trail.get_audit(&audit.query_id) {
            assert_eq!(found, *audit, "index, {how}: another audit was shown");
        }
    }
    format!("index: {how}")
}

/// The file that says the journal is kept from `floor` on only, as anybody can write it.
fn forge_floor(disk: &SimDisk, floor: Offset) {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(b"rwstate\x02");
    bytes[8] = 1;
    bytes[16..32].copy_from_slice(&JournalReader::open_simulated(disk).expect("a reader").journal_id().0);
    bytes[32..40].copy_from_slice(&floor.get().to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..60]), b"floor");
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    disk.set_content("floor", bytes.to_vec());
}

/// Nothing but that must be said: what is left fits together.
fn assert_not_kept(report: &TrailReport, floor: Offset, how: &str) {
    assert!(!report.is_sound(), "{how} and not found");
    assert_eq!((report.floor, report.problems_found), (floor, 1), "{how}: {:?}", report.problems);
    assert_eq!(report.problems, [TrailProblem::NotKept { floor }], "{how}");
    assert!(report.journal.damage.is_empty(), "{how}: {:?}", report.journal.damage);
}

/// The oldest audits are removed, from the index too, and the journal is made to say that it was cleaned up.
#[test]
fn a_journal_that_is_not_whole_is_never_sound() {
    let original = original(common::seed());
    let mut origins: Vec<_> = original.index.values().map(|(_, origin)| *origin).collect();
    origins.sort();
    origins.dedup();
    let kept_from = |floor: Offset| -> Index {
        let is_kept = |(_, (_, origin)): &(Vec<u8>, (Vec<u8>, Offset))| *origin >= floor;
        original.index.clone().into_iter().filter(is_kept).collect()
    };
    for at in [1, 2, origins.len() / 2, origins.len() - 1] {
        let (disk, floor) = (original.disk.snapshot(1), origins[at]);
        forge_floor(&disk, floor);
        for (index, how) in [(kept_from(floor), "floor and index"), (original.index.clone(), "floor alone")] {
            let report = verify(&disk, index, &original.anchors).expect("a report");
            assert_not_kept(&report, floor, how);
        }
    }
    let base = |name: &String| name.strip_suffix(".seg")?.parse::<u64>().ok();
    let mut bases: Vec<_> = original.disk.files().iter().filter_map(base).collect();
    bases.sort();
    bases.retain(|base| Offset::new(*base) <= origins[origins.len() - 1]);
    assert!(bases.len() > 1, "too few segments: {bases:?}");
    for floor in bases.into_iter().skip(1) {
        let disk = original.disk.snapshot(1);
        forge_floor(&disk, Offset::new(floor));
        for name in disk.files().iter().filter(|name| base(name).is_some_and(|base| base < floor)) {
            disk.remove_file(name).expect("a segment");
        }
        let report = verify(&disk, kept_from(Offset::new(floor)), &original.anchors).expect("a report");
        assert_not_kept(&report, Offset::new(floor), "segments removed");
    }
}

#[test]
fn a_thousand_manipulations_are_all_found() {
    let seed = common::seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let original = original(seed);
    let honest = batches(&original.audits);
    // The control: history written anew without a change is the same history, and holds.
    let (disk, index) = forge(&original, honest.clone());
    let report = verify(&disk, index, &original.anchors).expect("a report");
    assert!(report.is_sound(), "{report:?}");
    let mut found = BTreeMap::new();
    let mut rounds = 0;
    while rounds < 1_000 {
        let what = match rng.usize(..5) {
            0 => forge_history(&original, &honest, &mut rng),
            1 => forge_record(&original, &honest, &mut rng),
            2 => roll_back(&original, &mut rng),
            3 => change_bytes(&original, &mut rng),
            _ => edit_index(&original, &mut rng),
        };
        rounds += u64::from(what != "nothing");
        *found.entry(what).or_insert(0) += 1;
    }
    found.remove("nothing");
    println!("{rounds} manipulations, all found: {found:?}");
    assert_eq!(found.len(), 16, "a kind of manipulation was not tried: {found:?}");
}

#[test]
fn a_trail_that_nobody_altered_is_sound_and_its_receipts_hold() {
    let original = original(3);
    let report = verify(&original.disk, original.index.clone(), &original.anchors).expect("a report");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.audits, AUDITS);
    assert_eq!(report.entries, original.index.len() as u64);
    assert!(report.journal.anchors.iter().all(|check| check.finding == AnchorFinding::Holds));
    let store = JournalStore::with_index(&original.disk, original.index.clone()).expect("the store");
    let trail = GenericAuditStore::checking(store);
    let receipts: Vec<_> = original
        .audits
        .iter()
        .map(|audit| trail.receipt_of(&audit.query_id).expect("an answer").expect("a receipt"))
        .collect();
    for (audit, receipt) in original.audits.iter().zip(&receipts) {
        assert_eq!(trail.check_receipt(receipt).expect("a receipt that holds").audit, *audit);
    }
    let other = ringwal::Receipt::new(receipts[0].offset, receipts[1].hash);
    assert!(
        trail.check_receipt(&other).is_err_and(|error| error.is_corruption()),
        "a receipt with another hash"
    );
    let nowhere = ringwal::Receipt::new(Offset::new(receipts[0].offset.get() + 1), receipts[0].hash);
    assert!(trail.check_receipt(&nowhere).is_err());
    assert_eq!(trail.get_audits_for_agent(&trail::agent(1), 0, None, 999).expect("audits").len(), 19);
}

/// Histories of puts, anchors, crashes and recoveries: none is ever taken for tampering.
#[test]
fn crashes_and_recoveries_are_never_reported_as_tampering() {
    let seed = common::seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut crashes, mut lost, mut anchored) = (0, 0, 0);
    for history in 0..500 {
        let disk = SimDisk::new(rng.u64(..));
        let mut acknowledged = Vec::new();
        let mut anchors = Vec::new();
        let mut number = history * 10_000;
        for _ in 0..rng.usize(1..8) {
            disk.crash_at(rng.u64(1..60));
            let opened = JournalStore::open(&disk).map(GenericAuditStore::new);
            if let Ok(trail) = &opened {
                while !disk.is_frozen() {
                    number += 1;
                    match trail.put_audit(&trail::audit(number)) {
                        Ok(_) => acknowledged.push(number),
                        Err(_) => {
                            lost += 1;
                            break;
                        }
                    }
                    if !disk.is_frozen()
                        && rng.u8(..4) == 0
                        && let Ok(Some(head)) = trail.head()
                    {
                        anchors.push(head);
                        anchored += 1;
                    }
                }
            }
            if rng.bool() {
                disk.power_cut()
            } else {
                disk.process_kill()
            }
            drop(opened);
            crashes += 1;
            let trail =
                GenericAuditStore::checking(JournalStore::open(&disk).expect("a journal after a crash"));
            let report = trail.verify(&anchors, &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report");
            assert!(report.is_sound(), "history {history}: {report:?}");
            for number in &acknowledged {
                let audit = trail.get_audit(&trail::id(*number)).expect("an answer");
                assert_eq!(
                    audit.as_ref(),
                    Some(&trail::audit(*number)),
                    "history {history}: acknowledged and gone"
                );
            }
            if rng.bool() {
                trail.store().close().expect("a close");
            }
            disk.clear_faults();
            drop(trail);
        }
    }
    println!("{crashes} crashes, {lost} puts interrupted, {anchored} anchors: none taken for tampering");
    assert!(crashes > 500 && lost > 300 && anchored > 500);
}
