//! What recovery cuts is kept: every byte of it, in a file that is durable before anything is zeroed, and nothing else.
#![cfg(feature = "sim")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

use ringwal::sim::SimDisk;
use ringwal::{JournalWriter, Options, RecoveryReport, Verdict};

const HEADER: usize = 4096;
const FIRST: &str = "00000000000000000000.seg";

fn options(segment_bytes: u64) -> Options {
    Options::new().segment_bytes(segment_bytes)
}

/// A journal whose last commit was damaged, with nothing to tell it from one that a crash interrupted.
struct Torn {
    disk: SimDisk,
    options: Options,
    segment: String,
    before: Vec<u8>,
}

impl Torn {
    /// `write` writes and gives the file position of a byte to be damaged.
    fn new(segment_bytes: u64, segment: &str, write: impl FnOnce(&mut JournalWriter) -> u64) -> Self {
        let (disk, options) = (SimDisk::new(1), options(segment_bytes));
        let mut writer = JournalWriter::open_simulated(&disk, options.clone()).expect("a new journal");
        let position = write(&mut writer) as usize;
        disk.process_kill();
        drop(writer);
        disk.remove_file("watermark").expect("a watermark");
        let mut before = disk.content(segment).expect("the segment");
        before[position] ^= 1;
        disk.set_content(segment, before.clone());
        Self { disk, options, segment: segment.to_owned(), before }
    }

    fn recover(&self) -> RecoveryReport {
        let writer = JournalWriter::open_simulated(&self.disk, self.options.clone()).expect("a torn end");
        let report = writer.recovery_report().clone();
        // A close would write behind the end.
        self.disk.process_kill();
        report
    }

    fn dirty_end(&self) -> usize {
        self.before.iter().rposition(|byte| *byte != 0).expect("something written") + 1
    }

    /// Recovers, and checks that everything from file position `cut` on is cut, with a copy that begins at `copied`.
    fn check(&self, copied: usize, cut: usize) -> RecoveryReport {
        let report = self.recover();
        let end = self.dirty_end();
        assert_eq!(report.verdict, Verdict::CutTorn);
        assert_eq!(report.bytes_cut, (end - cut) as u64);
        let [path] = &report.cut_files[..] else { panic!("not one file: {:?}", report.cut_files) };
        let name = path.strip_prefix("/simulated").expect("a path of the journal").to_str().expect("text");
        let copy = self.disk.content(name).expect("the copy");
        assert_eq!(copy.len(), end - copied, "{name}");
        assert!(copy == self.before[copied..end], "{name} is not what was cut");
        let after = self.disk.content(&self.segment).expect("the segment");
        assert_eq!(after.len(), self.before.len(), "the segment's length changed");
        assert!(after[cut..].iter().all(|byte| *byte == 0), "something is left of what was cut");
        let again = self.recover();
        assert_eq!((again.verdict, again.bytes_cut), (Verdict::Clean, 0));
        report
    }
}

#[test]
fn a_cut_of_more_than_one_chunk_is_kept_to_the_byte() {
    let mut start = 0;
    let torn = Torn::new(8 << 20, FIRST, |writer| {
        writer.append(b"kept").expect("an append");
        start = writer.durable_end().get() as usize + HEADER;
        writer.append(&vec![7; (5 << 20) / 2]).expect("an append");
        writer.durable_end().get() + HEADER as u64 - 1
    });
    assert!(torn.check(start, start).ambiguous, "every sector had arrived");
}

#[test]
fn a_cut_inside_a_commit_keeps_a_copy_of_all_of_it() {
    let (mut start, mut third) = (0, 0);
    let torn = Torn::new(64 << 10, FIRST, |writer| {
        writer.append(b"kept").expect("an append");
        start = writer.durable_end().get() as usize + HEADER;
        let receipts = writer.append_group(&[[1; 3000], [2; 3000], [3; 3000], [4; 3000]]).expect("a group");
        third = receipts[2].offset.get() as usize + HEADER;
        third as u64 + 50
    });
    assert!(torn.check(start, third).ambiguous);
}

#[test]
fn a_lost_first_commit_of_a_segment_is_kept_too() {
    let second = "00000000000000061440.seg";
    let torn = Torn::new(64 << 10, second, |writer| {
        while writer.stats().rotations == 0 {
            writer.append(&[9; 12_000]).expect("an append");
        }
        HEADER as u64 + 41
    });
    assert!(torn.check(HEADER, HEADER).ambiguous, "every sector had arrived");
}

#[test]
fn a_sector_that_never_arrived_says_that_it_was_a_crash() {
    for missing in [false, true] {
        let mut start = 0;
        let torn = Torn::new(64 << 10, FIRST, |writer| {
            writer.append(b"kept").expect("an append");
            start = writer.durable_end().get() as usize + HEADER;
            writer.append(&[7; 3000]).expect("an append");
            start as u64 + 2000
        });
        if missing {
            let mut content = torn.before.clone();
            content[HEADER + 1024..HEADER + 1536].fill(0);
            torn.disk.set_content(FIRST, content);
        }
        assert_eq!(torn.recover().ambiguous, !missing);
    }
}

/// The bytes of the torn commit stand in the segment, or in a copy, whenever and however recovery is stopped.
#[test]
fn what_is_cut_is_durable_in_its_copy_before_it_is_zeroed() {
    let (mut states, mut copies) = (0, 0);
    let mut start = 0;
    let torn = Torn::new(64 << 10, FIRST, |writer| {
        writer.append(b"kept").expect("an append");
        start = writer.durable_end().get() as usize + HEADER;
        writer.append(&[7; 3000]).expect("an append");
        start as u64 + 2000
    });
    let lost = &torn.before[start..torn.dirty_end()];
    for stops_at in 1.. {
        let disk = torn.disk.snapshot(stops_at);
        disk.crash_before(stops_at);
        let is_whole = JournalWriter::open_simulated(&disk, torn.options.clone()).map(drop).is_ok();
        for keeps in 0..=disk.undecided() + 1 {
            let left = disk.snapshot(stops_at);
            // One thing more survives each time; and all but one.
            left.power_cut_keeping(&mut |thing| thing < keeps);
            states += 1;
            let is_there = |name: &String| left.content(name).is_some_and(|copy| copy == lost);
            let is_copied = left.files().iter().any(|name| name.starts_with("cut/") && is_there(name));
            let content = left.content(FIRST).expect("the segment");
            let stands = content[start..start + lost.len()] == *lost;
            assert!(stands || is_copied, "stopped before {stops_at}, {keeps} changes survived: gone");
            copies += u64::from(is_copied && !stands);
        }
        if is_whole {
            break;
        }
    }
    println!("{states} states, in {copies} of them only the copy is left");
    assert!(states > 50 && copies > 5);
}
