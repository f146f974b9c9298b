//! Reading ahead: a thread that brings a segment into the page cache before a walk comes there, while the device and not
//! the walk is what takes long.
//!
//! Guarantees: decides about speed alone. What the thread reads it throws away, with its errors: the walk reads
//! everything itself and meets errors where they are. One thread and 256 KiB for a walk, nothing at or behind the walk's
//! limit is read, and both end with the walk.
//! Must not know: what the bytes are.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};

use crate::disk::ReadFile;

/// A walk that has read so much of a file is likely to read on.
const BEGIN_AFTER_BYTES: u64 = 1 << 20;
/// How far ahead of the walk is read: 7 ms of a device that gives 2.4 GB/s, and twice what the kernel read ahead by itself
/// where this was measured (docs/decisions/0013).
const DISTANCE_BYTES: u64 = 16 << 20;
/// How often it is looked whether the file is cached, and how much the thread is asked for at once, at least.
const STEP_BYTES: u64 = 1 << 20;
const PIECE_BYTES: usize = 256 << 10;

/// What a walk over one file keeps.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    /// Bytes that were read one after the other, and where they ended.
    in_turn: u64,
    end: u64,
    looked_at: u64,
    helper: Option<Helper>,
}

impl ReadAhead {
    /// The walk has read `range` of the file and will read nothing at or behind `limit`; positions in the file.
    pub(super) fn note(&mut self, file: &Arc<dyn ReadFile>, range: Range<u64>, limit: u64) {
        if range.start > self.end {
            self.in_turn = 0;
        }
        self.in_turn += range.end.saturating_sub(self.end.max(range.start));
        self.end = range.end;
        let wanted = range.end.saturating_add(DISTANCE_BYTES).min(limit);
        if let Some(helper) = &self.helper {
            helper.ask(wanted, limit);
        } else if self.in_turn >= BEGIN_AFTER_BYTES && range.end >= self.looked_at.saturating_add(STEP_BYTES)
        {
            self.looked_at = range.end;
            let ahead = range.end.saturating_add(STEP_BYTES);
            // Not the next bytes: those the kernel itself has read ahead as a rule.
            if ahead < limit && !file.is_cached(ahead).unwrap_or(true) {
                self.helper = Helper::start(file.clone(), range.end, wanted);
            }
        }
    }
}

/// The thread, as the walk sees it. It is not waited for: after a fork it is not there, and it may stand in a read.
#[derive(Debug)]
struct Helper {
    asked: Arc<Asked>,
    thread: Thread,
}

/// What is asked of the thread. Relaxed everywhere: whoever parks or is unparked sees what was written before, and nothing
/// else hangs on these.
#[derive(Debug)]
struct Asked {
    until: AtomicU64,
    ended: AtomicBool,
}

impl Helper {
    /// `None` where no thread can be had: then nothing is read ahead.
    fn start(file: Arc<dyn ReadFile>, from: u64, until: u64) -> Option<Self> {
        let asked = Arc::new(Asked { until: AtomicU64::new(until), ended: AtomicBool::new(false) });
        let of_thread = asked.clone();
        let spawned = thread::Builder::new()
            .name("ringwal-ahead".into())
            .spawn(move || read_ahead(&*file, &of_thread, from))
            .ok()?;
        Some(Self { asked, thread: spawned.thread().clone() })
    }

    fn ask(&self, until: u64, limit: u64) {
        let asked = self.asked.until.load(Ordering::Relaxed);
        // In steps, or the thread would be woken for every chunk of the walk.
        if until >= asked.saturating_add(STEP_BYTES) || (until == limit && until > asked) {
            self.asked.until.store(until, Ordering::Relaxed);
            self.thread.unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.asked.ended.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

fn read_ahead(file: &dyn ReadFile, asked: &Asked, from: u64) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = from;
    while !asked.ended.load(Ordering::Relaxed) {
        let room = asked.until.load(Ordering::Relaxed).saturating_sub(at);
        if room == 0 {
            thread::park();
            continue;
        }
        let bytes = usize::try_from(room).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        // Neither an error nor the file's end is anything that could be dealt with here.
        match file.read_at(piece.get_mut(..bytes).unwrap_or_default(), at) {
            Ok(read) if read == bytes => at += bytes as u64,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, SystemTime};

    use super::*;

    const MIB: u64 = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A file that tells what is done with it: every range that is read, and at last that it was let go of.
    #[derive(Debug)]
    struct Watched {
        bytes: u64,
        is_cached: bool,
        looks: AtomicU64,
        tell: Mutex<Sender<Option<Range<u64>>>>,
    }

    fn watched(mebibytes: u64, is_cached: bool) -> (Arc<Watched>, Receiver<Option<Range<u64>>>) {
        let (tell, told) = channel();
        let looks = AtomicU64::new(0);
        (Arc::new(Watched { bytes: mebibytes * MIB, is_cached, looks, tell: Mutex::new(tell) }), told)
    }

    impl Watched {
        fn tell(&self, what: Option<Range<u64>>) {
            let _ = self.tell.lock().unwrap().send(what);
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.tell(None);
        }
    }

    impl ReadFile for Watched {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes)
        }

        fn modified(&self) -> io::Result<SystemTime> {
            Ok(SystemTime::UNIX_EPOCH)
        }

        fn written_from(&self, position: u64) -> io::Result<u64> {
            Ok(position)
        }

        fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
            let end = (position + into.len() as u64).min(self.bytes);
            if end <= position {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tell(Some(position..end));
            Ok(usize::try_from(end - position).unwrap())
        }

        fn read_past_cache(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
            self.read_at(into, position)
        }

        fn is_cached(&self, _position: u64) -> io::Result<bool> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            Ok(self.is_cached)
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!("reading ahead changes nothing")
        }

        fn is_locked(&self) -> io::Result<bool> {
            Ok(false)
        }
    }

