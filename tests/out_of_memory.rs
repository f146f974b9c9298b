//! Memory runs out at the Nth allocation while a journal is recovered, written and read: the process ends, as Rust programs
//! do then, and everything acknowledged is there afterwards.
#![cfg(feature = "group-commit")]
#![expect(unsafe_code, reason = "an allocator that runs out")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ringwal::{Journal, JournalReader, Offset, Options};

/// Allocations that are left before there is no more memory; 0 is no limit.
static LEFT: AtomicU64 = AtomicU64::new(0);

struct Limited;

impl Limited {
    fn has_run_out() -> bool {
        match LEFT.load(Ordering::Relaxed) {
            0 => false,
            _ => LEFT.fetch_sub(1, Ordering::Relaxed) <= 1,
        }
    }
}

// SAFETY: everything is handed to the system's allocator as it came, or refused with null, which the contract allows;
// counting touches an atomic only.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::has_run_out() {
            // Stay there: what is freed while the process ends does not help.
            LEFT.store(1, Ordering::Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static LIMITED: Limited = Limited;

const TEST: &str = "running_out_of_memory_anywhere_loses_nothing";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10)
}

/// Recovers, reads, appends, and leaves without closing.
fn work(journal: &Path, after: u64) {
    LEFT.store(after, Ordering::Relaxed);
    let reader = JournalReader::open(journal).expect("a reader");
    let read = reader.iter_from(Offset::ZERO).expect("records").map_while(Result::ok).count();
    assert!(read > 0);
    let opened = Journal::open(journal, options()).expect("the journal");
    for _ in 0..3 {
        let receipt = opened.append(&[8; 3000]).expect("an append");
        let left = LEFT.swap(0, Ordering::Relaxed);
        common::tell(&format!("ack {}", receipt.offset));
        LEFT.store(left, Ordering::Relaxed);
    }
    let _ = opened.iter_from(Offset::ZERO).expect("records").map_while(Result::ok).count();
    LEFT.store(0, Ordering::Relaxed);
    std::process::exit(0);
}

#[test]
fn running_out_of_memory_anywhere_loses_nothing() {
    if let Some(argument) = common::child_argument() {
        let text = argument.to_string_lossy().into_owned();
        let (journal, after) = text.rsplit_once('#').expect("a path and a number");
        return work(Path::new(journal), after.parse().expect("a number"));
    }
    let (_keep, journal) = common::fast_journal_directory();
    let writer = Journal::open(&journal, options()).expect("a new journal");
    let mut acknowledged = vec![writer.append(b"the first").expect("an append").offset];
    drop(writer);
    let (mut ran_out, mut after) = (0, 1_u64);
    loop {
        let argument = format!("{}#{after}", journal.display());
        let output = common::child_command(TEST, Path::new(&argument))
            .stderr(std::process::Stdio::null())
            .output()
            .expect("a child process");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let offsets = told.lines().filter_map(|line| line.strip_prefix("ack ")?.trim().parse().ok());
        acknowledged.extend(offsets.map(Offset::new));
        let reader = JournalReader::open(&journal).expect("a journal");
        for offset in &acknowledged {
            reader.read(*offset).unwrap_or_else(|error| panic!("out of memory after {after}: {error}"));
        }
        if output.status.success() {
            break;
        }
        ran_out += 1;
        // Every one of the first, then every so many: opening has a few hundred.
        after += 1 + after / 40;
    }
    println!("out of memory {ran_out} times, the last before allocation {after}");
    assert!(ran_out > 40 && acknowledged.len() > 3, "memory did not run out where it was to");
}
