//! An index whose writer has gone without closing it, for one who only reads.
//!
//! Guarantees: shows what an opening for writing would find, and changes nothing: what redb does to the file while it opens
//! it stays in memory. Once a writer has the file again, whoever reads on is told so, and gets nothing that the writer may
//! have written over. Must not know: what the entries mean.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::disk::{Folder, ReadDisk, ReadFile};

/// redb's header: it changes with every commit, and a page that a commit gave up is not written over before that commit
/// is in the header ("Database header", "Commit strategies" in its design).
const HEAD_BYTES: usize = 320;
/// In such pieces changes are kept in memory.
const PIECE_BYTES: usize = 4096;

/// The index as it was left.
#[derive(Debug)]
pub(super) struct Left {
    file: Arc<dyn ReadFile>,
    head: [u8; HEAD_BYTES],
    is_over: Arc<AtomicBool>,
    pub(super) database: Database,
}

impl Left {
    /// Opens the file. The outer error is the file's, the inner one redb's; `RepairAborted` also where a writer came in
    /// between, and where only going over the whole file could tell what is in it.
    pub(super) fn open(
        disk: &dyn ReadDisk,
        name: &str,
        cache_bytes: usize,
    ) -> io::Result<Result<Self, DatabaseError>> {
        let file = disk.open_read(Folder::Root, name)?;
        let head = read_head(&*file)?;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_repair_callback(redb::RepairSession::abort);
        let is_over = Arc::new(AtomicBool::new(false));
        let overlay = Overlay::new(Arc::clone(&file), Arc::clone(&is_over))?;
        let opened =
            builder.create_with_backend(overlay).map(|database| Self { file, head, is_over, database });
        match opened {
            Ok(left) if left.has_changed()? => Ok(Err(DatabaseError::RepairAborted)),
            opened => Ok(opened),
        }
    }

    /// Whether a writer has the file again: what was read since it was opened may be anything then.
    pub(super) fn has_changed(&self) -> io::Result<bool> {
        Ok(read_head(&*self.file)? != self.head)
    }
}

impl Drop for Left {
    /// redb writes a last commit when it closes, and reads for it what a writer may have written over by now. After an error
    /// of the file it leaves that; this makes one.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = catch_unwind(AssertUnwindSafe(|| self.database.check_integrity()));
    }
}

/// The head, with zeros behind the end of a file that is shorter.
fn read_head(file: &dyn ReadFile) -> io::Result<[u8; HEAD_BYTES]> {
    let mut head = [0; HEAD_BYTES];
    file.read_at(&mut head, 0)?;
    Ok(head)
}

/// The file, and over it in memory what was written since it was opened.
#[derive(Debug)]
struct Overlay {
    file: Arc<dyn ReadFile>,
    /// Nothing is to be read or written any more.
    is_over: Arc<AtomicBool>,
    written: RwLock<Written>,
}

#[derive(Debug)]
struct Written {
    bytes: u64,
    /// So far what was not written is the file's, and behind it zeros.
    file_bytes: u64,
    pieces: BTreeMap<u64, [u8; PIECE_BYTES]>,
}

impl Overlay {
    fn new(file: Arc<dyn ReadFile>, is_over: Arc<AtomicBool>) -> io::Result<Self> {
        let file_bytes = file.len()?;
        let written = Written { bytes: file_bytes, file_bytes, pieces: BTreeMap::new() };
        Ok(Self { file, is_over, written: RwLock::new(written) })
    }

    fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    /// Reads the file's part and zeros behind it.
    fn read_below(&self, file_bytes: u64, position: u64, into: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(file_bytes.saturating_sub(position)).unwrap_or(usize::MAX);
        let (below, beyond) = into.split_at_mut(there.min(into.len()));
        if self.file.read_at(below, position)? < below.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        beyond.fill(0);
        Ok(())
    }
}

