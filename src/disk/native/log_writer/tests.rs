use super::*;
use crate::disk::native::NativeDisk;
use crate::disk::{Disk, Folder};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;

const BLOCK: u64 = BLOCK_BYTES as u64;
const NAME: &str = "segment";

fn options(backend: Backend, flush: FlushMethod) -> LogWriterOptions {
    LogWriterOptions { backend, flush, single_thread: true, buffer_bytes: 16 * BLOCK_BYTES }
}

fn zeroed_file(dir: &TempDir, name: &str) -> (Arc<NativeDisk>, Arc<dyn WriteFile>) {
    let disk = NativeDisk::open_write(dir.path(), false).unwrap();
    let file = disk.create(Folder::Root, name).unwrap();
    file.allocate(1 << 20).unwrap();
    file.write_zeros(0, 1 << 20).unwrap();
    file.sync().unwrap();
    (disk, file)
}

fn ring_is_allowed() -> bool {
    RingDevice::new(true).is_ok()
}

/// All ways there are on this machine.
fn ways() -> Vec<(Backend, FlushMethod)> {
    use FlushMethod::{Auto, Fdatasync, RingFsync, WriteDsync};
    let mut ways: Vec<_> = [Auto, Fdatasync, WriteDsync].map(|flush| (Backend::Syscalls, flush)).into();
    if ring_is_allowed() {
        ways.extend([Auto, Fdatasync, WriteDsync, RingFsync].map(|flush| (Backend::IoUring, flush)));
    }
    ways
}

fn fill(writer: &mut dyn LogWriter, bytes: usize, value: u8) {
    writer.buffer()[..bytes].fill(value);
}

fn works_in(dir: &TempDir, single_thread: bool) {
    for (backend, flush) in ways() {
        let name = format!("{backend}-{flush}");
        let (disk, file) = zeroed_file(dir, &name);
        let options = LogWriterOptions { single_thread, ..options(backend, flush) };
        let mut writer = disk.log_writer(&options).unwrap();
        writer.attach(Arc::clone(&file)).unwrap();
        writer.choose_flush(10 * BLOCK, Duration::from_millis(2)).unwrap();
        let mut calls = 0;
        for (commit, blocks) in (1..=5).zip([1_usize, 3, 16, 2, 1]) {
            fill(&mut *writer, blocks * BLOCK_BYTES, commit);
            let position = u64::from(commit) * 20 * BLOCK;
            writer.write_durably(position, blocks * BLOCK_BYTES, &mut || calls += 1).unwrap();
            let mut read = vec![0; (blocks + 1) * BLOCK_BYTES];
            file.read_past_cache(&mut read, position).unwrap();
            assert!(read[..blocks * BLOCK_BYTES].iter().all(|byte| *byte == commit), "{name}");
            assert!(read[blocks * BLOCK_BYTES..].iter().all(|byte| *byte == 0), "{name}");
        }
        assert_eq!(calls, 5);
        let report = writer.report();
        assert_eq!(report.backend, backend);
        assert_ne!(report.flush, FlushMethod::Auto);
        assert_eq!(report.timings.is_empty(), flush != FlushMethod::Auto);
        assert_eq!(report.ring_setup.is_empty(), backend == Backend::Syscalls);
        assert!(!report.registered_buffer || backend == Backend::IoUring);
        let counts = writer.counts();
        // What measuring cost is not counted.
        assert_eq!(counts.writes, 5, "{name}");
        assert_eq!(counts.flushes, counts.writes);
        assert_eq!(counts.bytes, 23 * BLOCK);
    }
}

#[test]
fn what_was_written_durably_is_on_the_device_with_every_back_end_and_flush() {
    works_in(&tempfile::tempdir().unwrap(), true);
    works_in(&tempfile::tempdir().unwrap(), false);
}

#[test]
fn a_file_system_in_memory_works_too() {
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        works_in(&memory, true);
    }
}

