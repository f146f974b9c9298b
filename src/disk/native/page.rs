//! A page that processes share: the first block of a file, mapped.
//!
//! Words 0 to 510 are data. Word 511 is the page's own: its low half counts announcements and is what waiters sleep on;
//! its high half is 1 while somebody may be asleep, so that an announcement that nobody waits for costs no system call.

#![expect(unsafe_code, reason = "a shared mapping")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::wake::{Scope, futex_wait, futex_wake_all};
use super::sys;
use crate::disk::{BLOCK_BYTES, SharedPage};

const WORDS: usize = BLOCK_BYTES / 8;
const OWN_WORD: usize = WORDS - 1;
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct NativePage {
    start: NonNull<AtomicU64>,
    is_writable: bool,
}

// SAFETY: the mapping belongs to no thread; it is accessed through atomics only.
unsafe impl Send for NativePage {}
// SAFETY: as above.
unsafe impl Sync for NativePage {}

impl NativePage {
    /// Maps the file's first block. A file that somebody cuts short afterwards makes access fatal (SIGBUS), as with any
    /// mapping; the journal never does.
    pub(super) fn map(file: BorrowedFd<'_>, is_writable: bool) -> io::Result<Self> {
        if sys::stat(file)?.st_size < libc::off_t::try_from(BLOCK_BYTES).unwrap_or(libc::off_t::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shorter than a page"));
        }
        let protection = if is_writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let (null, fd) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the descriptor is open
        // and its access mode fits the protection (else the kernel refuses).
        let start = unsafe { libc::mmap(null, BLOCK_BYTES, protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("a mapping at address zero"))?;
        Ok(Self { start, is_writable })
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        assert!(word < WORDS, "word {word} is outside of the page");
        // SAFETY: (1) `start` is the start of a mapping of `WORDS` words, page-aligned, which lives as long as `self`;
        // (2) `word` is inside; (3) all access, here and in other processes, is atomic.
        unsafe { self.start.add(word).as_ref() }
    }

    fn half(&self, half: usize) -> &AtomicU32 {
        assert!(half < 2, "a word has two halves");
        let word = self.word(OWN_WORD).as_ptr().cast::<AtomicU32>();
        // SAFETY: (1) the own word is 8 mapped, aligned bytes, so both halves are 4 mapped, aligned bytes that live as
        // long as `self`; (2) that word is never accessed as a whole, so no access mixes sizes.
        unsafe { &*word.add(half) }
    }

    fn counter(&self) -> &AtomicU32 {
        self.half(0)
    }

    fn wanted(&self) -> &AtomicU32 {
        self.half(1)
    }

    fn poll(&self, seen: u32, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        while self.announcements() == seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl SharedPage for NativePage {
    fn load(&self, word: usize) -> u64 {
        assert!(word < OWN_WORD, "the last word is the page's own");
        self.word(word).load(Ordering::Acquire)
    }

    fn store(&self, word: usize, value: u64) {
        assert!(self.is_writable, "a store to a page that is not writable");
        assert!(word < OWN_WORD, "the last word is the page's own");
        self.word(word).store(value, Ordering::Release);
    }

    fn is_writable(&self) -> bool {
        self.is_writable
    }

    fn announcements(&self) -> u32 {
        self.counter().load(Ordering::SeqCst)
    }

    fn announce(&self) {
        assert!(self.is_writable, "an announcement on a page that is not writable");
        // Sequentially consistent, as in `wait`: either the waiter sees the new count, or this sees that it is wanted.
        self.counter().fetch_add(1, Ordering::SeqCst);
        if self.wanted().load(Ordering::SeqCst) != 0 && self.wanted().swap(0, Ordering::SeqCst) != 0 {
            futex_wake_all(self.counter(), Scope::Shared);
        }
    }

    fn wait(&self, seen: u32, patience: Duration) {
        if !self.is_writable {
            return self.poll(seen, patience);
        }
        self.wanted().store(1, Ordering::SeqCst);
        if self.announcements() == seen {
            futex_wait(self.counter(), seen, Some(patience), Scope::Shared);
        }
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly the mapping made in `map`.
        let result = unsafe { libc::msync(self.start.as_ptr().cast(), BLOCK_BYTES, libc::MS_SYNC) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for NativePage {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; nobody borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), BLOCK_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn page_file() -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BLOCK_BYTES as u64).unwrap();
        file
    }

    #[test]
    fn what_one_mapping_stores_the_other_sees_and_is_woken_for() {
        let file = page_file();
        let writer = NativePage::map(file.as_fd(), true).unwrap();
        for is_writable in [true, false] {
            let reader = NativePage::map(file.as_fd(), is_writable).unwrap();
            let seen = reader.announcements();
            let before = writer.load(3);
            std::thread::scope(|scope| {
                let waiter = scope.spawn(move || {
                    let start = Instant::now();
                    while reader.announcements() == seen {
                        reader.wait(seen, Duration::from_secs(20));
                    }
                    (reader.load(3), start.elapsed())
                });
                writer.store(3, before + 7);
                writer.announce();
                let (value, waited) = waiter.join().unwrap();
                assert_eq!(value, before + 7);
                assert!(waited < Duration::from_secs(10), "woken after {waited:?}");
            });
        }
    }

    #[test]
    fn a_file_shorter_than_a_page_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4095).unwrap();
        assert_eq!(NativePage::map(file.as_fd(), true).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
