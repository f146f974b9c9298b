//! A journal without a living writer, read before anybody recovers it, beside a recovery, or after one that gave up much.
#![cfg(feature = "group-commit")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ringwal::{
    AnchorFinding, CursorKind, Cursors, Error, Journal, JournalReader, JournalWriter, Offset, Options,
    RecoveryPolicy, Verdict, VerifyOptions, plan_recovery, recover_directory,
};

const HEADER_BYTES: u64 = 4096;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(None)
}

fn flip(directory: &Path, segment: usize, position: u64) {
    let path = common::segments(directory).swap_remove(segment);
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a read");
    file.write_all_at(&[byte[0] ^ 1], position).expect("a write");
}

/// Three records in a commit each, the writer gone without a close and the watermark lost; then the second is damaged.
fn damaged() -> (tempfile::TempDir, PathBuf, Vec<Offset>) {
    let (keep, written) = common::journal_directory();
    let directory = keep.path().join("copy");
    let mut writer = JournalWriter::open(&written, options()).expect("a new journal");
    let offsets: Vec<_> = ["one", "two", "three"]
        .map(|payload| writer.append(payload.as_bytes()).expect("an append").offset)
        .into();
    common::copy_journal(&written, &directory);
    std::fs::rename(directory.join("watermark"), keep.path().join("mark")).expect("a watermark");
    flip(&directory, 0, HEADER_BYTES + offsets[1].get() + 40);
    (keep, directory, offsets)
}