/// Each part of a range that lies in one piece: the piece's number, where in it, where in the range.
fn parts(position: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = position + done as u64;
        let (number, skip) = (at / PIECE_BYTES as u64, at % PIECE_BYTES as u64);
        let skip = usize::try_from(skip).expect("less than a piece");
        let part = done..bytes.min(done + PIECE_BYTES - skip);
        done = part.end;
        (!part.is_empty()).then_some((number, skip, part))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.check()?;
        Ok(self.written.read().unwrap_or_else(PoisonError::into_inner).bytes)
    }

    fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        self.check()?;
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        if position.saturating_add(into.len() as u64) > written.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(written.file_bytes, position, into)?;
        for (number, skip, part) in parts(position, into.len()) {
            if let Some(piece) = written.pieces.get(&number) {
                let bytes = part.len();
                into[part].copy_from_slice(&piece[skip..skip + bytes]);
            }
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check()?;
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        if bytes < written.bytes {
            drop(written.pieces.split_off(&bytes.div_ceil(PIECE_BYTES as u64)));
            if let Some(mut last) = written.pieces.last_entry() {
                let kept = bytes.saturating_sub(*last.key() * PIECE_BYTES as u64);
                let kept = usize::try_from(kept).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                last.get_mut()[kept..].fill(0);
            }
            written.file_bytes = written.file_bytes.min(bytes);
        }
        written.bytes = bytes;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()
    }

    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        let file_bytes = written.file_bytes;
        written.bytes = written.bytes.max(position.saturating_add(bytes.len() as u64));
        for (number, skip, part) in parts(position, bytes.len()) {
            let piece = match written.pieces.entry(number) {
                Entry::Occupied(piece) => piece.into_mut(),
                Entry::Vacant(place) => {
                    let mut piece = [0; PIECE_BYTES];
                    self.read_below(file_bytes, number * PIECE_BYTES as u64, &mut piece)?;
                    place.insert(piece)
                }
            };
            piece[skip..skip + part.len()].copy_from_slice(&bytes[part]);
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::sync::Arc;

    use redb::StorageBackend;

    use super::Overlay;
    use crate::disk::Folder;
    use crate::disk::sim::SimDisk;

    #[test]
    fn an_overlay_is_a_file_of_its_own_and_the_one_below_stays() {
        let seed = 20_261_124;
        let mut random = fastrand::Rng::with_seed(seed);
        let below: Vec<u8> = (0..20_000_u32).map(|byte| (byte % 251) as u8).collect();
        for round in 0..50 {
            let sim = SimDisk::new(seed);
            sim.set_content("a", below.clone());
            let overlay = {
                let file = sim.disk().open_read(Folder::Root, "a").unwrap();
                Overlay::new(file, Arc::default()).unwrap()
            };
            let mut expected = below.clone();
            for _ in 0..40 {
                let position = random.usize(..expected.len());
                let bytes = random.usize(..9_000);
                match random.u8(..4) {
                    0 => {
                        let bytes = random.usize(1..40_000);
                        overlay.set_len(bytes as u64).unwrap();
                        expected.resize(bytes, 0);
                    }
                    1 => {
                        let fill = vec![random.u8(..); bytes];
                        overlay.write(position as u64, &fill).unwrap();
                        expected.resize(expected.len().max(position + bytes), 0);
                        expected[position..position + bytes].copy_from_slice(&fill);
                    }
                    _ => {
                        let bytes = bytes.min(expected.len() - position);
                        let mut read = vec![1; bytes];
                        overlay.read(position as u64, &mut read).unwrap();
                        assert!(read == expected[position..position + bytes], "seed {seed}, round {round}");
                    }
                }
                assert_eq!(overlay.len().unwrap(), expected.len() as u64);
            }
            assert!(overlay.read(expected.len() as u64 - 1, &mut [0; 2]).is_err(), "behind the end");
            assert_eq!(sim.content("a").unwrap(), below);
        }
    }
}
