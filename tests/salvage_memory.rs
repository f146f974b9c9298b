//! `ringwal salvage` takes no more memory for many small records than for few large ones.
#![cfg(feature = "cli")]
#![expect(unsafe_code, reason = "what a child process took has no safe form")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;

use std::process::{Command, Stdio};

use ringwal::{JournalWriter, Options};

const RECORDS: usize = 2_000_000;
/// Each record that is held takes about a hundred bytes.
const MEMORY_BYTES_MAX: i64 = 80 << 20;

/// The most memory that any child of this process had at a time.
fn peak_bytes_of_children() -> i64 {
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes the structure, which lives in this frame.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(answer, 0);
    usage.ru_maxrss * 1024
}

/// Found by reading: records without a payload counted nothing, and all of them were held at a time.
#[test]
fn empty_records_are_salvaged_in_bounded_memory() {
    let (keep, journal) = common::journal_directory();
    let mut writer = JournalWriter::open(&journal, Options::new()).expect("a new journal");
    for _ in 0..RECORDS / 10_000 {
        writer.append_group(&[b""; 10_000]).expect("empty records");
    }
    writer.close().expect("a close");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwal"));
    command.arg("salvage").arg(&journal).arg(keep.path().join("saved")).arg("--json");
    let output = command.stdin(Stdio::null()).output().expect("the tool");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), report["records"].as_u64()), (Some(0), Some(RECORDS as u64)));
    let peak = peak_bytes_of_children();
    println!("{RECORDS} empty records, {} MiB", peak >> 20);
    assert!(peak <= MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
}
