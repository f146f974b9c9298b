//! Tails cut at every byte, bits flipped one by one, and one test for each row of the recovery table.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringwal::{
    Error, Evidence, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy, RecoveryReport, Verdict,
    recover_directory,
};

const SEGMENT_HEADER: u64 = 4096;
const COMMIT_RECORD: u64 = 104;
const RECORD_HEADER: u64 = 40;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(None)
}

/// The start of a commit; offset, end and payload of its records.
type Commit = (u64, Vec<(u64, u64, Vec<u8>)>);

/// A journal of several commits whose writer went away without closing it, with the offset and end of each record.
struct Crashed {
    _keep: tempfile::TempDir,
    directory: PathBuf,
    /// For each commit: its start, and offset, end and payload of its records.
    commits: Vec<Commit>,
}

/// Commits of the given batches; atomic ones where there are several payloads.
fn crashed(commits: &[&[&[u8]]]) -> Crashed {
    let (keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let mut written = Vec::new();
    for payloads in commits {
        let start = writer.durable_end().get();
        let receipts = writer.append_batch(payloads).expect("a batch");
        let record = |(receipt, payload): (&ringwal::Receipt, &&[u8])| {
            let offset = receipt.offset.get();
            (offset, offset + RECORD_HEADER + payload.len() as u64, payload.to_vec())
        };
        written.push((start, receipts.iter().zip(payloads.iter()).map(record).collect()));
    }
    leave_open(writer);
    Crashed { _keep: keep, directory, commits: written }
}

/// The writer is gone as after a crash: no orderly close, its files closed and its locks free.
fn leave_open(writer: JournalWriter) {
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _writer = writer;
        std::panic::resume_unwind(Box::new("a crash"));
    }));
    assert!(gone.is_err());
}

impl Crashed {
    fn segment(&self) -> PathBuf {
        common::segments(&self.directory).pop().expect("a segment")
    }

    /// Without the watermark there is no evidence but that of the log itself: as after a power cut that left the page
    /// unwritten.
    fn forget_watermark(&self) {
        std::fs::remove_file(self.directory.join("watermark")).expect("a watermark");
    }

    fn overwrite(&self, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.segment()).expect("the segment");
        file.write_all_at(bytes, SEGMENT_HEADER + offset).expect("a write");
    }

    fn flip(&self, offset: u64) {
        let file = OpenOptions::new().read(true).write(true).open(self.segment()).expect("the segment");
        let mut byte = [0];
        file.read_exact_at(&mut byte, SEGMENT_HEADER + offset).expect("a read");
        file.write_all_at(&[byte[0] ^ 1], SEGMENT_HEADER + offset).expect("a write");
    }

    fn recover(&self, policy: RecoveryPolicy) -> ringwal::Result<RecoveryReport> {
        recover_directory(&self.directory, policy)
    }

    fn payloads(&self) -> Vec<Vec<u8>> {
        read_all(&self.directory)
    }

    fn last(&self) -> &Commit {
        self.commits.last().expect("a commit")
    }

    fn end(&self) -> u64 {
        self.last().1.last().expect("a record").1
    }
}

fn read_all(directory: &Path) -> Vec<Vec<u8>> {
    let reader = JournalReader::open(directory).expect("a reader");
    reader
        .iter_from(Offset::ZERO)
        .expect("an iterator")
        .map(|record| record.expect("a record").payload)
        .collect()
}

#[test]
fn a_tail_cut_at_every_byte_of_the_last_two_commits_keeps_exactly_the_whole_batches() {
    let commits: &[&[&[u8]]] = &[&[b"first"], &[b"a", b"bb", b"ccc"], &[b"single"]];
    let whole = crashed(commits);
    let (from, end) = (whole.commits[1].0, whole.end());
    let mut verdicts = [0, 0];
    for cut in from..=end {
        let (_keep, directory) = common::fast_journal_directory();
        common::copy_journal(&whole.directory, &directory);
        std::fs::remove_file(directory.join("watermark")).expect("a watermark");
        let segment = common::segments(&directory).pop().expect("a segment");
        let file = OpenOptions::new().write(true).open(&segment).expect("the segment");
        file.set_len(SEGMENT_HEADER + cut).expect("a cut");
        let report = recover_directory(&directory, RecoveryPolicy::TolerateTornTail).expect("a recovery");
        // The batch of three is atomic: all of it or none.
        let expected: Vec<&[u8]> = match cut {
            cut if cut >= end => vec![b"first", b"a", b"bb", b"ccc", b"single"],
            cut if cut >= whole.last().0 => vec![b"first", b"a", b"bb", b"ccc"],
            _ => vec![b"first"],
        };
        assert_eq!(read_all(&directory), expected, "cut at {cut}");
        let is_boundary = cut == from || cut == whole.last().0 || cut == end;
        let verdict = if is_boundary { Verdict::Clean } else { Verdict::CutTorn };
        assert_eq!(report.verdict, verdict, "cut at {cut}: {report:?}");
        verdicts[usize::from(is_boundary)] += 1;
        // What recovery left takes new records, and is sound.
        let mut writer = JournalWriter::open(&directory, options()).expect("the journal");
        writer.append(b"after").expect("an append");
        writer.close().expect("a close");
        let report =
            JournalReader::open(&directory).expect("a reader").verify(&Default::default(), &mut |_| ());
        assert!(report.expect("a verification").is_sound(), "cut at {cut}");
    }
    println!("{verdicts:?} torn and whole cuts");
}

