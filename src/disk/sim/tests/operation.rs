//! Operations that fail, wait, lock or are refused.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{BLOCK, ROOT, disk_with, errno, read_all, writer_on};
use crate::disk::sim::{Failure, SimDisk};
use crate::disk::{Entry, EntryKind};

#[test]
fn a_flush_that_failed_is_not_made_good_by_the_next() {
    let mut lost = 0;
    for seed in 0..100 {
        let (sim, disk, file) = disk_with(seed, 2 * BLOCK);
        file.write_at(&[4; BLOCK], 0).unwrap();
        sim.fail_operation(1, libc::EIO, Failure::Once);
        assert_eq!(errno(&file.sync().unwrap_err()), libc::EIO);
        assert_eq!(sim.retries_after_error(), 0);
        file.sync().unwrap();
        assert_eq!(sim.retries_after_error(), 1);
        assert_eq!(read_all(file.as_ref(), false)[..BLOCK], [4; BLOCK], "the cache shows new data");
        let device = read_all(file.as_ref(), true);
        drop((file, disk));
        sim.process_kill();
        let file = sim.disk().open_write(ROOT, "a").unwrap();
        file.sync().unwrap();
        assert_eq!(read_all(file.as_ref(), false)[..BLOCK], [4; BLOCK]);
        sim.power_cut();
        assert_eq!(sim.content("a").unwrap(), device, "seed {seed}");
        lost += u32::from(device != [[4; BLOCK], [0; BLOCK]].concat());
    }
    assert!(lost > 60, "{lost}");
}

#[test]
fn a_log_writer_counts_who_goes_on_after_an_error() {
    let (sim, disk, file) = disk_with(1, 2 * BLOCK);
    let mut writer = writer_on(disk.as_ref(), file, 7);
    sim.fail_operation(2, libc::ENOSPC, Failure::Once);
    let mut calls = 0;
    let error = writer.write_durably(0, BLOCK, &mut || calls += 1).unwrap_err();
    assert_eq!((errno(&error), sim.operations(), sim.injected().errors), (libc::ENOSPC, 3, 1));
    assert_eq!(sim.retries_after_error(), 0);
    writer.write_durably(0, BLOCK, &mut || calls += 1).unwrap_err();
    assert_eq!((calls, sim.retries_after_error(), sim.operations()), (2, 1, 3));
}

#[test]
fn handles_of_an_earlier_boot_are_dead() {
    let (sim, disk, file) = disk_with(1, BLOCK);
    let page = disk.open_page(ROOT, "a").unwrap();
    let mut writer = writer_on(disk.as_ref(), Arc::clone(&file), 7);
    sim.process_kill();
    let operations = sim.operations();
    let dead = |error: std::io::Error| assert_eq!(errno(&error), libc::ESHUTDOWN);
    dead(file.write_at(&[1], 0).unwrap_err());
    dead(file.len().unwrap_err());
    dead(file.read_at(&mut [0], 0).unwrap_err());
    dead(file.try_lock().unwrap_err());
    dead(disk.list(ROOT).unwrap_err());
    dead(disk.open_read(ROOT, "a").unwrap_err());
    dead(page.sync().unwrap_err());
    let mut calls = 0;
    dead(writer.write_durably(0, BLOCK, &mut || calls += 1).unwrap_err());
    dead(writer.attach(file).unwrap_err());
    page.store(0, &[1]);
    page.wait(0, Duration::from_secs(60));
    assert_eq!((calls, sim.operations(), page.load(0)), (1, operations, 0));
    assert_eq!(sim.content("a").unwrap(), vec![0; BLOCK]);
}

#[test]
fn a_full_disk_refuses_growth_and_takes_it_when_there_is_room() {
    let (sim, disk, file) = disk_with(1, BLOCK);
    sim.set_room(Some(3 * BLOCK as u64));
    let other = disk.create(ROOT, "b").unwrap();
    assert_eq!(errno(&other.allocate(4 * BLOCK as u64).unwrap_err()), libc::ENOSPC);
    assert_eq!(other.len().unwrap(), 0);
    assert!(other.allocate(2 * BLOCK as u64).unwrap());
    assert_eq!(other.written_until(0).unwrap(), 0);
    assert_eq!(other.written_from(5).unwrap(), 2 * BLOCK as u64);
    other.write_zeros(0, BLOCK as u64).unwrap();
    assert_eq!(other.written_until(5).unwrap(), BLOCK as u64);
    assert_eq!(
        (other.written_from(5).unwrap(), other.written_from(BLOCK as u64).unwrap()),
        (5, 2 * BLOCK as u64)
    );
    other.write_zeros(BLOCK as u64, BLOCK as u64).unwrap();
    assert_eq!(other.written_until(0).unwrap(), 2 * BLOCK as u64);
    file.write_at(&[1; BLOCK], 0).unwrap();
    assert_eq!(errno(&file.write_at(&[1; 2], BLOCK as u64).unwrap_err()), libc::ENOSPC);
    assert_eq!((file.len().unwrap(), sim.injected().errors), (BLOCK as u64, 2));
    disk.remove(ROOT, "b").unwrap();
    file.write_at(&[1; 2], BLOCK as u64).unwrap();
}

