use super::*;
use crate::disk::native::NativeDisk;
use crate::disk::{BLOCK_BYTES, Disk, Folder, ReadDisk};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const NAME: &str = "file";

fn new_file() -> (TempDir, Arc<NativeDisk>, Arc<dyn WriteFile>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = NativeDisk::open_write(dir.path(), false).unwrap();
    let file = disk.create(Folder::Root, NAME).unwrap();
    (dir, disk, file)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// Without a second descriptor, as on a file system that knows no direct I/O.
fn without_direct(dir: &TempDir) -> NativeFile {
    let file = File::options().read(true).write(true).open(dir.path().join(NAME)).unwrap();
    NativeFile::for_writing(file, None)
}

#[test]
fn reads_past_the_cache_take_any_position_and_length_and_end_at_the_end() {
    let (dir, disk, file) = new_file();
    let bytes = pattern((2 << 20) + 777);
    file.write_at(&bytes, 0).unwrap();
    let reader = ReadDisk::open_read(&*disk, Folder::Root, NAME).unwrap();
    let plain = without_direct(&dir);
    let readers: [&dyn ReadFile; 3] = [&*file, &*reader, &plain];
    let mut aligned = AlignedBuffer::new(bytes.len());
    for reader in readers {
        for position in
            [0, 1, 4095, 4096, 10_000, (2 << 20) - 1, 2 << 20, (2 << 20) + 776, (2 << 20) + 777, 5 << 20]
        {
            for wanted in [0, 1, 511, 4096, 4097, 1 << 20, 3 << 20] {
                let expected = bytes.get(position..(position + wanted).min(bytes.len())).unwrap_or(&[]);
                let mut into = vec![0xEE; wanted];
                let read = reader.read_past_cache(&mut into, position as u64).unwrap();
                assert!(into[..read] == *expected, "{position} {wanted}");
                assert!(into[read..].iter().all(|byte| *byte == 0xEE));
                let read = reader.read_at(&mut into, position as u64).unwrap();
                assert!(into[..read] == *expected);
            }
        }
        for position in [0, 4096, 5000] {
            aligned.fill(0xEE);
            let expected = &bytes[position..];
            assert_eq!(reader.read_past_cache(&mut aligned, position as u64).unwrap(), expected.len());
            assert!(aligned[..expected.len()] == *expected);
            assert!(aligned[expected.len()..].iter().all(|byte| *byte == 0xEE));
        }
        assert_eq!(reader.len().unwrap(), bytes.len() as u64);
    }
}

#[test]
fn a_file_for_writing_on_a_common_file_system_is_direct_and_a_reader_becomes_so() {
    let (_dir, disk, _file) = new_file();
    let writer = NativeDisk::open_write(&disk.path(Folder::Root, ""), false).unwrap();
    let writer = Disk::open_write(&*writer, Folder::Root, NAME).unwrap();
    let writer: Arc<dyn std::any::Any + Send + Sync> = writer;
    let expected = disk.file_system().name == "ext4";
    assert!(writer.downcast::<NativeFile>().unwrap().is_direct() >= expected);
    let reader = NativeFile::for_reading(File::open(disk.path(Folder::Root, NAME)).unwrap());
    assert!(!reader.is_direct());
    reader.read_past_cache(&mut [0], 0).unwrap();
    assert!(reader.is_direct() >= expected);
}

#[test]
fn what_is_in_the_page_cache_is_told_from_what_is_not() {
    let (_dir, disk, file) = new_file();
    file.write_at(&pattern(4 << 20), 0).unwrap();
    file.sync().unwrap();
    assert!(file.is_cached(1 << 20).unwrap());
    assert!(file.is_cached(5 << 20).unwrap(), "behind the end nothing has to be waited for");
    let content: Arc<dyn std::any::Any + Send + Sync> = file.clone();
    let content = content.downcast::<NativeFile>().unwrap();
    sys::drop_cached(content.buffered.as_fd(), 0, 4 << 20).unwrap();
    // A file system in memory is its own cache.
    if disk.file_system().name == "ext4" {
        assert!(!file.is_cached(1 << 20).unwrap());
        file.read_at(&mut [0; 4096], 1 << 20).unwrap();
        assert!(file.is_cached(1 << 20).unwrap());
    }
}

#[test]
fn the_descriptors_do_not_ask_the_kernel_to_answer_eagain() {
    let (_dir, _disk, file) = new_file();
    let file: Arc<dyn std::any::Any + Send + Sync> = file;
    let file = file.downcast::<NativeFile>().unwrap();
    for file in [&file.buffered, file.log_file()] {
        assert_eq!(status_flags(file) & libc::O_NONBLOCK, 0);
    }
}

#[expect(unsafe_code, reason = "fcntl")]
fn status_flags(file: &File) -> i32 {
    use std::os::fd::AsRawFd;
    // SAFETY: F_GETFL takes no argument; the file is borrowed.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
}

/// On the file systems whose holes are believed; elsewhere everything counts as written.
#[test]
fn what_was_never_written_is_passed_over_and_what_was_is_not() {
    let (dir, _disk, file) = new_file();
    let magic = sys::file_system_magic(File::open(dir.path()).unwrap().as_fd()).unwrap();
    if !file.allocate(1 << 20).unwrap() || !super::file_system::knows_its_holes(magic) {
        assert_eq!(file.written_from(8192).unwrap(), 8192);
        return;
    }
    assert_eq!(file.written_from(8192).unwrap(), 1 << 20);
    assert_eq!(file.written_from(2 << 20).unwrap(), 2 << 20, "behind the end");
    // Through the page cache and not yet flushed, and past it.
    file.write_at(&[1], 200 << 10).unwrap();
    assert_eq!(file.written_from(8192).unwrap(), 200 << 10);
    assert_eq!(file.written_from((200 << 10) + 1).unwrap(), (200 << 10) + 1);
    file.write_zeros(100 << 10, 4096).unwrap();
    assert_eq!(file.written_from(8192).unwrap(), 100 << 10, "zeros that were written are no hole");
    file.sync().unwrap();
    assert_eq!(file.written_from(104 << 10).unwrap(), 200 << 10);
    assert_eq!(file.written_from(204 << 10).unwrap(), 1 << 20);
}

#[test]
fn where_holes_are_not_believed_everything_counts_as_written() {
    let Ok(keep) = tempfile::tempdir_in("/dev/shm") else { return };
    let disk = NativeDisk::open_write(keep.path(), false).unwrap();
    let file = disk.create(Folder::Root, NAME).unwrap();
    file.allocate(1 << 20).unwrap();
    for position in [0, 5, 1 << 20, 2 << 20] {
        assert_eq!(file.written_from(position).unwrap(), position);
    }
}

#[test]
fn allocated_space_is_a_hole_until_zeros_are_written() {
    let (dir, _disk, file) = new_file();
    for file in [&*file as &dyn WriteFile, &without_direct(&dir)] {
        let reserved = file.allocate(1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 20);
        file.sync().unwrap();
        if reserved {
            let from = file.written_until(512 << 10).unwrap();
            assert_eq!(from, 512 << 10);
        }
        file.write_zeros(0, 300 << 10).unwrap();
        file.sync().unwrap();
        assert!(file.written_until(0).unwrap() >= 300 << 10);
        file.write_zeros(300 << 10, 724 << 10).unwrap();
        file.sync().unwrap();
        assert_eq!(file.written_until(0).unwrap(), 1 << 20);
        assert_eq!(file.written_until(5 << 20).unwrap(), 1 << 20);
        let mut bytes = vec![1; 1 << 20];
        assert_eq!(file.read_past_cache(&mut bytes, 0).unwrap(), 1 << 20);
        assert!(bytes.iter().all(|byte| *byte == 0));
        file.allocate(0).unwrap_err();
        file.write_zeros(1 << 20, 0).unwrap();
    }
}

#[test]
fn zeros_replace_what_stood_there_and_nothing_else() {
    let (dir, _disk, file) = new_file();
    for file in [&*file as &dyn WriteFile, &without_direct(&dir)] {
        file.write_at(&[9; 3 * BLOCK_BYTES], 0).unwrap();
        file.write_zeros(BLOCK_BYTES as u64, BLOCK_BYTES as u64).unwrap();
        let mut bytes = vec![1; 3 * BLOCK_BYTES];
        file.read_at(&mut bytes, 0).unwrap();
        let sums: Vec<u64> =
            bytes.chunks(BLOCK_BYTES).map(|b| b.iter().map(|x| u64::from(*x)).sum()).collect();
        assert_eq!(sums, [9 * 4096, 0, 9 * 4096]);
    }
}

#[test]
fn a_lock_excludes_every_other_open_file_and_is_seen_by_all() {
    let (_dir, disk, first) = new_file();
    let second = Disk::open_write(&*disk, Folder::Root, NAME).unwrap();
    let looker = ReadDisk::open_read(&*disk, Folder::Root, NAME).unwrap();
    assert!(!looker.is_locked().unwrap());
    assert!(first.try_lock().unwrap());
    assert!(first.try_lock().unwrap());
    assert!(!second.try_lock().unwrap());
    assert!(looker.is_locked().unwrap() && second.is_locked().unwrap() && first.is_locked().unwrap());
    // At once, also where a child that another test forked at this moment has the file.
    drop(first);
    assert!(second.try_lock().unwrap());
    assert!(looker.is_locked().unwrap());
}

#[test]
fn the_own_lock_counts_with_and_without_a_second_descriptor() {
    let (dir, _disk, file) = new_file();
    let plain = without_direct(&dir);
    assert!(plain.try_lock().unwrap());
    assert!(plain.is_locked().unwrap() && file.is_locked().unwrap());
    assert!(!file.try_lock().unwrap());
}

#[test]
fn looking_at_a_lock_does_not_take_it() {
    let (_dir, disk, file) = new_file();
    let looker = ReadDisk::open_read(&*disk, Folder::Root, NAME).unwrap();
    for _ in 0..100 {
        assert!(!looker.is_locked().unwrap());
    }
    assert!(file.try_lock().unwrap());
}

#[test]
fn a_write_to_a_file_that_cannot_be_written_is_an_error() {
    let (dir, _disk, file) = new_file();
    file.write_at(&[1], 0).unwrap();
    let read_only = NativeFile::for_writing(File::open(dir.path().join(NAME)).unwrap(), None);
    assert!(read_only.write_at(&[1], 0).is_err());
    assert!(read_only.write_zeros(0, BLOCK_BYTES as u64).is_err());
    assert!(read_only.allocate(1 << 20).is_err());
    assert!(file.modified().unwrap().elapsed().unwrap() < Duration::from_secs(3600));
}
