//! What is not checkpointed stays below the bound, as the allocator counts it; writers wait and go on.
#![cfg(feature = "store")]
#![expect(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::big_endian_bytes, reason = "keys in the order of their numbers")]
#![allow(clippy::print_stdout, clippy::cast_possible_truncation, reason = "tests report figures")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringwal::{Direction, HybridOptions, HybridStore, KeyRange, KvStore, Options, WriteBatch};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is handed to the system's allocator as it came; counting touches two atomics only, so it neither
// allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test only: the counts are the process's.
#[test]
fn memory_is_what_the_store_says_and_stays_below_the_bound() {
    what_is_counted_covers_what_is_allocated();
    writers_are_held_back_and_go_on();
}

/// Makes a key of its number.
type Key = fn(u64, &mut fastrand::Rng) -> u64;

/// Keys one after the other, keys over and over, and (found by reading: each had a leaf of its own) keys that fall behind
/// those of a full leaf: with the first key of all, 31 fill it.
const ORDERS: [(&str, Key); 3] = [
    ("rising", |number, _| number),
    ("random", |_, random| random.u64(..20_000)),
    ("falling", |number, _| if number <= 31 { number } else { u64::MAX - number }),
];

/// Without checkpoints everything stays in memory: small and large batches, keys in order and not.
fn what_is_counted_covers_what_is_allocated() {
    let mut random = fastrand::Rng::with_seed(common::seed());
    for (name, ops, value) in
        [("single small", 1_usize, 0_usize), ("audits", 5, 80), ("many small", 500, 0), ("large", 1, 20_000)]
    {
        for (order, key) in ORDERS {
            let (_keep, directory) = common::fast_journal_directory();
            let options = HybridOptions::new()
                .journal(Options::new().segment_bytes(64 << 20))
                .checkpoint_bytes(1 << 30)
                .checkpoint_interval(None)
                .memory_bytes_max(1 << 30);
            let store = HybridStore::open(&directory, options).expect("a store");
            store.put(b"first", b"").expect("a put");
            let (live, counted) = (LIVE.load(Ordering::Relaxed), store.memory_bytes());
            let mut number = 0_u64;
            while store.memory_bytes() < 4 << 20 {
                let mut batch = WriteBatch::new();
                for _ in 0..ops {
                    number += 1;
                    batch.put(key(number, &mut random).to_be_bytes(), vec![7; value]);
                }
                store.write(batch).expect("a write");
            }
            let allocated = LIVE.load(Ordering::Relaxed).saturating_sub(live);
            let counted = store.memory_bytes() - counted;
            println!("{name}, {order}: {counted} counted, {allocated} allocated, {number} entries");
            // The chunk of some spare buffer may come and go.
            assert!(allocated <= counted + (256 << 10), "{name}, {order}: {allocated} for {counted}");
        }
    }
}

fn writers_are_held_back_and_go_on() {
    const BOUND: usize = 2 << 20;
    const CACHE: usize = 1 << 20;
    let (_keep, directory) = common::fast_journal_directory();
    let options = HybridOptions::new()
        .journal(Options::new().segment_bytes(4 << 20))
        .checkpoint_bytes(512 << 10)
        .memory_bytes_max(BOUND)
        .index_cache_bytes(CACHE);
    let store = HybridStore::open(&directory, options).expect("a store");
    store.put(b"first", b"").expect("a put");
    store.flush().expect("a checkpoint");
    PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    let before = LIVE.load(Ordering::Relaxed);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, most) = (&store, &most);
            scope.spawn(move || {
                for number in 0..300_u64 {
                    let mut batch = WriteBatch::new();
                    for part in 0..20_u64 {
                        batch.put([thread, number, part].map(u64::to_be_bytes).concat(), vec![3; 300]);
                    }
                    store.write(batch).expect("a write");
                    most.fetch_max(store.memory_bytes(), Ordering::Relaxed);
                }
            });
        }
    });
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let most = most.into_inner();
    println!("peak {peak} bytes above the idle store, {most} counted at most");
    assert!(most <= BOUND, "{most}");
    // 18 MiB of payload went through. What comes on top of the bound is the index' cache, twice as long as a checkpoint
    // has pages that are not written, and what eight writers have in their hands.
    assert!(peak <= BOUND + 3 * CACHE, "{peak}");
    store.close().expect("closed");
    let store = HybridStore::open(&directory, HybridOptions::new()).expect("the store again");
    let count = store.scan(KeyRange::all(), Direction::Forward, usize::MAX).expect("a scan").count();
    assert_eq!(count, 8 * 300 * 20 + 1);
}
