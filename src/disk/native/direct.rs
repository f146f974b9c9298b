//! Reads and whole-block writes past the page cache, and what to do with files that know none.
//!
//! Guarantees: reads of any position and length, in pieces of bounded memory; a read ends short only at the end of
//! the file.
//! Must not know: what the bytes are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use super::sys;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, block_ceiling, block_floor};

/// Memory that one read past the cache needs at most, and never more than the file has from there on.
const PIECE_BYTES: usize = 1 << 20;
/// The same where the file has at least this much from there on: a huge page.
const LARGE_PIECE_BYTES: usize = 2 << 20;
/// From here on a read is worth a huge page.
const LONG_READ_BYTES: usize = 256 << 10;
/// How often EAGAIN, or a read that brings nothing, is borne in a row; with the pauses about a second.
const PATIENCE: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// Whether direct I/O in our blocks is possible, as far as the kernel tells before trying.
pub(super) fn is_possible(file: &File) -> bool {
    match sys::direct_alignment(file.as_fd()).map(usize::try_from) {
        None => true,
        Some(Ok(alignment)) => alignment > 0 && BLOCK_BYTES.is_multiple_of(alignment),
        Some(Err(_)) => false,
    }
}

/// Whether the error says that the file system knows no direct I/O (of this kind).
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Opens the file behind the descriptor once more, for direct reads. `None` where that is not possible: the file
/// system refuses, `/proc` is missing, or the process may not open the file any more.
pub(super) fn reopen_for_reading(file: &File) -> Option<File> {
    if !is_possible(file) {
        return None;
    }
    // Through the descriptor and not the name, which may be gone or stand for another file by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_NOCTTY).open(path).ok()
}

/// Fills `into` from `position` on through `direct`; less only at the end of the file.
pub(super) fn read(direct: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut bounce = None;
    let outcome = read_by(&mut bounce, direct, into, position);
    bounce.into_iter().for_each(keep_spare);
    outcome
}

fn read_by(
    bounce: &mut Option<AlignedBuffer>,
    direct: &File,
    into: &mut [u8],
    position: u64,
) -> io::Result<usize> {
    // The device delivers whole blocks, also the one in which the file ends: that one is never read in place, or bytes
    // of `into` that the file has nothing for would change.
    let end = direct.metadata()?.len();
    let last_block = block_floor(end);
    let mut done = 0;
    while done < into.len() {
        let (at, rest) = (position + done as u64, &mut into[done..]);
        if at >= end {
            break;
        }
        let before_last = usize::try_from(last_block.saturating_sub(at)).unwrap_or(usize::MAX);
        let whole_blocks = rest.len().min(before_last) / BLOCK_BYTES * BLOCK_BYTES;
        let aligned = block_floor(at) == at && (rest.as_ptr() as usize).is_multiple_of(BLOCK_BYTES);
        if aligned && whole_blocks > 0 {
            let read = read_blocks(direct, &mut rest[..whole_blocks], at)?;
            done += read;
            if read < whole_blocks {
                break;
            }
            continue;
        }
        let start = block_floor(at);
        let skipped = usize::try_from(at - start).unwrap_or(0);
        let in_file = usize::try_from(block_ceiling(end) - start).unwrap_or(usize::MAX);
        let wanted = (skipped + rest.len()).next_multiple_of(BLOCK_BYTES).min(in_file);
        let bounce = bounce.get_or_insert_with(|| bounce_of(wanted, in_file));
        let wanted = wanted.min(bounce.len());
        let read = read_blocks(direct, &mut bounce[..wanted], start)?;
        let taken = read.saturating_sub(skipped).min(rest.len());
        rest[..taken].copy_from_slice(&bounce[skipped..skipped + taken]);
        done += taken;
        if read < wanted {
            break;
        }
    }
    Ok(done)
}

/// The memory of the last long read, kept for the next one, so that it is made and zeroed once. One for the process:
/// who finds none makes one.
static SPARE: Mutex<Option<AlignedBuffer>> = Mutex::new(None);

/// `None` where somebody holds it. Nobody waits for that: in a forked child it may be held for ever, by a thread that only the
/// parent has.
fn spare() -> Option<MutexGuard<'static, Option<AlignedBuffer>>> {
    match SPARE.try_lock() {
        Ok(spare) => Some(spare),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Memory for a read of so many bytes where the caller's cannot be used, from a file that has `in_file` from there on.
fn bounce_of(bytes: usize, in_file: usize) -> AlignedBuffer {
    if bytes < LONG_READ_BYTES || in_file < LARGE_PIECE_BYTES {
        return AlignedBuffer::new(bytes.min(PIECE_BYTES));
    }
    let kept = spare().and_then(|mut spare| spare.take());
    kept.unwrap_or_else(|| AlignedBuffer::huge(LARGE_PIECE_BYTES))
}

fn keep_spare(bounce: AlignedBuffer) {
    if bounce.len() >= LARGE_PIECE_BYTES
        && let Some(mut spare) = spare()
    {
        *spare = Some(bounce);
    }
}

/// Fills aligned memory of whole blocks from a block boundary on; less only at the end of the file.
fn read_blocks(direct: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    let mut fruitless = 0;
    while done < into.len() {
        let read = patiently(|| direct.read_at(&mut into[done..], position + done as u64))?;
        let reached = done + read;
        if reached == into.len() || position + reached as u64 >= direct.metadata()?.len() {
            return Ok(reached);
        }
        // Short in the middle of the file. Direct reads go on at block boundaries only.
        let next = reached - reached % BLOCK_BYTES;
        fruitless = if next > done { 0 } else { fruitless + 1 };
        if fruitless == PATIENCE {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "direct reads bring nothing"));
        }
        done = next;
    }
    Ok(done)
}

/// Fills `into` through the page cache after dropping what it holds of the range, as far as it is clean.
pub(super) fn read_after_dropping_cache(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    // Only whole pages are dropped, so the range is widened to blocks.
    let (start, end) = (block_floor(position), block_ceiling(position + into.len() as u64));
    sys::drop_cached(file.as_fd(), start, end - start)?;
    read_cached(file, into, position)
}

/// Fills `into` through the page cache; less only at the end of the file.
pub(super) fn read_cached(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match patiently(|| file.read_at(&mut into[done..], position + done as u64))? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match patiently(|| file.write_at(&bytes[done..], position + done as u64))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => done += written,
        }
    }
    Ok(())
}

/// Repeats a read or write while a signal interrupts it, and for about a second while the kernel asks to try again.
pub(super) fn patiently(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut refusals = 0;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && refusals < PATIENCE => {
                refusals += 1;
                thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{PoisonError, mpsc};

    /// Found by reading: in a child that was forked while another thread put its memory back, a long read waited for ever.
    #[test]
    fn a_long_read_needs_no_lock_that_a_fork_may_have_left_held() {
        let content: Vec<u8> = (0..3_u32 << 20).map(|at| (at % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        write_all(&file, &content, 0).unwrap();
        let _held = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let mut into = vec![0; LONG_READ_BYTES];
            let read = read(&file, &mut into, 1).unwrap();
            let _ = done.send((read, into));
        });
        let (read, into) = is_done.recv_timeout(Duration::from_secs(20)).expect("a read that ends");
        assert_eq!(read, LONG_READ_BYTES);
        assert!(into == content[1..=LONG_READ_BYTES]);
    }
}
