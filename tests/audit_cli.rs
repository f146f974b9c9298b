//! `ringwal audit` as people and scripts use it: real processes, real pipes, real exit codes.
#![cfg(feature = "cli")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;
mod trail;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringwal::{AuditStore, GenericAuditStore, HybridOptions, HybridStore, Options};
use serde_json::Value;

fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwal"));
    command
        .arg("audit")
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("COLUMNS")
        .output()
        .expect("the tool")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Standard output of a command that must be good.
fn good(arguments: &[&str]) -> String {
    let output = audit(arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A directory, a store in it, a file of made-up audits, and those audits.
fn filled(count: u64) -> (tempfile::TempDir, PathBuf, PathBuf, Vec<Value>) {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let (store, file) = (keep.path().join("trail"), keep.path().join("audits.jsonl"));
    let lines = good(&["generate", &count.to_string(), "--seed", "3"]);
    std::fs::write(&file, &lines).expect("a file");
    good(&["import", path(&store), path(&file)]);
    (keep, store, file, lines.lines().map(json).collect())
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn what_is_imported_is_found_again_by_id_agent_and_time_and_comes_out_unchanged() {
    let (_keep, store, file, audits) = filled(500);
    let store = path(&store);
    let exported = good(&["export", store, "--json"]);
    assert_eq!(exported, std::fs::read_to_string(&file).expect("the file"), "oldest first, byte for byte");
    let again = audit(&["import", store, path(&file), "--json"]);
    let report = json(&text(&again.stdout));
    assert_eq!((report["new"].as_u64(), report["known"].as_u64()), (Some(0), Some(500)));
    for wanted in [&audits[0], &audits[77], &audits[499]] {
        let id = wanted["query_id"].as_str().expect("an id");
        let shown = json(&good(&["show", store, &id[..12], "--json"]));
        assert_eq!(shown["audit"], *wanted);
        assert!(shown["receipt"]["offset"].as_u64() > Some(0));
        let shown = good(&["show", store, &id.to_uppercase()]);
        assert!(
            shown.contains(id) && shown.contains(wanted["params"]["subject"].as_str().expect("a subject"))
        );
    }
    let recent: Vec<Value> = good(&["recent", store, "5", "--json"]).lines().map(json).collect();
    assert!(recent.iter().eq(audits.iter().rev().take(5)));
    let agent = audits.iter().find_map(|audit| audit["agent_id"].as_str()).expect("an agent");
    let of_agent: Vec<&Value> = audits.iter().filter(|audit| audit["agent_id"] == agent).collect();
    let (first, last) = (&of_agent[1]["timestamp"], &of_agent[of_agent.len() - 2]["timestamp"]);
    let from = first.to_string();
    // The same moment as a person writes it.
    let nanos = last.as_u64().expect("a time");
    let to = format!("{}.{:09}Z", seconds(nanos / 1_000_000_000), nanos % 1_000_000_000);
    let arguments = ["agent", store, &agent[..10], "--from", &from, "--to", &to, "--limit", "1000", "--json"];
    let found: Vec<Value> = good(&arguments).lines().map(json).collect();
    assert!(found.iter().eq(of_agent[1..of_agent.len() - 1].iter().copied()), "both ends belong to it");
    assert_eq!(good(&["agent", store, agent, "--limit", "3", "--json"]).lines().count(), 3);
    assert!(good(&["agent", store, agent]).contains("confidence"));
}

/// `2026-01-01T00:00:00` of seconds in January 2026.
fn seconds(seconds: u64) -> String {
    let rest = seconds - 1_767_225_600;
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}",
        1 + rest / 86_400,
        rest / 3_600 % 24,
        rest / 60 % 60,
        rest % 60
    )
}

#[test]
fn an_explanation_says_everything_within_the_width_and_without_colour() {
    let (_keep, store, _, audits) = filled(60);
    let with_assertions =
        |audit: &&Value| audit["contributing_assertions"].as_array().is_some_and(|all| all.len() > 2);
    let wanted = audits.iter().find(with_assertions).expect("an audit with assertions");
    let id = wanted["query_id"].as_str().expect("an id");
    let explained = good(&["explain", path(&store), &id[..16]]);
    assert!(!explained.contains('\u{1b}'), "no colour into a pipe");
    for word in
        [id, wanted["params"]["subject"].as_str().expect("a subject"), "confidence", "The proof", "\u{2588}"]
    {
        assert!(explained.contains(word), "{word} is missing: {explained}");
    }
    let assertions = wanted["contributing_assertions"].as_array().expect("a list");
    for assertion in assertions {
        assert!(explained.contains(&assertion["assertion_hash"].as_str().expect("a hash")[..12]));
        assert!(explained.contains(assertion["lifecycle"].as_str().expect("a stage")));
    }
    for width in [80, 120] {
        let explained = good(&["explain", path(&store), id, "--width", &width.to_string()]);
        let longest = explained.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(width), "{longest:?} columns: {explained}");
    }
    let value = json(&good(&["explain", path(&store), id, "--json"]));
    assert_eq!(value["audit"], *wanted);
}