#[test]
fn a_buffer_that_grew_is_written_from_its_new_place() {
    for (backend, flush) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, file) = zeroed_file(&dir, NAME);
        let mut writer = disk.log_writer(&options(backend, flush)).unwrap();
        writer.attach(Arc::clone(&file)).unwrap();
        for (value, blocks) in [(1_u8, 16_usize), (2, 40), (3, 100), (4, 200)] {
            writer.buffer().grow(blocks * BLOCK_BYTES);
            fill(&mut *writer, blocks * BLOCK_BYTES, value);
            writer.write_durably(0, blocks * BLOCK_BYTES, &mut || {}).unwrap();
            let mut read = vec![0; blocks * BLOCK_BYTES];
            file.read_past_cache(&mut read, 0).unwrap();
            assert!(read.iter().all(|byte| *byte == value), "{backend} {flush}");
        }
        if backend == Backend::IoUring {
            let report = writer.report();
            assert!(report.registered_buffer, "{report:?}");
        }
    }
}

#[test]
fn writes_follow_the_attached_file_and_the_one_before_is_let_go() {
    for (backend, flush) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, first) = zeroed_file(&dir, "first");
        let (_, second) = zeroed_file(&dir, "second");
        let mut writer = disk.log_writer(&options(backend, flush)).unwrap();
        fill(&mut *writer, BLOCK_BYTES, 1);
        writer.attach(Arc::clone(&first)).unwrap();
        assert!(first.try_lock().unwrap());
        writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap();
        writer.attach(Arc::clone(&second)).unwrap();
        drop(first);
        writer.write_durably(BLOCK, BLOCK_BYTES, &mut || {}).unwrap();
        eventually_locked(&*Disk::open_write(&*disk, Folder::Root, "first").unwrap(), &*writer);
        let mut read = [0; 2 * BLOCK_BYTES];
        second.read_past_cache(&mut read, 0).unwrap();
        assert_eq!((read[0], read[BLOCK_BYTES]), (0, 1));

        assert!(second.try_lock().unwrap());
        drop(second);
        let again = Disk::open_write(&*disk, Folder::Root, "second").unwrap();
        assert!(!again.try_lock().unwrap(), "the writer still uses the file");
        drop(writer);
        eventually_locked(&*again, &*disk);
    }
}

/// A child that another test forked at the wrong moment may hold a file for an instant.
fn eventually_locked(file: &dyn WriteFile, context: &(impl fmt::Debug + ?Sized)) {
    let start = Instant::now();
    while !file.try_lock().unwrap() {
        assert!(start.elapsed() < Duration::from_secs(5), "the lock was not given back: {context:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_error_of_the_write_comes_out_and_ends_the_writer() {
    for (backend, flush) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _file) = zeroed_file(&dir, NAME);
        let read_only = NativeFile::for_writing(File::open(dir.path().join(NAME)).unwrap(), None);
        let mut writer = disk.log_writer(&options(backend, flush)).unwrap();
        writer.attach(Arc::new(read_only)).unwrap();
        let mut calls = 0;
        let error = writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap_err();
        assert_eq!((error.raw_os_error(), calls), (Some(libc::EBADF), 1), "{backend} {flush}");
        let again = writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap_err();
        assert_eq!((again.raw_os_error(), calls), (None, 2));
        assert!(writer.choose_flush(0, Duration::ZERO).is_err() || flush != FlushMethod::Auto);
    }
}

#[test]
fn a_panic_meanwhile_waits_for_the_write_and_ends_the_writer() {
    for (backend, flush) in ways() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, file) = zeroed_file(&dir, NAME);
        let mut writer = disk.log_writer(&options(backend, flush)).unwrap();
        writer.attach(Arc::clone(&file)).unwrap();
        fill(&mut *writer, BLOCK_BYTES, 5);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let _ = writer.write_durably(0, BLOCK_BYTES, &mut || panic!("meanwhile"));
        }))
        .unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"meanwhile"));
        writer.buffer().fill(9);
        assert!(writer.write_durably(0, BLOCK_BYTES, &mut || {}).is_err());
        let mut read = [0; BLOCK_BYTES];
        file.read_past_cache(&mut read, 0).unwrap();
        assert!(read == [0; BLOCK_BYTES] || read == [5; BLOCK_BYTES]);
    }
}

