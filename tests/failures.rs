//! Devices that fail, disks that fill up, threads that panic, handles that go away: nobody waits for ever, nothing is
//! acknowledged that is not durable, and what was acknowledged stays.
#![cfg(all(feature = "sim", feature = "group-commit"))]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringwal::sim::{Failure, SimDisk};
use ringwal::{
    Error, Journal, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy, TrySubmitError,
};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).idle_commit(None)
}

/// Fails the device under eight appending threads; gives what was acknowledged and how many threads were refused.
fn fail_under_load(disk: &SimDisk, nth: u64, errno: i32, how: Failure) -> (Vec<(Offset, u64)>, u64) {
    let journal = Journal::open_simulated(disk, options()).expect("a new journal");
    let number = AtomicU64::new(0);
    let refused = AtomicU64::new(0);
    let after_failure = AtomicBool::new(false);
    disk.fail_operation(nth, errno, how);
    let acknowledged = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut acknowledged = Vec::new();
                    for _ in 0..200 {
                        let mine = number.fetch_add(1, Ordering::Relaxed);
                        let was_failed = after_failure.load(Ordering::SeqCst);
                        match journal.append(&mine.to_le_bytes()) {
                            Ok(receipt) => {
                                assert!(!was_failed, "an acknowledgement after a failure");
                                acknowledged.push((receipt.offset, mine));
                            }
                            // The fault hit the preparation of a segment: a definite refusal, and the journal goes on.
                            Err(Error::DiskFull { .. } | Error::Io { .. }) => {}
                            Err(error) => {
                                assert!(error.is_failed(), "{error}");
                                after_failure.store(true, Ordering::SeqCst);
                                refused.fetch_add(1, Ordering::Relaxed);
                                return acknowledged;
                            }
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    if refused.load(Ordering::Relaxed) > 0 {
        // From now on everybody is told the first cause, and nothing touches the disk.
        let before = disk.operations();
        let error = journal.append(b"late").expect_err("refused");
        let Error::Failed { first } = &error else { panic!("{error}") };
        assert!(matches!(**first, Error::Io { .. }), "{first}");
        assert!(journal.submit(b"late".to_vec()).is_err() && journal.sync().is_err());
        assert!(matches!(journal.try_submit(vec![1]), Err(TrySubmitError::Refused { .. })));
        assert!(journal.wait_durable(Offset::MAX).is_err());
        assert!(journal.close().is_err() && journal.append_batch(&[b"late"]).is_err());
        assert_eq!(disk.operations(), before, "a failed journal went on using the disk");
    }
    drop(journal);
    (acknowledged, refused.into_inner())
}

/// Whatever was acknowledged is there after a power cut, or its range is named as damaged.
fn check_after_failure(disk: &SimDisk, acknowledged: &[(Offset, u64)]) {
    disk.power_cut();
    let writer = JournalWriter::open_simulated(disk, options()).expect("a failure is not damage");
    let reader = writer.reader().expect("a reader");
    for (offset, number) in acknowledged {
        assert_eq!(reader.read(*offset).expect("an acknowledged record").payload, number.to_le_bytes());
    }
    drop(writer);
    assert_eq!(disk.retries_after_error(), 0, "a failed write or flush was tried again");
}

#[test]
fn a_failing_write_or_flush_poisons_the_journal_and_everyone_returns() {
    let mut random = fastrand::Rng::with_seed(common::seed());
    let (mut failures, mut injected) = (0, 0);
    for round in 0..120 {
        let disk = SimDisk::new(random.u64(..));
        let errno = [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::ECANCELED, libc::ENOMEM][round % 5];
        let how = if random.bool() { Failure::Once } else { Failure::Forever };
        // The commits' writes and flushes come in turn: every place from the first to far on is hit.
        let (acknowledged, refused) = fail_under_load(&disk, random.u64(1..120), errno, how);
        failures += u64::from(refused > 0);
        injected += disk.injected().errors;
        disk.clear_faults();
        check_after_failure(&disk, &acknowledged);
    }
    println!("{injected} errors injected, {failures} journals failed");
    assert!(injected >= 120 && failures >= 60, "{injected} errors, {failures} failed journals");
}

#[test]
fn every_operation_of_a_short_life_can_fail_and_nothing_acknowledged_is_lost() {
    let mut reached = 0;
    for nth in 1.. {
        let disk = SimDisk::new(nth);
        disk.fail_operation(nth, libc::EIO, Failure::Once);
        let mut acknowledged = Vec::new();
        let lived = live(&disk, &mut acknowledged);
        let was_hit = disk.injected().errors > 0;
        disk.clear_faults();
        disk.power_cut();
        let writer = JournalWriter::open_simulated(&disk, options())
            .unwrap_or_else(|error| panic!("operation {nth}: {error}, after {lived:?}"));
        let reader = writer.reader().expect("a reader");
        for (offset, payload) in &acknowledged {
            let record = reader.read(*offset);
            assert!(
                matches!(&record, Ok(record) if record.payload == *payload)
                    || matches!(&record, Err(Error::BelowFloor { .. })),
                "operation {nth}: {record:?}"
            );
        }
        drop(writer);
        assert_eq!(disk.retries_after_error(), 0, "operation {nth}");
        if !was_hit {
            assert!(lived.is_ok(), "operation {nth}: {lived:?} without a fault");
            break;
        }
        reached = nth;
    }
    println!("{reached} operations failed one by one");
    assert!(reached > 60, "a life of only {reached} operations");
}

/// Opens, appends over a change of segments, sets a cursor, cleans up, closes, opens again.
fn live(disk: &SimDisk, acknowledged: &mut Vec<(Offset, Vec<u8>)>) -> ringwal::Result<()> {
    for life in 0..2_u8 {
        let mut writer = JournalWriter::open_simulated(disk, options())?;
        for number in 0..12_u8 {
            let payload = vec![number ^ life; 9000];
            let receipt = writer.append(&payload)?;
            acknowledged.push((receipt.offset, payload));
        }
        let (last, _) = acknowledged.last().expect("a record");
        writer.cursors()?.set("reader", *last, ringwal::CursorKind::Pinned)?;
        writer.cleanup()?;
        let reader = writer.reader()?;
        for record in reader.iter_from(reader.floor()?)? {
            record?;
        }
        writer.close()?;
    }
    Ok(())
}

/// The last row of the recovery table.
#[test]
fn row_unreadable_an_error_of_the_device_is_never_taken_for_a_torn_end() {
    let mut refusals = 0;
    for policy in [RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt, RecoveryPolicy::Strict]
    {
        for nth in 1.. {
            let disk = SimDisk::new(nth);
            let mut writer = JournalWriter::open_simulated(&disk, options()).expect("a new journal");
            let receipts: Vec<_> =
                (0..10_u8).map(|byte| writer.append(&vec![byte; 9000]).expect("an append")).collect();
            disk.process_kill();
            drop(writer);
            disk.fail_operation(nth, libc::EIO, Failure::Forever);
            let opened = JournalWriter::open_simulated(&disk, options().recovery(policy));
            let was_hit = disk.injected().errors > 0;
            if let Err(error) = &opened {
                assert!(matches!(error, Error::Io { .. }), "operation {nth} under {policy}: {error}");
                refusals += 1;
            }
            disk.process_kill();
            drop(opened);
            let writer =
                JournalWriter::open_simulated(&disk, options()).expect("the device gives the bytes again");
            let reader = writer.reader().expect("a reader");
            for receipt in &receipts {
                reader.check_receipt(receipt).expect("nothing was cut");
            }
            if !was_hit {
                break;
            }
        }
    }
    println!("{refusals} refusals");
    assert!(refusals > 60, "only {refusals} refusals");
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_heals_without_reopening() {
    let disk = SimDisk::new(1);
    let journal = Journal::open_simulated(&disk, options()).expect("a new journal");
    let mut kept = vec![journal.append(&[1; 30_000]).expect("the first")];
    // The background thread has made the second segment or is told now that there is no room for it: take all of it.
    let mut number = 0_u8;
    disk.set_room(Some(0));
    let error = loop {
        match journal.append(&vec![number; 30_000]) {
            Ok(receipt) => kept.push(receipt),
            Err(error) => break error,
        }
        number += 1;
        assert!(number < 10, "a full disk takes everything");
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let small = journal.append(b"still fits into what is left").expect("what fits goes on");
    kept.push(small);
    assert!(matches!(journal.append(&[9; 30_000]), Err(Error::DiskFull { .. })), "still full");
    disk.set_room(None);
    kept.push(journal.append(&[7; 30_000]).expect("there is room again, without reopening"));
    for receipt in &kept {
        journal.reader().check_receipt(receipt).expect("everything acknowledged is there");
    }
    assert_eq!(
        journal.iter_from(Offset::ZERO).expect("records").count(),
        kept.len(),
        "and nothing that was refused"
    );
    journal.close().expect("a healthy journal closes");
}

#[test]
fn on_a_full_disk_everybody_who_is_refused_is_woken() {
    let disk = SimDisk::new(1);
    // Without idle commits nothing but the refused themselves would wake anybody.
    let options = options().idle_commit(None);
    let journal = std::sync::Arc::new(Journal::open_simulated(&disk, options).expect("a new journal"));
    disk.set_room(Some(0));
    while journal.append(&[1; 30_000]).is_ok() {}
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let (journal, tell) = (journal.clone(), tell.clone());
        std::thread::spawn(move || {
            let refused = |_: &i32| matches!(journal.append(&[2; 30_000]), Err(Error::DiskFull { .. }));
            tell.send((0..200).filter(refused).count())
        });
    }
    for _ in 0..4 {
        let refused = told.recv_timeout(Duration::from_secs(30)).expect("a refused append was not woken");
        assert_eq!(refused, 200);
    }
    disk.set_room(None);
    journal.append(&[3; 30_000]).expect("there is room again");
}

#[test]
fn a_real_file_system_that_fills_up_and_is_freed_again() {
    let Some(mount) = SmallFileSystem::mount(2 << 20) else {
        println!("skipped: mounting a small tmpfs needs root");
        return;
    };
    let directory = mount.path().join("journal");
    let filler = mount.path().join("filler");
    let journal = Journal::open(&directory, Options::new().segment_bytes(256 << 10)).expect("a new journal");
    std::fs::write(&filler, vec![1; 1 << 20]).expect("room for the filler");
    let mut appended = 0;
    let error = loop {
        match journal.append(&[5; 20_000]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        assert!(appended < 200, "two MiB take everything");
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    std::fs::remove_file(&filler).expect("the filler");
    journal.append(&[6; 20_000]).expect("there is room again, without reopening");
    journal.close().expect("a close");
    let reader = JournalReader::open(&directory).expect("a reader");
    assert_eq!(reader.iter_from(Offset::ZERO).expect("records").count(), appended + 1);
    assert!(reader.verify(&Default::default(), &mut |_| ()).expect("a verification").is_sound());
}

/// A tmpfs of so many bytes, unmounted when dropped.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    fn mount(bytes: u64) -> Option<Self> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={bytes},mode=0700");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let status = mount.stderr(std::process::Stdio::null()).status().ok()?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).ok()?;
        status.success().then_some(Self(directory))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn a_panic_of_the_commit_thread_is_told_to_everyone_and_nothing_acknowledged_is_lost() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new()).expect("a new journal");
    let kept = journal.append(b"before").expect("an append");
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while journal.append(b"more").is_ok() {}
                refused.fetch_add(1, Ordering::Relaxed);
            });
        }
        let tickets: Vec<_> = (0..100).map_while(|_| journal.submit(b"ticket".to_vec()).ok()).collect();
        journal.panic_commit_thread();
        for ticket in tickets {
            // Durable or refused, but answered.
            let _ = ticket.wait();
        }
    });
    assert_eq!(refused.into_inner(), 4);
    let error = journal.append(b"after").expect_err("refused");
    let Error::Failed { first } = &error else { panic!("{error}") };
    assert!(matches!(&**first, Error::Panicked { message } if message.contains("told to panic")), "{first}");
    assert!(journal.follow(Offset::ZERO).expect("reading goes on").next_timeout(Duration::ZERO).is_ok());
    drop(journal);
    let journal = Journal::open(&directory, Options::new()).expect("the locks are free");
    assert_eq!(journal.read(kept.offset).expect("a read").payload, b"before");
}

