//! A store on the simulated disk, journal and index on the same one: a crash or an error in every disk operation, and many
//! crashes in random histories, against the naive store.
//!
//! After every one of them: the store opens, what was acknowledged is there, a batch is there whole or not at all,
//! nothing that was not written is, and scans are those of the naive store.
#![cfg(all(feature = "sim", feature = "store"))]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod stores;

use ringwal::sim::{Failure, FlushFailure, Injected, SimDisk};
use ringwal::{
    Direction, Entry, Error, HybridOptions, HybridReader, HybridStore, KeyRange, KvStore, MemStore, Offset,
    Options, Packing, StoreError, StoreResult, WriteBatch,
};

#[derive(Clone, Debug)]
enum Step {
    Write(WriteBatch),
    Flush,
    Look,
    Reopen { in_order: bool },
}

fn history(random: &mut fastrand::Rng, steps: usize) -> Vec<Step> {
    let step = |number: usize| match random.u8(..16) {
        // Every history has checkpoints.
        _ if number % 12 == 11 => Step::Flush,
        0 | 1 => Step::Flush,
        2 => Step::Look,
        3 => Step::Reopen { in_order: random.bool() },
        _ => Step::Write(stores::batch(random)),
    };
    (0..steps).map(step).collect()
}

/// What happens to the machine, or the process, when something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    PowerCut,
    Kill,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash(u64),
    Error(u64, FlushFailure),
}

struct World {
    disk: SimDisk,
    options: HybridOptions,
    oracle: MemStore,
    /// Being written when something went wrong: there or not, as the next opening finds.
    pending: Option<WriteBatch>,
    store: Option<HybridStore>,
    random: fastrand::Rng,
    pending_found: u64,
    checkpoints: u64,
    looks: Looks,
}

/// What those saw who looked without opening the store for writing.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// So many saw a moment's state.
    shown: u64,
    /// Of these so many that the index had a part in it.
    with_index: u64,
    /// There was no journal yet.
    nothing: u64,
}

impl Looks {
    fn add(&mut self, other: Self) {
        self.shown += other.shown;
        self.with_index += other.with_index;
        self.nothing += other.nothing;
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let packing = if random.bool() { Packing::Dense } else { Packing::Padded };
        let journal = Options::new()
            .segment_bytes(64 << 10)
            .packing(packing)
            .commit_bytes_max(8 << 10)
            .idle_commit(None);
        let options = HybridOptions::new()
            .journal(journal)
            .checkpoint_bytes(random.usize(1..12_000))
            .memory_bytes_max(64 << 10)
            .keep_journal(random.u8(..4) == 0)
            .background(false);
        let disk = SimDisk::new(seed);
        // What redb asks of a medium: a byte is written whole or not at all ("Assumptions about underlying media" in
        // its design). The journal asks for less and has the disk's whole malice.
        disk.whole_bytes("index.redb.new");
        Self {
            disk,
            options,
            oracle: MemStore::new(),
            pending: None,
            store: None,
            random,
            pending_found: 0,
            checkpoints: 0,
            looks: Looks::default(),
        }
    }

    fn open(&mut self) -> StoreResult<()> {
        if self.store.is_none() {
            self.store = Some(HybridStore::open_simulated(&self.disk, self.options.clone())?);
        }
        Ok(())
    }

