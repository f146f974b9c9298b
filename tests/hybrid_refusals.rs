//! What a store refuses to open, and what it says to do; a checkpoint that fails; the memory bound.
#![cfg(all(feature = "sim", feature = "store"))]
#![allow(clippy::big_endian_bytes, reason = "keys in the order of their numbers")]
#![allow(clippy::print_stdout, clippy::cast_possible_truncation, reason = "tests report figures")]

mod common;
mod stores;

use std::path::Path;

use ringwal::sim::{Failure, SimDisk};
use ringwal::{
    Error, HybridOptions, HybridStore, Journal, KvStore, Offset, Options, RecoveryPolicy, StoreError,
};

fn small() -> HybridOptions {
    HybridOptions::new()
        .journal(Options::new().segment_bytes(64 << 10).idle_commit(None))
        .checkpoint_bytes(1 << 20)
        .checkpoint_interval(None)
}

/// A store with so many writes of a kilobyte, closed.
fn filled(directory: &Path, options: HybridOptions, writes: u32) {
    let store = HybridStore::open(directory, options).expect("a store");
    for number in 0..writes {
        store.put(&number.to_be_bytes(), &[7; 1000]).expect("a put");
    }
    store.close().expect("closed");
}

fn refused(directory: &Path, options: HybridOptions) -> StoreError {
    HybridStore::open(directory, options).map(drop).expect_err("a store that does not fit together")
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a copy");
}

#[test]
fn an_index_of_another_journal_is_refused() {
    let (_keep, one) = common::fast_journal_directory();
    let (_keep, other) = common::fast_journal_directory();
    filled(&one, small().keep_journal(true), 5);
    filled(&other, small().keep_journal(true), 5);
    copy(&one.join("index.redb"), &other.join("index.redb"));
    let error = refused(&other, small());
    assert!(matches!(error, StoreError::IndexOfAnotherJournal { .. }), "{error:?}");
    assert!(error.to_string().contains("rebuild_index"), "{error}");
    let reader = HybridStore::open_read_only(&other).map(drop).expect_err("nor for reading");
    assert!(matches!(reader, StoreError::IndexOfAnotherJournal { .. }), "{reader:?}");
    let store = HybridStore::rebuild_index(&other, small()).expect("made anew");
    assert_eq!(stores::all(&store).len(), 5);
}

#[test]
fn an_index_without_its_journal_is_refused() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small(), 5);
    std::fs::remove_dir_all(directory.join("journal")).expect("removed");
    let error = refused(&directory, small());
    assert!(matches!(error, StoreError::Journal(Error::NotAJournal { .. })), "{error:?}");
}

#[test]
fn an_index_ahead_of_its_journal_is_refused() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 5);
    let (_keep, older) = common::fast_journal_directory();
    common::copy_journal(&directory.join("journal"), &older);
    filled(&directory, small().keep_journal(true), 20);
    // The journal as a backup had it, the index as it is now.
    std::fs::remove_dir_all(directory.join("journal")).expect("removed");
    common::copy_journal(&older, &directory.join("journal"));
    let error = refused(&directory, small());
    assert!(matches!(error, StoreError::Journal(Error::Corrupt(_))), "{error:?}");
    assert!(error.to_string().contains("the caller knows"), "the checkpoint is the evidence: {error}");
    // Whoever cuts all the same is told what the index has more.
    let cutting = Options::new().segment_bytes(64 << 10).recovery(RecoveryPolicy::TruncateCorrupt);
    let error = refused(&directory, small().journal(cutting));
    assert!(matches!(error, StoreError::IndexAhead { .. }), "{error:?}");
    assert!(error.to_string().contains("rebuild_index"), "{error}");
    let reader = HybridStore::open_read_only(&directory).map(drop).expect_err("nor for reading");
    assert!(matches!(reader, StoreError::IndexAhead { .. }), "{reader:?}");
    let store = HybridStore::rebuild_index(&directory, small()).expect("made anew");
    assert_eq!(stores::all(&store).len(), 5);
}

