//! One writer thread behind a channel, fdatasync, and nothing more: what most people write themselves.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};

use super::memory::written_file;
use crate::contender::{Address, Appender, Contender, Log};

/// Where the records go.
#[derive(Clone, Copy)]
pub(crate) enum Space {
    /// To the end of a file that grows.
    Growing,
    /// Into a file of zeros, from the front again when it is full.
    WrittenAhead,
}

pub(crate) struct OneWriter(pub(crate) Space);

const FILE_BYTES: u64 = 64 << 20;
const GROUP_BYTES: usize = 1 << 20;
/// In place of a count: there will be no more.
const FAILED: u64 = u64::MAX;

impl Contender for OneWriter {
    fn name(&self) -> &str {
        match self.0 {
            Space::Growing => "one-writer",
            Space::WrittenAhead => "one-writer-ahead",
        }
    }

    fn what(&self) -> &'static str {
        match self.0 {
            Space::Growing => "no library: one writer thread, channel, growing file, fdatasync",
            Space::WrittenAhead => "no library: one writer thread, channel, file of zeros, fdatasync",
        }
    }

    fn can_reopen(&self) -> bool {
        false
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Log>> {
        let path = directory.join("log");
        let file = match self.0 {
            Space::Growing => File::create(path)?,
            Space::WrittenAhead => written_file(&path, FILE_BYTES, 0)?,
        };
        let limit = match self.0 {
            Space::Growing => u64::MAX,
            Space::WrittenAhead => FILE_BYTES,
        };
        let (sender, receiver) = bounded(1024);
        let writer =
            thread::Builder::new().name("writer".into()).spawn(move || write(file, limit, &receiver))?;
        Ok(Box::new(Opened { sender, writer }))
    }
}

/// Records, framed, and who waits for them.
struct Request {
    bytes: Vec<u8>,
    waiter: Arc<Waiter>,
}

struct Waiter {
    thread: Thread,
    done: AtomicU64,
}

struct Opened {
    sender: Sender<Request>,
    writer: JoinHandle<Result<()>>,
}

fn write(mut file: File, limit: u64, requests: &Receiver<Request>) -> Result<()> {
    let mut group = Vec::with_capacity(2 * GROUP_BYTES);
    let mut waiters = Vec::new();
    let mut position = 0;
    while let Ok(first) = requests.recv() {
        group.clear();
        for request in std::iter::once(first).chain(requests.try_iter()) {
            group.extend_from_slice(&request.bytes);
            waiters.push(request.waiter);
            if group.len() >= GROUP_BYTES {
                break;
            }
        }
        position += group.len() as u64;
        if position > limit {
            file.rewind()?;
            position = group.len() as u64;
        }
        let written = file.write_all(&group).and_then(|()| file.sync_data());
        for waiter in waiters.drain(..) {
            match written {
                Ok(()) => _ = waiter.done.fetch_add(1, Ordering::Release),
                Err(_) => waiter.done.store(FAILED, Ordering::Release),
            }
            waiter.thread.unpark();
        }
        written?;
    }
    Ok(())
}

impl Log for Opened {
    fn appender(&self, _thread: usize) -> Result<Box<dyn Appender + '_>> {
        let waiter = Arc::new(Waiter { thread: thread::current(), done: AtomicU64::new(0) });
        Ok(Box::new(Client { sender: &self.sender, waiter, asked: 0 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self.sender);
        self.writer.join().ok().context("the writer panicked")?
    }
}

struct Client<'a> {
    sender: &'a Sender<Request>,
    waiter: Arc<Waiter>,
    asked: u64,
}

impl Client<'_> {
    fn ask(&mut self, bytes: Vec<u8>) -> Result<()> {
        let request = Request { bytes, waiter: self.waiter.clone() };
        ensure!(self.sender.send(request).is_ok(), "the writer is gone");
        self.asked += 1;
        while self.waiter.done.load(Ordering::Acquire) < self.asked {
            thread::park();
        }
        ensure!(self.waiter.done.load(Ordering::Acquire) != FAILED, "a write failed");
        Ok(())
    }
}

impl Appender for Client<'_> {
    fn append_batch(&mut self, payloads: &[&[u8]], addresses: &mut Vec<Address>) -> Result<()> {
        let mut bytes = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + 8).sum());
        for payload in payloads {
            // A length in front, as little as a log can do.
            bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            bytes.extend_from_slice(payload);
            addresses.push((0, 0));
        }
        self.ask(bytes)
    }
}
