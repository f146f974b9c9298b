//! The first block of a file as memory that several processes share, with a bell.
//!
//! Guarantees: words are read and written whole; an announcement wakes every waiter on a writable page, and costs no
//! system call for waking when there is none.
//! Must not know: what the words mean.
//!
//! The last word is the page's own: a counter of announcements, which is what waiters sleep on, and beside it a
//! mark that somebody sleeps. The waiter sets the mark, then looks at the counter; the announcer takes the mark away, counts,
//! then looks at the mark. Between the last two steps of each stands a sequentially consistent fence, so at least one of the two
//! sees the other, and a waiter that saw the old counter has its mark seen. (`futex_wait` looks at the counter again itself.) A
//! mark that is taken away after the count may be that of a waiter who has seen the new count and does not sleep yet: the wake
//! goes past him, and the next announcement finds no mark.
//!
//! Every load is relaxed, with an acquire fence behind it: the standard library promises of no others, and of none wider than a
//! register, that they work on memory that is mapped for reading only.
//!
//! Who stores to a mapping when the file system has no room for it is ended by SIGBUS. ext4 and tmpfs need none for a block that was
//! written before; those that write every block to a new place, or may come to share it with a copy (btrfs, XFS), do. Only on the
//! former is the page stored to; on all others it is written by system calls, which answer with an error. A file whose block the
//! device cannot give is not mapped. Someone who truncates the file still ends whoever looks, and so does a device that loses the
//! block later, once memory ran short and the page was dropped: only the journal's owner may write to it, and it must have been
//! written in full before it is mapped.

#![expect(unsafe_code, reason = "atomics in mapped memory")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::file_system;
use super::sys::{self, Mapping};
use crate::disk::wake::{Sharing, futex_wait, futex_wake_all};
use crate::disk::{BLOCK_BYTES, SharedPage};

/// Words that are the users'; the one behind them is the page's own.
const DATA_WORDS: usize = BLOCK_BYTES / 8 - 1;
const COUNTER: usize = DATA_WORDS * 8;
const MARK: usize = COUNTER + 4;
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_MAX: Duration = Duration::from_millis(20);

/// Whether the file system needs no room for a store to a page that was written before. It needs some for a page of several
/// blocks: one of them may be a hole, as a copy makes it of zeros.
fn takes_stores(file: &File) -> bool {
    let is_one_block = file.metadata().is_ok_and(|status| status.blksize() >= BLOCK_BYTES as u64);
    is_one_block && matches!(sys::file_system_magic(file.as_fd()), Ok(file_system::EXT4 | file_system::TMPFS))
}

/// A read that failed, with what to do about it.
fn unreadable(error: &io::Error) -> io::Error {
    let sentence = format!(
        "the first block cannot be read ({error}); restore the file from a backup, or move it out of the directory: \
         it is made anew, and a loss that only this file knew of is not seen"
    );
    io::Error::new(error.kind(), sentence)
}

fn held(lock: &Mutex<()>) -> MutexGuard<'_, ()> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mapped page.
#[derive(Debug)]
pub(super) struct NativePage {
    mapping: Mapping,
    changes: Changes,
}

/// How the page is changed.
#[derive(Debug)]
enum Changes {
    Never,
    /// In the mapping.
    ByStore,
    /// By writing to the file; the mapping is for reading.
    ByCall {
        file: File,
        /// For counting alone: a forked child may find it held for ever by a thread that it does not have. It may wait, but
        /// not announce.
        counting: Mutex<()>,
    },
}

impl Changes {
    fn by_call(file: &File) -> io::Result<Self> {
        Ok(Self::ByCall { file: file.try_clone()?, counting: Mutex::new(()) })
    }
}

impl NativePage {
    /// Maps the first block of the file, which must be open for writing too if `writable`.
    pub(super) fn map(file: &File, writable: bool) -> io::Result<Self> {
        let changes = match writable {
            false => Changes::Never,
            true if takes_stores(file) => Changes::ByStore,
            true => Changes::by_call(file)?,
        };
        Self::map_to(file, changes)
    }