#[test]
fn records_before_the_torn_one_in_the_same_commit_are_kept() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let payloads: Vec<Vec<u8>> = (1..=5_u8).map(|byte| vec![byte; 700]).collect();
    let receipts = writer.append_group(&payloads).expect("a group of five in one commit");
    assert_eq!(writer.stats().commits, 1);
    leave_open(writer);
    let whole = common::contents(&directory);
    for torn in 0..5_usize {
        for (path, content) in &whole {
            std::fs::write(path, content).expect("the journal as it was");
        }
        let _ = std::fs::remove_dir_all(directory.join("cut"));
        std::fs::remove_file(directory.join("watermark")).expect("a watermark");
        // The sectors of the third record did not arrive, those of the fourth and fifth did.
        let segment = common::segments(&directory).pop().expect("a segment");
        let file = OpenOptions::new().write(true).open(&segment).expect("the segment");
        let position = SEGMENT_HEADER + receipts[torn].offset.get() + 100;
        file.write_all_at(&[0; 300], position).expect("a write");
        let report = recover_directory(&directory, RecoveryPolicy::TolerateTornTail).expect("a recovery");
        assert_eq!(read_all(&directory), &payloads[..torn], "{report:?}");
        assert_eq!(report.verdict, Verdict::CutTorn);
        let kept = std::fs::read(&report.cut_files[0]).expect("the cut bytes");
        let last = kept.windows(700).any(|window| window == &payloads[4][..]);
        assert!(last || torn == 4, "what was cut is kept, records behind the torn one included");
    }
}

/// Found by the model test: recovery took the place and number of the next commit from the segment that had nothing.
#[test]
fn a_segment_whose_first_commit_is_lost_whole_leaves_the_end_in_the_segment_before() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let mut receipts = Vec::new();
    while writer.stats().rotations == 0 {
        receipts.push(writer.append(&[7; 5000]).expect("an append"));
    }
    leave_open(writer);
    std::fs::remove_file(directory.join("watermark")).expect("a watermark");
    let torn = receipts.pop().expect("the first of the second segment");
    let second =
        ringwal::SegmentManager::open(&directory).expect("segments").resolve(torn.offset).expect("a segment");
    let file = OpenOptions::new().write(true).open(&second.path).expect("the segment");
    let position = SEGMENT_HEADER + torn.offset.get() - second.base.get();
    file.write_all_at(&[0; 512], position + 1000).expect("a write");
    let report = recover_directory(&directory, RecoveryPolicy::TolerateTornTail).expect("a recovery");
    assert_eq!((report.verdict, report.evidence.len()), (Verdict::CutTorn, 0));
    assert!(report.end < second.base, "{report:?}");
    let mut writer = JournalWriter::open(&directory, options()).expect("the journal");
    writer.append(&[8; 5000]).expect("an append");
    writer.close().expect("a close");
    let report = JournalReader::open(&directory).expect("a reader").verify(&Default::default(), &mut |_| ());
    let report = report.expect("a verification");
    assert!(report.is_sound(), "{:?}", report.damage);
    assert_eq!(report.records, receipts.len() as u64 + 1);
}