#[test]
fn a_gap_between_index_and_journal_is_refused_and_so_is_a_missing_index() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small(), 5);
    let older = directory.with_extension("old");
    copy(&directory.join("index.redb"), &older);
    filled(&directory, small(), 300);
    copy(&older, &directory.join("index.redb"));
    let error = refused(&directory, small());
    assert!(matches!(error, StoreError::IndexGap { .. }), "{error:?}");
    assert!(error.to_string().contains("backup"), "{error}");
    std::fs::remove_file(directory.join("index.redb")).expect("removed");
    let rebuilt = HybridStore::rebuild_index(&directory, small()).map(drop).expect_err("too little");
    assert!(matches!(rebuilt, StoreError::CannotRebuild { .. }), "{rebuilt:?}");
    for error in [
        refused(&directory, small()),
        HybridStore::open_read_only(&directory).map(drop).expect_err("nor for reading"),
    ] {
        assert!(matches!(error, StoreError::IndexMissing { .. }), "{error:?}");
    }
}

#[test]
fn a_missing_index_is_made_from_a_journal_that_holds_everything() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 300);
    std::fs::remove_file(directory.join("index.redb")).expect("removed");
    let reader = HybridStore::open_read_only(&directory).expect("the journal alone");
    assert_eq!(stores::all(&reader).len(), 300);
    let tight = small().keep_journal(true).memory_bytes_max(32 << 10).checkpoint_bytes(16 << 10);
    let store = HybridStore::open(&directory, tight).expect("made from the journal");
    assert!(store.checkpointed_below() > Offset::ZERO, "the bound holds while it is replayed");
    assert!(store.memory_bytes() <= 32 << 10, "{}", store.memory_bytes());
    assert_eq!(stores::all(&store).len(), 300);
}

#[test]
fn a_damaged_index_is_an_error_that_says_so_and_is_made_anew() {
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 200);
    let index = directory.join("index.redb");
    let sound = std::fs::read(&index).expect("the index");
    let (mut refusals, mut opened) = (0, 0);
    for round in 0..30 {
        let mut damaged = sound.clone();
        match round {
            0 => damaged.clear(),
            1 => damaged.truncate(100),
            2 => damaged.truncate(sound.len() / 2),
            3 => damaged = b"not an index at all".to_vec(),
            4 => damaged[..4096].fill(0),
            _ => {
                let at = random.usize(..sound.len() - 4096);
                damaged[at..at + 4096].iter_mut().for_each(|byte| *byte = random.u8(..));
            }
        }
        std::fs::write(&index, &damaged).expect("written");
        // The whole file is checked: what opens is sound where it is used.
        match HybridStore::open(&directory, small().keep_journal(true).check_index(true)) {
            Ok(store) => {
                opened += 1;
                assert_eq!(stores::all(&store).len(), 200, "round {round}");
                drop(store);
            }
            Err(StoreError::IndexDamaged { .. }) => refusals += 1,
            Err(error) => panic!("round {round}: {error:?}"),
        }
        std::fs::write(&index, &damaged).expect("written");
        let store = HybridStore::rebuild_index(&directory, small().keep_journal(true)).expect("made anew");
        assert_eq!(stores::all(&store).len(), 200);
        drop(store);
    }
    println!("{refusals} refusals, {opened} opened");
    assert!(refusals > 5);
}

#[test]
fn links_and_open_directories_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small(), 5);
    let (index, elsewhere) = (directory.join("index.redb"), directory.with_extension("elsewhere"));
    std::fs::rename(&index, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &index).expect("a link");
    let error = refused(&directory, small());
    assert!(error.to_string().contains("symbolic link"), "{error}");
    std::fs::remove_file(&index).expect("removed");
    std::fs::hard_link(&elsewhere, &index).expect("a link");
    let error = refused(&directory, small());
    assert!(error.to_string().contains("hard links"), "{error}");
    std::fs::remove_file(&elsewhere).expect("removed");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).expect("a mode");
    let error = refused(&directory, small());
    assert!(error.to_string().contains("chmod"), "{error}");
}

