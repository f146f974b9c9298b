//! Where io_uring is refused the journal works all the same, and says why.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::collections::BTreeMap;

use ringwal::{Backend, FlushMethod, Journal, JournalReader, Offset, Options, VerifyOptions};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// From now on this process gets `errno` from everything that begins with io_uring.
fn forbid_io_uring(errno: i32) {
    let calls = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    let rules: BTreeMap<i64, Vec<_>> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(u32::try_from(errno).expect("an error number"));
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter_all_threads(&program).expect("a filter in force");
}

fn refused_child(directory: &std::path::Path, errno: i32, word: &str) {
    forbid_io_uring(errno);
    let error = Journal::open(directory, Options::new().backend(Backend::IoUring)).expect_err("refused");
    assert!(error.to_string().contains(word), "{error}");
    let journal = Journal::open(directory, Options::new()).expect("the fallback");
    let report = journal.backend();
    assert_eq!(report.backend, Backend::Syscalls);
    assert!(report.reason.contains(word) && report.flush != FlushMethod::Auto, "{report:?}");
    let receipt = journal.append(b"durable without a ring").expect("an append");
    assert_eq!(journal.read(receipt.offset).expect("a read").payload, b"durable without a ring");
    journal.close().expect("a close");
}

fn refused(test: &str, errno: i32, word: &str) {
    if let Some(directory) = common::child_argument() {
        return refused_child(&directory, errno, word);
    }
    let (_keep, directory) = common::journal_directory();
    let output = common::child(test, &directory).wait_with_output().expect("the child's end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The directory that the refused ring left, and the journal in it, are in order for everyone.
    let journal = Journal::open(&directory, Options::new()).expect("the journal");
    assert_eq!(journal.iter_from(Offset::ZERO).expect("records").count(), 1);
}

#[test]
fn io_uring_forbidden_with_eperm_falls_back_and_says_so() {
    refused("io_uring_forbidden_with_eperm_falls_back_and_says_so", libc::EPERM, "seccomp");
}

#[test]
fn io_uring_hidden_with_enosys_falls_back_and_says_so() {
    refused("io_uring_hidden_with_enosys_falls_back_and_says_so", libc::ENOSYS, "no io_uring");
}

/// From now on no file of this process can be opened past the page cache.
fn forbid_direct_io() {
    let direct = u64::try_from(libc::O_DIRECT).expect("a flag");
    // The flags are the third argument.
    let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(direct), direct)
        .expect("a condition");
    let rule = SeccompRule::new(vec![condition]).expect("a rule");
    let rules: BTreeMap<i64, Vec<_>> = [(libc::SYS_openat, vec![rule])].into();
    let refuse = SeccompAction::Errno(u32::try_from(libc::EINVAL).expect("an error number"));
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter_all_threads(&program).expect("a filter in force");
}

/// As on a file system that knows no direct I/O.
#[test]
fn without_direct_io_everything_goes_through_the_page_cache_and_is_flushed() {
    let test = "without_direct_io_everything_goes_through_the_page_cache_and_is_flushed";
    if let Some(directory) = common::child_argument() {
        forbid_direct_io();
        for backend in [Backend::Auto, Backend::Syscalls] {
            let options = Options::new().backend(backend).segment_bytes(256 << 10);
            let journal = Journal::open(&directory, options).expect("a journal");
            assert!(!journal.backend().direct, "{:?}", journal.backend());
            for number in 0..100_u64 {
                journal.append(&vec![number as u8; 5000]).expect("an append");
            }
            assert!(journal.stats().rotations > 0 && journal.stats().flushes >= 100);
            journal.close().expect("a close");
        }
        let report = JournalReader::open(&directory)
            .expect("a reader")
            .verify(&VerifyOptions::new().deep(true), &mut |_| ());
        assert!(report.is_ok_and(|report| report.is_sound() && report.records == 200));
        return;
    }
    let (_keep, directory) = common::journal_directory();
    let output = common::child(test, &directory).wait_with_output().expect("the child's end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let journal = Journal::open(&directory, Options::new()).expect("the journal, past the page cache again");
    assert_eq!(journal.iter_from(Offset::ZERO).expect("records").filter(Result::is_ok).count(), 200);
}

#[test]
fn every_flush_method_keeps_what_it_acknowledged() {
    for backend in [Backend::Auto, Backend::Syscalls] {
        for flush in [FlushMethod::WriteDsync, FlushMethod::Fdatasync, FlushMethod::Auto] {
            let (_keep, directory) = common::journal_directory();
            let journal =
                Journal::open(&directory, Options::new().backend(backend).flush(flush)).expect("a journal");
            let report = journal.backend();
            assert!(flush == FlushMethod::Auto || report.flush == flush, "{report:?}");
            assert_eq!(report.timings.is_empty(), flush != FlushMethod::Auto, "{report:?}");
            let receipt = journal.append(b"kept").expect("an append");
            assert_eq!(journal.read(receipt.offset).expect("a read").payload, b"kept");
            assert_eq!(journal.stats().flushes, journal.stats().commits);
        }
    }
}

#[test]
fn a_file_system_in_memory_works_and_is_warned_about() {
    let Ok(keep) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: no /dev/shm here");
        return;
    };
    let directory = keep.path().join("journal");
    let journal = Journal::open(&directory, Options::new().segment_bytes(1 << 20)).expect("a new journal");
    let receipts: Vec<_> =
        (0..5000_u32).map(|n| journal.submit(n.to_le_bytes()).expect("a ticket")).collect();
    for (number, ticket) in receipts.into_iter().enumerate() {
        let receipt = ticket.wait().expect("an acknowledgement");
        assert_eq!(journal.read(receipt.offset).expect("a read").payload, (number as u32).to_le_bytes());
    }
    let warning = journal.reader().warning();
    assert!(warning.is_some_and(|warning| warning.contains("memory")), "{}", journal.reader().file_system());
}
