//! Power cuts and failing writes under the real thing: real threads, system calls and io_uring on a file system that
//! forgets whatever was not synced. Everything acknowledged must be there afterwards, nothing else but what was under way,
//! and never as damage.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod strict_fs;
mod workload;

use std::time::Duration;

use ringwal::{Error, JournalReader, JournalWriter};

use strict_fs::model::Model;
use strict_fs::{Faults, Mounted};
use workload::Acknowledged;

/// Cuts in all; `RINGWAL_CUTS` sets another number.
const CUTS: u64 = 500;
/// What else could the same cut have left?
const CUTS_A_RUN: u64 = 20;
/// Runs in which one write or sync fails; `RINGWAL_FAILURES` sets another number.
const FAILURES: u64 = 40;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn wanted(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs a writer on a strict file system until that has stopped or failed, and gives what both have come to.
fn run(test: &str, choice: u64, faults: Faults) -> (Model, Acknowledged, Option<u64>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fails = faults.fails_at.is_some();
    let mounted = Mounted::new(directory.path(), faults).expect("a mount");
    let mut child = common::child(test, &workload::argument(directory.path(), choice));
    let shared = mounted.shared.clone();
    let watcher = std::thread::spawn(move || {
        let happened = shared.wait_for_fault(Duration::from_secs(60));
        // An error that the journal survives must not keep the run going for ever.
        let mut state = shared.lock();
        let soon = state.operations + 200;
        state.faults.stops_at.get_or_insert(soon);
        happened
    });
    // Ends when the child does: every thread of it fails once the file system has.
    let acknowledged = workload::listen(&mut child, usize::MAX);
    child.wait().expect("our child");
    assert!(watcher.join().expect("a watcher"), "the file system neither stopped nor failed");
    // The cache of the kernel still holds what the device has lost: nothing of that may be served.
    let mut shown = None;
    let goes_on = {
        let mut state = mounted.shared.lock();
        state.faults.stops_at = None;
        fails && !state.stopped
    };
    if goes_on {
        shown = Some(workload::check(directory.path(), &acknowledged, "with the cache of before"));
    }
    let model = std::mem::take(&mut mounted.shared.lock().model);
    (model, acknowledged, shown)
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    const TEST: &str = "a_power_cut_takes_nothing_that_was_acknowledged";
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    if strict_fs::skip(TEST) {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let wanted = wanted("RINGWAL_CUTS", CUTS);
    let (mut cuts, mut lost, mut records, mut acknowledgements) = (0, 0, 0, 0);
    for choice in 0.. {
        if cuts >= wanted {
            break;
        }
        let stops_at = random.u64(1..600);
        let (model, acknowledged, _) =
            run(TEST, choice, Faults { stops_at: Some(stops_at), ..Faults::default() });
        acknowledgements += acknowledged.len();
        for _ in 0..CUTS_A_RUN {
            let (_keep, journal) = common::fast_journal_directory();
            strict_fs::model::make_directory(&journal);
            lost += model.leave(&mut random, &journal);
            cuts += 1;
            if acknowledged.is_empty() && common::segments(&journal).is_empty() {
                continue;
            }
            let what = format!("seed {seed}, run {choice}, stopped at {stops_at}");
            records += workload::check(&journal, &acknowledged, &what);
        }
    }
    println!(
        "{cuts} power cuts took {lost} changes; {acknowledgements} acknowledgements, {records} records found"
    );
    assert!(cuts >= wanted && lost > cuts && acknowledgements > 100 && records > 100);
}

#[test]
fn after_a_write_or_sync_that_failed_nothing_is_acknowledged_or_served_from_the_cache() {
    const TEST: &str = "after_a_write_or_sync_that_failed_nothing_is_acknowledged_or_served_from_the_cache";
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    if strict_fs::skip(TEST) {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut reopened, mut acknowledgements) = (0, 0);
    let wanted = wanted("RINGWAL_FAILURES", FAILURES);
    for choice in 0..wanted {
        let errno = if random.bool() { EIO } else { ENOSPC };
        let fails_at = Some((random.u64(20..300), errno));
        let (model, acknowledged, shown) = run(TEST, choice, Faults { fails_at, ..Faults::default() });
        acknowledgements += acknowledged.len();
        reopened += u64::from(shown.is_some());
        let (_keep, journal) = common::fast_journal_directory();
        strict_fs::model::make_directory(&journal);
        model.leave(&mut random, &journal);
        let what = format!("seed {seed}, run {choice}, {fails_at:?} failed");
        let left = workload::check(&journal, &acknowledged, &what);
        assert!(shown.is_none_or(|shown| left >= shown), "{what}: what was shown before is gone");
    }
    println!(
        "{wanted} failures, {reopened} reopened with the cache of before; {acknowledgements} acknowledgements"
    );
    assert!(reopened > wanted / 4 && acknowledgements > 100);
}

/// Found by reading: whoever mapped a watermark whose block the device cannot give was ended by a signal.
#[test]
fn a_watermark_that_cannot_be_read_is_an_error_and_no_signal() {
    const TEST: &str = "a_watermark_that_cannot_be_read_is_an_error_and_no_signal";
    if let Some(journal) = common::child_argument() {
        let outcomes = [
            JournalWriter::open(&journal, workload::options()).map(drop),
            JournalReader::open(&journal).map(drop),
            ringwal::plan_recovery(&journal, ringwal::RecoveryPolicy::TolerateTornTail).map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.expect_err("a watermark that cannot be read");
            assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("watermark")), "{error}");
            assert!(error.to_string().contains("move it out of the directory"), "{error}");
        }
        return;
    }
    if strict_fs::skip(TEST) {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mounted = Mounted::new(directory.path(), Faults::default()).expect("a mount");
    let journal = directory.path().join("journal");
    let mut writer = JournalWriter::open(&journal, workload::options()).expect("a new journal");
    let offset = writer.append(b"kept").expect("an append").offset;
    writer.close().expect("a close");
    mounted.shared.lock().faults.unreadable = Some("watermark");
    let ended = common::child(TEST, &journal).wait().expect("our child");
    assert!(ended.success(), "{ended}");
    // As the error advises.
    std::fs::remove_file(journal.join("watermark")).expect("the watermark");
    mounted.shared.lock().faults.unreadable = None;
    let writer = JournalWriter::open(&journal, workload::options()).expect("a sound journal");
    assert_eq!(writer.reader().expect("a reader").read(offset).expect("the record").payload, b"kept");
}

/// Found by reading: a directory whose maker was killed before it had synced the directory above went in a power cut, with all
/// that was acknowledged in it later.
#[test]
fn a_directory_that_somebody_else_made_is_durable_before_anything_in_it() {
    if strict_fs::skip("a_directory_that_somebody_else_made_is_durable_before_anything_in_it") {
        return;
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mounted = Mounted::new(directory.path(), Faults::default()).expect("a mount");
    let journal = directory.path().join("journal");
    strict_fs::model::make_directory(&journal);
    let mut writer = JournalWriter::open(&journal, workload::options()).expect("a new journal");
    let offset = writer.append(b"acknowledged").expect("an append").offset;
    let model = mounted.shared.lock().model.clone();
    for _ in 0..10 {
        let (_keep, left) = common::fast_journal_directory();
        strict_fs::model::make_directory(&left);
        model.leave(&mut random, &left);
        let reader = JournalReader::open(left.join("journal")).expect("the journal");
        assert_eq!(reader.read(offset).expect("the record").payload, b"acknowledged");
    }
}

/// Found by reading: the directory of a store whose maker was killed before it had synced the one above.
#[cfg(feature = "store")]
#[test]
fn a_stores_directory_that_somebody_else_made_is_durable_before_anything_in_it() {
    use ringwal::{HybridOptions, HybridStore, KvStore};
    if strict_fs::skip("a_stores_directory_that_somebody_else_made_is_durable_before_anything_in_it") {
        return;
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mounted = Mounted::new(directory.path(), Faults::default()).expect("a mount");
    let path = directory.path().join("store");
    strict_fs::model::make_directory(&path);
    let options = || HybridOptions::new().journal(workload::options());
    let store = HybridStore::open(&path, options()).expect("a new store");
    store.put(b"key", b"acknowledged").expect("a put");
    let model = mounted.shared.lock().model.clone();
    for _ in 0..10 {
        let (_keep, left) = common::fast_journal_directory();
        strict_fs::model::make_directory(&left);
        model.leave(&mut random, &left);
        let store = HybridStore::open(left.join("store"), options().create(false)).expect("the store");
        assert_eq!(store.get(b"key").expect("a value").as_deref(), Some(&b"acknowledged"[..]));
    }
}
