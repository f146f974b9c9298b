//! What opening costs, whatever the journal's size: after an orderly close, and after a kill. And the memory that reading
//! and recovering need. `cargo bench --bench open -- [GiB] [DIRECTORY]`; prints one line of JSON.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ringwal::{Journal, JournalReader, Offset, Options};

const PAYLOAD_BYTES: usize = 256;
const ROUNDS: usize = 7;

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

fn fill(directory: &Path, bytes: u64) -> Journal {
    let journal = Journal::open(directory, Options::new().queue_depth(1 << 14)).expect("a new journal");
    let payload = [7; PAYLOAD_BYTES];
    let mut last = None;
    while journal.durable_end().get() < bytes {
        for _ in 0..10_000 {
            last = Some(journal.submit(payload).expect("a ticket"));
        }
    }
    if let Some(ticket) = last {
        ticket.wait().expect("durable");
    }
    journal
}

/// The most memory this process ever had resident, in KiB.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process's status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let gib: u64 = arguments.next().map_or(1, |text| text.parse().expect("a number of GiB"));
    let place = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let keep = tempfile::tempdir_in(place).expect("a directory");
    let directory = keep.path().join("journal");
    let bytes = gib << 30;
    if let Ok(directory) = std::env::var("RINGWAL_BENCH_MEMORY") {
        return measure_memory(Path::new(&directory));
    }
    if let Ok(directory) = std::env::var("RINGWAL_BENCH_KILL") {
        return append_and_wait(Path::new(&directory));
    }
    fill(&directory, bytes).close().expect("a close");
    let mut clean = Vec::new();
    let mut reading = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        drop(JournalReader::open(&directory).expect("a reader"));
        reading.push(begun.elapsed());
        let begun = Instant::now();
        let journal = Journal::open(&directory, Options::new()).expect("the journal");
        clean.push(begun.elapsed());
        assert!(journal.recovery_report().clean_shutdown);
        journal.close().expect("a close");
    }
    let mut killed = Vec::new();
    for _ in 0..ROUNDS {
        append_and_be_killed(&directory);
        let begun = Instant::now();
        let journal = Journal::open(&directory, Options::new()).expect("the journal");
        killed.push(begun.elapsed());
        assert!(!journal.recovery_report().clean_shutdown);
        journal.close().expect("a close");
    }
    let child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .env("RINGWAL_BENCH_MEMORY", &directory)
        .output()
        .expect("a child");
    println!(
        "{{\"gib\":{gib},\"open_after_close_us\":{},\"open_reader_us\":{},\"open_after_kill_us\":{},\"memory\":{}}}",
        median(clean).as_micros(),
        median(reading).as_micros(),
        median(killed).as_micros(),
        String::from_utf8_lossy(&child.stdout).trim(),
    );
}

/// Reads everything and verifies everything, and tells how much memory that took beyond what an idle process has.
fn measure_memory(directory: &Path) {
    let before = peak_memory_kib();
    let reader = JournalReader::open(directory).expect("a reader");
    let mut records = reader.iter_from(Offset::ZERO).expect("records");
    let mut count = 0_u64;
    let begun = Instant::now();
    while records.next_ref().expect("a record").is_some() {
        count += 1;
    }
    let elapsed = begun.elapsed();
    let after_reading = peak_memory_kib();
    assert!(reader.verify(&Default::default(), &mut |_| ()).expect("a verification").is_sound());
    let after_verifying = peak_memory_kib();
    println!(
        "{{\"records\":{count},\"read_mb_per_second\":{:.0},\"reading_kib\":{},\"and_verifying_kib\":{}}}",
        count as f64 * PAYLOAD_BYTES as f64 / 1e6 / elapsed.as_secs_f64(),
        after_reading - before,
        after_verifying - before,
    );
}

/// A process of its own appends and dies by SIGKILL.
fn append_and_be_killed(directory: &Path) {
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .env("RINGWAL_BENCH_KILL", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    assert_eq!(line, "appended\n");
    child.kill().expect("a kill");
    child.wait().expect("its end");
}

fn append_and_wait(directory: &Path) {
    let journal = Journal::open(directory, Options::new()).expect("the journal");
    journal.append(b"not closed").expect("an append");
    println!("appended");
    let _ = std::io::stdin().read_line(&mut String::new());
}