#[test]
fn a_second_writer_is_told_who_has_the_store() {
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small()).expect("a store");
    let error = refused(&directory, small());
    let pid = std::process::id();
    assert!(
        matches!(error, StoreError::Journal(Error::Locked { holder: Some(holder), .. }) if holder == pid),
        "{error:?}"
    );
    drop(store);
    HybridStore::open(&directory, small()).expect("free again");
}

#[test]
fn records_that_are_no_batches_are_named() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small(), 5);
    let journal = Journal::open(directory.join("journal"), Options::new()).expect("the journal");
    let offset = journal.append(b"somebody else's").expect("an append").offset;
    journal.close().expect("closed");
    let error = refused(&directory, small());
    assert!(matches!(error, StoreError::NotABatch { offset: found } if found == offset), "{error:?}");
}

#[test]
fn a_store_that_does_not_exist_is_made_only_when_wanted() {
    let (_keep, directory) = common::fast_journal_directory();
    let error = refused(&directory, small().create(false));
    assert!(matches!(error, StoreError::Journal(Error::Io { .. })), "{error:?}");
    assert!(!directory.exists());
}

#[test]
fn a_checkpoint_that_fails_is_told_and_loses_nothing() {
    let (mut failed, mut served) = (0, 0);
    for nth in 1..80 {
        let disk = SimDisk::new(nth);
        let options = small().background(false).memory_bytes_max(16 << 10).checkpoint_bytes(4 << 10);
        let store = HybridStore::open_simulated(&disk, options.clone()).expect("a store");
        store.put(b"old", b"1").expect("a put");
        store.flush().expect("a checkpoint");
        store.put(b"new", b"2").expect("a put");
        disk.fail_operation(nth, 5, Failure::Once);
        let outcome = store.flush();
        disk.clear_faults();
        let Err(StoreError::CheckpointFailed { first }) = outcome else { continue };
        failed += 1;
        assert!(first.to_string().contains("index"), "{first}");
        // Writes go on from memory until that is used up; then they are told why, and nobody waits for ever.
        let mut written = 0_u32;
        let refusal = loop {
            match store.put(&written.to_be_bytes(), &[7; 500]) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(store.memory_bytes() <= 16 << 10);
        };
        assert!(matches!(refusal, StoreError::CheckpointFailed { .. }), "{refusal:?}");
        assert!(written > 5, "{written}");
        assert_eq!(store.get(b"new").expect("from memory"), Some(b"2".to_vec()));
        served += u64::from(store.get(b"old").is_ok());
        if let Ok(old) = store.get(b"old") {
            assert_eq!(old, Some(b"1".to_vec()));
        }
        assert!(matches!(store.flush(), Err(StoreError::CheckpointFailed { .. })));
        if nth % 2 == 0 {
            disk.power_cut();
        } else {
            assert!(store.close().is_err(), "closing tells that it made no checkpoint");
        }
        drop(store);
        let store = HybridStore::open_simulated(&disk, options).expect("healed");
        assert_eq!(stores::all(&store).len() as u32, written + 2);
        store.flush().expect("a checkpoint");
        assert_eq!(stores::all(&store).len() as u32, written + 2);
    }
    println!("{failed} failed checkpoints, the index could still be read after {served}");
    assert!(failed > 3);
}

