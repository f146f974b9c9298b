//! `HybridStore` against the naive store: random histories with checkpoints and reopenings, snapshots, many threads.
#![cfg(feature = "store")]
#![allow(clippy::big_endian_bytes, reason = "keys in the order of their numbers")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod stores;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringwal::{
    Direction, Error, HybridOptions, HybridStore, KeyRange, KvStore, MemStore, Options, Packing, StoreError,
    WriteBatch,
};

fn small() -> HybridOptions {
    HybridOptions::new().journal(Options::new().segment_bytes(64 << 10)).checkpoint_bytes(16 << 10)
}

#[test]
fn random_histories_give_what_the_naive_store_gives() {
    let seed = common::seed();
    for run in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(run));
        let packing = if random.bool() { Packing::Dense } else { Packing::Padded };
        let journal = Options::new().segment_bytes(64 << 10).packing(packing);
        let keep = random.bool();
        let options = small().journal(journal).keep_journal(keep);
        let (_keep, directory) = common::fast_journal_directory();
        let oracle = MemStore::new();
        let mut store = HybridStore::open(&directory, options.clone()).expect("a new store");
        for _ in 0..random.usize(50..250) {
            match random.u8(..40) {
                0 => store.flush().expect("a checkpoint"),
                1 => {
                    if random.bool() {
                        store.close().expect("closed");
                    }
                    drop(store);
                    store = HybridStore::open(&directory, options.clone()).expect("the store again");
                }
                2..=5 => stores::assert_same(&store, &oracle, &mut random),
                _ => {
                    let batch = stores::batch(&mut random);
                    let written = store.write(batch.clone()).expect("a write");
                    oracle.write(batch.clone()).expect("a write");
                    let receipt = written.receipt.expect("a record");
                    if !keep {
                        continue;
                    }
                    let reader = ringwal::JournaledStore::journal_reader(&store);
                    reader.check_receipt(&receipt).expect("the record of the receipt");
                    let found = ringwal::JournaledStore::batch_at(&store, receipt.offset).expect("the batch");
                    assert_eq!(found, (receipt, batch));
                }
            }
        }
        stores::assert_same(&store, &oracle, &mut random);
        stores::assert_origins(&store);
    }
}

#[test]
fn a_scan_sees_one_moment_while_writes_and_checkpoints_go_on() {
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small()).expect("a new store");
    let put = |number: u32, value: &str| {
        store.put(format!("{number:03}").as_bytes(), value.as_bytes()).expect("a put");
    };
    (0..100).for_each(|number| put(number, "in the index"));
    store.flush().expect("a checkpoint");
    (50..150).for_each(|number| put(number, "in memory"));
    let before = stores::all(&store);
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut expected = before.clone();
        if direction == Direction::Reverse {
            expected.reverse();
        }
        let mut scan = store.scan(KeyRange::all(), direction, usize::MAX).expect("a scan");
        let mut seen = vec![scan.next().expect("an entry").expect("readable")];
        // Everything changes under it: new values, deleted keys, new keys, two checkpoints.
        (0..200).for_each(|number| put(number, "changed"));
        store.flush().expect("a checkpoint");
        (0..200).step_by(2).for_each(|number| {
            store.delete(format!("{number:03}").as_bytes()).expect("a delete");
        });
        store.flush().expect("a checkpoint");
        seen.extend(scan.map(|entry| entry.expect("readable")));
        assert_eq!(seen, expected, "{direction:?}");
        // As it was, for the other direction.
        (0..150).for_each(|number| put(number, if number < 50 { "in the index" } else { "in memory" }));
        (150..200).for_each(|number| {
            store.delete(format!("{number:03}").as_bytes()).expect("a delete");
        });
        assert_eq!(stores::all(&store), before);
    }
}

#[test]
fn transfers_of_many_threads_keep_the_sum_in_every_scan() {
    const ACCOUNTS: u64 = 20;
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small().checkpoint_bytes(4 << 10)).expect("a new store");
    let account = |number: u64| format!("account/{number:02}").into_bytes();
    let mut opening = WriteBatch::new();
    (0..ACCOUNTS).for_each(|number| {
        opening.put(account(number), 100_u64.to_le_bytes());
    });
    store.write(opening).expect("a write");
    let balance = |value: &[u8]| u64::from_le_bytes(value.try_into().expect("eight bytes"));
    let (done, scans) = (AtomicBool::new(false), AtomicU64::new(0));
    let transfers = std::sync::Mutex::new(());
    let seed = common::seed();
    std::thread::scope(|scope| {
        let (store, done, scans, transfers) = (&store, &done, &scans, &transfers);
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                    for _ in 0..400 {
                        let (from, to) = (random.u64(..ACCOUNTS), random.u64(..ACCOUNTS));
                        // Reading and writing together are the caller's own transaction.
                        let _turn = transfers.lock().expect("no transfer panicked");
                        let of = |number| {
                            balance(&store.get(&account(number)).expect("a get").expect("a balance"))
                        };
                        let amount = random.u64(..=of(from));
                        if from == to {
                            continue;
                        }
                        let mut batch = WriteBatch::new();
                        batch.put(account(from), (of(from) - amount).to_le_bytes());
                        batch.put(account(to), (of(to) + amount).to_le_bytes());
                        store.write(batch).expect("a write");
                        assert_eq!(store.get(&account(from)).expect("a get").map(|_| ()), Some(()));
                    }
                })
            })
            .collect();
        for direction in [Direction::Forward, Direction::Reverse] {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let seen = stores::entries(store, KeyRange::all(), direction, usize::MAX);
                    assert_eq!(seen.len() as u64, ACCOUNTS);
                    assert_eq!(seen.iter().map(|entry| balance(&entry.value)).sum::<u64>(), ACCOUNTS * 100);
                    scans.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for writer in writers {
            writer.join().expect("a writer without a panic");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(store.checkpointed_below() > ringwal::Offset::ZERO, "there was a checkpoint meanwhile");
    println!("{} scans", scans.into_inner());
}

#[test]
fn many_threads_see_their_own_writes_at_once_and_all_are_there_again() {
    const THREADS: u32 = 8;
    const WRITES: u32 = 300;
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small()).expect("a new store");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for number in 0..WRITES {
                    let key = format!("{thread}/{number:04}");
                    let value = vec![thread as u8; (number % 300) as usize];
                    store.put(key.as_bytes(), &value).expect("a put");
                    assert_eq!(store.get(key.as_bytes()).expect("a get"), Some(value), "{key}");
                }
            });
        }
    });
    let before = stores::all(&store);
    assert_eq!(before.len() as u32, THREADS * WRITES);
    drop(store);
    let store = HybridStore::open(&directory, small()).expect("the store again");
    assert_eq!(stores::all(&store), before);
}