/// Every bit of every file of a small journal, once after an orderly close and once after a crash with its evidence:
/// never a wrong record, never a silent loss, never a panic.
#[test]
fn every_single_flipped_bit_is_found_or_harmless() {
    let (_keep, original) = common::journal_directory();
    let mut writer = JournalWriter::open(&original, options()).expect("a new journal");
    let mut receipts = writer.append_group(&[&b"one"[..], b"two"]).expect("a group");
    receipts.extend(writer.append_batch(&[&b"three"[..], b"four"]).expect("a batch"));
    writer.close().expect("a close");
    let payloads: Vec<Vec<u8>> = read_all(&original);
    let segment_name = common::segments(&original)[0].file_name().expect("a name").to_owned();
    let used = JournalReader::open(&original).expect("a reader").durable_end().expect("an end").get();
    let pristine = common::contents(&original);
    let (_keep, directory) = common::fast_journal_directory();
    common::copy_journal(&original, &directory);
    let mut found = 0_u64;
    let mut harmless = 0_u64;
    for (path, content) in &pristine {
        let name = path.strip_prefix(&original).expect("inside");
        let target = directory.join(name);
        let is_segment = name.as_os_str() == segment_name;
        let bytes = if is_segment { SEGMENT_HEADER + used } else { content.len() as u64 };
        let file = OpenOptions::new().write(true).open(&target).expect("a file");
        for bit in 0..bytes * 8 {
            // The zeros of the segment's header are checked once a byte: a hundred of them are like another.
            if is_segment && (64 * 8..4090 * 8).contains(&bit) && bit % 97 != 0 {
                continue;
            }
            let byte = content[(bit / 8) as usize];
            file.write_all_at(&[byte ^ 1 << (bit % 8)], bit / 8).expect("a write");
            match look(&directory, &receipts, &payloads) {
                Seen::Damage => found += 1,
                Seen::Whole if is_segment => panic!("bit {bit} of the segment was not noticed"),
                Seen::Whole => harmless += 1,
            }
            file.write_all_at(&[byte], bit / 8).expect("a write");
        }
    }
    println!("{found} flips found, {harmless} harmless (watermark)");
    assert!(found >= used * 8);
    assert_eq!(look(&directory, &receipts, &payloads), Seen::Whole);
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Whole,
    Damage,
}

/// Reads a journal in every way that changes nothing. What is read must be what was written.
fn look(directory: &Path, receipts: &[ringwal::Receipt], payloads: &[Vec<u8>]) -> Seen {
    let mut seen = Seen::Whole;
    if ringwal::plan_recovery(directory, RecoveryPolicy::TolerateTornTail).is_err() {
        seen = Seen::Damage;
    }
    let reader = match JournalReader::open(directory) {
        Ok(reader) => reader,
        Err(_) => return Seen::Damage,
    };
    for (receipt, payload) in receipts.iter().zip(payloads) {
        match reader.read(receipt.offset) {
            Ok(record) if record.has_right_hash() => assert_eq!(&record.payload, payload),
            Ok(_) | Err(_) => seen = Seen::Damage,
        }
    }
    let mut expected = payloads.iter();
    for record in reader.iter_from(Offset::ZERO).expect("an iterator") {
        match record {
            Ok(record) => assert_eq!(Some(&record.payload), expected.next()),
            Err(_) => {
                seen = Seen::Damage;
                break;
            }
        }
    }
    match reader.verify(&Default::default(), &mut |_| ()) {
        Ok(report) if report.is_sound() && report.records == payloads.len() as u64 => {}
        _ => seen = Seen::Damage,
    }
    seen
}

const COMMITS: &[&[&[u8]]] = &[&[b"first"], &[b"second"], &[b"third"]];

#[test]
fn row_zeros_without_evidence_is_a_clean_end_under_every_policy() {
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt, RecoveryPolicy::Strict]
    {
        let journal = crashed(COMMITS);
        journal.forget_watermark();
        let report = journal.recover(policy).expect("a recovery");
        assert_eq!((report.verdict, report.end.get()), (Verdict::Clean, journal.end()));
        assert_eq!(journal.payloads().len(), 3);
    }
}

#[test]
fn row_zeros_with_evidence_is_refused_and_nothing_is_changed() {
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::Strict] {
        let journal = crashed(COMMITS);
        let (start, _) = journal.last();
        journal.overwrite(*start, &vec![0; (journal.end() - start) as usize]);
        let before = common::fingerprint(&journal.directory);
        let Err(Error::Corrupt(corruption)) = journal.recover(policy) else { panic!("not refused") };
        assert_eq!(corruption.range.start.get(), *start);
        assert!(matches!(corruption.evidence[..], [Evidence::Watermark { .. }]), "{corruption}");
        assert_eq!(common::fingerprint(&journal.directory), before);
    }
}