#[test]
fn writers_that_wait_for_memory_are_told_when_there_will_be_none() {
    const THREADS: u32 = 4;
    let disk = SimDisk::new(common::seed());
    let options = HybridOptions::new()
        .journal(Options::new().segment_bytes(4 << 20))
        .memory_bytes_max(128 << 10)
        .checkpoint_bytes(32 << 10);
    let store = HybridStore::open_simulated(&disk, options.clone()).expect("a store");
    store.put(b"first", b"1").expect("a put");
    store.flush().expect("a checkpoint");
    // The journal has its segment; the index cannot grow.
    disk.set_room(Some(
        disk.files().iter().filter_map(|name| disk.content(name)).map(|file| file.len() as u64).sum(),
    ));
    let written: u32 = std::thread::scope(|scope| {
        let write = |thread: u32| {
            let store = &store;
            move || {
                for number in 0.. {
                    let key = format!("{thread}/{number}");
                    match store.put(key.as_bytes(), &[thread as u8; 2000]) {
                        Ok(_) => assert!(store.memory_bytes() <= 128 << 10),
                        Err(StoreError::CheckpointFailed { .. }) => return number,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                unreachable!("there is no room for all numbers")
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(write(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("every blocked writer returns")).sum()
    });
    println!("{written} writes before the index was full");
    drop(store);
    disk.set_room(None);
    let store = HybridStore::open_simulated(&disk, options).expect("healed");
    assert_eq!(stores::all(&store).len() as u32, written + 1);
    store.flush().expect("a checkpoint");
}

#[test]
fn a_journal_that_was_cleaned_up_cannot_be_kept_whole_any_more() {
    let (_keep, directory) = common::fast_journal_directory();
    // Without it: the closing checkpoint lets segments go.
    filled(&directory, small(), 200);
    let error = refused(&directory, small().keep_journal(true));
    assert!(matches!(error, StoreError::JournalNotWhole { floor, .. } if floor > Offset::ZERO), "{error:?}");
    assert!(error.to_string().contains("backup"), "{error}");
    filled(&directory, small(), 1);
}

#[test]
fn a_journal_that_was_to_be_kept_once_is_kept_until_its_cursor_is_removed() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small().keep_journal(true), 5);
    let floor = || {
        let reader = HybridStore::open_read_only(&directory).expect("a reader");
        ringwal::JournaledStore::journal_reader(&reader).floor().expect("a floor")
    };
    filled(&directory, small(), 200);
    assert_eq!(floor(), Offset::ZERO, "an opening that says nothing");
    let store = HybridStore::rebuild_index(&directory, small()).expect("made anew");
    store.journal().cleanup().expect("a cleanup");
    store.close().expect("closed");
    filled(&directory, small(), 200);
    assert_eq!(floor(), Offset::ZERO, "also after the index was made anew");
    ringwal::Cursors::open(directory.join("journal"))
        .expect("cursors")
        .remove("keep-journal")
        .expect("removed");
    filled(&directory, small(), 200);
    assert!(floor() > Offset::ZERO, "nobody wants it any more");
}

#[test]
fn an_opening_leaves_to_checkpoints_what_fits_into_memory() {
    const BOUND: usize = 256 << 10;
    let (_keep, directory) = common::fast_journal_directory();
    let options = small().memory_bytes_max(BOUND).checkpoint_bytes(BOUND).checkpoint_interval(None);
    let store = HybridStore::open(&directory, options.clone()).expect("a new store");
    store.put(b"checkpointed", b"").expect("a put");
    store.flush().expect("a checkpoint");
    let mut number = 0_u32;
    while store.memory_bytes() < BOUND - (8 << 10) {
        store.put(format!("{number:06}").as_bytes(), &[7; 1000]).expect("a put");
        number += 1;
    }
    let (applied, held) = (store.checkpointed_below(), store.memory_bytes());
    drop(store);
    let store = HybridStore::open(&directory, options).expect("the store again");
    assert_eq!((store.checkpointed_below(), store.memory_bytes()), (applied, held));
    assert_eq!(stores::all(&store).len() as u32, number + 1);
    store.put(b"there is room", &[7; 20_000]).expect("once a checkpoint was made");
    assert!(store.checkpointed_below() > applied);
}

/// Found by reading: where a journal that had lost its end had grown past it again, the index that had what was lost was used.
#[test]
fn an_index_of_what_the_journal_lost_is_refused_also_when_the_journal_has_grown_past_it() {
    let keep = || small().keep_journal(true);
    for (bytes, writes) in [(1000, 10), (700, 30)] {
        let (_keep, directory) = common::fast_journal_directory();
        let (journal, index) = (directory.join("journal"), directory.join("index.redb"));
        filled(&directory, keep(), 5);
        let (_keep, older) = common::fast_journal_directory();
        common::copy_journal(&journal, &older);
        filled(&directory, keep(), 10);
        let ahead = directory.with_extension("ahead");
        copy(&index, &ahead);
        // As a backup had it, and gone on with.
        std::fs::remove_dir_all(&journal).expect("removed");
        std::fs::remove_file(&index).expect("removed");
        common::copy_journal(&older, &journal);
        let store = HybridStore::open(&directory, keep()).expect("a store");
        for number in 0_u32..writes {
            store.put(&number.to_be_bytes(), &vec![8; bytes]).expect("a put");
        }
        store.close().expect("closed");
        copy(&ahead, &index);
        let reader = HybridStore::open_read_only(&directory).map(drop).expect_err("nor for reading");
        for error in [refused(&directory, keep()), refused(&directory, keep()), reader] {
            assert!(matches!(error, StoreError::IndexDiverged { .. }), "{error:?}");
            assert!(error.to_string().contains("rebuild_index"), "{error}");
            assert!(error.is_corruption());
        }
        let store = HybridStore::rebuild_index(&directory, keep()).expect("made anew");
        assert_eq!(store.get(&0_u32.to_be_bytes()).expect("a value"), Some(vec![8; bytes]));
    }
}

/// Found by reading: a journal that is no store's was given cursors that kept all of its segments for ever.
#[test]
fn nothing_is_left_in_a_journal_that_is_not_a_stores() {
    let (_keep, directory) = common::fast_journal_directory();
    filled(&directory, small(), 0);
    std::fs::remove_dir_all(directory.join("journal")).expect("removed");
    std::fs::remove_file(directory.join("index.redb")).expect("removed");
    let journal = Journal::open(directory.join("journal"), Options::new()).expect("a journal");
    journal.append(b"somebody else's").expect("an append");
    journal.close().expect("closed");
    for options in [small(), small().keep_journal(true)] {
        let error = refused(&directory, options);
        assert!(matches!(error, StoreError::NotABatch { .. }), "{error:?}");
        let cursors = ringwal::Cursors::open(directory.join("journal")).expect("cursors");
        assert_eq!(cursors.list().expect("a list").len(), 0);
        let left: Vec<_> = std::fs::read_dir(&directory).expect("a directory").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

/// Found by reading: it panicked, and others of the journal's options were refused only when there was a directory already.
#[test]
fn a_journal_option_out_of_its_range_is_named_before_anything_is_made() {
    let (_keep, directory) = common::fast_journal_directory();
    for bytes in [0, 1000] {
        let error = refused(&directory, small().journal(Options::new().segment_bytes(bytes)));
        let named = |error: &StoreError| {
            matches!(error, StoreError::Journal(Error::InvalidOption { name: "segment_bytes", .. }))
        };
        assert!(named(&error), "{error:?}");
    }
    assert!(!directory.exists());
}

/// Found by reading: the second flush said that all was well, and nothing was cleaned up until something new was written.
#[test]
fn a_cleanup_that_failed_is_done_again_by_the_next_flush() {
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small()).expect("a store");
    for number in 0_u32..200 {
        store.put(&number.to_be_bytes(), &[7; 1000]).expect("a put");
    }
    let damaged = directory.join("journal/cursors/consumer");
    std::fs::write(&damaged, b"no cursor").expect("a file");
    for _ in 0..2 {
        let error = store.flush().expect_err("nobody knows what the cursor says");
        assert!(error.is_corruption(), "{error:?}");
    }
    let floor = || store.journal().reader().floor().expect("a floor");
    assert_eq!(floor(), Offset::ZERO);
    std::fs::remove_file(&damaged).expect("removed");
    store.flush().expect("a checkpoint");
    assert!(floor() > Offset::ZERO);
}
