//! A buffer that starts and ends on block boundaries, as direct I/O demands, and the arithmetic of blocks.

#![expect(unsafe_code, reason = "aligned allocation")]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Positions, lengths and memory of direct I/O are multiples of this: the largest logical block size of common devices.
pub(crate) const BLOCK_BYTES: usize = 4096;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// A huge page of most machines; where they have another size, this only decides about speed.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The largest block boundary that is not above `position`.
pub(crate) const fn block_floor(position: u64) -> u64 {
    position - position % BLOCK
}

/// The smallest block boundary that is not below `position`.
///
/// # Panics
/// When that is past the end of `u64`.
pub(crate) const fn block_ceiling(position: u64) -> u64 {
    match position.checked_next_multiple_of(BLOCK) {
        Some(ceiling) => ceiling,
        None => panic!("position past the last block"),
    }
}

/// Zeroed memory of whole blocks, aligned to a block.
pub(crate) struct AlignedBuffer {
    start: NonNull<u8>,
    layout: Layout,
    number: u64,
}

// SAFETY: the buffer owns its memory exclusively; sharing or moving it between threads is what `Box<[u8]>` allows.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above; `&AlignedBuffer` gives only `&[u8]`.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A zeroed buffer of at least `bytes`, rounded up to whole blocks and at least one.
    pub(crate) fn new(bytes: usize) -> Self {
        let layout = whole(bytes, BLOCK_BYTES);
        // SAFETY: the layout's size is at least one block, so not zero.
        Self::of(unsafe { alloc_zeroed(layout) }, layout)
    }

    /// As [`new`](Self::new), rounded up to huge pages, and made of them where the kernel has some: a device that puts
    /// what it reads into one piece of memory is done sooner than with a piece for every small page.
    pub(crate) fn huge(bytes: usize) -> Self {
        let layout = whole(bytes, HUGE_PAGE_BYTES);
        // SAFETY: the layout's size is at least one huge page, so not zero.
        let start = unsafe { alloc(layout) };
        if !start.is_null() {
            // Before the memory is touched: then it gets its pages. Refused, it gets small ones.
            // SAFETY: madvise needs a range of whole pages of this process: the allocation, whose start and size are
            // multiples of a huge page; MADV_HUGEPAGE leaves what is in them as it is.
            let _ = unsafe { libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE) };
            // SAFETY: the allocation has so many bytes, is just made and known to nobody else.
            unsafe { start.write_bytes(0, layout.size()) };
        }
        Self::of(start, layout)
    }

    /// `start` is zeroed memory of this layout that nobody else owns, or null, where there was none.
    fn of(start: *mut u8, layout: Layout) -> Self {
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // Relaxed: only that no two are the same counts.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { start, layout, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The number of this memory: no other memory of this process, before or after, has it. (An address can come again.)
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Makes the buffer at least `bytes` long, keeping its content; new bytes are zero.
    pub(crate) fn grow(&mut self, bytes: usize) {
        if bytes <= self.len() {
            return;
        }
        let mut larger = Self::new(bytes);
        larger[..self.len()].copy_from_slice(self);
        *self = larger;
    }
}

/// At least `bytes` and one unit, in whole units.
fn whole(bytes: usize, unit: usize) -> Layout {
    Layout::from_size_align(bytes.max(1).next_multiple_of(unit), unit)
        .expect("a buffer of whole blocks that fits the address space")
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: (1) `start` points to `layout.size()` initialised (zeroed) bytes of one allocation that lives as long as
        // `self`; (2) the shared borrow of `self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the exclusive borrow of `self` keeps everyone else out.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: `start` came from the allocator with this very layout and is freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_zeroed_and_whole_blocks() {
        for bytes in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let buffer = AlignedBuffer::new(bytes);
            assert_eq!(buffer.as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(buffer.len() % BLOCK_BYTES, 0);
            assert!(buffer.len() >= bytes.max(1) && buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_huge_buffer_is_aligned_zeroed_and_whole_huge_pages() {
        for bytes in [1, HUGE_PAGE_BYTES, HUGE_PAGE_BYTES + 1] {
            // From the second time on the allocator keeps what it gets back, and gives it out as it was.
            (0..2).for_each(|_| drop(std::hint::black_box(vec![1_u8; 16 << 20])));
            let buffer = AlignedBuffer::huge(bytes);
            assert_eq!(buffer.as_ptr() as usize % HUGE_PAGE_BYTES, 0);
            assert_eq!(buffer.len(), bytes.next_multiple_of(HUGE_PAGE_BYTES));
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn growing_keeps_the_content() {
        let mut buffer = AlignedBuffer::new(1);
        buffer[4095] = 7;
        buffer.grow(10_000);
        assert_eq!((buffer.len(), buffer[4095], buffer[4096]), (12_288, 7, 0));
    }

    #[test]
    fn memory_that_changed_has_another_number() {
        let mut buffer = AlignedBuffer::new(1);
        let first = buffer.number();
        buffer.grow(1);
        assert_eq!(buffer.number(), first);
        buffer.grow(5000);
        assert_ne!(buffer.number(), first);
        assert_ne!(AlignedBuffer::new(1).number(), AlignedBuffer::new(1).number());
    }

    #[test]
    fn floors_and_ceilings_are_block_boundaries() {
        assert_eq!([block_floor(0), block_floor(4095), block_floor(4096)], [0, 0, 4096]);
        assert_eq!([block_ceiling(0), block_ceiling(1), block_ceiling(4096)], [0, 4096, 4096]);
    }
}