/// Makes a system call of this thread fail from now on.
fn forbid(call: libc::c_long, errno: i32) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let errno = SeccompAction::Errno(u32::try_from(errno).unwrap());
    let rules = BTreeMap::from([(call, Vec::new())]);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn in_a_thread_of_its_own(test: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(test).join().unwrap());
}

#[test]
fn where_the_ring_is_forbidden_system_calls_take_over_and_say_why() {
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter] {
        for (errno, word) in
            [(libc::EPERM, "seccomp"), (libc::ENOSYS, "kernel"), (libc::ENOMEM, "RLIMIT_MEMLOCK")]
        {
            in_a_thread_of_its_own(|| {
                forbid(call, errno);
                let dir = tempfile::tempdir().unwrap();
                let (disk, file) = zeroed_file(&dir, NAME);
                let mut writer = disk.log_writer(&options(Backend::Auto, FlushMethod::Auto)).unwrap();
                writer.attach(file).unwrap();
                writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap();
                let report = writer.report();
                assert_eq!(report.backend, Backend::Syscalls);
                assert!(report.reason.contains(word), "{}", report.reason);
                let error = disk.log_writer(&options(Backend::IoUring, FlushMethod::Auto)).unwrap_err();
                assert!(error.to_string().contains(word));
                let error = disk.log_writer(&options(Backend::Auto, FlushMethod::RingFsync)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains(word), "{error}");
            });
        }
    }
}

#[test]
fn a_ring_that_may_register_nothing_works_and_says_so() {
    if !ring_is_allowed() {
        return;
    }
    in_a_thread_of_its_own(|| {
        forbid(libc::SYS_io_uring_register, libc::EPERM);
        works_in(&tempfile::tempdir().unwrap(), true);
        let dir = tempfile::tempdir().unwrap();
        let (disk, file) = zeroed_file(&dir, NAME);
        let mut writer = disk.log_writer(&options(Backend::IoUring, FlushMethod::Auto)).unwrap();
        writer.attach(file).unwrap();
        let report = writer.report();
        assert!(!report.registered_buffer, "{report:?}");
    });
}

#[test]
fn a_ring_that_breaks_under_way_is_an_error_and_the_buffer_is_never_freed() {
    if !ring_is_allowed() {
        return;
    }
    for errno in [libc::EBADF, libc::ENXIO, 53 /* EBADR */] {
        in_a_thread_of_its_own(|| {
            let dir = tempfile::tempdir().unwrap();
            let (disk, file) = zeroed_file(&dir, NAME);
            let mut writer = disk.log_writer(&options(Backend::IoUring, FlushMethod::Fdatasync)).unwrap();
            writer.attach(file).unwrap();
            fill(&mut *writer, BLOCK_BYTES, 1);
            writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap();
            let place = writer.buffer().as_ptr();
            forbid(libc::SYS_io_uring_enter, errno);
            let mut calls = 0;
            let error = writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap_err();
            assert_eq!((error.raw_os_error(), calls), (Some(errno), 1));
            assert!(writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).is_err());
            assert_eq!(calls, 2);
            // The kernel may read there for as long as the process lives: nobody else may be given that memory.
            let place = place.addr()..place.addr() + writer.buffer().len();
            let others: Vec<_> = (0..500).map(|_| AlignedBuffer::new(BLOCK_BYTES)).collect();
            let starts = others.iter().map(|other| other.as_ptr()).chain([writer.buffer().as_ptr()]);
            for start in starts {
                assert!(!place.contains(&start.addr()), "the buffer was freed");
            }
        });
    }
}