    /// Waits until the thread has read up to `end`, without a gap from `at` on.
    fn expect_read(told: &Receiver<Option<Range<u64>>>, mut at: u64, end: u64) {
        while at < end {
            let range = told.recv_timeout(PATIENCE).expect("the thread reads on").expect("the file is open");
            assert_eq!(range.start, at);
            at = range.end;
        }
        assert_eq!(at, end, "nothing behind what was asked for");
    }

    #[test]
    fn a_cold_file_is_read_ahead_as_far_as_allowed_and_no_further() {
        let (file, told) = watched(64, false);
        let reads: Arc<dyn ReadFile> = file.clone();
        let mut ahead = ReadAhead::default();
        let limit = 19 * MIB + 5;
        ahead.note(&reads, 4096..MIB, limit);
        assert!(ahead.helper.is_none(), "less than a mebibyte was read");
        ahead.note(&reads, MIB..MIB + 4096, limit);
        expect_read(&told, MIB + 4096, 17 * MIB + 4096);
        // Less than a step further wakes nobody, a step does, and so does the limit.
        ahead.note(&reads, MIB..2 * MIB, limit);
        ahead.note(&reads, 2 * MIB..3 * MIB, limit);
        expect_read(&told, 17 * MIB + 4096, 19 * MIB);
        ahead.note(&reads, 3 * MIB..10 * MIB, limit);
        expect_read(&told, 19 * MIB, limit);
        ahead.note(&reads, 10 * MIB..limit, limit);
        drop((ahead, reads, file));
        assert_eq!(
            told.recv_timeout(PATIENCE),
            Ok(None),
            "nothing more is read, and the thread lets go of the file"
        );
    }

    #[test]
    fn a_cached_file_is_looked_at_now_and_then_and_has_no_thread() {
        let (file, told) = watched(64, true);
        let reads: Arc<dyn ReadFile> = file.clone();
        let mut ahead = ReadAhead::default();
        for chunk in 0..4 * 32 {
            ahead.note(&reads, chunk * MIB / 4..(chunk + 1) * MIB / 4, 64 * MIB);
        }
        assert!(ahead.helper.is_none());
        assert_eq!(file.looks.load(Ordering::Relaxed), 32, "once for each mebibyte");
        drop((ahead, reads, file));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(None), "nothing was read");
    }

    #[test]
    fn who_jumps_about_is_not_read_ahead_of() {
        let (file, _told) = watched(64, false);
        let reads: Arc<dyn ReadFile> = file;
        let mut ahead = ReadAhead::default();
        for chunk in 0..30 {
            ahead.note(&reads, 2 * chunk * MIB..2 * chunk * MIB + MIB / 2, 64 * MIB);
        }
        assert!(ahead.helper.is_none());
    }

    #[test]
    fn a_thread_that_can_read_no_more_ends_and_the_walk_goes_on() {
        let (file, told) = watched(8, false);
        let reads: Arc<dyn ReadFile> = file;
        let mut ahead = ReadAhead::default();
        // The limit claims more than the file has.
        ahead.note(&reads, 0..MIB, 64 * MIB);
        expect_read(&told, MIB, 8 * MIB);
        drop(reads);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(None), "the thread let go of the file");
        let (other, _told) = watched(64, false);
        let other: Arc<dyn ReadFile> = other;
        ahead.note(&other, MIB..40 * MIB, 64 * MIB);
    }
}
