//! Space ahead: written with zeros for small commits, left as it is for large ones. Neither may show in what is there after
//! a crash, and large commits must not be written twice.
#![cfg(all(feature = "group-commit", feature = "sim"))]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use ringwal::sim::SimDisk;
use ringwal::{Journal, Offset, Options};

const SEGMENT: u64 = 12 << 20;
const LARGE: usize = 700 << 10;

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT).idle_commit(None).spin(Duration::ZERO)
}

#[test]
fn large_commits_are_written_once_and_small_ones_into_zeros_again() {
    let sim = SimDisk::new(1);
    let journal = Journal::open_simulated(&sim, options().segment_bytes(80 << 20)).expect("a new journal");
    let append = |bytes: usize| assert!(journal.append(&vec![7; bytes]).is_ok());
    (0..20).for_each(|_| append(LARGE));
    // Zeros that were asked for when this was not yet known to be so are still being written, as is a new segment's beginning.
    let writes_only_commits = (0..5).any(|_| {
        let (before, written) = (sim.operations(), journal.stats());
        (0..20).for_each(|_| append(LARGE));
        let after = journal.stats();
        let commits = (after.device_writes - written.device_writes) + (after.flushes - written.flushes);
        sim.operations() - before == commits
    });
    assert!(writes_only_commits, "something else is written than the commits");
    let before = sim.operations();
    let mut small = 0;
    while sim.operations() - before <= small * 2 {
        append(100);
        small += 1;
        assert!(small < 20_000, "no zeros are written for small commits");
    }
    journal.close().expect("an orderly end");
}

/// Histories of phases with large and with small appends, in the middle of which the power goes.
#[test]
fn a_power_cut_in_unwritten_space_takes_nothing_that_was_acknowledged() {
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut records, mut interrupted) = (0, 0);
    for history in 0..6 {
        let sim = SimDisk::new(random.u64(..));
        let mut acknowledged: BTreeMap<Offset, Vec<u8>> = BTreeMap::new();
        for opening in 0..3 {
            let what = format!("seed {seed}, history {history}, opening {opening}");
            let journal = Journal::open_simulated(&sim, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
            check(&journal, &acknowledged, &what);
            sim.crash_at(random.u64(40..160));
            'phases: for phase in 0.. {
                let bytes = if phase % 2 == 0 { LARGE } else { 2000 };
                for _ in 0..random.usize(5..25) {
                    let payload = vec![random.u8(1..); random.usize(bytes * 3 / 4..bytes)];
                    let Ok(receipt) = journal.append(&payload) else { break 'phases };
                    acknowledged.insert(receipt.offset, payload);
                }
            }
            interrupted += 1;
            drop(journal);
            sim.power_cut();
            sim.clear_faults();
        }
        let journal = Journal::open_simulated(&sim, options()).expect("a crash is no damage");
        check(&journal, &acknowledged, &format!("seed {seed}, history {history}, at the end"));
        records += acknowledged.len();
    }
    assert!(interrupted == 18 && records > 200, "{interrupted} crashes, {records} records");
}

fn check(journal: &Journal, acknowledged: &BTreeMap<Offset, Vec<u8>>, what: &str) {
    assert!(journal.recovery_report().evidence.is_empty(), "{what}: a crash was taken for damage");
    for (offset, payload) in acknowledged {
        let found = journal.read(*offset).unwrap_or_else(|error| panic!("{what}: {offset}: {error}"));
        assert!(found.payload == *payload, "{what}: another payload at {offset}");
    }
    for record in journal.iter_from(Offset::ZERO).expect("from the beginning") {
        record.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}
