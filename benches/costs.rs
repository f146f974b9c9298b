//! Fixed loads whose cost `.ci/costs` counts: instructions, system calls, allocations; none of it depends on how fast the
//! machine is. `costs WHAT COUNT`; prints what it counted itself, if anything.

#![allow(clippy::print_stdout, reason = "prints its figures")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringwal::sim::work::{Segment, check, encode};
use ringwal::{Backend, FlushMethod, Journal, Options, Ticket};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is handed to the system's allocator as it came; counting neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

const PAYLOAD: [u8; 128] = [7; 128];
/// Tickets waited for together: less than the queue holds.
const WAVE: usize = 512;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let what = arguments.next().expect("what to do");
    let count: usize = arguments.next().expect("how often").parse().expect("a number");
    match what.as_str() {
        "encode" => (0..count as u64).for_each(|number| {
            black_box(encode(black_box(&PAYLOAD), number));
        }),
        "check" => {
            let record = [&encode(&PAYLOAD, 4096), &PAYLOAD[..]].concat();
            (0..count).for_each(|_| assert!(check(black_box(&record), 4096)));
        }
        "scan" => scan(count, false),
        "verify" => scan(count, true),
        "hand-over" => hand_over(count),
        "allocations" => allocations(count),
        "io-uring" => one_by_one(Backend::IoUring, count),
        "syscalls" => one_by_one(Backend::Syscalls, count),
        other => panic!("nothing is called {other}"),
    }
}

fn scan(count: usize, verify: bool) {
    let segment = Segment::new(WAVE, PAYLOAD.len());
    (0..count / WAVE).for_each(|_| assert_eq!(black_box(&segment).scan(verify), WAVE));
}

/// From `submit` to the ticket's answer, all threads; what the kernel does is not counted.
fn hand_over(count: usize) {
    let (_keep, journal) = journal(Backend::Syscalls);
    submit_waves(&journal, count / WAVE);
    journal.close().expect("a close");
}

/// A journal whose work is the same in every run: nothing is measured or written because of the time, and nobody looks out
/// for an answer.
fn journal(backend: Backend) -> (tempfile::TempDir, Journal) {
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        Options::new().backend(backend).flush(FlushMethod::WriteDsync).idle_commit(None).spin(Duration::ZERO);
    let journal = Journal::open(directory.path().join("journal"), options).expect("a new journal");
    (directory, journal)
}

fn submit_waves(journal: &Journal, waves: usize) {
    let mut tickets: Vec<Ticket> = Vec::with_capacity(WAVE);
    for _ in 0..waves {
        tickets.extend((0..WAVE).map(|_| journal.submit(PAYLOAD).expect("a ticket")));
        tickets.drain(..).for_each(|ticket| _ = ticket.wait().expect("durable"));
    }
}

/// Allocations for each append, on all threads.
fn allocations(count: usize) {
    let (_keep, journal) = journal(Backend::Auto);
    let append = |count| (0..count).for_each(|_| _ = journal.append(&PAYLOAD).expect("durable"));
    // Threads have started and memory has grown by then.
    append(200);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    append(count);
    let appending = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("{:.3}", appending as f64 / count as f64);
}

/// Appends from one thread, each waited for; prints commits, writes and flushes for each.
fn one_by_one(backend: Backend, count: usize) {
    let (_keep, journal) = journal(backend);
    let before = journal.stats();
    for _ in 0..count {
        journal.append(&PAYLOAD).expect("durable");
    }
    let after = journal.stats();
    let each = |from: u64, to: u64| (to - from) as f64 / count as f64;
    println!(
        "{:.3} {:.3} {:.3}",
        each(before.commits, after.commits),
        each(before.device_writes, after.device_writes),
        each(before.flushes, after.flushes)
    );
    journal.close().expect("a close");
}
