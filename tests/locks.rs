//! One writer at a time: in this process, from another one, through a link, after a fork, behind a deleted lock file.
#![cfg(feature = "group-commit")]
#![expect(unsafe_code, reason = "fork and mapping have no safe form")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use ringwal::{Backend, Error, Journal, JournalReader, JournalWriter, Options};

fn holder(result: Result<Journal, Error>) -> Option<u32> {
    match result {
        Err(Error::Locked { holder, .. }) => holder,
        other => panic!("expected a held lock, got {other:?}"),
    }
}

fn options() -> Options {
    Options::new().segment_bytes(1 << 20).lock_wait(Duration::from_millis(50)).idle_commit(None)
}

#[test]
fn a_second_writer_in_the_same_process_is_refused_and_told_who_holds_the_lock() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    assert_eq!(holder(Journal::open(&directory, options())), Some(std::process::id()));
    let link = directory.with_file_name("link");
    std::os::unix::fs::symlink(&directory, &link).expect("a link");
    assert_eq!(holder(Journal::open(&link, options())), Some(std::process::id()));
    assert!(matches!(JournalWriter::open(&directory, options()), Err(Error::Locked { .. })));
    journal.append(b"undisturbed").expect("the first writer goes on");
    journal.close().expect("a close");
    Journal::open(&link, options()).expect("free after the close, though the first handle still lives");
}

#[test]
fn a_lock_file_that_was_deleted_while_held_does_not_let_a_second_writer_in() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"one").expect("an append");
    std::fs::remove_file(directory.join("LOCK")).expect("the lock file");
    assert!(matches!(Journal::open(&directory, options()), Err(Error::Locked { .. })));
    journal.append(b"two").expect("the first writer goes on");
    assert_eq!(journal.iter_from(ringwal::Offset::ZERO).expect("records").count(), 2);
}

#[test]
fn a_writer_in_another_process_keeps_this_one_out_until_it_is_killed() {
    let test = "a_writer_in_another_process_keeps_this_one_out_until_it_is_killed";
    if let Some(directory) = common::child_argument() {
        let journal = Journal::open(directory, options()).expect("the journal");
        journal.append(b"from the child").expect("an append");
        common::tell("open");
        // Until the parent kills this process or closes the pipe.
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let (_keep, directory) = common::journal_directory();
    let mut child = common::child(test, &directory);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("a line") == "open"));
    assert_eq!(holder(Journal::open(&directory, options())), Some(child.id()));
    let reader = JournalReader::open(&directory).expect("a reader needs no lock");
    assert_eq!(reader.writer().expect("a look").expect("a writer").pid, Some(child.id()));
    assert_eq!(reader.iter_from(ringwal::Offset::ZERO).expect("records").count(), 1);
    child.kill().expect("ours to kill");
    child.wait().expect("its end");
    // The kernel takes a killed process's ring down after the process is gone, and holds the segment's lock until then:
    // that is what the default patience is for.
    let patient = options().lock_wait(Duration::from_secs(10));
    let journal = Journal::open(&directory, patient).expect("free as soon as nothing is in flight any more");
    assert_eq!(journal.iter_from(ringwal::Offset::ZERO).expect("records").count(), 1);
}

#[test]
fn a_lock_that_cannot_be_had_is_reported_in_bounded_time() {
    let (_keep, directory) = common::journal_directory();
    let _journal = Journal::open(&directory, options()).expect("a new journal");
    let start = Instant::now();
    assert!(Journal::open(&directory, options()).is_err());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Whether what a forked child finds is so. It may call only what needs no other thread and no lock held at the time of the
/// fork.
fn holds_in_a_forked_child(finds: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child calls only what the caller promises; then it ends without running any destructor.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // A child that waits for what its parent alone has is a failure, and not a test without end.
        // SAFETY: sets a timer of the child's own.
        unsafe { libc::alarm(60) };
        let code = i32::from(!finds());
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0, "a fork");
    let mut status = 0;
    // SAFETY: waits for the child just made; the status lives in this frame.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn a_ticket_that_went_through_a_fork_keeps_nobody_waiting() {
    let (_keep, directory) = common::journal_directory();
    // So long the commit thread waits for more: the fork finds the record on its way.
    let options = options().linger(Duration::from_millis(500));
    let journal = Journal::open(&directory, options).expect("a new journal");
    let first = journal.submit(b"1").expect("a ticket");
    let mut second = Some(journal.submit(b"2").expect("a ticket"));
    let refused = holds_in_a_forked_child(|| {
        matches!(first.try_wait(), Ok(None))
            && matches!(first.wait_timeout(Duration::from_secs(60)), Err(Error::Forked))
            && matches!(second.take().expect("a ticket").wait(), Err(Error::Forked))
    });
    assert!(refused);
    first.wait().expect("the parent's record is durable");
    second.expect("the child took its own").wait().expect("the parent's record is durable");
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"before").expect("an append");
    // The check for the fork comes before everything else.
    let refused = holds_in_a_forked_child(|| {
        matches!(journal.append(b"child"), Err(Error::Forked))
            && matches!(journal.sync(), Err(Error::Forked))
            && matches!(journal.close(), Err(Error::Forked))
    });
    assert!(refused);
    journal.append(b"after").expect("the parent goes on");
    assert_eq!(journal.iter_from(ringwal::Offset::ZERO).expect("records").count(), 2);
}