/// Found by reading: where damage had valid commits behind it, and the watermark did not tell of them, readers took its
/// place for the journal's end: sound, and nothing missing.
#[test]
fn damage_that_an_opening_would_refuse_is_told_by_every_way_of_reading() {
    let (keep, directory, offsets) = damaged();
    assert!(
        plan_recovery(&directory, RecoveryPolicy::TolerateTornTail).is_err_and(|error| error.is_corruption())
    );
    let before = common::fingerprint(&directory);
    let reader = JournalReader::open(&directory).expect("a reader");
    let is_damage = |error: Error| error.is_corruption();
    assert_eq!(reader.read(offsets[0]).expect("a sound record").payload, b"one");
    for offset in &offsets[1..] {
        assert!(reader.read(*offset).is_err_and(is_damage), "{offset}");
        assert!(reader.iter_from(*offset).is_err_and(is_damage), "{offset}");
    }
    let mut records = reader.iter_from(Offset::ZERO).expect("records");
    assert_eq!(records.next().expect("a record").expect("a sound record").payload, b"one");
    assert!(records.next().expect("not the end").is_err_and(is_damage));
    let mut follow = reader.follow(Offset::ZERO).expect("a follower");
    assert!(follow.next_ref().expect("a sound record").is_some());
    assert!(follow.next_ref().map(|record| record.is_some()).is_err_and(is_damage));
    let report = reader.verify(&VerifyOptions::new(), &mut |_| ()).expect("a verification");
    assert!(!report.is_sound() && report.records == 1 && report.head.is_none(), "{report:?}");
    assert_eq!((report.damage.len(), report.first_damaged_commit), (1, Some(1)), "{report:?}");
    assert!(reader.head().is_err_and(is_damage));
    // With a watermark that tells how far it went, the same place is told, once, and what is sound behind it is seen.
    let marked = keep.path().join("marked");
    common::copy_journal(&directory, &marked);
    std::fs::copy(keep.path().join("mark"), marked.join("watermark")).expect("a copy");
    let told = JournalReader::open(&marked).expect("a reader");
    let told = told.verify(&VerifyOptions::new(), &mut |_| ()).expect("a verification");
    assert_eq!((told.damage.len(), told.records, told.first_damaged_commit), (1, 2, Some(1)), "{told:?}");
    assert!(common::fingerprint(&directory) == before, "reading changed something");
    // Given up, it is another journal, also for who has it open.
    recover_directory(&directory, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
    let report = reader.verify(&VerifyOptions::new(), &mut |_| ()).expect("a verification");
    assert!(report.is_sound() && report.records == 1, "{report:?}");
    assert!(records.next().is_none());
}

/// Found by reading: a look at what recovery would do, taken while somebody appended, took the commits that came between
/// its two looks for evidence of damage.
#[test]
fn planning_a_recovery_beside_a_writer_never_tells_of_damage() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, options()).expect("a new journal");
    let ended = AtomicBool::new(false);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                journal.append(&[7; 100]).expect("an append");
            }
        });
        // Until a look met an append; how soon that is depends on the machine.
        let mut outcomes = Vec::new();
        while outcomes.len() < 200 || (outcomes.len() < 100_000 && outcomes.iter().all(Result::is_ok)) {
            outcomes.push(plan_recovery(&directory, RecoveryPolicy::TolerateTornTail));
        }
        ended.store(true, Ordering::Relaxed);
        appending.join().expect("appends");
        outcomes
    });
    let mut locked = 0;
    for outcome in outcomes {
        match outcome {
            Ok(report) => assert_eq!(report.verdict, Verdict::Clean),
            Err(Error::Locked { .. }) => locked += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(locked > 0, "nothing was appended during a look");
}

/// Found by reading: an iterator that had come to the end of a torn commit took its padding, once recovery had cut it, for
/// damage.
#[test]
fn an_iterator_goes_on_behind_a_torn_commit_that_recovery_has_cut() {
    let (keep, written) = common::journal_directory();
    let directory = keep.path().join("copy");
    let mut writer = JournalWriter::open(&written, options()).expect("a new journal");
    writer.append(b"before").expect("an append");
    let group = writer.append_group(&[[1; 700], [2; 700], [3; 700], [4; 700], [5; 700]]).expect("a group");
    let end = writer.durable_end().get();
    common::copy_journal(&written, &directory);
    std::fs::remove_file(directory.join("watermark")).expect("a watermark");
    let torn = group[3].offset.get();
    let file =
        OpenOptions::new().write(true).open(common::segments(&directory).remove(0)).expect("a segment");
    let zeros = vec![0; usize::try_from(end - torn).expect("a commit")];
    file.write_all_at(&zeros, HEADER_BYTES + torn).expect("a write");
    let reader = JournalReader::open(&directory).expect("a reader");
    let mut records = reader.iter_from(Offset::ZERO).expect("records");
    let mut follow = reader.follow(Offset::ZERO).expect("a follower");
    assert!((0..4).all(|_| records.next().is_some_and(|record| record.is_ok())) && records.next().is_none());
    for _ in 0..4 {
        assert!(follow.next_ref().expect("a record").is_some());
    }
    let mut writer = JournalWriter::open(&directory, options()).expect("a torn end");
    writer.append(b"after").expect("an append");
    assert_eq!(records.next().expect("a record").expect("no damage").payload, b"after");
    assert_eq!(follow.next_ref().expect("no damage").expect("a record").payload, b"after");
}

/// Found by reading: where the first commit behind a cleanup was damaged, giving it up left a journal that was refused, and
/// told to be given up, again and again.
#[test]
fn giving_up_all_that_cleanup_left_leaves_a_journal_that_opens() {
    for damage in [HEADER_BYTES + 50, HEADER_BYTES + 5] {
        let (keep, written) = common::journal_directory();
        let directory = keep.path().join("copy");
        let mut writer = JournalWriter::open(&written, options()).expect("a new journal");
        let mut last = writer.append(&[7; 3000]).expect("an append").offset;
        while writer.stats().rotations < 1 {
            last = writer.append(&[7; 3000]).expect("an append").offset;
        }
        writer.cursors().expect("cursors").set("reader", last, CursorKind::Pinned).expect("a cursor");
        writer.cleanup().expect("a cleanup");
        // The writer is gone as if it had been killed.
        common::copy_journal(&written, &directory);
        assert_eq!(common::segments(&directory).len(), 1);
        flip(&directory, 0, damage);
        let refused = recover_directory(&directory, RecoveryPolicy::TolerateTornTail);
        assert!(refused.is_err_and(|error| error.is_corruption()));
        let anchor = writer.reader().and_then(|reader| reader.head()).expect("a head").expect("a commit");
        let report = recover_directory(&directory, RecoveryPolicy::TruncateCorrupt).expect("told to give up");
        assert_eq!((report.verdict, report.records_kept), (Verdict::CutCorrupt, 0));
        let again = recover_directory(&directory, RecoveryPolicy::Strict).expect("in order now");
        assert_eq!((again.verdict, again.bytes_cut), (Verdict::Clean, 0));
        let mut writer = JournalWriter::open(&directory, options()).expect("in order");
        let receipt = writer.append(b"after").expect("an append");
        let reader = writer.reader().expect("a reader");
        assert_eq!(reader.read(receipt.offset).expect("a record").payload, b"after");
        let report = reader.verify(&VerifyOptions::new(), &mut |_| ()).expect("a verification");
        assert!(report.is_sound() && report.records == 1, "{report:?}");
        let anchored = reader.verify_against(&[anchor], &VerifyOptions::new(), &mut |_| ());
        let finding = anchored.expect("a verification").anchors[0].finding;
        assert!(matches!(finding, AnchorFinding::RolledBack { .. }), "{finding:?}");

        // The same by a writer that goes on at once.
        let directory = keep.path().join("another");
        common::copy_journal(&written, &directory);
        flip(&directory, 0, damage);
        let give_up = options().recovery(RecoveryPolicy::TruncateCorrupt);
        let mut at_once = JournalWriter::open(&directory, give_up).expect("told to give up");
        assert_eq!(at_once.append(b"after").expect("an append"), receipt);
        drop(at_once);
        let writer = JournalWriter::open(&directory, options()).expect("in order");
        let report = writer.reader().and_then(|reader| reader.verify(&VerifyOptions::new(), &mut |_| ()));
        assert!(report.is_ok_and(|report| report.is_sound() && report.records == 1));
    }
}

/// Found by reading: a consumer that had seen what was given up since set its cursor beyond the end, and the next opening
/// took that for a loss.
#[test]
fn a_cursor_is_not_set_to_what_was_given_up_since_it_was_seen() {
    let (keep, written) = common::journal_directory();
    let directory = keep.path().join("copy");
    let mut writer = JournalWriter::open(&written, options()).expect("a new journal");
    let offsets: Vec<_> = (0..6).map(|_| writer.append(&[7; 3000]).expect("an append").offset).collect();
    let end = writer.durable_end();
    // The writer is gone as if it had been killed.
    common::copy_journal(&written, &directory);
    let cursors = Cursors::open(&directory).expect("cursors");
    cursors.set("before", end, CursorKind::Advisory).expect("the durable end");
    cursors.remove("before").expect("a cursor");
    flip(&directory, 0, HEADER_BYTES + offsets[2].get() + 100);
    let give_up = options().recovery(RecoveryPolicy::TruncateCorrupt);
    let mut writer = JournalWriter::open(&directory, give_up).expect("told to give up");
    let after = writer.append(b"after").expect("an append");
    let refused = cursors.set("reader", end, CursorKind::Pinned);
    assert!(
        matches!(refused, Err(Error::NotYetDurable { durable_end, .. }) if durable_end < end),
        "{refused:?}"
    );
    cursors.set("reader", after.offset, CursorKind::Pinned).expect("a record that is there");
    drop(writer);
    let refused = cursors.set("reader", end, CursorKind::Pinned);
    assert!(
        matches!(refused, Err(Error::NotYetDurable { durable_end, .. }) if durable_end < end),
        "{refused:?}"
    );
    JournalWriter::open(&directory, options()).expect("nothing tells of a loss");
}

/// Found by reading: the cursors of a writer that had gone believed what it had published, whatever was given up since.
#[test]
fn cursors_that_outlive_their_writer_are_not_set_to_what_was_given_up_since() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    let offsets: Vec<_> = (0..6).map(|_| writer.append(&[7; 3000]).expect("an append").offset).collect();
    let end = writer.durable_end();
    let cursors = writer.cursors().expect("cursors");
    writer.close().expect("a close");
    let closed = JournalReader::open(&directory).and_then(|reader| reader.durable_end()).expect("an end");
    flip(&directory, 0, HEADER_BYTES + offsets[2].get() + 100);
    // Or opening would believe that it was closed in order, and look at nothing else.
    flip(&directory, 0, HEADER_BYTES + closed.get() + 100);
    let give_up = options().recovery(RecoveryPolicy::TruncateCorrupt);
    drop(JournalWriter::open(&directory, give_up).expect("told to give up"));
    let refused = cursors.set("reader", end, CursorKind::Pinned);
    assert!(matches!(refused, Err(Error::NotYetDurable { .. })), "{refused:?}");
    JournalWriter::open(&directory, options()).expect("nothing tells of a loss");
}

/// Found by a run of 20 million: damage of another file, which keeps a reader from looking for the journal's end, was told
/// without the record that had been asked for.
#[test]
fn damage_that_hides_the_end_is_told_with_the_record_that_was_asked_for() {
    let (_keep, directory) = common::journal_directory();
    let mut writer = JournalWriter::open(&directory, options()).expect("a new journal");
    writer.append(b"one").expect("an append");
    drop(writer);
    let [one, other] = [(); 2].map(|()| JournalReader::open(&directory).expect("a reader"));
    // The next writer makes another watermark, so that the readers have to look for the end.
    std::fs::remove_file(directory.join("watermark")).expect("a watermark");
    let mut writer = JournalWriter::open(&directory, options()).expect("the journal");
    let second = writer.append(b"two").expect("an append").offset;
    drop(writer);
    std::fs::write(directory.join("floor"), [7; 64]).expect("a file");
    for outcome in [one.read(second).map(drop), other.iter_from(second).map(drop)] {
        let Err(Error::Corrupt(damage)) = &outcome else { panic!("not told: {outcome:?}") };
        assert!(damage.path.ends_with("floor") && damage.range.contains(&second), "{damage:?}");
    }
}
