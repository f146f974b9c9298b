//! What the system does to a process that has a journal open: limits of file size, signals by the thousand, a machine that
//! stands still. Nobody is killed for it that need not be, nothing fails that need not, and nothing acknowledged is lost.
#![cfg(feature = "group-commit")]
#![expect(unsafe_code, reason = "limits and signals have no safe face in std")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod workload;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringwal::{
    Backend, CursorKind, Error, FlushMethod, Journal, JournalReader, JournalWriter, Offset, Options,
    VerifyOptions,
};

/// Runs the test as a child, which must come to a good end.
fn in_a_child(test: &str) {
    in_a_child_with(test, |_, _| ());
}

/// The same, and looks at the journal that the child left, and at what it told.
fn in_a_child_with(test: &str, look: impl FnOnce(&Path, &str)) {
    let (_keep, directory) = common::journal_directory();
    let output = common::child(test, &directory).wait_with_output().expect("the child's end");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {told}", output.status);
    told.lines().filter(|line| line.starts_with("told: ")).for_each(|line| println!("{line}"));
    look(&directory, &told);
}

/// From now on no file of this process can be written beyond so many bytes; `None` takes the limit away.
fn limit_file_size(bytes: Option<u64>) {
    let limit =
        libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: setrlimit reads a `rlimit`, which lives in this frame.
    let refused = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(refused, 0, "a limit that may be raised again");
}

const SMALL: u64 = 128 << 10;

fn small() -> Options {
    Options::new().segment_bytes(SMALL)
}

fn is_too_large(error: &Error) -> bool {
    match error {
        Error::DiskFull { source, .. } | Error::Io { source, .. } => {
            source.kind() == std::io::ErrorKind::FileTooLarge
        }
        Error::Failed { first } => is_too_large(first),
        _ => false,
    }
}

/// What ends a process that has not said otherwise (SIGXFSZ) is an error here.
#[test]
fn a_limit_of_file_size_refuses_what_does_not_fit_and_ends_nobody() {
    let Some(directory) = common::child_argument() else {
        return in_a_child("a_limit_of_file_size_refuses_what_does_not_fit_and_ends_nobody");
    };
    limit_file_size(Some(SMALL));
    let refused = Journal::open(&directory, small().segment_bytes(1 << 20)).expect_err("a segment too large");
    assert!(is_too_large(&refused), "{refused:?}");
    let refused = JournalWriter::open(&directory, small().segment_bytes(1 << 20)).expect_err("too large");
    assert!(is_too_large(&refused), "{refused:?}");
    let mut kept = Vec::new();
    let journal = Journal::open(&directory, small()).expect("a segment that fits");
    kept.push(journal.append(&[1; 20_000]).expect("an append"));
    journal.close().expect("a close");
    drop(journal);
    // Behind the one that may be prepared already, segments are to be larger than any file may be.
    let journal = Journal::open(&directory, small().segment_bytes(1 << 20)).expect("a segment that fits");
    let refused = loop {
        match journal.append(&[2; 20_000]) {
            Ok(receipt) => kept.push(receipt),
            Err(error) => break error,
        }
        assert!(kept.len() < 30, "a limited file takes everything");
    };
    assert!(matches!(refused, Error::DiskFull { .. }) && is_too_large(&refused), "{refused:?}");
    kept.push(journal.append(b"what fits goes on").expect("room in this segment"));
    limit_file_size(None);
    kept.push(journal.append(&[3; 20_000]).expect("without the limit it goes on, and is not opened anew"));
    journal.close().expect("a close");
    drop(journal);
    let reader = JournalReader::open(&directory).expect("a reader");
    kept.iter().for_each(|receipt| reader.check_receipt(receipt).expect("acknowledged"));
    assert_eq!(reader.iter_from(Offset::ZERO).expect("records").count(), kept.len());
}

/// The limit comes down below what the journal has: no write is possible there any more.
#[test]
fn a_limit_below_the_segment_fails_the_journal_and_ends_nobody() {
    let Some(directory) = common::child_argument() else {
        return in_a_child("a_limit_below_the_segment_fails_the_journal_and_ends_nobody");
    };
    for backend in [Backend::Auto, Backend::Syscalls] {
        let directory = directory.with_extension(format!("{backend:?}"));
        let journal = Journal::open(&directory, small().backend(backend)).expect("a new journal");
        let mut kept = vec![journal.append(&[1; 20_000]).expect("an append")];
        limit_file_size(Some(SMALL / 2));
        let refused = loop {
            match journal.append(&[2; 5_000]) {
                Ok(receipt) => kept.push(receipt),
                Err(error) => break error,
            }
            assert!(kept.len() < 30, "a limited file takes everything");
        };
        assert!(refused.is_failed() && is_too_large(&refused), "{refused:?}");
        drop(journal);
        let opened = Journal::open(&directory, small()).expect_err("a journal whose segments are too large");
        assert!(is_too_large(&opened), "{opened:?}");
        limit_file_size(None);
        let journal = Journal::open(&directory, small()).expect("the journal again");
        kept.iter().for_each(|receipt| journal.reader().check_receipt(receipt).expect("acknowledged"));
        journal.append(&[3; 20_000]).expect("it goes on");
    }
}