/// Found by reading: the child waited for a thread that only the parent has.
#[test]
fn a_forked_child_drops_a_closed_journal_and_waits_for_nobody() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"before").expect("an append");
    journal.close().expect("a close");
    let drops = move || std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(journal))).is_ok();
    assert!(holds_in_a_forked_child(drops));
}

/// Found by reading: a forked child has not got the ring's memory, and what it had mapped at those addresses since was gone
/// when it dropped the writer.
#[test]
fn a_forked_child_drops_a_writer_and_keeps_what_it_mapped_where_the_ring_was() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    writer.append(b"before").expect("an append");
    if writer.backend().backend != Backend::IoUring {
        println!("skipped: no io_uring: {}", writer.backend().reason);
        return;
    }
    // Rings of other tests may be among them; a fork hands on none.
    let rings = mapped_rings();
    let mut own = Some(writer);
    let keeps = holds_in_a_forked_child(|| {
        let mapped: Vec<_> = rings.iter().filter(|ring| map_and_fill(ring)).collect();
        drop(own.take());
        // Touching what is not mapped any more ends the child with a signal.
        !mapped.is_empty() && mapped.into_iter().all(is_filled)
    });
    assert!(keeps, "{rings:x?}");
    let mut writer = own.expect("the child took its own");
    writer.append(b"after").expect("the parent goes on");
    writer.close().expect("a close");
}

/// The addresses of this process's rings.
fn mapped_rings() -> Vec<std::ops::Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the process's mappings");
    let ring = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, rest) = rest.split_once(' ')?;
        let address = |text| usize::from_str_radix(text, 16).expect("an address");
        rest.ends_with("[io_uring]").then(|| address(start)..address(end))
    };
    maps.lines().filter_map(ring).collect()
}

const FILLING: u8 = 0x5A;

/// Maps memory at just these addresses and fills it; `false` when something is there.
fn map_and_fill(range: &std::ops::Range<usize>) -> bool {
    let (wished, protection) = (range.start as *mut libc::c_void, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: with MAP_FIXED_NOREPLACE nothing that is mapped is touched.
    let mapped = unsafe { libc::mmap(wished, range.len(), protection, flags, -1, 0) };
    if mapped != wished {
        return false;
    }
    // SAFETY: all of it was just mapped for writing, and nobody else knows it.
    unsafe { std::ptr::write_bytes(mapped.cast::<u8>(), FILLING, range.len()) };
    true
}

fn is_filled(range: &std::ops::Range<usize>) -> bool {
    range.clone().all(|address| {
        // SAFETY: `map_and_fill` mapped it; that it still is so is what is tried, and the child's end if not.
        unsafe { std::ptr::read_volatile(address as *const u8) == FILLING }
    })
}

/// Found by reading: the handle of the parent's commit thread was let go of, and it may be the handle of a thread of the
/// child's.
#[test]
fn a_forked_child_drops_an_open_journal_and_can_still_wait_for_threads_of_its_own() {
    /// More than there are threads here: a new thread gets the place, and with it the handle, of one that the fork left out.
    const THREADS: usize = 64;
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"before").expect("an append");
    let mut own = Some(journal);
    let joins = holds_in_a_forked_child(|| {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let waits = |_| {
            let wait = wait.clone();
            std::thread::spawn(move || wait.lock().is_ok_and(|wait| wait.recv().is_err()))
        };
        let threads: Vec<_> = (0..THREADS).map(waits).collect();
        drop(own.take());
        drop(release);
        let join = move || threads.into_iter().all(|thread| thread.join().unwrap_or(false));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(join)).unwrap_or(false)
    });
    assert!(joins);
    let journal = own.expect("the child took its own");
    journal.append(b"after").expect("the parent goes on");
    journal.close().expect("a close");
}