/// Found by reading: given back with the file, the lock would let the next writer in before the write has landed.
#[test]
fn a_file_with_a_write_of_unknown_fate_keeps_its_lock_until_the_kernel_lets_go_of_it() {
    if !ring_is_allowed() {
        return;
    }
    for flush in [FlushMethod::Fdatasync, FlushMethod::RingFsync] {
        in_a_thread_of_its_own(|| {
            let dir = tempfile::tempdir().unwrap();
            let (disk, file) = zeroed_file(&dir, NAME);
            assert!(file.try_lock().unwrap());
            let mut writer = disk.log_writer(&options(Backend::IoUring, flush)).unwrap();
            writer.attach(Arc::clone(&file)).unwrap();
            // What the kernel has of a file that it writes to: the same open file.
            let content: Arc<dyn Any + Send + Sync> = file;
            let file = content.downcast::<NativeFile>().unwrap();
            let in_kernel = file.log_file().try_clone().unwrap();
            forbid(libc::SYS_io_uring_enter, libc::EBADF);
            writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap_err();
            drop((writer, file));
            let next = Disk::open_write(&*disk, Folder::Root, NAME).unwrap();
            assert!(!next.try_lock().unwrap(), "the write may land yet");
            drop(in_kernel);
            eventually_locked(&*next, &*disk);
        });
    }
}

#[test]
fn a_ring_told_of_one_thread_refuses_another_without_harm() {
    if !ring_is_allowed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_disk, file) = zeroed_file(&dir, NAME);
    let options = options(Backend::IoUring, FlushMethod::Fdatasync);
    let mut writer = UringWriter::new(RingDevice::new(true).unwrap(), &options, String::new()).unwrap();
    writer.attach(Arc::clone(&file)).unwrap();
    let told = writer.report().ring_setup.starts_with("single");
    let outcome =
        thread::scope(|s| s.spawn(|| writer.write_durably(0, BLOCK_BYTES, &mut || {})).join().unwrap());
    assert_eq!(outcome.is_err(), told);

    let mut writer = UringWriter::new(RingDevice::new(false).unwrap(), &options, String::new()).unwrap();
    writer.attach(file).unwrap();
    thread::scope(|s| s.spawn(|| writer.write_durably(0, BLOCK_BYTES, &mut || {})).join().unwrap()).unwrap();
}

/// Does what its script says, then all that is asked.
#[derive(Debug, Default)]
struct Scripted {
    script: VecDeque<Result<usize, i32>>,
    asked: Vec<(usize, usize, u64, bool)>,
    fsyncs: Vec<usize>,
    fsync_error: Option<i32>,
}

impl Device for Scripted {
    const BACKEND: Backend = Backend::IoUring;
    const METHODS: &'static [FlushMethod] = RingDevice::METHODS;

    fn adopt(&mut self, _: &AlignedBuffer) {}

    fn write(&mut self, piece: Piece<'_>, meanwhile: &mut dyn FnMut()) -> io::Result<usize> {
        self.asked.push((piece.from, piece.to, piece.position, piece.durably));
        let step = self.script.pop_front().unwrap_or(Ok(piece.to - piece.from));
        if step.is_ok() {
            meanwhile();
        }
        step.map_err(io::Error::from_raw_os_error)
    }

