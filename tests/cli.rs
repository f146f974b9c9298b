//! The tool as people and scripts use it: real processes, real pipes, real exit codes.
#![cfg(feature = "cli")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn ringwal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringwal"))
}

fn run(arguments: &[&str], journal: &Path) -> Output {
    let with_journal =
        |argument: &&str| if *argument == "J" { journal.as_os_str().into() } else { (*argument).into() };
    let arguments: Vec<std::ffi::OsString> = arguments.iter().map(with_journal).collect();
    ringwal().args(arguments).stdin(Stdio::null()).output().expect("the tool")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn append(journal: &Path, input: &[u8], more: &[&str]) -> Output {
    let mut child = ringwal()
        .arg("append")
        .arg(journal)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().expect("its end");
    feeder.join().expect("the feeder").expect("input that is read to its end");
    output
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn lines_and_binary_files_go_in_and_come_out_unchanged() {
    let (_keep, journal) = common::journal_directory();
    let lines = b"first\n\nthird \xFF\xFE line\nlast without a newline";
    assert_eq!(code(&append(&journal, lines, &[])), 0);
    assert_eq!(run(&["cat", "J"], &journal).stdout, [lines.as_slice(), b"\n"].concat());
    assert_eq!(run(&["cat", "J", "--limit", "1"], &journal).stdout, b"first\n");
    let (_keep, journal) = common::journal_directory();
    let binary = std::fs::read(env!("CARGO_BIN_EXE_ringwal")).expect("the tool itself");
    let part = &binary[..binary.len().min(3 << 20)];
    assert_eq!(code(&append(&journal, part, &["--whole"])), 0);
    assert!(run(&["cat", "J", "--raw"], &journal).stdout == part);
    let line = run(&["cat", "J", "--json"], &journal);
    assert_eq!(json(&line)["blake3"], ringwal::Hash::of(part).to_string());
}

#[test]
fn receipts_name_what_is_there() {
    let (_keep, journal) = common::journal_directory();
    let output = append(&journal, b"a\nbb\nccc\n", &["--receipts", "--threads", "3"]);
    let receipts = text(&output.stdout);
    assert_eq!(receipts.lines().count(), 3);
    let reader = ringwal::JournalReader::open(&journal).expect("a reader");
    for line in receipts.lines() {
        let (offset, hash) = line.split_once(' ').expect("two words");
        let record = reader.read(ringwal::Offset::new(offset.parse().expect("a number"))).expect("a record");
        assert!(record.hash.to_string() == hash && record.has_right_hash());
    }
}

#[test]
fn receipts_that_nobody_reads_do_not_stop_the_appending() {
    let (_keep, journal) = common::journal_directory();
    let mut child = ringwal()
        .args(["append", "--receipts"])
        .arg(&journal)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool");
    drop(child.stdout.take());
    let mut pipe = child.stdin.take().expect("a pipe");
    for number in 0..20_000 {
        writeln!(pipe, "line {number}").expect("a tool that goes on reading");
    }
    drop(pipe);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    assert_eq!(run(&["cat", "J"], &journal).stdout.iter().filter(|byte| **byte == b'\n').count(), 20_000);
}

#[test]
fn wrong_use_is_exit_code_2_and_says_what_is_wrong() {
    let (keep, journal) = common::journal_directory();
    append(&journal, b"one\n", &[]);
    let file = keep.path().join("file");
    std::fs::write(&file, b"no journal").expect("a file");
    let nowhere = keep.path().join("nowhere");
    for (arguments, path, word) in [
        (&["append", "J", "--threads", "0"][..], &journal, "threads"),
        (&["cat", "J", "--from", "999999"], &journal, "not durable"),
        (&["cat", "J", "--from", "105"], &journal, "no record"),
        (&["cursor", "set", "J", "../x", "0"], &journal, "cursor name"),
        (&["cursor", "remove", "J", "none"], &journal, "no cursor"),
        (&["cat", "J"], &nowhere, "No such file"),
        (&["inspect", "J"], &file, "Not a directory"),
        (&["verify", "J"], &keep.path().to_path_buf(), "no journal here"),
        (&["append", "J", "--segment-bytes", "5000"], &nowhere, "segment_bytes"),
        (&["salvage", "J", "J"], &journal, "exists already"),
        (&["nonsense"], &journal, "nonsense"),
    ] {
        let output = run(arguments, path);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(word), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(!nowhere.exists());
}

#[test]
fn damage_is_exit_code_1_with_its_place_and_salvage_keeps_the_rest() {
    use std::os::unix::fs::FileExt;
    let (keep, journal) = common::journal_directory();
    let input: String = (0..500).map(|number| format!("record number {number}\n")).collect();
    append(&journal, input.as_bytes(), &[]);
    assert_eq!(code(&run(&["verify", "J"], &journal)), 0);
    let reader = ringwal::JournalReader::open(&journal).expect("a reader");
    let victim =
        reader.iter_from(ringwal::Offset::ZERO).expect("records").nth(7).expect("eight").expect("a record");
    let segment = common::segments(&journal).remove(0);
    let file = std::fs::OpenOptions::new().write(true).open(segment).expect("the segment");
    file.write_all_at(b"X", 4096 + victim.offset.get() + 41).expect("a write");
    let output = run(&["verify", "J", "--json"], &journal);
    assert_eq!(code(&output), 1);
    assert_eq!(json(&output)["damage"][0]["from"], victim.offset.get());
    assert_eq!(code(&run(&["verify", "J", "--deep"], &journal)), 1);
    let output = run(&["cat", "J", "--from", &victim.offset.to_string()], &journal);
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let saved = keep.path().join("saved");
    let output = run(&["salvage", "J", saved.to_str().expect("text"), "--json"], &journal);
    assert_eq!((code(&output), json(&output)["records"].as_u64()), (1, Some(499)));
    let kept = text(&run(&["cat", "J"], &saved).stdout);
    assert!(kept == input.replace("record number 7\n", ""), "only the damaged record is missing");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (_keep, journal) = common::journal_directory();
    append(&journal, "a long line that fills pipes\n".repeat(50_000).as_bytes(), &[]);
    let mut child = ringwal()
        .arg("cat")
        .arg(&journal)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool");
    let mut first = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("its beginning");
    let output = child.wait_with_output().expect("its end");
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
}

/// A tool that is killed at the latest when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_live_journal_is_followed_and_inspected_and_never_disturbed() {
    let (_keep, directory) = common::journal_directory();
    let journal = ringwal::Journal::open(&directory, ringwal::Options::new()).expect("a new journal");
    let child = ringwal().arg("follow").arg(&directory).args(["--from", "0"]).stdout(Stdio::piped()).spawn();
    let mut follow = Running(child.expect("the tool"));
    let mut lines = BufReader::new(follow.0.stdout.take().expect("a pipe")).lines();
    for number in 0..50 {
        journal.append(format!("live {number}").as_bytes()).expect("an append");
        assert_eq!(lines.next().expect("a line").expect("text"), format!("live {number}"));
    }
    let output = run(&["inspect", "J", "--json"], &directory);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let facts = json(&output);
    assert_eq!(facts["writer"]["pid"], std::process::id());
    assert_eq!(facts["durable_end"], journal.durable_end().get());
    for refused in [&["cleanup", "J"][..], &["recover", "J"], &["append", "J"]] {
        let output = run(refused, &directory);
        let message = text(&output.stderr);
        assert_eq!(code(&output), 2, "{refused:?}: {message}");
        assert!(message.contains(&std::process::id().to_string()), "{refused:?} names the writer: {message}");
    }
    assert_eq!(code(&run(&["cursor", "set", "J", "reader", "0"], &directory)), 0);
    assert!(text(&run(&["cursor", "list", "J"], &directory).stdout).contains("reader"));
    assert_eq!(code(&run(&["verify", "J"], &directory)), 0);
    journal.append(b"undisturbed").expect("an append");
}

#[test]
fn recover_says_what_it_would_do_and_does_it() {
    let (_keep, journal) = common::journal_directory();
    append(&journal, b"one\ntwo\n", &[]);
    let plan = run(&["recover", "J", "--dry-run", "--json"], &journal);
    assert_eq!((code(&plan), json(&plan)["clean_shutdown"].as_bool()), (0, Some(true)));
    assert_eq!(code(&run(&["recover", "J", "--policy", "strict"], &journal)), 0);
    assert_eq!(code(&run(&["recover", "J", "--policy", "whatever"], &journal)), 2);
}

#[test]
fn the_demo_passes_and_reports_what_happened() {
    let output =
        ringwal().args(["demo", "--seconds", "1", "--threads", "4", "--json"]).output().expect("the tool");
    let report = json(&output);
    assert_eq!(code(&output), 0, "{report}");
    assert!(report["passed"] == true && report["acknowledged"].as_u64() > Some(10), "{report}");
    assert!(report["followed_live"].as_u64() > Some(0) && report["backend"]["flush"] != "auto", "{report}");
}

#[test]
fn the_benchmark_measures_and_draws() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let plot = keep.path().join("plot.svg");
    let output = ringwal()
        .args(["bench", "--threads", "1,2", "--seconds", "0.1", "--rounds", "1", "--json", "--plot"])
        .arg(&plot)
        .arg("--dir")
        .arg(keep.path())
        .output()
        .expect("the tool");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report = json(&output);
    assert_eq!(report["series"].as_array().map(Vec::len), Some(2));
    assert!(
        report["series"][0]["p50_us"].as_f64() > Some(0.0) && report["floor_p50_us"].as_f64() > Some(0.0)
    );
    let drawing = std::fs::read_to_string(plot).expect("a drawing");
    assert!(drawing.contains("<svg") && drawing.contains("2 threads"));
    assert_eq!(std::fs::read_dir(keep.path()).expect("a directory").count(), 1, "only the drawing is left");
}

/// Found by reading: a journal that lost records was said to be whole when nobody read the report.
#[test]
fn what_salvage_found_stands_also_when_nobody_reads_it() {
    let (keep, journal) = common::journal_directory();
    assert_eq!(code(&append(&journal, b"first\nsecond\nthird", &[])), 0);
    let segment = common::segments(&journal).remove(0);
    let mut content = std::fs::read(&segment).expect("the segment");
    let at = content.windows(6).position(|window| window == b"second").expect("the second line");
    content[at] ^= 1;
    std::fs::write(&segment, content).expect("the segment");
    for (form, name) in [("--json", "saved"), ("", "saved-too")] {
        let (reading, writing) = std::io::pipe().expect("a pipe");
        drop(reading);
        let saved = keep.path().join(name);
        let mut command = ringwal();
        command.arg("salvage").arg(&journal).arg(saved).args(Some(form).filter(|form| !form.is_empty()));
        let status = command.stdin(Stdio::null()).stdout(writing).stderr(Stdio::null()).status();
        assert_eq!(status.expect("the tool").code(), Some(1), "{form}");
    }
}

/// Found by reading: input without a line's end was read whole before anything was said of it.
#[test]
fn input_that_is_no_record_is_refused_before_all_of_it_is_read() {
    let (_keep, journal) = common::journal_directory();
    for form in [&["J", "--segment-bytes", "65536", "/dev/zero"][..], &["J", "--whole", "/dev/zero"]] {
        let output = run(&[&["append"], form].concat(), &journal);
        assert_eq!(code(&output), 2, "{form:?}");
        assert!(text(&output.stderr).contains("bytes"), "{}", text(&output.stderr));
    }
    // What follows of such a line is no line either.
    let (_keep, journal) = common::journal_directory();
    let input = [&[b'x'; 80_000][..], b"\nnext\n"].concat();
    let file = journal.with_file_name("input");
    std::fs::write(&file, input).expect("a file");
    let input = file.to_str().expect("text");
    let arguments = ["append", "J", "--segment-bytes", "65536", "--threads", "8", input];
    assert_eq!(code(&run(&arguments, &journal)), 2);
    assert!(run(&["cat", "J"], &journal).stdout.is_empty());
}

/// Found by reading: whatever there was to salvage, two GiB of the disk were taken for it.
#[test]
fn what_is_salvaged_takes_segments_of_the_size_there_was() {
    let (keep, journal) = common::journal_directory();
    assert_eq!(code(&append(&journal, &[b'x'; 65_000], &["--segment-bytes", "131072"])), 0);
    let saved = keep.path().join("saved");
    let output = ringwal().arg("salvage").arg(&journal).arg(&saved).output().expect("the tool");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let bytes = |journal: &Path| std::fs::metadata(&common::segments(journal)[0]).expect("a segment").len();
    assert_eq!((bytes(&saved), bytes(&journal)), (131_072, 131_072));
    assert!(run(&["cat", "J"], &saved).stdout.starts_with(&[b'x'; 65_000]));
}

/// Found by reading: what had been appended before a line that was refused was not told, nor which line it was, and the other
/// threads went on with what came behind it.
#[test]
fn a_line_that_is_refused_is_named_and_what_stood_before_it_is_told() {
    /// The journal takes records of up to 16 MiB.
    const TOO_LONG: usize = 17 << 20;
    let input = |behind: usize| {
        let lines = [&b"one\ntwo\nthree\n"[..], &vec![b'x'; TOO_LONG], b"\n"].concat();
        [lines, b"behind\n".repeat(behind)].concat()
    };
    let told = |output: &Output| {
        assert_eq!(code(output), 2, "{}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(message.contains("line 4") && message.contains("limit"), "{message}");
        let said =
            message.lines().find_map(|line| line.split_once(" records (")).expect("how many are there").0;
        said.parse::<usize>().expect("a number")
    };
    let (keep, journal) = common::journal_directory();
    let file = keep.path().join("input");
    std::fs::write(&file, input(2)).expect("a file");
    let file = file.to_str().expect("text").to_owned();
    let output = run(&["append", "J", &file, "--receipts"], &journal);
    assert_eq!((told(&output), text(&output.stdout).lines().count()), (3, 3));
    assert_eq!(run(&["cat", "J"], &journal).stdout, b"one\ntwo\nthree\n");
    // Others may have taken lines meanwhile; nobody takes one once the refusal is known.
    const BEHIND: usize = 1_000_000;
    let (_keep, journal) = common::journal_directory();
    std::fs::write(&file, input(BEHIND)).expect("a file");
    let output = run(&["append", "J", &file, "--receipts", "--threads", "4"], &journal);
    let (said, receipts) = (told(&output), text(&output.stdout).lines().count());
    let there = run(&["cat", "J"], &journal).stdout.iter().filter(|byte| **byte == b'\n').count();
    assert!((3..BEHIND).contains(&there), "{there} records: the other threads went on");
    assert_eq!((said, receipts), (there, there));
}

/// Found by reading: that the cursors could not be looked at was called damage.
#[test]
fn cursors_that_cannot_be_looked_at_are_no_damage() {
    let (_keep, journal) = common::journal_directory();
    assert_eq!(code(&append(&journal, b"one\n", &[])), 0);
    assert_eq!(code(&run(&["cursor", "set", "J", "reader", "0"], &journal)), 0);
    let cursors = journal.join("cursors");
    let cursor = cursors.join("reader");
    let sound = std::fs::read(&cursor).expect("the cursor's file");
    std::fs::write(&cursor, b"no cursor").expect("a write");
    let output = run(&["inspect", "J"], &journal);
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    std::fs::write(&cursor, sound).expect("a write");
    assert_eq!(code(&run(&["inspect", "J"], &journal)), 0);
    // Nobody can look there, whatever rights he has; with a living writer nothing else is looked at there.
    let writer = ringwal::Journal::open(&journal, ringwal::Options::new()).expect("the journal");
    std::fs::rename(&cursors, journal.join("elsewhere")).expect("a rename");
    std::os::unix::fs::symlink("cursors", &cursors).expect("a link to itself");
    for form in [&["inspect", "J"][..], &["inspect", "J", "--json"]] {
        let output = run(form, &journal);
        assert_eq!(code(&output), 2, "as whatever is no directory: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains("durable"), "what was found is told all the same");
        assert!(text(&output.stderr).contains("cursors"), "{}", text(&output.stderr));
    }
    writer.append(b"two").expect("the writer goes on");
}