    fn map_to(file: &File, changes: Changes) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes < BLOCK_BYTES as u64 {
            let sentence = format!("has {bytes} bytes, less than the {BLOCK_BYTES} of a shared page");
            return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
        }
        // A page that cannot be had when it is touched ends the process by a signal; a read answers, and leaves the page at hand.
        file.read_exact_at(&mut [0; BLOCK_BYTES], 0).map_err(|error| unreadable(&error))?;
        let mapping = Mapping::new(file, BLOCK_BYTES, matches!(changes, Changes::ByStore))?;
        Ok(Self { mapping, changes })
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        assert!(word < DATA_WORDS, "the page's last word is its own");
        // SAFETY: the sum stays within the mapping: `word * 8 < BLOCK_BYTES`.
        let place = unsafe { self.mapping.start().add(word * 8) };
        // SAFETY: (1) the place is mapped as long as `self` lives and aligned to 8: a page's start and a multiple of 8;
        // (2) all of this process access it as `AtomicU64` only, since the words of 32 bits lie in another one; what other
        // processes and the kernel change is beyond the memory model, and they change it as words; (3) a mapping for reading
        // only (`Changes::Never`, `Changes::ByCall`) is reached by relaxed loads of at most a register's width alone: `load`.
        unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
    }

    fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at == COUNTER || at == MARK, "only the last word is used in halves");
        // SAFETY: the sum stays within the mapping: both are below `BLOCK_BYTES`.
        let place = unsafe { self.mapping.start().add(at) };
        // SAFETY: as in `word`, with alignment to 4; the loads are those of `announcements` and `is_marked`.
        unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) }
    }

    /// Whether somebody may sleep (acquire).
    fn is_marked(&self) -> bool {
        // Any value but zero is a mark: the file may hold anything.
        let is_marked = self.half_word(MARK).load(Ordering::Relaxed) != 0;
        fence(Ordering::Acquire);
        is_marked
    }

    /// Counts an announcement; whether somebody may sleep. The mark is taken away before the count: a waiter who sets it after
    /// that is seen by the second look, or sees the new count himself.
    fn count_by_call(&self, file: &File) -> bool {
        let was_marked = self.is_marked();
        if was_marked {
            self.mark_by_call(file, 0);
        }
        let count = self.announcements().wrapping_add(1);
        let _ = file.write_all_at(&count.to_le_bytes(), COUNTER as u64);
        // Pairs with the fence of a waiter between its mark and its look.
        fence(Ordering::SeqCst);
        was_marked || self.is_marked()
    }

    /// Says that somebody may sleep; `false` where that cannot be said. A look at the counter goes after it.
    fn mark(&self) -> bool {
        match &self.changes {
            Changes::Never => false,
            Changes::ByStore => {
                self.half_word(MARK).store(1, Ordering::SeqCst);
                // The look at the counter is relaxed. Pairs with the fence of `announce` between its count and its look.
                fence(Ordering::SeqCst);
                true
            }
            Changes::ByCall { file, .. } => self.mark_by_call(file, 1),
        }
    }

    fn mark_by_call(&self, file: &File, mark: u32) -> bool {
        let is_written = file.write_all_at(&mark.to_le_bytes(), MARK as u64).is_ok();
        fence(Ordering::SeqCst);
        is_written
    }

    fn poll(&self, seen: u32, patience: Duration) {
        let start = Instant::now();
        let mut pause = POLL_FIRST;
        while self.announcements() == seen {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}

impl SharedPage for NativePage {
    fn load(&self, word: usize) -> u64 {
        let value = self.word(word).load(Ordering::Relaxed);
        // Pairs with the release of `store`.
        fence(Ordering::Acquire);
        value
    }

    fn store(&self, first: usize, values: &[u64]) {
        assert!(first + values.len() <= DATA_WORDS, "the page's last word is its own");
        match &self.changes {
            Changes::Never => panic!("store to a page that is not writable"),
            Changes::ByStore => {
                for (word, value) in (first..).zip(values) {
                    self.word(word).store(*value, Ordering::Release);
                }
            }
            Changes::ByCall { file, .. } => {
                let mut bytes = [0; BLOCK_BYTES];
                let (words, _) = bytes.as_chunks_mut();
                for (word, value) in words.iter_mut().zip(values) {
                    *word = value.to_le_bytes();
                }
                let bytes = bytes.get(..values.len() * 8).unwrap_or_default();
                // Whoever looks sees an older page when there is no room.
                let _ = file.write_all_at(bytes, first as u64 * 8);
            }
        }
    }

    fn is_writable(&self) -> bool {
        !matches!(self.changes, Changes::Never)
    }

    fn announcements(&self) -> u32 {
        let count = self.half_word(COUNTER).load(Ordering::Relaxed);
        // Who sees an announcement sees what was stored before it. `wait` has its own fence, before it looks.
        fence(Ordering::Acquire);
        count
    }

    fn announce(&self) {
        let counter = self.half_word(COUNTER);
        let is_awaited = match &self.changes {
            Changes::Never => panic!("announcement on a page that is not writable"),
            Changes::ByStore => {
                // The mark is taken away before the count, as in `count_by_call`.
                let was_marked = self.half_word(MARK).swap(0, Ordering::SeqCst) != 0;
                counter.fetch_add(1, Ordering::SeqCst);
                // Pairs with the fence of a waiter between its mark and its look.
                fence(Ordering::SeqCst);
                was_marked || self.is_marked()
            }
            Changes::ByCall { file, counting } => {
                let _held = held(counting);
                self.count_by_call(file)
            }
        };
        if is_awaited {
            futex_wake_all(counter, Sharing::Machine);
        }
    }

    fn wait(&self, seen: u32, patience: Duration) {
        let is_marked = self.mark();
        if !is_marked {
            return self.poll(seen, patience);
        }
        if self.announcements() == seen {
            futex_wait(self.half_word(COUNTER), seen, Some(patience), Sharing::Machine);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.mapping.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    const HOW: [bool; 2] = [false, true];

    fn changes(file: &File, by_call: bool) -> Changes {
        if by_call { Changes::by_call(file).unwrap() } else { Changes::ByStore }
    }

    /// The same page mapped twice, as two processes would.
    fn two_mappings(second_writable: bool, by_call: bool) -> (NativePage, NativePage) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; BLOCK_BYTES]).unwrap();
        let second = OpenOptions::new().read(true).write(second_writable).open(file.path()).unwrap();
        let of_second = if second_writable { changes(&second, by_call) } else { Changes::Never };
        let first = NativePage::map_to(file.as_file(), changes(file.as_file(), by_call)).unwrap();
        (first, NativePage::map_to(&second, of_second).unwrap())
    }

    fn announcement_reaches(announcer: &NativePage, waiter: NativePage) -> Duration {
        let seen = waiter.announcements();
        let sleeper = thread::spawn(move || {
            while waiter.announcements() == seen {
                waiter.wait(seen, Duration::from_secs(20));
            }
            (Instant::now(), waiter.load(3))
        });
        thread::sleep(Duration::from_millis(100));
        announcer.store(3, &[77]);
        let announced = Instant::now();
        announcer.announce();
        let (woken, word) = sleeper.join().unwrap();
        assert_eq!(word, 77);
        woken.saturating_duration_since(announced)
    }

    #[test]
    fn an_announcement_wakes_a_waiter_on_another_mapping() {
        for by_call in HOW {
            let (announcer, waiter) = two_mappings(true, by_call);
            assert!(announcement_reaches(&announcer, waiter) < Duration::from_secs(2));
            assert!(!announcer.is_marked());
        }
    }

    #[test]
    fn a_waiter_that_may_only_read_finds_out_by_itself() {
        for by_call in HOW {
            let (announcer, waiter) = two_mappings(false, by_call);
            assert!(!waiter.is_writable());
            assert!(announcement_reaches(&announcer, waiter) < Duration::from_secs(2));
        }
    }

    #[test]
    fn many_announcements_and_waiters_lose_none() {
        HOW.into_iter().for_each(announcements_lose_none);
    }

    fn announcements_lose_none(by_call: bool) {
        let (announcer, waiter) = two_mappings(true, by_call);
        let rounds = 2000_u64;
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    announcer.store(0, &[round]);
                    announcer.announce();
                    while announcer.load(1) < round {
                        let seen = announcer.announcements();
                        if announcer.load(1) < round {
                            announcer.wait(seen, Duration::from_secs(30));
                        }
                    }
                }
            });
            for round in 1..=rounds {
                while waiter.load(0) < round {
                    let seen = waiter.announcements();
                    if waiter.load(0) < round {
                        waiter.wait(seen, Duration::from_secs(30));
                    }
                }
                waiter.store(1, &[round]);
                waiter.announce();
            }
        });
        assert!(start.elapsed() < Duration::from_secs(25), "a wake-up was lost");
    }

    /// Looks all the time; where there is one processor the other thread gets it now and then.
    fn spin_until(is_so: impl Fn() -> bool) {
        for looks in 1_u64.. {
            if is_so() {
                break;
            }
            if looks.is_multiple_of(4096) {
                thread::yield_now();
            }
        }
    }

    /// Two processes in lock-step lost a wake-up once in some hundred thousand: the announcer took away the mark of a waiter who
    /// had seen the new count, and was about to sleep on it.
    #[test]
    fn the_mark_of_who_has_seen_the_new_count_stays() {
        for by_call in HOW {
            let (announcer, waiter) = two_mappings(true, by_call);
            let rounds = if by_call { 20_000 } else { 500_000 };
            let (marked_at, mut lost) = (AtomicU32::new(0), 0_u32);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 1..=rounds {
                        spin_until(|| waiter.announcements() >= round);
                        waiter.mark();
                        marked_at.store(round, Ordering::Release);
                    }
                });
                for round in 1..=rounds {
                    announcer.announce();
                    spin_until(|| marked_at.load(Ordering::Acquire) >= round);
                    lost += u32::from(!announcer.is_marked());
                }
            });
            assert_eq!(lost, 0, "marks of {rounds}, by call: {by_call}");
        }
    }

    #[test]
    fn waiting_ends_with_patience_on_every_kind_of_page() {
        for (writable, by_call) in [(true, false), (true, true), (false, false)] {
            let (_, waiter) = two_mappings(writable, by_call);
            let start = Instant::now();
            waiter.wait(waiter.announcements(), Duration::from_millis(5));
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    /// Found by reading: in a child that was forked during an announcement, a reader that it had from its parent waited for ever.
    #[test]
    fn who_waits_needs_no_lock_that_a_fork_may_have_left_held() {
        let (page, _) = two_mappings(true, true);
        let page = std::sync::Arc::new(page);
        let Changes::ByCall { counting, .. } = &page.changes else { panic!("a page of another kind") };
        let _announcing = held(counting);
        let (done, is_done) = std::sync::mpsc::channel();
        let waiter = page.clone();
        thread::spawn(move || {
            waiter.wait(waiter.announcements(), Duration::from_millis(5));
            let _ = done.send(());
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("a wait that ends");
    }

    #[test]
    fn what_is_stored_is_in_the_file_after_sync() {
        for by_call in HOW {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&[0; BLOCK_BYTES]).unwrap();
            let page = NativePage::map_to(file.as_file(), changes(file.as_file(), by_call)).unwrap();
            page.store(509, &[u64::MAX, 7]);
            assert_eq!((page.load(509), page.load(510)), (u64::MAX, 7));
            page.sync().unwrap();
            let content = std::fs::read(file.path()).unwrap();
            assert_eq!(content[509 * 8..511 * 8], [[255; 8], 7_u64.to_le_bytes()].concat());
        }
    }

    #[test]
    fn a_file_shorter_than_a_page_is_not_mapped() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; BLOCK_BYTES - 1]).unwrap();
        let error = NativePage::map(file.as_file(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