    fn ring_fsync(&mut self, _: &NativeFile) -> io::Result<()> {
        self.fsyncs.push(self.asked.len());
        self.fsync_error.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn describe(&self, _: &mut BackendReport) {}
}

fn scripted(flush: FlushMethod, script: &[Result<usize, i32>]) -> (TempDir, NativeLogWriter<Scripted>) {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = zeroed_file(&dir, NAME);
    let device = Scripted { script: script.iter().copied().collect(), ..Scripted::default() };
    let mut writer = NativeLogWriter::new(device, &options(Backend::IoUring, flush), String::new()).unwrap();
    writer.attach(file).unwrap();
    (dir, writer)
}

#[test]
fn short_and_interrupted_writes_are_finished_before_the_one_flush() {
    let script = [Err(libc::EINTR), Ok(512), Err(libc::EAGAIN), Ok(4096)];
    let (_dir, mut writer) = scripted(FlushMethod::RingFsync, &script);
    let mut calls = 0;
    writer.write_durably(BLOCK, 2 * BLOCK_BYTES, &mut || calls += 1).unwrap();
    let expected = [
        (0, 8192, 4096, false),
        (0, 8192, 4096, false),
        (512, 8192, 4608, false),
        (512, 8192, 4608, false),
        (4608, 8192, 8704, false),
    ];
    assert_eq!(writer.device.asked, expected);
    assert_eq!(writer.device.fsyncs, [5]);
    assert_eq!(calls, 1);
    assert_eq!(writer.counts(), DeviceCounts { writes: 3, flushes: 1, bytes: 2 * BLOCK });
}

#[test]
fn every_piece_of_a_write_that_is_its_own_flush_is_one() {
    let (_dir, mut writer) = scripted(FlushMethod::WriteDsync, &[Ok(512)]);
    writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap();
    assert!(writer.device.asked.iter().all(|asked| asked.3));
    assert!(writer.device.fsyncs.is_empty());
    assert_eq!(writer.counts(), DeviceCounts { writes: 2, flushes: 2, bytes: BLOCK });
}

#[test]
fn nothing_written_or_any_other_error_means_no_flush() {
    for (step, kind) in [
        (Ok(0), io::ErrorKind::WriteZero),
        (Err(libc::ENOSPC), io::ErrorKind::StorageFull),
        (Err(libc::EIO), io::Error::from_raw_os_error(libc::EIO).kind()),
    ] {
        let (_dir, mut writer) = scripted(FlushMethod::RingFsync, &[Ok(512), step]);
        let mut calls = 0;
        let error = writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap_err();
        assert_eq!((error.kind(), calls), (kind, 1));
        assert!(writer.device.fsyncs.is_empty());
        assert_eq!(writer.device.asked.len(), 2);

        let (_dir, mut writer) = scripted(FlushMethod::RingFsync, &[step]);
        let mut calls = 0;
        writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap_err();
        assert_eq!((calls, writer.device.fsyncs.len(), writer.device.asked.len()), (1, 0, 1));
    }
}

#[test]
fn a_failed_flush_is_never_tried_again() {
    for errno in [libc::EIO, libc::EINTR, libc::EAGAIN, libc::ENOSPC] {
        let (_dir, mut writer) = scripted(FlushMethod::RingFsync, &[]);
        writer.device.fsync_error = Some(errno);
        let error = writer.write_durably(0, BLOCK_BYTES, &mut || {}).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno));
        writer.device.fsync_error = None;
        assert!(writer.write_durably(0, BLOCK_BYTES, &mut || {}).is_err());
        assert_eq!((writer.device.asked.len(), writer.device.fsyncs.len()), (1, 1));
    }
}

#[test]
fn a_flush_that_the_kernel_had_no_thread_for_is_made_by_a_system_call_after_writing_again() {
    let (_dir, mut writer) = scripted(FlushMethod::RingFsync, &[]);
    writer.device.fsync_error = Some(libc::ECANCELED);
    let mut calls = 0;
    for commits in 1..=3 {
        writer.write_durably(0, BLOCK_BYTES, &mut || calls += 1).unwrap();
        assert_eq!((writer.device.asked.len(), writer.device.fsyncs.len()), (2 * commits, commits));
        assert_eq!(writer.counts().flushes, commits as u64);
    }
    assert_eq!(calls, 3);
}

#[test]
fn choosing_takes_what_works_and_leaves_the_buffer_alone() {
    let script = [Ok(4096), Err(libc::EOPNOTSUPP)];
    let (_dir, mut writer) = scripted(FlushMethod::Auto, &script);
    fill(&mut writer, BLOCK_BYTES, 7);
    writer.choose_flush(BLOCK, Duration::ZERO).unwrap();
    let report = writer.report();
    assert_eq!(report.timings.len(), 2);
    assert!(report.timings.iter().all(|timing| timing.method != FlushMethod::WriteDsync));
    assert_eq!(report.flush, report.timings[0].method);
    assert_eq!(writer.buffer()[..BLOCK_BYTES], [7; BLOCK_BYTES]);
    assert!(writer.device.asked.iter().all(|asked| (asked.1, asked.2) == (BLOCK_BYTES, BLOCK)));
}

#[test]
fn the_writers_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<UringWriter>();
    is_send::<SyscallWriter>();
}