#[test]
fn row_zeros_with_evidence_is_given_up_when_told_to() {
    let journal = crashed(COMMITS);
    let (start, _) = journal.last();
    journal.overwrite(*start, &vec![0; (journal.end() - start) as usize]);
    let report = journal.recover(RecoveryPolicy::TruncateCorrupt).expect("a recovery");
    assert_eq!((report.verdict, report.end.get()), (Verdict::CutCorrupt, *start));
    assert_eq!(journal.payloads().len(), 2);
    let report = journal.recover(RecoveryPolicy::Strict).expect("in order afterwards");
    assert_eq!(report.verdict, Verdict::Clean);
}

#[test]
fn row_failing_without_evidence_is_torn_and_cut() {
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt] {
        let journal = crashed(COMMITS);
        journal.forget_watermark();
        let (start, records) = journal.last();
        journal.flip(records[0].0 + RECORD_HEADER);
        let report = journal.recover(policy).expect("a recovery");
        assert_eq!((report.verdict, report.end.get()), (Verdict::CutTorn, *start));
        assert!(report.ambiguous, "every byte of the commit is there");
        assert_eq!(report.cut_files.len(), 1);
        assert_eq!(journal.payloads(), [&b"first"[..], b"second"]);
    }
}

#[test]
fn row_failing_without_evidence_is_refused_by_strict() {
    let journal = crashed(COMMITS);
    journal.forget_watermark();
    let (start, records) = journal.last();
    journal.flip(records[0].0 + RECORD_HEADER);
    let before = common::fingerprint(&journal.directory);
    let error = journal.recover(RecoveryPolicy::Strict).expect_err("refused");
    assert!(matches!(error, Error::Torn { at, .. } if at.get() == *start), "{error}");
    assert_eq!(common::fingerprint(&journal.directory), before);
}

#[test]
fn row_failing_with_evidence_is_refused_and_nothing_is_changed() {
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::Strict] {
        let journal = crashed(COMMITS);
        journal.forget_watermark();
        // In the first commit: the later ones vouch for it.
        let damaged = journal.commits[0].1[0].0;
        journal.flip(damaged + 8);
        let before = common::fingerprint(&journal.directory);
        let Err(Error::Corrupt(corruption)) = journal.recover(policy) else { panic!("not refused") };
        assert_eq!(corruption.range.start.get(), damaged);
        assert!(matches!(corruption.evidence[..], [Evidence::LaterCommit { .. }]), "{corruption}");
        assert_eq!(common::fingerprint(&journal.directory), before);
    }
}

#[test]
fn row_failing_with_evidence_is_given_up_when_told_to() {
    let journal = crashed(COMMITS);
    journal.flip(journal.commits[1].1[0].0);
    let report = journal.recover(RecoveryPolicy::TruncateCorrupt).expect("a recovery");
    assert_eq!((report.verdict, report.end.get()), (Verdict::CutCorrupt, journal.commits[1].0));
    assert_eq!(journal.payloads(), [b"first"]);
    let kept = std::fs::read(&report.cut_files[0]).expect("the cut bytes");
    assert!(kept.windows(5).any(|window| window == b"third"));
}