    /// Does the step; an error says that a fault was met.
    fn take(&mut self, step: &Step) -> StoreResult<()> {
        self.open()?;
        let store = self.store.as_ref().expect("it was just opened");
        let before = store.checkpointed_below();
        match step {
            Step::Write(batch) => match store.write(batch.clone()) {
                Ok(_) => {
                    self.oracle.write(batch.clone())?;
                    self.checkpoints += u64::from(store.checkpointed_below() > before);
                }
                Err(error) => {
                    // What is not known to be durable is not shown. (The disk may refuse to show anything.)
                    assert!(seen(store).is_none_or(|seen| seen == stores::all(&self.oracle)));
                    self.pending = Some(batch.clone());
                    return Err(error);
                }
            },
            Step::Flush => {
                store.flush()?;
                self.checkpoints += u64::from(store.checkpointed_below() > before);
            }
            Step::Look => {
                if let Some(seen) = seen(store) {
                    assert_eq!(seen, stores::all(&self.oracle));
                }
                // As if the writer were killed at this moment, or the power cut.
                for cut in [false, true] {
                    let disk = self.disk.snapshot(self.random.u64(..));
                    if cut {
                        disk.power_cut();
                    }
                    self.look(&disk);
                }
            }
            Step::Reopen { in_order } => {
                let store = self.store.take().expect("it was just opened");
                if *in_order {
                    store.close()?;
                }
                drop(store);
                if *in_order {
                    let left = self.disk.snapshot(self.random.u64(..));
                    self.look(&left);
                }
                self.open()?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, stop: Stop) {
        match stop {
            Stop::PowerCut => self.disk.power_cut(),
            Stop::Kill => self.disk.process_kill(),
        }
        self.disk.clear_faults();
        // Only now: dropped before, the journal would have been closed in order.
        self.store = None;
        let left = self.disk.snapshot(self.random.u64(..));
        self.look(&left);
    }

    /// Opens what is left on `disk` for reading, in order or not.
    fn look(&mut self, disk: &SimDisk) {
        disk.clear_faults();
        let content = || -> Vec<_> { disk.files().iter().map(|name| disk.content(name)).collect() };
        let before = content();
        let looked = self.look_at(disk);
        assert_eq!(content(), before, "looking changes nothing");
        match looked {
            Ok(()) => {}
            Err(StoreError::Journal(Error::NotAJournal { .. })) if stores::all(&self.oracle).is_empty() => {
                self.looks.nothing += 1;
            }
            Err(error) => panic!("a crash was taken for something else: {error}"),
        }
    }

    /// Shown is all that was acknowledged, and what was being written whole or not at all.
    fn look_at(&mut self, disk: &SimDisk) -> StoreResult<()> {
        let reader = HybridReader::open_simulated(disk)?;
        let (seen, acknowledged) = (stores::all(&reader), stores::all(&self.oracle));
        if seen != acknowledged {
            let pending = self.pending.clone().expect("something that was not written is shown");
            let mut batch = WriteBatch::new();
            for Entry { key, value, .. } in acknowledged {
                batch.put(key, value);
            }
            let oracle = MemStore::new();
            oracle.write(batch).and_then(|_| oracle.write(pending)).expect("the naive store takes it");
            assert_eq!(seen, stores::all(&oracle));
        }
        stores::assert_origins(&reader);
        self.looks.shown += 1;
        self.looks.with_index +=
            u64::from(reader.as_of() > Offset::ZERO && disk.content("index.redb").is_some());
        Ok(())
    }

    /// Opens after something went wrong, which must succeed, and compares.
    fn recover(&mut self) {
        self.open().unwrap_or_else(|error| panic!("a crash was taken for something else: {error}"));
        let store = self.store.as_ref().expect("it was just opened");
        if let Some(batch) = self.pending.take()
            && stores::all(store) != stores::all(&self.oracle)
        {
            self.oracle.write(batch).expect("the naive store takes it");
            self.pending_found += 1;
        }
        stores::assert_same(store, &self.oracle, &mut self.random);
        stores::assert_origins(store);
    }
}

/// Everything that the store shows; `None` when it answers with an error.
fn seen(store: &HybridStore) -> Option<Vec<Entry>> {
    let scan = store.scan(KeyRange::all(), Direction::Forward, usize::MAX).ok()?;
    scan.collect::<StoreResult<_>>().ok()
}

/// Runs a history with one fault in it, to its end, and one power cut more.
fn run(seed: u64, fault: Option<Fault>, stop: Stop) -> (World, bool) {
    let mut world = World::new(seed);
    let steps = history(&mut world.random, 36);
    match fault {
        Some(Fault::Crash(nth)) => world.disk.crash_at(nth),
        Some(Fault::Error(nth, how)) => {
            world.disk.flush_failure(how);
            world.disk.fail_operation(nth, 5, Failure::Once);
        }
        None => {}
    }
    let mut met = false;
    for step in &steps {
        if let Err(error) = world.take(step) {
            let injected = world.disk.injected();
            assert!(injected.crashes + injected.errors > 0, "an error without a fault: {error}");
            assert!(!met, "an error after the fault was over: {error}");
            met = true;
            world.stop(stop);
            world.recover();
        }
    }
    world.stop(Stop::PowerCut);
    world.recover();
    (world, met)
}

#[test]
fn a_crash_in_every_disk_operation_loses_nothing() {
    let seed = common::seed();
    let (mut total, mut found, mut injected) = (0, 0, Injected::default());
    let mut looks = Looks::default();
    for run_seed in seed..seed.wrapping_add(3) {
        let (world, _) = run(run_seed, None, Stop::PowerCut);
        assert!(world.checkpoints > 0, "seed {run_seed}: a history without a checkpoint");
        let operations = world.disk.operations();
        for nth in 1..=operations {
            let stop = if nth % 3 == 0 { Stop::Kill } else { Stop::PowerCut };
            println!("RINGWAL_SEED={run_seed}, operation {nth}, {stop:?}");
            let (world, _) = run(run_seed, Some(Fault::Crash(nth)), stop);
            found += world.pending_found;
            looks.add(world.looks);
            injected.add(&world.disk.injected());
        }
        total += operations;
    }
    println!("{total} operations, {found} unanswered batches were there, {looks:?}, {injected:?}");
    assert!(looks.with_index > 100, "{looks:?}");
    assert!(injected.crashes > total / 2, "most of the operations were crashed in");
    assert!(injected.sectors_dropped > 0 && injected.names_dropped > 0, "{injected:?}");
    assert!(found > 0);
}

#[test]
fn an_error_in_every_disk_operation_loses_nothing() {
    let seed = common::seed();
    let (mut total, mut met, mut injected) = (0, 0, Injected::default());
    let ways = [FlushFailure::CacheKeeps, FlushFailure::Reverts];
    for (run_seed, how) in (seed..seed.wrapping_add(2)).zip(ways) {
        let (world, _) = run(run_seed, None, Stop::PowerCut);
        let operations = world.disk.operations();
        for nth in 1..=operations {
            let stop = if nth % 2 == 0 { Stop::Kill } else { Stop::PowerCut };
            println!("RINGWAL_SEED={run_seed}, operation {nth}, {stop:?}");
            let (world, was_met) = run(run_seed, Some(Fault::Error(nth, how)), stop);
            met += u64::from(was_met);
            injected.add(&world.disk.injected());
        }
        total += operations;
    }
    println!("{total} operations, {met} errors were met, {injected:?}");
    assert!(met > total / 4, "{met} of {total}");
}

#[test]
fn many_crashes_in_random_histories_lose_nothing() {
    let seed = common::seed();
    let (mut crashes, mut nested, mut checkpoints, mut found) = (0, 0, 0, 0);
    for run in 0..60 {
        let run_seed = seed.wrapping_add(run);
        println!("run {run}: RINGWAL_SEED={run_seed} replays it as the first");
        let mut world = World::new(run_seed);
        for step in history(&mut world.random, 120) {
            if world.random.u8(..6) == 0 {
                world.disk.crash_at(world.random.u64(1..150));
            }
            if world.take(&step).is_ok() {
                continue;
            }
            assert!(world.disk.is_frozen(), "an error without a fault");
            loop {
                let stop = if world.random.u8(..3) == 0 { Stop::Kill } else { Stop::PowerCut };
                world.stop(stop);
                crashes += 1;
                if world.random.u8(..3) > 0 {
                    break;
                }
                // Opening after the crash crashes too.
                world.disk.crash_at(world.random.u64(1..80));
                let opened = world.open();
                if !world.disk.is_frozen() {
                    world.disk.clear_faults();
                    opened.unwrap_or_else(|error| panic!("a crash was taken for something else: {error}"));
                    break;
                }
                nested += 1;
            }
            world.recover();
        }
        checkpoints += world.checkpoints;
        found += world.pending_found;
    }
    println!(
        "{crashes} crashes, {nested} while opening, {checkpoints} checkpoints, {found} unanswered batches were there"
    );
    assert!(crashes > 200 && nested > 10 && checkpoints > 50 && found > 0);
}

#[test]
fn an_index_made_anew_from_the_journal_survives_a_crash_in_every_operation() {
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(seed);
    world.options = world.options.keep_journal(true);
    for _ in 0..60 {
        world.take(&Step::Write(stores::batch(&mut random))).expect("no fault");
    }
    world.take(&Step::Reopen { in_order: true }).expect("no fault");
    world.stop(Stop::Kill);
    world.disk.set_content("index.redb", vec![0x55; 8192]);
    let damaged = HybridStore::open_simulated(&world.disk, world.options.clone());
    assert!(matches!(damaged, Err(ringwal::StoreError::IndexDamaged { .. })), "{damaged:?}");
    drop(damaged);
    let mut crashes = 0;
    for nth in 1.. {
        let disk = world.disk.snapshot(seed.wrapping_add(nth));
        disk.crash_at(nth);
        let rebuilt = HybridStore::rebuild_simulated(&disk, world.options.clone());
        let is_frozen = disk.is_frozen();
        disk.power_cut();
        drop(rebuilt);
        crashes += u64::from(is_frozen);
        // Either the old index is still there, or the whole new one.
        let store = match HybridStore::open_simulated(&disk, world.options.clone()) {
            Err(ringwal::StoreError::IndexDamaged { .. }) => {
                HybridStore::rebuild_simulated(&disk, world.options.clone())
            }
            opened => opened,
        };
        let store = store.expect("the journal has everything");
        stores::assert_same(&store, &world.oracle, &mut random);
        if !is_frozen {
            break;
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 20);
}

/// Found by breaking the code: nothing noticed a scan that took an error for its end.
#[test]
fn a_scan_that_cannot_read_on_says_so_and_ends() {
    let disk = SimDisk::new(1);
    let options = HybridOptions::new().background(false).journal(Options::new().segment_bytes(64 << 10));
    let store = HybridStore::open_simulated(&disk, options).expect("a store");
    for number in 0..500_u32 {
        store.put(format!("key {number:04}").as_bytes(), &[7; 200]).expect("a put");
    }
    store.close().expect("an end in order");
    let (mut whole, mut cut_short, mut after_some) = (0, 0, 0);
    for nth in 1..1000 {
        let reader = HybridReader::open_simulated(&disk).expect("a reader");
        disk.fail_operation(nth, libc::EIO, Failure::Once);
        let scan = reader.scan(KeyRange::all(), Direction::Forward, usize::MAX);
        let mut seen = 0;
        let failed = match scan {
            Err(_) => true,
            Ok(mut scan) => loop {
                match scan.next_ref() {
                    Ok(Some(_)) => seen += 1,
                    Ok(None) => break false,
                    Err(_) => {
                        assert!(scan.next_ref().expect("nothing more").is_none());
                        break true;
                    }
                }
            },
        };
        disk.clear_faults();
        assert!(failed || seen == 500, "a scan ended after {seen} of 500 entries without a word");
        (whole, cut_short) = (whole + u32::from(!failed), cut_short + u32::from(failed));
        after_some += u32::from(failed && seen > 0);
        if whole > 2 {
            break;
        }
    }
    println!("{cut_short} scans were cut short by an error, {after_some} of them after some entries");
    assert!(whole > 0 && after_some > 0);
}
