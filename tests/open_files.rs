//! How many segments' files stay open: a part of what the process may have, for all its readers together.
#![expect(unsafe_code, reason = "limits of the process")]

mod common;

use std::path::Path;

#[cfg(feature = "group-commit")]
use ringwal::{Error, Journal};
use ringwal::{JournalReader, JournalWriter, Offset, Options};

const SEGMENTS: usize = 300;
/// What every reader may keep open, whatever the process may have.
const EACH: usize = 64;

/// The process may have so many descriptors.
fn limit(descriptors: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit needs a place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = descriptors.min(limit.rlim_max);
    // SAFETY: setrlimit reads a `rlimit`, which lives in this frame.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

fn open_segments(journal: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").expect("the open files").flatten();
    let of = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    of.filter(|path| path.starts_with(journal) && path.extension().is_some_and(|end| end == "seg")).count()
}

fn read_all(reader: &JournalReader, offsets: &[Offset]) {
    for (number, offset) in offsets.iter().enumerate() {
        let record = reader.read(*offset).expect("a record");
        assert_eq!(record.payload.first().copied(), u8::try_from(number % 256).ok());
    }
}

#[test]
fn readers_of_many_segments_share_a_part_of_the_descriptors() {
    let (_keep, directory) = common::journal_directory();
    let directory = directory.canonicalize().unwrap_or(directory);
    let options = Options::new().segment_bytes(64 << 10);
    let mut writer = JournalWriter::open(&directory, options).expect("a new journal");
    // One record fills more than half of a segment.
    let append = |number: usize| {
        let payload = vec![u8::try_from(number % 256).expect("less than 256"); 40_000];
        writer.append(&payload).expect("durable").offset
    };
    let offsets: Vec<_> = (0..SEGMENTS).map(append).collect();
    writer.close().expect("an orderly end");
    let directory = directory.canonicalize().expect("the journal is there");

    limit(512);
    let first = JournalReader::open(&directory).expect("a reader");
    read_all(&first, &offsets);
    assert_eq!(open_segments(&directory), EACH + 512 / 4);
    let second = JournalReader::open(&directory).expect("another reader");
    read_all(&second, &offsets);
    read_all(&second, &offsets);
    assert_eq!(
        open_segments(&directory),
        EACH + 512 / 4 + EACH,
        "nothing is left for the second but its own"
    );
    read_all(&first, &offsets);
    assert_eq!(open_segments(&directory), EACH + 512 / 4 + EACH);
    drop(first);
    read_all(&second, &offsets);
    assert_eq!(open_segments(&directory), EACH + 512 / 4, "what the first had was given back");
    limit(4096);
    read_all(&second, &offsets);
    assert_eq!(open_segments(&directory), SEGMENTS, "all of them: a quarter of 4096 is more than there are");
    drop(second);
    assert_eq!(open_segments(&directory), 0);
}

#[cfg(feature = "group-commit")]
#[test]
fn no_file_descriptors_left() {
    let test = "no_file_descriptors_left";
    if let Some(directory) = common::child_argument() {
        let options = || Options::new().segment_bytes(64 << 10).idle_commit(None);
        let journal = Journal::open(&directory, options()).expect("the journal");
        let first = journal.append(&[1; 30_000]).expect("an append");
        // Below every descriptor there is: those that are open go on working, and no new one can be had.
        limit(3);
        // What needs a new file is refused in the end; what does not goes on.
        let refused = (0..40).find_map(|_| journal.append(&[2; 30_000]).err());
        let refused = refused.expect("a segment too many");
        assert!(
            matches!(&refused, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EMFILE)),
            "{refused}"
        );
        assert!(matches!(Journal::open(directory.with_file_name("new"), options()), Err(Error::Io { .. })));
        limit(1024);
        journal.append(&[3; 30_000]).expect("there are descriptors again");
        assert_eq!(journal.read(first.offset).expect("a read").payload, [1; 30_000]);
        journal.close().expect("a close");
        return;
    }
    let (_keep, directory) = common::journal_directory();
    let output = common::child_command(test, &directory).output().expect("a child");
    assert!(output.status.success(), "{output:?}");
}