/// Found by reading: the child's copies of the descriptors kept the locks, and a journal that its own process had closed was
/// locked by that very process.
#[test]
fn an_orderly_close_gives_the_locks_back_although_a_forked_child_lives() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    journal.append(b"one").expect("an append");
    let child = WaitingChild::fork();
    assert!(JournalReader::open(&directory).expect("a reader").writer().expect("a look").is_some());
    journal.close().expect("a close");
    assert!(JournalReader::open(&directory).expect("a reader").writer().expect("a look").is_none());
    let mut writer = JournalWriter::open(&directory, options()).expect("free after the close");
    writer.append(b"two").expect("an append");
    // This time the child is one of a writer that a child has outlived already.
    let second = WaitingChild::fork();
    assert!(matches!(JournalWriter::open(&directory, options()), Err(Error::Locked { .. })));
    writer.close().expect("a close");
    let journal = Journal::open(&directory, options()).expect("free after the second close");
    journal.append(b"three").expect("an append");
    assert!(child.ends_well() && second.ends_well());
    assert!(matches!(Journal::open(&directory, options()), Err(Error::Locked { .. })));
    assert_eq!(journal.iter_from(ringwal::Offset::ZERO).expect("records").count(), 3);
}

/// The other way about: what a forked child drops is its parent's.
#[test]
fn a_forked_child_that_drops_a_writer_leaves_its_parent_the_locks() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = Some(JournalWriter::open(&directory, options()).expect("a new journal"));
    assert!(holds_in_a_forked_child(|| {
        drop(writer.take());
        true
    }));
    assert!(matches!(Journal::open(&directory, options()), Err(Error::Locked { .. })));
    writer.expect("the child took its own").append(b"one").expect("the parent goes on");
}

/// A forked child that does nothing but hold what it inherited, until it is told to end.
struct WaitingChild {
    pid: libc::pid_t,
    release: std::io::PipeWriter,
}

impl WaitingChild {
    fn fork() -> Self {
        let (mut wait, release) = std::io::pipe().expect("a pipe");
        // SAFETY: the child only reads from a pipe; then it ends without running any destructor.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = i32::from(!matches!(std::io::Read::read(&mut wait, &mut [0]), Ok(1)));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        assert!(pid > 0, "a fork");
        Self { pid, release }
    }