#[test]
fn what_a_store_does_not_take_is_refused_and_changes_nothing() {
    let store = HybridStore::open_temp().expect("a store");
    assert!(matches!(store.put(b"", b"x"), Err(StoreError::EmptyKey)));
    let long = vec![b'k'; (64 << 10) + 1];
    assert!(matches!(store.put(&long, b"x"), Err(StoreError::KeyTooLong { bytes: 65_537, max: 65_536 })));
    assert_eq!(store.get(b"").expect("no error"), None);
    assert_eq!(store.get(&long).expect("no error"), None);
    let large = vec![0; 4 << 20];
    let refused = store.put(b"k", &large);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert!(store.write(WriteBatch::new()).expect("legal").receipt.is_none());
    assert_eq!(store.journal().stats().records, 0);
    store.put(&long[1..], &large[..3 << 20]).expect("the longest key and a large value");
    assert_eq!(store.get(&long[1..]).expect("a get").map(|value| value.len()), Some(3 << 20));
}

#[test]
fn a_closed_store_says_so() {
    let (_keep, directory) = common::fast_journal_directory();
    let store = HybridStore::open(&directory, small()).expect("a new store");
    store.put(b"a", b"1").expect("a put");
    store.close().expect("closed");
    store.close().expect("closing again does nothing");
    let is_closed = |answer: Option<StoreError>| matches!(answer, Some(StoreError::Journal(Error::Closed)));
    assert!(is_closed(store.put(b"a", b"2").err()));
    assert!(is_closed(store.get(b"a").err()));
    assert!(is_closed(store.scan(KeyRange::all(), Direction::Forward, 1).err()));
    assert!(is_closed(store.flush().err()));
    // The handle is still there, and in nobody's way.
    let again = HybridStore::open(&directory, small()).expect("the store again");
    assert_eq!(again.get(b"a").expect("a get"), Some(b"1".to_vec()));
    assert_eq!(again.memory_bytes(), 0, "closing makes a checkpoint: nothing is replayed");
}

#[test]
fn a_batch_record_is_what_the_document_says() {
    let document = include_str!("../docs/format.md");
    let (_, example) = document.split_once("<!-- batch begins -->").expect("an example");
    let (example, _) = example.split_once("<!-- batch ends -->").expect("its end");
    let bytes: Vec<u8> = example
        .split_whitespace()
        .filter(|word| word.len() == 2)
        .map(|word| u8::from_str_radix(word, 16).expect("a byte"))
        .collect();
    let store = HybridStore::open_temp().expect("a store");
    let mut batch = WriteBatch::new();
    batch.put("k", "value").delete("old");
    let receipt = store.write(batch).expect("a write").receipt.expect("a record");
    assert_eq!(store.journal().read(receipt.offset).expect("the record").payload, bytes);
}

#[test]
fn a_temporary_store_leaves_nothing_behind() {
    let store = HybridStore::open_temp().expect("a store");
    store.put(b"a", b"1").expect("a put");
    store.flush().expect("a checkpoint");
    let directory = store.journal().reader().segments().expect("segments").directory().to_owned();
    let root =
        directory.parent().and_then(std::path::Path::parent).expect("the temporary directory").to_owned();
    assert!(root.join("store/index.redb").exists());
    drop(store);
    assert!(!root.exists(), "{}", root.display());
}

#[test]
fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_keep, directory) = common::fast_journal_directory();
    drop(HybridStore::open(&directory, small()).expect("a new store"));
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("journal")), 0o700);
    assert_eq!(mode(&directory.join("index.redb")), 0o600);
}

#[test]
fn checkpoints_have_the_journal_cleaned_up_unless_it_is_kept() {
    for keep in [false, true] {
        let (_keep, directory) = common::fast_journal_directory();
        let store = HybridStore::open(&directory, small().keep_journal(keep)).expect("a new store");
        for number in 0..400_u32 {
            store.put(&number.to_be_bytes(), &[7; 1000]).expect("a put");
        }
        store.flush().expect("a checkpoint");
        let floor = store.journal().reader().floor().expect("a floor").get();
        if keep {
            assert_eq!(floor, 0);
            store.journal().cleanup().expect("a cleanup by somebody else");
            assert_eq!(store.journal().reader().floor().expect("a floor").get(), 0, "the cursor holds it");
        } else {
            assert_eq!(floor, store.checkpointed_below().get());
            assert!(store.journal().reader().read(ringwal::Offset::new(104)).is_err(), "it was removed");
        }
        drop(store);
        let store = HybridStore::open(&directory, small()).expect("the store again");
        assert_eq!(stores::all(&store).len(), 400);
    }
}
