//! One writer at a time: in this process, from another one, through a link, after a fork, behind a deleted lock file.
#![cfg(feature = "group-commit")]
#![expect(unsafe_code, reason = "fork has no safe form")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use ringwal::{Error, Journal, JournalReader, JournalWriter, Options};

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