/// Where the system bounds the memory of groups of processes: the folder of the groups, and the file of the bound in one.
fn memory_groups() -> Option<(&'static Path, &'static str)> {
    let first = Path::new("/sys/fs/cgroup/memory");
    if first.join("memory.limit_in_bytes").exists() {
        return Some((first, "memory.limit_in_bytes"));
    }
    let second = Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_to_string(second.join("cgroup.subtree_control")).ok()?;
    controllers.split_whitespace().any(|name| name == "memory").then_some((second, "memory.max"))
}

/// A group of processes with so much memory, removed when dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn make(bytes: u64) -> std::io::Result<Self> {
        let (groups, bound) = memory_groups().ok_or(std::io::ErrorKind::Unsupported)?;
        let group = Self(groups.join(format!("ringwal-test-{}", std::process::id())));
        std::fs::create_dir(&group.0)?;
        std::fs::write(group.0.join(bound), bytes.to_string())?;
        Ok(group)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Recovery, reading and verification take a few mebibytes, whatever the journal's length.
#[test]
fn a_journal_larger_than_the_memory_is_recovered_and_read() {
    const TEST: &str = "a_journal_larger_than_the_memory_is_recovered_and_read";
    const RECORD: usize = 1 << 20;
    const RECORDS: usize = 96;
    if let Some(argument) = common::child_argument() {
        let words = argument.to_string_lossy().into_owned();
        let (group, directory) = words.split_once('#').expect("a group and a journal");
        std::fs::write(Path::new(group).join("cgroup.procs"), std::process::id().to_string())
            .expect("joined");
        let journal = Journal::open(directory, Options::new()).expect("the journal");
        assert_eq!(journal.recovery_report().records_kept, RECORDS as u64);
        let records = journal.iter_from(Offset::ZERO).expect("records");
        let sound =
            records.filter(|record| record.as_ref().is_ok_and(|record| record.payload.len() == RECORD));
        assert_eq!(sound.count(), RECORDS);
        let report =
            journal.reader().verify(&VerifyOptions::new().deep(true), &mut |_| ()).expect("verified");
        assert!(report.is_sound(), "{report:?}");
        journal.append(&vec![1; RECORD]).expect("an append");
        return;
    }
    let group = match MemoryGroup::make(40 << 20) {
        Ok(group) => group,
        Err(error) => return println!("skipped: no group of processes with a bound of memory here: {error}"),
    };
    let (_keep, directory) = common::journal_directory();
    let (_keep_copy, copy) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new().segment_bytes(128 << 20)).expect("a new journal");
    let submit = |number: usize| journal.submit(vec![number as u8; RECORD]).expect("a ticket");
    let tickets: Vec<_> = (0..RECORDS).map(submit).collect();
    tickets.into_iter().for_each(|ticket| assert!(ticket.wait().is_ok()));
    // As a killed process leaves it: recovery has all of it to look at.
    common::copy_journal(&directory, &copy);
    let argument = format!("{}#{}", group.0.display(), copy.display());
    let child = common::child(TEST, Path::new(&argument));
    let output = child.wait_with_output().expect("the child's end");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stdout));
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// SIGUSR1 is handled from now on, and interrupts whatever a thread waits for: nothing is begun again by the kernel.
fn handle_signals() {
    // SAFETY: `sigaction` consists of integers, for which zero is a value: no flags, so no SA_RESTART, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: sigaction reads an action, which lives in this frame; the handler touches an atomic only.
    let refused = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(refused, 0, "a handler");
}

/// Sends the signal to every thread of this process but the calling one, until `done`.
fn send_signals(done: &AtomicBool) {
    // SAFETY: the call needs nothing.
    let me = unsafe { libc::gettid() };
    let process = std::process::id();
    while !done.load(Ordering::Relaxed) {
        for thread in std::fs::read_dir("/proc/self/task").expect("this process's threads").flatten() {
            let number: Option<i32> = thread.file_name().to_string_lossy().parse().ok();
            let Some(number) = number.filter(|number| *number != me) else { continue };
            // SAFETY: tgkill needs numbers; a thread that has gone meanwhile is an error that changes nothing.
            let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, number, libc::SIGUSR1) };
        }
        // The threads must come to something between two signals.
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Opens, appends from several threads over changes of segments, reads, sets cursors, cleans up, closes, verifies.
fn live(directory: &Path, backend: Backend) {
    let options = || small().backend(backend).idle_commit(Some(Duration::from_millis(1)));
    for life in 0..4_u64 {
        let journal = Journal::open(directory, options()).expect("an opening");
        let from = journal.stats().durable_end;
        let receipts = std::thread::scope(|scope| {
            let append = |thread: u64| {
                let one = |number: u64| journal.append(&workload::payload(thread, life * 50 + number));
                (0..50).map(one).collect::<ringwal::Result<Vec<_>>>().expect("appends")
            };
            let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || append(thread))).collect();
            let mut follower = journal.follow(from).expect("a follower");
            for _ in 0..150 {
                follower.next_timeout(Duration::from_secs(30)).expect("a wait").expect("a record");
            }
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect::<Vec<_>>()
        });
        let reader = JournalReader::open(directory).expect("a reader");
        receipts.iter().for_each(|receipt| reader.check_receipt(receipt).expect("acknowledged"));
        journal.cursors().set("consumer", receipts[0].offset, CursorKind::Pinned).expect("a cursor");
        journal.cleanup().expect("a cleanup");
        if life % 2 == 0 {
            journal.close().expect("a close");
        }
    }
    let reader = JournalReader::open(directory).expect("a reader");
    let report = reader.verify(&VerifyOptions::new().deep(true), &mut |_| ()).expect("a verification");
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn signals_by_the_thousand_fail_nothing() {
    let Some(directory) = common::child_argument() else {
        return in_a_child("signals_by_the_thousand_fail_nothing");
    };
    handle_signals();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_signals(&done));
        let outcome = std::panic::catch_unwind(|| {
            for backend in [Backend::Auto, Backend::Syscalls] {
                live(&directory.with_extension(format!("{backend:?}")), backend);
            }
        });
        done.store(true, Ordering::Relaxed);
        sender.join().expect("a sender");
        outcome.expect("a life under signals");
    });
    let handled = HANDLED.load(Ordering::Relaxed);
    println!("\ntold: {handled} signals interrupted something");
    assert!(handled > 2000, "only {handled} signals");
}

