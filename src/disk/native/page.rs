//! The first block of a file as memory that several processes share, with a bell.
//!
//! Guarantees: words are read and written whole; an announcement wakes every waiter on a writable page, and costs no
//! system call when there is none.
//! Must not know: what the words mean.
//!
//! The last word is the page's own: a counter of announcements, which is what waiters sleep on, and beside it a
//! mark that somebody sleeps. The waiter sets the mark, then looks at the counter; the announcer counts, then looks
//! at the mark. All four are sequentially consistent, so at least one of the two sees the other, and a waiter that saw the
//! old counter has its mark seen. (`futex_wait` looks at the counter again itself.)
//!
//! As with any mapping, someone who truncates the file, or a disk that fills up when the page was never written,
//! ends the process with SIGBUS on the next access. The file must have been written and synced in full before it is
//! mapped, and only the journal's owner may write to it.

#![expect(unsafe_code, reason = "atomics in mapped memory")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::sys::Mapping;
use crate::disk::wake::{Sharing, futex_wait, futex_wake_all};
use crate::disk::{BLOCK_BYTES, SharedPage};

/// Words that are the users'; the one behind them is the page's own.
const DATA_WORDS: usize = BLOCK_BYTES / 8 - 1;
const COUNTER: usize = DATA_WORDS * 8;
const MARK: usize = COUNTER + 4;
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_MAX: Duration = Duration::from_millis(20);

/// A mapped page.
#[derive(Debug)]
pub(super) struct NativePage {
    mapping: Mapping,
    writable: bool,
}

impl NativePage {
    /// Maps the first block of the file, which must be open for writing too if `writable`.
    pub(super) fn map(file: &File, writable: bool) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes < BLOCK_BYTES as u64 {
            let sentence = format!("has {bytes} bytes, less than the {BLOCK_BYTES} of a shared page");
            return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
        }
        Ok(Self { mapping: Mapping::new(file, BLOCK_BYTES, writable)?, writable })
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        assert!(word < DATA_WORDS, "the page's last word is its own");
        // SAFETY: the sum stays within the mapping: `word * 8 < BLOCK_BYTES`.
        let place = unsafe { self.mapping.start().add(word * 8) };
        // SAFETY: (1) the place is mapped as long as `self` lives and aligned to 8: a page's start and a multiple of 8;
        // (2) all of this process access it as `AtomicU64` only, since the words of 32 bits lie in another one; other
        // processes are beyond the memory model and do the same; (3) on a page that is not writable only loads reach it.
        unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
    }

    fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(at == COUNTER || at == MARK, "only the last word is used in halves");
        // SAFETY: the sum stays within the mapping: both are below `BLOCK_BYTES`.
        let place = unsafe { self.mapping.start().add(at) };
        // SAFETY: as in `word`, with alignment to 4.
        unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) }
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
        self.word(word).load(Ordering::Acquire)
    }

    fn store(&self, word: usize, value: u64) {
        assert!(self.writable, "store to a page that is not writable");
        self.word(word).store(value, Ordering::Release);
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn announcements(&self) -> u32 {
        self.half_word(COUNTER).load(Ordering::SeqCst)
    }

    fn announce(&self) {
        assert!(self.writable, "announcement on a page that is not writable");
        let counter = self.half_word(COUNTER);
        counter.fetch_add(1, Ordering::SeqCst);
        // Any value but zero is a mark: the file may hold anything.
        if self.half_word(MARK).swap(0, Ordering::SeqCst) != 0 {
            futex_wake_all(counter, Sharing::Machine);
        }
    }

    fn wait(&self, seen: u32, patience: Duration) {
        if !self.writable {
            return self.poll(seen, patience);
        }
        self.half_word(MARK).store(1, Ordering::SeqCst);
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

    /// The same page mapped twice, as two processes would.
    fn two_mappings(second_writable: bool) -> (NativePage, NativePage) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; BLOCK_BYTES]).unwrap();
        let second = OpenOptions::new().read(true).write(second_writable).open(file.path()).unwrap();
        (NativePage::map(file.as_file(), true).unwrap(), NativePage::map(&second, second_writable).unwrap())
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
        announcer.store(3, 77);
        let announced = Instant::now();
        announcer.announce();
        let (woken, word) = sleeper.join().unwrap();
        assert_eq!(word, 77);
        woken.saturating_duration_since(announced)
    }

    #[test]
    fn an_announcement_wakes_a_waiter_on_another_mapping() {
        let (announcer, waiter) = two_mappings(true);
        assert!(announcement_reaches(&announcer, waiter) < Duration::from_secs(2));
        assert_eq!(announcer.half_word(MARK).load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_waiter_that_may_only_read_finds_out_by_itself() {
        let (announcer, waiter) = two_mappings(false);
        assert!(!waiter.is_writable());
        assert!(announcement_reaches(&announcer, waiter) < Duration::from_secs(2));
    }

    #[test]
    fn many_announcements_and_waiters_lose_none() {
        let (announcer, waiter) = two_mappings(true);
        let rounds = 2000_u64;
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    announcer.store(0, round);
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
                waiter.store(1, round);
                waiter.announce();
            }
        });
        assert!(start.elapsed() < Duration::from_secs(25), "a wake-up was lost");
    }

    #[test]
    fn waiting_ends_with_patience_on_both_kinds_of_page() {
        for writable in [true, false] {
            let (_, waiter) = two_mappings(writable);
            let start = Instant::now();
            waiter.wait(waiter.announcements(), Duration::from_millis(5));
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn what_is_stored_is_in_the_file_after_sync() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; BLOCK_BYTES]).unwrap();
        let page = NativePage::map(file.as_file(), true).unwrap();
        page.store(510, u64::MAX);
        page.sync().unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap()[510 * 8..511 * 8], [255; 8]);
    }

    #[test]
    fn a_file_shorter_than_a_page_is_not_mapped() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; BLOCK_BYTES - 1]).unwrap();
        let error = NativePage::map(file.as_file(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