    fn ends_well(mut self) -> bool {
        std::io::Write::write_all(&mut self.release, &[1]).expect("a child that listens");
        let mut status = -1;
        // SAFETY: waits for the child made by `fork`; the status lives in this frame.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        waited == self.pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// Found by reading: a forked child that dropped a store waited for the parent's thread, and removed a temporary store's files.
#[cfg(feature = "store")]
#[test]
fn a_forked_child_drops_a_store_and_leaves_it_to_its_parent() {
    use ringwal::{HybridStore, KvStore, StoreError};
    let store = HybridStore::open_temp().expect("a store");
    store.put(b"key", b"value").expect("a put");
    let mut own = Some(store);
    let leaves = holds_in_a_forked_child(|| {
        let Some(store) = own.take() else { return false };
        let is_forked = |outcome| matches!(outcome, Err(StoreError::Journal(Error::Forked)));
        let refused = is_forked(store.put(b"key", b"of the child").map(drop)) && is_forked(store.close());
        drop(store);
        refused
    });
    assert!(leaves);
    let store = own.expect("the child took its own");
    store.put(b"more", b"value").expect("the parent goes on");
    assert_eq!(store.get(b"key").expect("a get").as_deref(), Some(b"value".as_slice()));
    store.close().expect("a close with a checkpoint");
}

#[cfg(feature = "store")]
fn is_forked<T>(outcome: ringwal::StoreResult<T>) -> bool {
    matches!(outcome, Err(ringwal::StoreError::Journal(Error::Forked)))
}

/// Found by reading: a forked child's `flush` wrote into the index that its parent goes on writing.
#[cfg(feature = "store")]
#[test]
fn a_forked_child_is_refused_a_checkpoint_and_leaves_the_index_to_its_parent() {
    use ringwal::{HybridOptions, HybridStore, KvStore};
    let (_keep, directory) = common::journal_directory();
    let options = HybridOptions::new().journal(options()).checkpoint_interval(None);
    let store = HybridStore::open(&directory, options.clone()).expect("a store");
    store.put(b"key", b"value").expect("a put");
    // Of the journal's own files some are made in the background.
    let contents = || {
        ["index.redb", "journal/cursors/store"]
            .map(|name| std::fs::read(directory.join(name)).expect("a file"))
    };
    let before = contents();
    let refused = holds_in_a_forked_child(|| is_forked(store.flush()));
    assert!(contents() == before, "the child has written");
    assert!(refused);
    store.put(b"more", b"value").expect("the parent goes on");
    store.close().expect("a close with a checkpoint");
    let store = HybridStore::open(&directory, options).expect("the store again");
    assert_eq!(store.get(b"key").expect("a get").as_deref(), Some(b"value".as_slice()));
}

/// Found by reading: where the memory for writes was used up, a forked child waited for a checkpoint thread that only its
/// parent has.
#[cfg(feature = "store")]
#[test]
fn a_forked_child_that_writes_is_refused_before_it_waits_for_room() {
    use ringwal::{HybridOptions, HybridStore, KvStore};
    let (_keep, directory) = common::journal_directory();
    let options = HybridOptions::new()
        .journal(options())
        .checkpoint_interval(None)
        .checkpoint_bytes(64 << 10)
        .memory_bytes_max(64 << 10);
    let store = HybridStore::open(&directory, options).expect("a store");
    store.put(b"one", &[1; 30 << 10]).expect("a put");
    store.put(b"two", &[2; 20 << 10]).expect("a put");
    assert!(holds_in_a_forked_child(|| is_forked(store.put(b"three", &[3; 30 << 10]))));
    store.put(b"three", &[3; 30 << 10]).expect("the parent goes on");
    store.close().expect("a close");
}

/// A store with some pages of an index, and a reader of it.
#[cfg(feature = "store")]
fn store_and_reader(directory: &std::path::Path) -> (ringwal::HybridStore, ringwal::HybridReader) {
    use ringwal::{HybridOptions, HybridReader, HybridStore, KvStore};
    let options = HybridOptions::new().journal(options()).checkpoint_interval(None).index_cache_bytes(0);
    let store = HybridStore::open(directory, options.clone()).expect("a store");
    write_anew(&store, 0);
    store.flush().expect("a checkpoint");
    let reader = HybridReader::open_with(directory, options).expect("a reader");
    (store, reader)
}

#[cfg(feature = "store")]
fn write_anew(store: &ringwal::HybridStore, round: u8) {
    let mut batch = ringwal::WriteBatch::new();
    for number in 0..500_u16 {
        batch.put(number.to_le_bytes(), [round; 200]);
    }
    ringwal::KvStore::write(store, batch).expect("a write");
}

/// Found by reading: the locks by which a reader keeps the writer from its pages belong to the forked child as well, and were
/// given back when that dropped the reader.
#[cfg(feature = "store")]
#[test]
fn a_forked_child_that_drops_a_reader_leaves_its_parent_what_it_reads() {
    use ringwal::{Direction, KeyRange, KvStore};
    let (_keep, directory) = common::journal_directory();
    let (store, reader) = store_and_reader(&directory);
    let mut own = Some((reader.scan(KeyRange::all(), Direction::Forward, 1).expect("a scan"), &reader));
    assert!(holds_in_a_forked_child(|| own.take().is_some_and(|(scan, _)| {
        drop(scan);
        true
    })));
    drop(own);
    let mut own = Some(reader);
    assert!(holds_in_a_forked_child(|| {
        drop(own.take());
        true
    }));
    for round in 1..20 {
        write_anew(&store, round);
        store.flush().expect("a checkpoint");
    }
    let reader = own.expect("the child took its own");
    let all = reader.scan(KeyRange::all(), Direction::Forward, usize::MAX).expect("a scan");
    let values: Vec<_> = all.map(|entry| entry.expect("an entry").value).collect();
    assert_eq!(values.len(), 500);
    assert!(values.iter().all(|value| *value == [0; 200]), "what a writer has written over is shown");
    reader.refresh().expect("the present");
    assert_eq!(reader.get(&7_u16.to_le_bytes()).expect("a get").as_deref(), Some([19; 200].as_slice()));
}

/// What a forked child would read its parent no longer keeps the writer from.
#[cfg(feature = "store")]
#[test]
fn a_forked_child_is_refused_to_read_a_store_or_to_refresh_a_reader() {
    use ringwal::{Direction, JournaledStore, KeyRange, KvStore};
    fn reads_nothing(store: &dyn JournaledStore, begun: &mut ringwal::Scan<'_>) -> bool {
        is_forked(store.get(&7_u16.to_le_bytes()))
            && is_forked(store.get_with_origin(&7_u16.to_le_bytes()))
            && is_forked(store.scan(KeyRange::all(), Direction::Forward, 1))
            && is_forked(store.shown_end())
            && (0..500).any(|_| is_forked(begun.next_ref()))
    }
    let (_keep, directory) = common::journal_directory();
    let (store, reader) = store_and_reader(&directory);
    let scan =
        |store: &dyn KvStore| store.scan(KeyRange::all(), Direction::Forward, 500).expect("a scan").count();
    let mut of_store = store.scan(KeyRange::all(), Direction::Forward, 500).expect("a scan");
    let mut of_reader = reader.scan(KeyRange::all(), Direction::Forward, 500).expect("a scan");
    assert!(holds_in_a_forked_child(|| {
        reads_nothing(&store, &mut of_store)
            && reads_nothing(&reader, &mut of_reader)
            && is_forked(reader.refresh())
    }));
    assert_eq!((of_store.count(), of_reader.count(), scan(&store), scan(&reader)), (500, 500, 500, 500));
}