#[test]
fn what_a_panic_interrupts_is_not_said_to_be_closed() {
    let (_keep, directory) = common::journal_directory();
    // So long the commit thread waits for more before it writes: the panic finds the record taken.
    let options = Options::new().linger(Duration::from_millis(500));
    let journal = Journal::open(&directory, options).expect("a new journal");
    let ticket = journal.submit(b"interrupted".to_vec()).expect("a ticket");
    journal.panic_commit_thread();
    let error = ticket.wait().expect_err("nobody wrote it");
    let Error::Failed { first } = &error else { panic!("{error}") };
    assert!(matches!(&**first, Error::Panicked { message } if message.contains("told to panic")), "{first}");
}

#[test]
fn dropping_or_closing_with_appends_in_flight_answers_every_one_of_them() {
    for round in 0..30 {
        let (_keep, directory) = common::journal_directory();
        let journal =
            Journal::open(&directory, Options::new().segment_bytes(1 << 20)).expect("a new journal");
        let tickets: Vec<_> = (0..300_u32)
            .map(|number| (number, journal.submit(number.to_le_bytes()).expect("a ticket")))
            .collect();
        if round % 2 == 0 {
            drop(journal);
        } else {
            std::thread::scope(|scope| {
                let racing = scope.spawn(|| (0..).map_while(|_| journal.append(b"racing").ok()).count());
                journal.close().expect("a close");
                racing.join().expect("an answer");
            });
            assert!(matches!(journal.append(b"late"), Err(Error::Closed)));
            journal.close().expect("closing again does nothing");
        }
        let reader = JournalReader::open(&directory).expect("a reader");
        for (number, ticket) in tickets {
            let receipt = ticket.wait().expect("submitted before the close, so durable");
            assert_eq!(reader.read(receipt.offset).expect("a read").payload, number.to_le_bytes());
        }
    }
}

