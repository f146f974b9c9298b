//! Verification says the same whatever the number of threads that it is done by.

mod common;

use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringwal::{Hash, Head, JournalReader, JournalWriter, Options, VerifyOptions, VerifyReport};

const SEGMENT_HEADER_BYTES: u64 = 4096;

fn append(directory: &Path, fill: u8, records: usize) {
    let options = Options::new().segment_bytes(64 << 10);
    let mut writer = JournalWriter::open(directory, options).expect("the journal");
    for number in 0..records {
        writer.append_batch(&[vec![fill; number * 37 % 3000], vec![fill; 40]]).expect("a batch");
    }
    writer.close().expect("a close");
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = common::contents(directory).into_keys().collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("a directory");
    for path in common::contents(from).into_keys().filter(|path| path.is_file()) {
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

fn verify(directory: &Path, anchors: &[Head], threads: usize) -> VerifyReport {
    let options = VerifyOptions::new().threads(NonZeroUsize::new(threads).expect("a thread"));
    let mut last = None;
    let reader = JournalReader::open(directory).expect("a reader");
    let report = reader.verify_against(anchors, &options, &mut |found| {
        let end = found.checked_to;
        assert!(last.replace(end).is_none_or(|before| before <= end), "progress goes back");
    });
    report.expect("a report")
}

/// What one thread says, after it was seen that others say the same.
fn verified(directory: &Path, anchors: &[Head]) -> VerifyReport {
    let alone = verify(directory, anchors, 1);
    for threads in [2, 5] {
        assert_eq!(verify(directory, anchors, threads), alone, "{threads} threads");
    }
    alone
}

#[test]
fn many_threads_say_what_one_says_of_a_sound_journal_and_of_a_damaged_one() {
    let mut random = fastrand::Rng::with_seed(common::seed());
    let (_keep, directory) = common::journal_directory();
    let mut anchors = Vec::new();
    for round in 0..4 {
        append(&directory, round, 100);
        let head =
            JournalReader::open(&directory).expect("a reader").head().expect("sound").expect("a commit");
        anchors.push(head);
    }
    let sound = verified(&directory, &anchors);
    assert!(sound.is_sound() && sound.segments > 8, "{sound:?}");
    // One that contradicts, and one that the journal has not come to.
    anchors.push(Head::new(anchors[1].offset, anchors[1].commit_number + 3, Hash([9; 32])));
    anchors.push(Head::new(anchors[3].offset, anchors[3].commit_number + 9, anchors[3].chain));
    assert!(!verified(&directory, &anchors).is_sound());
    let segments = segments(&directory);
    for _ in 0..12 {
        let path = &segments[random.usize(..segments.len() - 1)];
        let intact = std::fs::read(path).expect("the segment");
        let at = random.u64(SEGMENT_HEADER_BYTES..intact.len() as u64);
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("the segment");
        file.write_all_at(&[!intact[usize::try_from(at).expect("small")]], at).expect("damage");
        verified(&directory, &anchors);
        file.write_all_at(&intact, 0).expect("a repair");
    }
    assert!(!verified(&directory, &anchors).damage.iter().any(|_| true), "all was repaired");
}

#[test]
fn a_segment_that_is_sound_in_itself_but_of_another_history_is_found() {
    let (_keep, directory) = common::journal_directory();
    append(&directory, 1, 100);
    let other = directory.with_file_name("other");
    copy(&directory, &other);
    append(&directory, 2, 250);
    append(&other, 3, 250);
    let (ours, theirs) = (segments(&directory), segments(&other));
    let replaced = ours.len() / 2;
    std::fs::copy(&theirs[replaced], &ours[replaced]).expect("a copy");
    let report = verified(&directory, &[]);
    assert!(!report.is_sound());
    // Where it begins, and where what was written by us goes on.
    assert_eq!(report.damage.len(), 2, "{:?}", report.damage);
}