#[test]
fn wrong_use_is_exit_code_2_and_says_what_is_wrong() {
    let (keep, store, _, audits) = filled(100);
    let store = path(&store);
    let nowhere = keep.path().join("nowhere");
    let empty = keep.path().join("empty");
    std::fs::write(&empty, b"\n").expect("a file");
    for (arguments, word) in [
        (&["show", store, "xyz"][..], "no id"),
        (&["show", store, ""], "no id"),
        (&["show", store, &"0".repeat(64)], "there is no query"),
        (&["agent", store, &"f".repeat(60)], "there is no agent"),
        (&["agent", store, ""], "no id"),
        (&["agent", store, "0", "--from", "yesterday"], "neither a whole number"),
        (&["export", store, "--from", "2", "--to", "1"], "ends before it begins"),
        (&["verify", store, "--anchor", path(&empty)], "no anchor in it"),
        (&["recent", path(&nowhere)], "No such file"),
        (&["import", store, "--threads", "0"], "threads"),
    ] {
        let output = audit(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(word), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(!nowhere.exists());
    // Of a hundred ids two begin with the same digit.
    let first = |audit: &Value| audit["query_id"].as_str().expect("an id").as_bytes()[0];
    let digit = audits.iter().enumerate().find_map(|(index, audit)| {
        audits[index + 1..].iter().any(|other| first(other) == first(audit)).then(|| char::from(first(audit)))
    });
    let output = audit(&["show", store, &digit.expect("a common digit").to_string()]);
    assert!(code(&output) == 2 && text(&output.stderr).contains("ambiguous"), "{}", text(&output.stderr));
}

#[test]
fn a_line_that_cannot_be_put_is_named_and_those_before_it_are_kept() {
    let (keep, store, _, audits) = filled(10);
    let file = keep.path().join("more.jsonl");
    let new = good(&["generate", "200", "--seed", "9"]);
    let mut wrong = audits[4].clone();
    wrong["params"]["subject"] = "something else".into();
    let no_subject = r#"{"query_id": "00", "timestamp": 1, "params": {}, "result_confidence": 0.5}"#;
    for (line, words) in [
        ("not json", &["line 202", "no JSON"][..]),
        (no_subject, &["line 202", "params.subject: is missing", "query_id"][..1]),
        (&wrong.to_string(), &["line 202", "has an audit already", "params"]),
    ] {
        std::fs::write(&file, format!("{new}\n{line}\n")).expect("a file");
        let output = audit(&["import", path(&store), path(&file)]);
        assert_eq!(code(&output), 2, "{}", text(&output.stderr));
        for word in words {
            assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
        }
        assert_eq!(good(&["export", path(&store)]).lines().count(), 210);
    }
    let shown =
        json(&good(&["show", path(&store), audits[4]["query_id"].as_str().expect("an id"), "--json"]));
    assert_eq!(shown["audit"], audits[4], "what was there is there still");
}

#[test]
fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
    let (keep, store, file, _) = filled(3);
    let mut lines = std::fs::read(&file).expect("the file");
    lines.resize(lines.len() + (32 << 20) + 1, b'[');
    std::fs::write(&file, lines).expect("a file");
    let output = audit(&["import", path(&store), path(&file)]);
    let told = text(&output.stderr);
    assert_eq!(code(&output), 2, "{told}");
    for words in ["line 4", "33554432 bytes", "a line of its own"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(good(&["export", path(&store)]).lines().count(), 3);
    // The largest audit there is has room.
    let assertion = serde_json::json!({
        "assertion_hash": "ab".repeat(32), "weight": 0.123_456_78, "source_hash": "cd".repeat(32),
        "lifecycle": "UnderReview",
    });
    let largest = serde_json::json!({
        "query_id": "ef".repeat(32), "timestamp": 1, "params": { "subject": "\u{1}".repeat(65_536) },
        "result_confidence": 0.5, "contributing_assertions": vec![assertion; 65_536],
    });
    let file = keep.path().join("largest.jsonl");
    std::fs::write(&file, largest.to_string()).expect("a file");
    good(&["import", path(&store), path(&file)]);
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let store = keep.path().join("trail");
    let lines = good(&["generate", "3000", "--seed", "4"]);
    let mut kills = 0;
    for round in 1..=4_u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringwal"))
            .args(["audit", "import", path(&store), "--threads", "8"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool");
        let mut pipe = child.stdin.take().expect("a pipe");
        // More than the pipe and the tool's own buffer hold, so that some of it has been taken; the rest is kept back.
        let part = lines.len() / 6 * usize::try_from(round).expect("small");
        assert!(part > 1 << 19);
        pipe.write_all(&lines.as_bytes()[..part]).expect("a tool that reads");
        child.kill().expect("a kill");
        kills += u32::from(!child.wait().expect("its end").success());
    }
    assert_eq!(kills, 4);
    let file = keep.path().join("audits.jsonl");
    std::fs::write(&file, &lines).expect("a file");
    let output = audit(&["import", path(&store), path(&file), "--json"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report = json(&text(&output.stdout));
    let (new, known) =
        (report["new"].as_u64().expect("a number"), report["known"].as_u64().expect("a number"));
    println!("{known} audits were durable when the imports were killed");
    assert!(known > 0 && new > 0 && new + known == 3_000, "{report}");
    assert_eq!(good(&["export", path(&store)]), lines);
    let report = json(&good(&["verify", path(&store), "--json"]));
    assert!(report["sound"] == true && report["audits"] == 3_000, "none is there twice: {report}");
}

#[test]
fn a_trail_beside_a_living_writer_is_read_and_proven() {
    let (_keep, store, _, _) = filled(50);
    let options = HybridOptions::new().keep_journal(true);
    let trail = GenericAuditStore::new(HybridStore::open(&store, options).expect("the store"));
    let mut newest = trail.list_recent_audits(1).expect("audits").remove(0);
    (newest.query_id, newest.timestamp) = ([7; 32], newest.timestamp + 1);
    trail.put_audit(&newest).expect("an audit");
    let recent = json(&good(&["recent", path(&store), "1", "--json"]));
    assert_eq!(recent["query_id"], "07".repeat(32));
    assert_eq!(json(&good(&["verify", path(&store), "--json"]))["audits"], 51);
    trail.put_audit(&ringwal::QueryAudit { query_id: [8; 32], ..newest }).expect("an undisturbed writer");
}

#[test]
fn what_was_altered_is_exit_code_1_and_an_anchor_finds_what_nothing_else_does() {
    use std::os::unix::fs::FileExt;
    let (keep, store, file, _) = filled(300);
    let anchor = keep.path().join("anchor.jsonl");
    std::fs::write(&anchor, good(&["head", path(&store), "--json"])).expect("a file");
    let earlier = keep.path().join("earlier");
    common::copy_journal(&store, &earlier);
    let more = keep.path().join("more.jsonl");
    std::fs::write(&more, good(&["generate", "40", "--seed", "8"])).expect("a file");
    good(&["import", path(&store), path(&more)]);
    let head = good(&["head", path(&store), "--json"]);
    std::fs::write(&anchor, [std::fs::read_to_string(&anchor).expect("a file"), head].concat())
        .expect("a file");
    let sound = good(&["verify", path(&store), "--anchor", path(&anchor)]);
    assert_eq!(sound.matches("holds: nothing before it was altered").count(), 2, "{sound}");
    // Rolled back: sound in itself, and not what it was.
    assert!(good(&["verify", path(&earlier)]).contains("no anchor"));
    let output = audit(&["verify", path(&earlier), "--anchor", path(&anchor)]);
    assert!(code(&output) == 1 && text(&output.stdout).contains("rolled back"), "{}", text(&output.stdout));
    // Written anew from the same audits but one.
    let forged = keep.path().join("forged");
    let lines = std::fs::read_to_string(&file).expect("the file");
    let changed: String = lines.lines().skip(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&more, changed).expect("a file");
    good(&["import", path(&forged), path(&more)]);
    good(&["verify", path(&forged)]);
    let output = audit(&["verify", path(&forged), "--anchor", path(&anchor), "--json"]);
    let report = json(&text(&output.stdout));
    assert!(code(&output) == 1 && report["sound"] == false, "{report}");
    // A byte of the journal: found without an anchor, by reading too.
    let segment = common::segments(&store.join("journal")).remove(0);
    let shown = json(&good(&["recent", path(&store), "1", "--json"]));
    let id = shown["query_id"].as_str().expect("an id").to_owned();
    let offset =
        json(&good(&["show", path(&store), &id, "--json"]))["receipt"]["offset"].as_u64().expect("an offset");
    let writable = std::fs::OpenOptions::new().write(true).open(segment).expect("the segment");
    writable.write_all_at(b"\xA5\x5A", 4096 + offset + 90).expect("a write");
    let output = audit(&["show", path(&store), &id]);
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let output = audit(&["verify", path(&store)]);
    assert!(
        code(&output) == 1 && text(&output.stdout).contains("ALTERED OR DAMAGED"),
        "{}",
        text(&output.stdout)
    );
    assert!(text(&output.stdout).contains("first commit that differs"), "{}", text(&output.stdout));
}

#[test]
fn an_index_that_is_damaged_is_made_anew_where_the_journal_holds_everything() {
    let (keep, store, file, _) = filled(300);
    let index = store.join("index.redb");
    std::fs::write(&index, "no index").expect("a file");
    let output = audit(&["recent", path(&store)]);
    assert!(code(&output) == 1 && text(&output.stderr).contains("ringwal audit rebuild"), "{output:?}");
    let report = json(&good(&["rebuild", path(&store), "--json"]));
    assert!(report["journal_bytes"].as_u64() > Some(100_000), "{report}");
    assert_eq!(json(&good(&["verify", path(&store), "--json"]))["audits"], 300);
    assert_eq!(good(&["export", path(&store)]), std::fs::read_to_string(&file).expect("the file"));
    // Once opened by something that lets the journal be cleaned up.
    let options = HybridOptions::new().journal(Options::new().segment_bytes(64 << 10));
    let small = keep.path().join("small");
    let trail = GenericAuditStore::new(HybridStore::open(&small, options).expect("a store"));
    for number in 0..200_u8 {
        trail.put_audit(&trail::audit(number.into())).expect("an audit");
    }
    trail.store().close().expect("closed");
    let before = std::fs::read(small.join("index.redb")).expect("the index");
    let output = audit(&["rebuild", path(&small)]);
    let told = text(&output.stderr);
    assert!(code(&output) == 1 && told.contains("kept from offset") && told.contains("backup"), "{told}");
    assert!(before == std::fs::read(small.join("index.redb")).expect("the index"), "it was touched");
    assert_eq!(code(&audit(&["rebuild", path(&keep.path().join("nowhere"))])), 2);
}

#[test]
fn the_demo_ends_with_an_answer() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwal"));
    let output = command.args(["demo", "--seconds", "1", "--threads", "2"]).output().expect("the tool");
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 0, "{shown}{}", text(&output.stderr));
    let (_, answer) = shown.split_once("Why did you think that?").expect("a question");
    assert!(answer.contains("Because of") && answer.contains("The proof"), "{answer}");
}

/// The exit code when nobody reads standard output: the reading end is closed before the tool starts.
fn code_unread(arguments: &[&str], stdin: Stdio) -> i32 {
    let (reading, writing) = std::io::pipe().expect("a pipe");
    drop(reading);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwal"));
    let status =
        command.arg("audit").args(arguments).stdin(stdin).stdout(writing).stderr(Stdio::null()).status();
    status.expect("the tool").code().expect("no signal")
}

#[test]
fn a_pipe_that_nobody_reads_does_not_make_good_what_was_found() {
    use std::os::unix::fs::FileExt;
    let (keep, store, _, _) = filled(40);
    assert_eq!(code_unread(&["verify", path(&store)], Stdio::null()), 0);
    let bad = keep.path().join("bad.jsonl");
    std::fs::write(&bad, "no audit\n").expect("a file");
    assert_eq!(code_unread(&["import", path(&store), path(&bad), "--json"], Stdio::null()), 2);
    let shown = json(&good(&["recent", path(&store), "1", "--json"]));
    let id = shown["query_id"].as_str().expect("an id").to_owned();
    let offset =
        json(&good(&["show", path(&store), &id, "--json"]))["receipt"]["offset"].as_u64().expect("an offset");
    let segment = common::segments(&store.join("journal")).remove(0);
    let writable = std::fs::OpenOptions::new().write(true).open(segment).expect("the segment");
    writable.write_all_at(b"\xA5\x5A", 4096 + offset + 90).expect("a write");
    for form in ["--json", "--deep"] {
        assert_eq!(code_unread(&["verify", path(&store), form], Stdio::null()), 1, "{form}");
    }
}

/// Found by reading: each of the importing threads held a line of its own, however long, and all that it came to as JSON.
#[test]
fn an_import_of_long_lines_needs_little_memory_whatever_the_threads() {
    use std::io::BufWriter;
    const KIB: u64 = 600 << 10;
    let keep = tempfile::tempdir().expect("a temporary directory");
    let (store, file) = (keep.path().join("trail"), keep.path().join("audits.jsonl"));
    let mut line = json(good(&["generate", "1", "--seed", "3"]).trim());
    let assertion = serde_json::json!({
        "assertion_hash": "1".repeat(64), "weight": 0.5, "source_hash": "2".repeat(64), "lifecycle": "Approved",
    });
    line["contributing_assertions"] = vec![assertion; 25_000].into();
    let mut lines = BufWriter::new(std::fs::File::create(&file).expect("a file"));
    for number in 0..40 {
        line["query_id"] = format!("{number:064x}").into();
        writeln!(lines, "{line}").expect("a line");
    }
    drop((lines, line));
    let limited = format!("ulimit -v {KIB}; exec \"$0\" audit import \"$1\" \"$2\"");
    let output = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_ringwal"), path(&store), path(&file)])
        // What the allocator reserves for each thread counts, though nobody uses it.
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the tool");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("40 audits durable"), "{}", text(&output.stderr));
}