#[test]
fn a_full_queue_gives_the_payload_back() {
    let (_keep, directory) = common::journal_directory();
    let journal = Journal::open(&directory, Options::new().queue_depth(1)).expect("a new journal");
    let mut tickets = Vec::new();
    let payload = loop {
        match journal.try_submit(vec![3; 5000]) {
            Ok(ticket) => tickets.push(ticket),
            Err(TrySubmitError::Full { payload }) => break payload,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(payload, vec![3; 5000]);
    for ticket in tickets {
        ticket.wait().expect("what was taken is durable");
    }
}

/// Found by reading: after a close whose watermark could not be flushed, appends were told of that, and not that the journal was
/// closed.
#[test]
fn what_comes_after_a_close_is_told_of_the_close_although_the_watermark_was_not_flushed() {
    let mut unflushed = 0;
    // Which operation it is depends on what the background has done by then.
    for nth in (1..40).cycle().take(400) {
        let disk = SimDisk::new(1);
        let journal = Journal::open_simulated(&disk, options()).expect("a new journal");
        journal.append(b"kept").expect("an append");
        disk.fail_operation(nth, libc::EIO, Failure::Once);
        let closed = journal.close();
        if matches!(closed, Err(Error::Io { .. })) {
            unflushed += 1;
            let late = journal.append(b"late");
            assert!(matches!(late, Err(Error::Closed)), "{late:?}");
        }
    }
    assert!(unflushed > 0, "no flush of the watermark failed");
}

/// Found by reading: while others were refused without end, and did not wait for it, nobody who waited was woken.
#[test]
fn a_flood_of_refused_records_keeps_nobody_waiting() {
    let disk = SimDisk::new(1);
    let options = options().idle_commit(None);
    let journal = std::sync::Arc::new(Journal::open_simulated(&disk, options).expect("a new journal"));
    disk.set_room(Some(0));
    while journal.append(b"x").is_ok() {}
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = |_| {
        let (journal, is_over) = (journal.clone(), is_over.clone());
        std::thread::spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                drop(journal.submit(b"y"));
            }
        })
    };
    let flooding: Vec<_> = (0..4).map(flood).collect();
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = journal.clone();
    std::thread::spawn(move || {
        for _ in 0..100 {
            let refused = matches!(waiting.append(b"z"), Err(Error::DiskFull { .. }));
            tell.send(refused && waiting.sync().is_ok()).expect("somebody who listens");
        }
    });
    for _ in 0..100 {
        assert!(told.recv_timeout(Duration::from_secs(10)).expect("whoever waited was not woken"));
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in flooding {
        thread.join().expect("a thread");
    }
}

/// Found by a test of ours that met a full disk: to find that there is not room enough for a segment the file system first took all
/// there was, from everybody.
#[test]
fn a_segment_for_which_there_is_no_room_takes_none_from_others() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let Some(mount) = SmallFileSystem::mount(256 << 20) else {
        println!("skipped: mounting a small tmpfs needs root");
        return;
    };
    // What is larger than all of it tmpfs refuses at once; this would fit if it were empty.
    std::fs::write(mount.path().join("filler"), vec![1; 128 << 20]).expect("room for the filler");
    let (file, is_over) = (mount.path().join("somebody else's"), AtomicBool::new(false));
    let others = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                std::fs::write(&file, [1; 10_000]).expect("room for others");
                written += 1;
            }
            written
        });
        for number in 0..20 {
            let directory = mount.path().join(number.to_string());
            let error = Journal::open(directory, Options::new().segment_bytes(192 << 20)).map(drop);
            assert!(matches!(error, Err(Error::DiskFull { .. })), "{error:?}");
        }
        is_over.store(true, Ordering::Relaxed);
        writing.join().expect("whoever else writes")
    });
    assert!(others > 0);
}
