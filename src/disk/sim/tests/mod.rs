//! What the disk promises and what it takes away, with the helpers that both groups of tests use.

mod crash;
mod operation;

use std::sync::Arc;

use super::SimDisk;
use crate::disk::{Backend, Disk, FlushMethod, Folder, LogWriter, LogWriterOptions, ReadFile, WriteFile};

const BLOCK: usize = 4096;
const ROOT: Folder = Folder::Root;

/// A disk with the durable file `a` of so many zeros, and an open of it.
fn disk_with(seed: u64, bytes: usize) -> (SimDisk, Arc<dyn Disk>, Arc<dyn WriteFile>) {
    let sim = SimDisk::new(seed);
    sim.set_content("a", vec![0; bytes]);
    let disk = sim.disk();
    let file = disk.open_write(ROOT, "a").unwrap();
    (sim, disk, file)
}

fn writer_on(disk: &dyn Disk, file: Arc<dyn WriteFile>, fill: u8) -> Box<dyn LogWriter> {
    let options = LogWriterOptions {
        backend: Backend::Auto,
        flush: FlushMethod::Auto,
        single_thread: true,
        buffer_bytes: 4 * BLOCK,
    };
    let mut writer = disk.log_writer(&options).unwrap();
    writer.attach(file).unwrap();
    writer.buffer().fill(fill);
    writer
}

fn read_all(file: &dyn ReadFile, past_cache: bool) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let count = if past_cache { file.read_past_cache(&mut bytes, 0) } else { file.read_at(&mut bytes, 0) };
    assert_eq!(count.unwrap(), bytes.len());
    bytes
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap()
}