#[test]
fn short_writes_are_finished() {
    let (mut short, mut crashed) = (0, 0);
    for seed in 0..50 {
        let (sim, disk, file) = disk_with(seed, 4 * BLOCK);
        sim.short_writes(true);
        let copy = sim.snapshot(seed);
        let mut writer = writer_on(disk.as_ref(), file, 7);
        writer.write_durably(0, 4 * BLOCK, &mut || ()).unwrap();
        assert_eq!(writer.counts().writes, 1 + sim.injected().short_writes);
        short += sim.injected().short_writes;
        sim.power_cut();
        assert_eq!(sim.content("a").unwrap(), vec![7; 4 * BLOCK]);

        let disk = copy.disk();
        let mut writer = writer_on(disk.as_ref(), disk.open_write(ROOT, "a").unwrap(), 7);
        copy.crash_at(2);
        crashed += u32::from(writer.write_durably(0, 4 * BLOCK, &mut || ()).is_err());
    }
    assert!(short > 20);
    assert_eq!(crashed, 50);
}

#[test]
fn locks_keep_others_out_and_go_with_their_holder() {
    let (sim, disk, file) = disk_with(1, BLOCK);
    let other = disk.open_write(ROOT, "a").unwrap();
    assert!(file.try_lock().unwrap() && file.try_lock().unwrap());
    assert!(!other.try_lock().unwrap());
    assert!(other.is_locked().unwrap());
    let writer = writer_on(disk.as_ref(), Arc::clone(&file), 0);
    drop(file);
    assert!(other.is_locked().unwrap(), "the writer still has the file");
    drop(writer);
    assert!(!other.is_locked().unwrap());
    assert!(other.try_lock().unwrap());
    let guard = disk.lock_folder(ROOT, Duration::ZERO).unwrap();
    assert_eq!(disk.lock_folder(ROOT, Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
    sim.process_kill();
    let disk = sim.disk();
    assert!(disk.open_write(ROOT, "a").unwrap().try_lock().unwrap());
    let second = disk.lock_folder(ROOT, Duration::ZERO).unwrap();
    drop(guard);
    disk.lock_folder(ROOT, Duration::ZERO).unwrap_err();
    drop(second);
    disk.lock_folder(ROOT, Duration::ZERO).unwrap();
}

#[test]
fn an_announcement_ends_a_wait() {
    let (_sim, disk, _file) = disk_with(1, BLOCK);
    let page = disk.open_page(ROOT, "a").unwrap();
    let seen = page.announcements();
    std::thread::scope(|threads| {
        threads.spawn(|| page.wait(seen, Duration::from_secs(60)));
        page.announce();
    });
    assert_eq!(page.announcements(), seen + 1);
}

#[test]
fn a_lasting_failure_ends_with_a_crash() {
    let (sim, _disk, file) = disk_with(1, BLOCK);
    sim.fail_operation(2, libc::EROFS, Failure::Forever);
    file.write_at(&[1], 0).unwrap();
    for _ in 0..3 {
        assert_eq!(errno(&file.write_at(&[2], 0).unwrap_err()), libc::EROFS);
    }
    assert_eq!(sim.injected().errors, 3);
    sim.process_kill();
    sim.disk().open_write(ROOT, "a").unwrap().write_at(&[3], 0).unwrap();
}

#[test]
fn times_are_told_by_the_operations() {
    let (sim, _disk, file) = disk_with(1, BLOCK);
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    sim.set_clock(day);
    file.write_at(&[1], 0).unwrap();
    file.read_at(&mut [0], 0).unwrap();
    assert_eq!(file.modified().unwrap(), day + Duration::from_secs(1));
}

#[test]
fn the_image_can_be_looked_at_and_changed() {
    let sim = SimDisk::new(1);
    sim.set_content("cut/piece", vec![1]);
    sim.set_content("a", vec![2]);
    sim.power_cut();
    assert_eq!(sim.files(), ["a", "cut/piece"]);
    assert_eq!((sim.content("cut/piece"), sim.content("cut/other")), (Some(vec![1]), None));
    sim.remove_file("a").unwrap();
    assert_eq!(sim.remove_file("a").unwrap_err().kind(), ErrorKind::NotFound);
    let kinds = sim.disk().list(ROOT).unwrap();
    assert_eq!(kinds, [Entry { name: "cut".into(), kind: EntryKind::Folder }]);
    assert_eq!(sim.disk().open_read(ROOT, "cut").unwrap_err().kind(), ErrorKind::InvalidInput);
}
