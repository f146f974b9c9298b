use super::*;
use crate::disk::native::NativeDisk;
use crate::position::JournalId;

/// Found by reading: a job that panicked left everyone waiting who asked for the next one.
#[test]
fn a_worker_that_panicked_keeps_nobody_waiting() {
    let keep = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = NativeDisk::open_write(keep.path(), false).unwrap();
    let preparer = Preparer::new(disk.clone(), Background::Thread).unwrap();
    preparer.run(Box::new(|| panic!("a job that panics")));
    preparer.retire();
    let header = SegmentHeader { id: JournalId([1; 16]), base: 0, capacity: 60 << 10, created: 0 };
    preparer.want(header, 0);
    assert_eq!(preparer.take(header).unwrap().header, header);
    preparer.remove(vec![0]).unwrap();
    assert!(disk.list(Folder::Root).unwrap().is_empty());
    preparer.retire();
}

/// Found by `no_file_descriptors_left` on a busy machine: an append was refused for what had been over when it came.
#[cfg(feature = "sim")]
#[test]
fn a_try_that_failed_earlier_refuses_nobody() {
    let sim = crate::disk::sim::SimDisk::new(1);
    let preparer = Preparer::new(sim.disk(), Background::Thread).unwrap();
    let header = SegmentHeader { id: JournalId([1; 16]), base: 0, capacity: 60 << 10, created: 0 };
    sim.set_room(Some(0));
    assert!(matches!(preparer.take(header), Err(PrepareError::Full(_))));
    preparer.want(header, 0);
    let mut jobs = preparer.shared.lock();
    while !matches!(jobs.next, Next::Failed(_)) {
        jobs = preparer.shared.changed.wait(jobs).unwrap();
    }
    drop(jobs);
    sim.set_room(None);
    assert_eq!(preparer.take(header).unwrap().header, header);
}

/// Found by reading: a new segment's flush that failed was no concern of the commits that were flushed meanwhile.
#[cfg(feature = "sim")]
#[test]
fn a_flush_that_failed_for_a_new_segment_is_told_and_a_full_disk_is_none() {
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    let header = SegmentHeader { id: JournalId([1; 16]), base: 0, capacity: 60 << 10, created: 0 };
    for (number, is_doubtful) in [(EIO, true), (ENOSPC, false)] {
        let of_the_file = |error: &Error| error.to_string().starts_with("sync /simulated/");
        let found = (1..12).any(|nth| {
            let sim = crate::disk::sim::SimDisk::new(1);
            let preparer = Preparer::new(sim.disk(), Background::Caller).unwrap();
            sim.fail_operation(nth, number, crate::disk::sim::Failure::Once);
            preparer.want(header, 0);
            preparer.failure().as_ref().is_some_and(of_the_file)
        });
        assert_eq!(found, is_doubtful, "{number}");
    }
}

#[cfg(feature = "sim")]
#[test]
fn segments_that_are_removed_together_share_the_sync_of_their_directory() {
    const SEGMENTS: u64 = 100;
    let sim = crate::disk::sim::SimDisk::new(1);
    let disk = sim.disk();
    let bases: Vec<u64> = (0..SEGMENTS).map(|number| number * (60 << 10)).collect();
    for base in &bases {
        disk.create(Folder::Root, &file_name::segment(*base)).unwrap();
    }
    let preparer = Preparer::new(disk.clone(), Background::Thread).unwrap();
    let before = sim.operations();
    preparer.remove(bases).unwrap();
    preparer.retire();
    let syncs = sim.operations() - before - SEGMENTS;
    assert!((1..=2).contains(&syncs), "{syncs} syncs");
    assert!(disk.list(Folder::Root).unwrap().is_empty());
}

/// Found by reading: only the flush that made a segment was told, not one of its zeros, nor the directory's after a removal.
#[cfg(feature = "sim")]
#[test]
fn every_flush_in_the_background_that_failed_is_told_for_good() {
    use crate::disk::sim::{Failure, SimDisk};
    let header = SegmentHeader { id: JournalId([1; 16]), base: 0, capacity: 4 << 20, created: 0 };
    let jobs: [fn(&Preparer, &Arc<WritableSegment>); 2] = [
        |preparer, segment| preparer.write_ahead(segment, 3 << 20),
        |preparer, segment| preparer.remove(vec![segment.header.base]).unwrap(),
    ];
    for (job, what) in jobs.iter().zip(["sync /simulated/000", "sync /simulated:"]) {
        let (mut told, mut untold) = (0, 0);
        for nth in 1..8 {
            let sim = SimDisk::new(1);
            let preparer = Preparer::new(sim.disk(), Background::Thread).unwrap();
            let segment = Arc::new(create_segment(&*sim.disk(), header).unwrap());
            sim.fail_operation(nth, 5, Failure::Once);
            job(&preparer, &segment);
            while preparer.shared.lock().busy || !preparer.shared.lock().ahead.is_empty() {
                std::thread::yield_now();
            }
            let first = preparer.retire();
            match &first {
                Some(error) => assert!(error.to_string().starts_with(what), "{error}"),
                None => untold += 1,
            }
            told += u32::from(first.is_some());
            assert_eq!(preparer.failure().is_some(), first.is_some(), "for good");
        }
        assert!(told > 0 && untold > 0, "{told} {untold}");
    }
}
