use super::*;
use crate::disk::sim::{Failure, SimDisk};
use crate::segment::prepare::{Background, create_segment};

const EIO: i32 = 5;

/// Found by reading: a new segment's flush that failed was no concern of the commits that were flushed meanwhile.
#[test]
fn a_flush_that_failed_for_the_next_segment_fails_the_next_commit_and_the_close() {
    let mut failed = 0;
    for nth in 1..20 {
        for closes in [false, true] {
            let sim = SimDisk::new(1);
            let options = Options::new().segment_bytes(64 << 10);
            let mut writer = JournalWriter::open_simulated_with(&sim, options, Background::Caller).unwrap();
            sim.fail_operation(nth, EIO, Failure::Once);
            if writer.append(b"first").is_err() || writer.preparer.failure().is_none() {
                continue;
            }
            let outcome = if closes { writer.close() } else { writer.append(b"second").map(drop) };
            assert!(outcome.is_err_and(|error| error.is_failed()), "operation {nth}");
            failed += 1;
        }
    }
    assert!(failed > 1, "no preparation failed");
}

/// Found by reading: a cleanup's failed flush was no concern of the commits that were flushed meanwhile.
#[test]
fn a_flush_that_failed_in_a_cleanup_fails_the_next_commit() {
    const EMFILE: i32 = 24;
    let (mut of_flushes, mut of_others) = (0, 0);
    for (nth, number) in (1..60).flat_map(|nth| [(nth, EIO), (nth, EMFILE)]) {
        let sim = SimDisk::new(1);
        let options = Options::new().segment_bytes(64 << 10);
        let mut writer = JournalWriter::open_simulated_with(&sim, options, Background::Nobody).unwrap();
        let mut last = Offset::ZERO;
        while writer.stats().rotations < 2 {
            last = writer.append(&[7; 9000]).unwrap().offset;
        }
        writer.cursors().unwrap().set("reader", last, crate::CursorKind::Pinned).unwrap();
        sim.fail_operation(nth, number, Failure::Once);
        let Err(error) = writer.cleanup() else { continue };
        let is_of_a_flush = number == EIO && error.to_string().starts_with("sync");
        let outcome = writer.append(b"after");
        assert_eq!(outcome.is_err_and(|error| error.is_failed()), is_of_a_flush, "operation {nth}: {error}");
        *(if is_of_a_flush { &mut of_flushes } else { &mut of_others }) += 1;
    }
    assert!(of_flushes > 2 && of_others > 2, "{of_flushes} {of_others}");
}

/// Found by reading: a flush that failed for a cursor was no concern of the commits that were flushed meanwhile.
#[test]
fn a_flush_that_failed_for_a_cursor_fails_the_next_commit() {
    const EMFILE: i32 = 24;
    for removes in [false, true] {
        let (mut of_flushes, mut of_others) = (0, 0);
        for (nth, number) in (1..20).flat_map(|nth| [(nth, EIO), (nth, EMFILE)]) {
            let sim = SimDisk::new(1);
            let options = Options::new().segment_bytes(64 << 10);
            let mut writer = JournalWriter::open_simulated(&sim, options).unwrap();
            let first = writer.append(b"first").unwrap().offset;
            let cursors = writer.cursors().unwrap();
            cursors.set("reader", first, crate::CursorKind::Pinned).unwrap();
            sim.fail_operation(nth, number, Failure::Once);
            let outcome = match removes {
                false => cursors.set("reader", first, crate::CursorKind::Advisory),
                true => cursors.remove("reader"),
            };
            let Err(error) = outcome else { continue };
            let is_of_a_flush = number == EIO && error.to_string().starts_with("sync");
            let outcome = writer.append(b"after");
            assert_eq!(
                outcome.is_err_and(|error| error.is_failed()),
                is_of_a_flush,
                "operation {nth}: {error}"
            );
            *(if is_of_a_flush { &mut of_flushes } else { &mut of_others }) += 1;
        }
        assert!(of_flushes > 1 && of_others > 1, "{of_flushes} {of_others}");
    }
}

/// Found by reading: closing a journal whose segment was full, with no descriptor left for the next one, was called an error of the
/// system's although nothing had failed.
#[test]
fn a_close_for_which_no_segment_can_be_made_is_one_without_a_mark() {
    const EMFILE: i32 = 24;
    let (mut passed, mut refused) = (0, 0);
    for nth in 1..=6 {
        for what in ["vouch", "close", "append"] {
            let sim = SimDisk::new(1);
            let options = Options::new().segment_bytes(64 << 10);
            let mut writer = JournalWriter::open_simulated(&sim, options).unwrap();
            writer.append(&[7; 61_440 - COMMIT_RECORD_BYTES - RECORD_HEADER_BYTES]).unwrap();
            sim.fail_operation(nth, EMFILE, Failure::Once);
            let outcome = match what {
                "vouch" => writer.vouch(),
                "close" => writer.close_in_place(),
                _ => writer.append(b"refused").map(drop),
            };
            match outcome {
                Ok(()) => passed += 1,
                Err(Error::Io { .. }) if what == "append" => {
                    refused += 1;
                    writer.append(b"taken").unwrap();
                }
                Err(error) => assert!(error.is_failed(), "{what}, operation {nth}: {error}"),
            }
        }
    }
    assert!(passed >= 6 && refused >= 3, "{passed} passed over, {refused} refused");
}

/// Found by reading: with two empty segments behind the one that is written, a killed writer's write landed there after it
/// had been looked at, and stayed behind the end.
#[test]
fn a_write_in_flight_into_the_third_last_segment_is_waited_for() {
    const SECOND: &str = "00000000000000061440.seg";
    let options = || Options::new().segment_bytes(64 << 10).recovery(crate::RecoveryPolicy::TruncateCorrupt);
    let open =
        |sim: &SimDisk| JournalWriter::open_simulated_with(sim, options(), Background::Caller).unwrap();
    let mut in_flight = 0;
    for seed in 0..300 {
        let sim = SimDisk::new(seed);
        let mut writer = open(&sim);
        while writer.stats().rotations < 1
            || sim.files().iter().filter(|name| name.ends_with(".seg")).count() < 3
        {
            writer.append(&[7; 25_000]).unwrap();
        }
        sim.process_kill();
        drop(writer);
        assert!(sim.rot(SECOND, 4096 + 5, &[1]));
        let mut writer = open(&sim);
        // Giving up removes what is empty but for the next one; this is one more than a writer makes.
        let segments = |sim: &SimDisk| sim.files().iter().filter(|name| name.ends_with(".seg")).count();
        assert_eq!(segments(&sim), 2);
        let header = writer.active.header;
        let surplus = SegmentHeader { base: header.end() + header.capacity, ..header };
        drop(create_segment(&*sim.disk(), surplus).unwrap());
        assert_eq!(segments(&sim), 3);
        sim.crash_at(1 + seed % 2);
        let _ = writer.append(&[9; 3000]);
        sim.process_kill();
        in_flight += u32::from(sim.is_write_in_flight());
        drop(writer);
        let writer = open(&sim);
        let active = &writer.active;
        let content = sim.content(&crate::format::file_name::segment(active.header.base)).unwrap();
        let end = usize::try_from(active.header.position_of(writer.durable_end)).unwrap();
        assert!(content[end..].iter().all(|byte| *byte == 0), "seed {seed}: something stands behind the end");
    }
    assert!(in_flight > 20, "{in_flight} writes were in flight");
}