#[test]
fn an_idle_commit_vouches_for_the_last_record() {
    let (_keep, directory) = common::journal_directory();
    let idle = Some(Duration::from_millis(1));
    let journal = ringwal::Journal::open(&directory, options().idle_commit(idle)).expect("a new journal");
    let receipt = journal.append(b"vouched for").expect("an append");
    let end = receipt.offset.get() + RECORD_HEADER + 11;
    let patience = Duration::from_secs(20);
    assert!(
        journal.wait_durable_timeout(Offset::new(end + COMMIT_RECORD - 1), patience).expect("an idle commit")
    );
    assert_eq!(journal.stats().commits, 2);
    // Copied while the writer lives: as a power cut would leave it, but for the watermark.
    let (_keep_too, copy) = common::journal_directory();
    common::copy_journal(&directory, &copy);
    std::fs::remove_file(copy.join("watermark")).expect("a watermark");
    // The first: the second is prepared already.
    let segment = common::segments(&copy).remove(0);
    let file = OpenOptions::new().write(true).open(&segment).expect("the segment");
    file.write_all_at(b"V", SEGMENT_HEADER + receipt.offset.get() + RECORD_HEADER).expect("a write");
    let error = recover_directory(&copy, RecoveryPolicy::TolerateTornTail).expect_err("damage, not a crash");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[test]
fn a_cursor_the_floor_and_the_caller_are_evidence() {
    let journal = crashed(COMMITS);
    let end = Offset::new(journal.end());
    ringwal::Cursors::open(&journal.directory)
        .expect("cursors")
        .set("reader", end, ringwal::CursorKind::Advisory)
        .expect("a cursor");
    journal.forget_watermark();
    journal.flip(journal.last().1[0].0);
    let Err(Error::Corrupt(corruption)) = journal.recover(RecoveryPolicy::default()) else {
        panic!("not refused")
    };
    assert!(
        matches!(&corruption.evidence[..], [Evidence::Cursor { name, .. }] if name == "reader"),
        "{corruption}"
    );
    std::fs::remove_file(journal.directory.join("cursors/reader")).expect("a cursor");
    let known = options().known_durable_below(end);
    let error = JournalWriter::open(&journal.directory, known).expect_err("refused");
    let Error::Corrupt(corruption) = error else { panic!("{error}") };
    assert!(matches!(corruption.evidence[..], [Evidence::Caller { .. }]), "{corruption}");
    let report = journal.recover(RecoveryPolicy::default()).expect("torn without any evidence");
    assert_eq!(report.verdict, Verdict::CutTorn);
}

#[test]
fn giving_up_moves_cursors_back_so_that_the_journal_is_in_order_afterwards() {
    let journal = crashed(COMMITS);
    let cursors = ringwal::Cursors::open(&journal.directory).expect("cursors");
    cursors.set("reader", Offset::new(journal.end()), ringwal::CursorKind::Pinned).expect("a cursor");
    journal.flip(journal.commits[1].1[0].0);
    journal.recover(RecoveryPolicy::TruncateCorrupt).expect("a recovery");
    let cursor = cursors.get("reader").expect("a cursor").expect("it is there");
    assert_eq!(cursor.offset.get(), journal.commits[1].0);
    let writer = JournalWriter::open(&journal.directory, options()).expect("in order");
    assert_eq!(writer.recovery_report().verdict, Verdict::Clean);
}

#[test]
fn one_file_can_be_recovered_by_itself_and_a_sealed_one_is_only_checked() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let receipts: Vec<_> =
        (0..40_u8).map(|byte| writer.append(&vec![byte; 5000]).expect("an append")).collect();
    leave_open(writer);
    let segments = common::segments(&directory);
    assert!(segments.len() >= 3);
    let report = ringwal::recover_file(&segments[0], RecoveryPolicy::Strict).expect("a sound sealed segment");
    assert!(report.records_kept > 5 && report.verdict == Verdict::Clean);
    let file = OpenOptions::new().write(true).open(&segments[0]).expect("the segment");
    file.write_all_at(&[0xFF], SEGMENT_HEADER + receipts[3].offset.get() + 50).expect("a write");
    let before = common::fingerprint(&directory);
    let error = ringwal::recover_file(&segments[0], RecoveryPolicy::TruncateCorrupt).expect_err("damage");
    assert!(matches!(&error, Error::Corrupt(c) if c.range.start == receipts[3].offset), "{error}");
    assert_eq!(common::fingerprint(&directory), before);
    let active = common::segments(&directory).len() - 1;
    let last_written = ringwal::SegmentManager::open(&directory).expect("segments");
    let last_written = last_written.resolve(receipts[39].offset).expect("a segment").path;
    let report = ringwal::recover_file(&last_written, RecoveryPolicy::Strict).expect("the end");
    assert_eq!(report.verdict, Verdict::Clean, "{active}");
    assert!(matches!(
        ringwal::recover_file(directory.join("LOCK"), RecoveryPolicy::Strict),
        Err(Error::NotAJournal { .. })
    ));
}

/// Found by reading: a mistyped number above the last segment's recovered the whole journal, and could give records up.
#[test]
fn a_segment_that_is_not_there_recovers_nothing() {
    let journal = crashed(&[&[b"first"], &[b"second"], &[b"third"]]);
    journal.flip(journal.commits[1].1[0].0);
    let before = common::fingerprint(&journal.directory);
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt]
    {
        let absent = journal.directory.join("00000000009999999999.seg");
        let outcome = ringwal::recover_file(absent, policy);
        assert!(matches!(outcome, Err(Error::NotAJournal { .. })), "{policy:?}: {outcome:?}");
        assert_eq!(common::fingerprint(&journal.directory), before);
    }
}
