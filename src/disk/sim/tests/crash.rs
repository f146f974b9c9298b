//! Power cuts, kills and frozen disks: what is left.

use std::io::ErrorKind;

use super::{BLOCK, ROOT, disk_with, errno, writer_on};
use crate::disk::sim::{Failure, Injected, SimDisk};
use crate::disk::{Entry, EntryKind, Folder};

#[test]
fn what_was_synced_stays_and_what_was_not_may_vanish() {
    let (mut all, mut none, mut longer) = (0, 0, 0);
    let mut injected = Injected::default();
    for seed in 0..300 {
        let (sim, _disk, file) = disk_with(seed, BLOCK);
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
        file.write_at(&[3; 512], 5 * 512 + 4096).unwrap();
        sim.power_cut();
        let left = sim.content("a").unwrap();
        assert_eq!(left[..512], [1; 512], "seed {seed}");
        // Rewritten with other bytes: anything may stand there. Never touched: zeros.
        assert_eq!(left[1536..4096], [0; 2560], "seed {seed}");
        all += u32::from(left[512..1536] == [2; 1024]);
        none += u32::from(left[512..1024] == [1; 512] && left[1024..1536] == [0; 512]);
        longer += u32::from(left.len() == 5 * 512 + 4096 + 512);
        let now = sim.injected();
        injected.sectors_torn += now.sectors_torn;
        injected.sectors_garbage += now.sectors_garbage;
        injected.sectors_dropped += now.sectors_dropped;
    }
    assert!(all > 20 && none > 20 && (50..250).contains(&longer), "{all} {none} {longer}");
    assert!(injected.sectors_torn > 20 && injected.sectors_garbage > 20 && injected.sectors_dropped > 20);
}

#[test]
fn a_durable_log_write_survives_and_its_neighbours_need_not() {
    let mut neighbour_lost = 0;
    for seed in 0..100 {
        let (sim, disk, file) = disk_with(seed, BLOCK);
        file.write_at(&[9; BLOCK], 0).unwrap();
        let mut writer = writer_on(disk.as_ref(), file, 7);
        let mut calls = 0;
        writer.write_durably(BLOCK as u64, 2 * BLOCK, &mut || calls += 1).unwrap();
        assert_eq!((calls, writer.counts().bytes, writer.counts().flushes), (1, 8192, 1));
        sim.power_cut();
        let left = sim.content("a").unwrap();
        assert_eq!(left[BLOCK..], [7; 2 * BLOCK], "seed {seed}");
        neighbour_lost += u32::from(left[..BLOCK] != [9; BLOCK]);
    }
    assert!((20..100).contains(&neighbour_lost));
}

#[test]
fn bytes_rewritten_with_the_same_value_survive_only_where_overwrites_are_powersafe() {
    for powersafe in [true, false] {
        let mut damaged = 0;
        for seed in 0..200 {
            let (sim, _disk, file) = disk_with(seed, BLOCK);
            sim.powersafe_overwrite(powersafe);
            sim.set_content("a", vec![5; BLOCK]);
            let mut block = [5; BLOCK];
            block[100..].fill(6);
            file.write_at(&block, 0).unwrap();
            sim.power_cut();
            damaged += u32::from(sim.content("a").unwrap()[..100] != [5; 100]);
        }
        assert_eq!(damaged == 0, powersafe, "{damaged}");
    }
}

#[test]
fn where_bytes_are_whole_each_is_old_or_new_and_in_others_there_is_garbage() {
    for whole in [true, false] {
        let (mut mixed, mut garbage) = (0, 0);
        for seed in 0..200 {
            let sim = SimDisk::new(seed);
            if whole {
                sim.whole_bytes("b.new");
            }
            let disk = sim.disk();
            let file = disk.create(Folder::Root, "b.new").unwrap();
            file.write_at(&[5; BLOCK], 0).unwrap();
            file.sync().unwrap();
            disk.rename((Folder::Root, "b.new"), (Folder::Root, "b")).unwrap();
            disk.sync_folder(Folder::Root).unwrap();
            file.write_at(&[6; BLOCK], 0).unwrap();
            sim.power_cut();
            let content = sim.content("b").unwrap();
            garbage += content.iter().filter(|byte| ![5, 6].contains(*byte)).count();
            mixed += content.windows(3).filter(|bytes| **bytes == [5, 6, 5]).count();
        }
        assert_eq!((mixed > 0, garbage == 0), (whole, whole), "{mixed} {garbage}");
    }
}

