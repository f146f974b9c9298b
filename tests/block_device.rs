//! Below a real file system: images of a block device as a power cut may leave it, a device that fails one write, and a
//! device so slow that the next process comes before the killed one's write has landed.
#![cfg(feature = "group-commit")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;
mod strict_fs;
mod workload;

use std::time::Duration;

use ringwal::{Error, JournalWriter};

use strict_fs::block::{DISK, FileSystem, Recorded, Volume};

/// Images in all, shared out among the file systems; `RINGWAL_IMAGES` sets another number.
const IMAGES: u64 = 200;
const IMAGES_A_RUN: u64 = 10;
/// Races with a slow disk; `RINGWAL_RACES` sets another number.
const RACES: u64 = 100;
const RACES_A_DEVICE: u64 = 10;
/// Writes that the device fails; `RINGWAL_DEVICE_FAILURES` sets another number.
const FAILURES: u64 = 12;
const EIO: i32 = 5;
/// The length of a commit record's payload, marked as a control record.
const COMMIT_BEGINS: [u8; 4] = [64, 0, 0, 0x80];

fn wanted(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Checks the journal on an image of the device: how many records it has. `None` where ext4 itself refuses the image: its own
/// journal's checksum of a whole block does not hold when one of the block's sectors is missing.
fn check_image(
    image: &[u8],
    kind: FileSystem,
    acknowledged: &workload::Acknowledged,
    what: &str,
) -> Option<u64> {
    let (_keep, path) = common::fast_journal_directory();
    std::fs::write(&path, image).expect("an image");
    let volume = match Volume::mount(&path, kind) {
        Ok(volume) => volume,
        Err(error) => {
            let is_its_own = kind.name() == "ext4" && error.to_string().contains("Structure needs cleaning");
            assert!(is_its_own, "{what}: {error}");
            return None;
        }
    };
    if acknowledged.is_empty() && !volume.journal().exists() {
        return Some(0);
    }
    Some(workload::check(&volume.journal(), acknowledged, what))
}

/// Stops the device at some operation and looks at images of it, until this file system has had its share.
fn check_images(test: &str, kind: FileSystem) {
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    if strict_fs::block::skip(test, kind) {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let wanted = wanted("RINGWAL_IMAGES", IMAGES).div_ceil(FileSystem::ALL.len() as u64);
    let (mut images, mut lost, mut records, mut acknowledgements, mut refused) = (0, 0, 0, 0, 0);
    for choice in 0.. {
        // A device that is stopped right after a flush has nothing to lose: a run of bad luck goes on.
        if images >= wanted && (lost > 0 || images >= 4 * wanted) {
            break;
        }
        let recorded = Recorded::new(kind).expect("a recorded device");
        let after = random.u64(1..1200);
        {
            let mut state = recorded.below.shared.lock();
            state.faults.stops_at = Some(state.operations + after);
        }
        let mut child = common::child(test, &workload::argument(&recorded.volume.journal(), choice));
        let acknowledged = workload::listen(&mut child, usize::MAX);
        child.wait().expect("our child");
        acknowledgements += acknowledged.len();
        let model = recorded.below.shared.lock().model.clone();
        drop(recorded);
        for _ in 0..IMAGES_A_RUN {
            let (image, gone) = model.leave_file(DISK, kind.whole(), &mut random).expect("the device's file");
            lost += gone;
            let what = format!("{kind:?}, seed {seed}, run {choice}, stopped after {after}");
            match check_image(&image, kind, &acknowledged, &what) {
                Some(found) => (images, records) = (images + 1, records + found),
                None => refused += 1,
            }
            // All images of one stop have much in common.
            assert!(refused <= 2 * IMAGES_A_RUN, "{what}: the file system refuses {refused} images");
        }
    }
    println!(
        "{kind:?}: {images} images without {lost} sectors, and {refused} that the file system refuses; \
         {acknowledgements} acknowledgements, {records} records found"
    );
    assert!(images >= wanted && lost > 0 && acknowledgements > 100 && records > 100);
}

#[test]
fn no_image_that_a_power_cut_leaves_of_ext4_misses_anything_acknowledged() {
    check_images("no_image_that_a_power_cut_leaves_of_ext4_misses_anything_acknowledged", FileSystem::Ext4);
}

/// Whatever goes past the page cache must be whole blocks there.
#[test]
fn no_image_that_a_power_cut_leaves_of_a_disk_with_large_blocks_misses_anything_acknowledged() {
    check_images(
        "no_image_that_a_power_cut_leaves_of_a_disk_with_large_blocks_misses_anything_acknowledged",
        FileSystem::Ext4In4096,
    );
}

#[test]
fn no_image_that_a_power_cut_leaves_of_xfs_misses_anything_acknowledged() {
    check_images("no_image_that_a_power_cut_leaves_of_xfs_misses_anything_acknowledged", FileSystem::Xfs);
}

#[test]
fn no_image_that_a_power_cut_leaves_of_btrfs_misses_anything_acknowledged() {
    check_images("no_image_that_a_power_cut_leaves_of_btrfs_misses_anything_acknowledged", FileSystem::Btrfs);
}

#[test]
fn after_a_write_that_the_device_failed_nothing_is_served_that_it_does_not_hold() {
    const TEST: &str = "after_a_write_that_the_device_failed_nothing_is_served_that_it_does_not_hold";
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    let kinds = strict_fs::block::at_hand(TEST);
    if kinds.is_empty() {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut failed, mut acknowledgements) = (0, 0);
    for (choice, &kind) in (0..wanted("RINGWAL_DEVICE_FAILURES", FAILURES)).zip(kinds.iter().cycle()) {
        let recorded = Recorded::new(kind).expect("a recorded device");
        {
            let mut state = recorded.below.shared.lock();
            let now = state.operations;
            state.faults.fails_at = Some((now + random.u64(100..600), EIO));
            state.faults.fails_with = Some(&COMMIT_BEGINS);
            state.faults.stops_at = Some(now + 1200);
        }
        let mut child = common::child(TEST, &workload::argument(&recorded.volume.journal(), random.u64(..4)));
        let acknowledged = workload::listen(&mut child, usize::MAX);
        child.wait().expect("our child");
        acknowledgements += acknowledged.len();
        let (model, errors) = {
            let state = recorded.below.shared.lock();
            (state.model.clone(), state.failed)
        };
        failed += errors;
        drop(recorded);
        let (image, _) = model.leave_file(DISK, kind.whole(), &mut random).expect("the device's file");
        let what = format!("{kind:?}, seed {seed}, run {choice}");
        check_image(&image, kind, &acknowledged, &what);
    }
    println!("{failed} writes failed; {acknowledgements} acknowledgements");
    assert!(failed > 0 && acknowledgements > 100);
}

#[test]
fn a_new_writer_waits_for_the_write_of_a_killed_one_on_a_slow_disk() {
    const TEST: &str = "a_new_writer_waits_for_the_write_of_a_killed_one_on_a_slow_disk";
    if let Some(argument) = common::child_argument() {
        return workload::write_until_it_fails(&argument);
    }
    let kinds = strict_fs::block::at_hand(TEST);
    if kinds.is_empty() {
        return;
    }
    let seed = common::seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let wanted = wanted("RINGWAL_RACES", RACES);
    let (mut races, mut held, mut records) = (0, 0, 0);
    for &kind in kinds.iter().cycle() {
        if races >= wanted {
            break;
        }
        let recorded = Recorded::new(kind).expect("a recorded device");
        let journal = recorded.volume.journal();
        let mut acknowledged = workload::Acknowledged::new();
        for _ in 0..RACES_A_DEVICE {
            let mut child = common::child(TEST, &workload::argument(&journal, random.u64(..4)));
            acknowledged.extend(workload::listen(&mut child, random.usize(1..60)));
            recorded.below.shared.lock().faults.delay = Duration::from_millis(random.u64(5..25));
            // So that the kill meets a write in flight.
            acknowledged.extend(workload::listen(&mut child, 2));
            child.kill().expect("the child is ours to kill");
            // What is in flight is as slow as it was; what comes now is fast.
            recorded.below.shared.lock().faults.delay = Duration::ZERO;
            let impatient = JournalWriter::open(&journal, workload::options().lock_wait(Duration::ZERO));
            held += u64::from(matches!(impatient, Err(Error::Locked { .. })));
            drop(impatient);
            let what = format!("{kind:?}, seed {seed}, race {races}");
            records += workload::check(&journal, &acknowledged, &what);
            child.wait().expect("our child");
            races += 1;
        }
    }
    println!(
        "{races} races, {held} in which a write was in flight and held the lock; {records} records found"
    );
    assert!(races >= wanted && held > 0 && records > 100);
}

/// Found by reading: XFS refused to reserve what a segment had already, and a sound journal could not be opened.
#[test]
fn a_journal_on_a_full_file_system_is_opened_and_goes_on_in_the_space_that_it_has() {
    const TEST: &str = "a_journal_on_a_full_file_system_is_opened_and_goes_on_in_the_space_that_it_has";
    for kind in [FileSystem::Ext4, FileSystem::Xfs] {
        if strict_fs::block::skip(TEST, kind) {
            continue;
        }
        let recorded = Recorded::new(kind).expect("a recorded device");
        let journal = recorded.volume.journal();
        let options = || ringwal::Options::new().segment_bytes(4 << 20);
        let mut writer = JournalWriter::open(&journal, options()).expect("a new journal");
        writer.append(b"before").expect("an append");
        writer.close().expect("a close");
        fill_up(&journal.with_file_name("ballast"));
        // More than the megabyte that a new segment is written ahead.
        for opening in 1..=2 {
            let mut writer =
                JournalWriter::open(&journal, options()).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
            for _ in 0..10 {
                writer.append(&[7; 128 << 10]).unwrap_or_else(|e| panic!("{kind:?}, opening {opening}: {e}"));
            }
            writer.close().expect("a close");
        }
        let records = ringwal::JournalReader::open(&journal).expect("a reader");
        assert_eq!(records.iter_from(ringwal::Offset::ZERO).expect("records").count(), 21, "{kind:?}");
    }
}

/// Found by reading: where every write goes to a new place, a full disk ended whoever stored to the watermark by a signal, the
/// process that appends and those that follow.
#[test]
fn a_full_file_system_that_writes_elsewhere_is_an_error_and_no_signal() {
    const TEST: &str = "a_full_file_system_that_writes_elsewhere_is_an_error_and_no_signal";
    if strict_fs::block::skip(TEST, FileSystem::Btrfs) {
        return;
    }
    let recorded = Recorded::new(FileSystem::Btrfs).expect("a recorded device");
    let journal = recorded.volume.journal();
    let mut writer =
        JournalWriter::open(&journal, ringwal::Options::new().segment_bytes(4 << 20)).expect("a new journal");
    writer.append(b"before").expect("an append");
    let reader = ringwal::JournalReader::open(&journal).expect("a reader");
    let mut follow = reader.follow(writer.durable_end()).expect("a follower");
    // From here on the page's next change needs a place of its own.
    std::fs::File::open(journal.join("watermark")).and_then(|file| file.sync_all()).expect("a flush");
    fill_up(&journal.with_file_name("ballast"));
    let refused = (0..2000).find_map(|_| writer.append(&[7; 4096]).err());
    let refused = refused.expect("a disk without room");
    assert!(refused.is_failed() || matches!(refused, ringwal::Error::DiskFull { .. }), "{refused}");
    while let Ok(Some(_)) = follow.next_timeout(std::time::Duration::from_millis(1)) {}
    drop(writer);
    drop((follow, reader));
}

/// Found by reading: a watermark with holes, as some copies make them of zeros, ended whoever stored to it by a signal once the
/// file system was full.
#[test]
fn a_full_file_system_of_small_blocks_is_no_signal_where_the_watermark_has_holes() {
    const TEST: &str = "a_full_file_system_of_small_blocks_is_no_signal_where_the_watermark_has_holes";
    if let Some(journal) = common::child_argument() {
        let mut writer = JournalWriter::open(&journal, workload::options()).expect("a sound journal");
        writer.append(b"in the space that it has").expect("an append");
        return;
    }
    if strict_fs::block::skip(TEST, FileSystem::Ext4Of1024) {
        return;
    }
    let recorded = Recorded::new(FileSystem::Ext4Of1024).expect("a recorded device");
    let journal = recorded.volume.journal();
    let mut writer = JournalWriter::open(&journal, workload::options()).expect("a new journal");
    writer.append(b"before").expect("an append");
    writer.close().expect("a close");
    let (watermark, copy) = (journal.join("watermark"), journal.join("copy"));
    let copied = std::process::Command::new("cp").arg("--sparse=always").arg(&watermark).arg(&copy).status();
    assert!(copied.expect("cp").success());
    std::fs::rename(copy, &watermark).expect("a rename");
    std::fs::File::open(&watermark).and_then(|file| file.sync_all()).expect("a flush");
    fill_up(&journal.with_file_name("ballast"));
    let ended = common::child(TEST, &journal).wait().expect("our child");
    assert!(ended.success(), "{ended}");
}

/// Writes until the file system has no room for another block.
fn fill_up(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("a file");
    // What was only promised to a write may turn out to be less when it is placed.
    for _ in 0..3 {
        for bytes in [1 << 20, 4096] {
            let refusal = std::iter::repeat_with(|| file.write_all(&vec![1; bytes])).find_map(Result::err);
            assert_eq!(refusal.expect("a refusal").kind(), std::io::ErrorKind::StorageFull);
        }
        file.sync_all().expect("a flush");
    }
}