/// Flushes by the ring are carried out by threads that the kernel starts for them in this process; where it can start none,
/// it gives them up (ECANCELED).
#[test]
fn where_the_kernel_can_start_no_thread_for_a_flush_appends_go_on() {
    const TEST: &str = "where_the_kernel_can_start_no_thread_for_a_flush_appends_go_on";
    let Some(directory) = common::child_argument() else {
        return in_a_child_with(TEST, |journal, told| {
            if told.contains("told: skipped") {
                return;
            }
            let reader = JournalReader::open(journal).expect("a reader");
            let records = reader.iter_from(Offset::ZERO).expect("records");
            let records = records.collect::<ringwal::Result<Vec<_>>>().expect("sound records");
            assert_eq!(records.len(), 20);
        });
    };
    let options = Options::new().flush(FlushMethod::RingFsync).idle_commit(None);
    let journal = match Journal::open(&directory, options) {
        Ok(journal) => journal,
        Err(error) => return println!("\ntold: skipped, no io_uring here: {error}"),
    };
    let none = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: setrlimit reads a `rlimit`, which lives in this frame.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) }, 0);
    // The limit is for ordinary users only. Refused, this is one.
    // SAFETY: the call needs nothing.
    let _ = unsafe { libc::setresuid(65534, 65534, 65534) };
    let refused = std::thread::Builder::new().spawn(|| ()).map(drop);
    assert!(refused.is_err(), "this process can start threads still");
    for number in 0..20 {
        journal.append(&workload::payload(1, number)).expect("durable");
    }
    println!("\ntold: 20 commits with {} flushes", journal.stats().flushes);
}

const STANDS_STILL: &str = "a_process_that_stands_still_in_the_middle_of_a_commit_goes_on";

/// As a virtual machine that is paused, or a process that is stopped.
#[test]
fn a_process_that_stands_still_in_the_middle_of_a_commit_goes_on() {
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    let (_keep, directory) = common::journal_directory();
    let mut child = common::child(STANDS_STILL, &workload::argument(&directory, 3));
    let process = i32::try_from(child.id()).expect("a process's number");
    let signal = |signal| {
        // SAFETY: kill needs numbers; the process is our child and was not waited for.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0, "our child is there");
    };
    let mut acknowledged = workload::listen(&mut child, 60);
    for _ in 0..4 {
        signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waits until the child has stopped; the status lives in this frame.
        let stopped = unsafe { libc::waitpid(process, &raw mut status, libc::WUNTRACED) };
        assert!(stopped == process && libc::WIFSTOPPED(status), "status {status}");
        let since = Instant::now();
        let reader = JournalReader::open(&directory).expect("a reader beside it");
        let end = reader.durable_end().expect("an end");
        let records = reader.iter_from(reader.floor().expect("a floor")).expect("records");
        records.for_each(|record| drop(record.expect("what is durable can be read")));
        while since.elapsed() < Duration::from_secs(1) {
            let second = Journal::open(&directory, workload::options());
            assert!(
                matches!(second, Err(Error::Locked { .. })),
                "it stands still, it is not gone: {second:?}"
            );
        }
        assert_eq!(reader.durable_end().expect("an end"), end, "it did not stand still");
        signal(libc::SIGCONT);
        acknowledged.extend(workload::listen(&mut child, 60));
    }
    child.kill().expect("our child");
    acknowledged.extend(workload::listen(&mut child, usize::MAX));
    child.wait().expect("our child");
    let records = workload::check(&directory, &acknowledged, STANDS_STILL);
    println!("{} acknowledgements, {records} records", acknowledged.len());
    assert!(acknowledged.len() >= 300);
}