#[test]
fn unsynced_names_survive_or_not_and_synced_ones_do() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (sim, disk, _file) = disk_with(seed, 1);
        disk.make_folder(Folder::Cursors).unwrap();
        disk.sync_folder(ROOT).unwrap();
        disk.create(Folder::Cursors, "x.tmp").unwrap().sync().unwrap();
        disk.rename((Folder::Cursors, "x.tmp"), (Folder::Cursors, "x")).unwrap();
        disk.remove(ROOT, "a").unwrap();
        assert_eq!(sim.files(), ["cursors/x"]);
        let copy = sim.snapshot(seed);
        sim.power_cut();
        seen.insert(sim.files());
        disk.sync_folder(ROOT).unwrap_err();
        let handle = copy.disk();
        handle.sync_folder(ROOT).unwrap();
        handle.sync_folder(Folder::Cursors).unwrap();
        copy.power_cut();
        assert_eq!(copy.files(), ["cursors/x"]);
    }
    // `a` there or not; `x` there, as x.tmp, or not.
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn an_unsynced_folder_takes_its_files_with_it() {
    let lost = (0..50).filter(|seed| {
        let sim = SimDisk::new(*seed);
        let disk = sim.disk();
        assert_eq!(disk.list(Folder::Cut).unwrap_err().kind(), ErrorKind::NotFound);
        disk.make_folder(Folder::Cut).unwrap();
        disk.create(Folder::Cut, "piece").unwrap();
        disk.sync_folder(Folder::Cut).unwrap();
        sim.power_cut();
        sim.files().is_empty()
    });
    assert!((10..40).contains(&lost.count()));
}

#[test]
fn a_crash_freezes_the_disk_in_the_middle() {
    let mut partial = 0;
    for seed in 0..100 {
        let (sim, disk, file) = disk_with(seed, 2 * BLOCK);
        sim.crash_at(2);
        file.write_at(&[1; 512], 0).unwrap();
        assert!(!sim.is_frozen());
        assert_eq!(errno(&file.write_at(&[2; BLOCK], BLOCK as u64).unwrap_err()), libc::EIO);
        assert!(sim.is_frozen());
        let before = sim.content("a").unwrap();
        let count = before[BLOCK..].iter().filter(|byte| **byte == 2).count();
        assert_eq!(count % 512, 0);
        partial += u32::from(count > 0 && count < BLOCK);
        file.write_at(&[3; 9], 0).unwrap_err();
        file.sync().unwrap_err();
        disk.create(ROOT, "b").unwrap_err();
        disk.remove(ROOT, "a").unwrap_err();
        assert_eq!((sim.content("a"), sim.files()), (Some(before.clone()), vec!["a".to_owned()]));
        assert_eq!((sim.injected().crashes, sim.injected().total()), (1, 1));
        sim.process_kill();
        assert_eq!(sim.content("a").unwrap(), before, "a kill loses nothing");
        assert_eq!(sim.disk().list(ROOT).unwrap(), [Entry { name: "a".into(), kind: EntryKind::File }]);
    }
    assert!(partial > 20);
}

#[test]
fn a_lying_flush_says_yes_and_loses() {
    let lost = (0..50).filter(|seed| {
        let (sim, disk, file) = disk_with(*seed, BLOCK);
        sim.lying_flush(true);
        let mut writer = writer_on(disk.as_ref(), file, 7);
        writer.write_durably(0, BLOCK, &mut || ()).unwrap();
        sim.power_cut();
        sim.content("a").unwrap() != vec![7; BLOCK]
    });
    assert!((10..50).contains(&lost.count()));
}

#[test]
fn a_page_falls_back_to_an_older_state_word_by_word() {
    let (mut old, mut new, mut between) = (0, 0, 0);
    for seed in 0..200 {
        let (sim, disk, _file) = disk_with(seed, BLOCK);
        let page = disk.open_page(ROOT, "a").unwrap();
        page.store(0, &[u64::MAX]);
        page.sync().unwrap();
        for value in 1..=5 {
            page.store(0, &[value << 32 | value]);
            page.store(1, &[value]);
        }
        assert_eq!((page.load(0), page.load(1)), (5 << 32 | 5, 5));
        sim.power_cut();
        let page = sim.disk().reader().open_page(ROOT, "a").unwrap();
        assert!(!page.is_writable());
        match page.load(0) {
            u64::MAX => old += 1,
            word if word == (5 << 32 | 5) => new += 1,
            word if (1..5).contains(&(word >> 32)) && word >> 32 == word & 7 => between += 1,
            word => panic!("seed {seed}: a word that nobody stored: {word:x}"),
        }
    }
    assert!(old > 10 && new > 10 && between > 10, "{old} {new} {between}");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let story = |seed| {
        let (sim, disk, file) = disk_with(seed, 4 * BLOCK);
        sim.short_writes(true);
        file.write_at(&[1; 3000], 777).unwrap();
        disk.create(ROOT, "b").unwrap().write_at(&[2; 9999], 3).unwrap();
        let mut writer = writer_on(disk.as_ref(), file, 7);
        sim.fail_operation(3, libc::EIO, Failure::Once);
        let failed = writer.write_durably(0, 4 * BLOCK, &mut || ()).is_err();
        sim.power_cut();
        (failed, sim.files(), sim.content("a"), sim.content("b"), sim.injected(), sim.operations())
    };
    assert_eq!(story(7), story(7));
    assert!((0..9).any(|seed| story(seed) != story(7)));
}
