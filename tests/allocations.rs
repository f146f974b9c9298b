//! Reading and appending allocate nothing once their memory has grown to the largest record.
#![cfg(feature = "group-commit")]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringwal::{Journal, Offset, Options};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed to the system's allocator as it came; counting touches thread-local cells without a
// destructor only, so it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn reading_by_offset_and_iterating_allocate_nothing_in_steady_state() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new().segment_bytes(1 << 20)).expect("a new journal");
    let tickets: Vec<_> =
        (0..2000_usize).map(|n| journal.submit(vec![7; n % 900]).expect("a ticket")).collect();
    let receipts: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().expect("durable")).collect();
    let mut payload = Vec::new();
    let mut read_all = || {
        for receipt in &receipts {
            journal.read_into(receipt.offset, &mut payload).expect("a record");
        }
    };
    assert!(allocations(&mut read_all) > 0, "the count works: the first round opens files and grows memory");
    assert_eq!(allocations(&mut read_all), 0, "by offset");
    let reader = journal.reader();
    let of_another = std::thread::scope(|scope| {
        let read_all = || {
            let mut payload = Vec::with_capacity(4096);
            allocations(|| {
                for receipt in &receipts {
                    reader.read_into(receipt.offset, &mut payload).expect("a record");
                }
            })
        };
        scope.spawn(read_all).join().expect("a thread that reads")
    });
    assert_eq!(of_another, 0, "by offset, on a thread that begins with room for the largest record");
    let mut records = journal.iter_from(Offset::ZERO).expect("records");
    for _ in 0..500 {
        assert!(records.next_ref().expect("a record").is_some());
    }
    let of_records = allocations(|| {
        for _ in 0..500 {
            assert!(records.next_ref().expect("a record").is_some());
        }
    });
    assert_eq!(of_records, 0, "one after the other");
}

#[test]
fn looking_at_a_short_file_whose_header_claims_more_takes_little_memory() {
    const RECORD_BYTES: usize = 2000;
    // In memory and on a common file system: the one may know no reads past the cache, the other does.
    for keep in [tempfile::tempdir_in("/dev/shm"), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))] {
        let Ok(keep) = keep else { continue };
        let written = keep.path().join("written");
        let mut writer = ringwal::JournalWriter::open(&written, Options::new()).expect("a new journal");
        for _ in 0..20 {
            writer.append(&[7; RECORD_BYTES]).expect("durable");
        }
        for file_bytes in [64 << 10, 300 << 10, 1500 << 10] {
            let directory = keep.path().join(format!("{file_bytes}"));
            common::copy_journal(&written, &directory);
            let segment = directory.join("00000000000000000000.seg");
            let file = std::fs::File::options().write(true).open(segment).expect("the first segment");
            file.set_len(file_bytes).expect("a shorter file");
            LARGEST.set(0);
            ringwal::plan_recovery(&directory, ringwal::RecoveryPolicy::Strict).expect("a look");
            let largest = LARGEST.get();
            assert!(largest > 0, "the count works");
            assert!(
                largest <= RECORD_BYTES + (1 << 20),
                "{largest} bytes at once for a file of {file_bytes}"
            );
        }
    }
}

#[test]
fn an_append_allocates_nothing_in_steady_state() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new()).expect("a new journal");
    let payload = [7; 300];
    let append = |count: usize| {
        (0..count).for_each(|_| {
            journal.append(&payload).expect("durable");
        });
    };
    assert!(
        allocations(|| append(1)) > 0,
        "the count works: the first append makes what the others use again"
    );
    // The commit thread can hold the last append's memory for a moment longer: then, seldom, new memory is made.
    let counted = allocations(|| append(500));
    assert!(counted <= 10, "{counted} allocations of the appending thread in 500 appends");
}
