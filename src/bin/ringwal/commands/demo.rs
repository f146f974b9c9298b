//! `ringwal demo`: the main job. A child process appends from many threads and tells of every acknowledgement; it is killed
//! in the middle; the parent recovers and checks that nothing acknowledged is lost. Then the audit trail is asked a question.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use ringwal::{Error, Journal, JournalReader, Offset, Options};

use super::demo_audit;
use super::demo_check::{Acknowledgement, Live, check};
use crate::exit;

#[derive(Args)]
pub(crate) struct Demo {
    /// How long the child appends before it is killed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// From how many threads
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct DemoWriter {
    journal: PathBuf,
    threads: u16,
}

const SEGMENT_BYTES: u64 = 8 << 20;

/// What record `number` of `thread` holds: 16 bytes that say so, and a filler that follows from them.
pub(super) fn payload(thread: u64, number: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    payload.extend(thread.to_le_bytes());
    payload.extend(number.to_le_bytes());
    let filler = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(thread) % 480;
    payload.extend((0..filler).map(|index| (index ^ number ^ thread).to_le_bytes()[0]));
    payload
}

impl DemoWriter {
    /// Appends until it is killed. Each acknowledgement goes out in one write, which a pipe takes whole.
    pub(crate) fn run(self) -> exit::Result {
        let journal = Journal::open(&self.journal, Options::new().segment_bytes(SEGMENT_BYTES))?;
        std::thread::scope(|scope| {
            for thread in 0..u64::from(self.threads) {
                let journal = &journal;
                scope.spawn(move || -> anyhow::Result<()> {
                    for number in 0.. {
                        let begun = Instant::now();
                        let receipt = journal.append(&payload(thread, number))?;
                        let nanos = u64::try_from(begun.elapsed().as_nanos())?;
                        let told = Acknowledgement { thread, number, offset: receipt.offset.get(), nanos };
                        let mut out = io::stdout().lock();
                        out.write_all(&told.to_bytes())?;
                        out.flush()?;
                    }
                    Ok(())
                });
            }
        });
        Ok(exit::Outcome::Good)
    }
}

/// The child, killed at the latest when this is dropped.
struct Writer(Child);

impl Writer {
    fn start(journal: &Path, threads: u16) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program's own path")?;
        let child = Command::new(program)
            .arg("demo-writer")
            .arg(journal)
            .arg(threads.to_string())
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .context("starting the writing process")?;
        Ok(Self(child))
    }

    fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Demo {
    pub(crate) fn run(self) -> exit::Result {
        let keep =
            tempfile::Builder::new().prefix("ringwal-demo-").tempdir().context("making a directory")?;
        let directory = keep.path().join("journal");
        let mut writer = Writer::start(&directory, self.threads)?;
        let pid = writer.0.id();
        let pipe = writer.0.stdout.take().context("the pipe from the writing process")?;
        let is_over = AtomicBool::new(false);
        let (acknowledged, live) = std::thread::scope(|scope| {
            let told = scope.spawn(move || read_acknowledgements(pipe));
            let live = scope.spawn(|| follow(&directory, &is_over));
            std::thread::sleep(Duration::from_secs(self.seconds));
            let killed = writer.kill();
            // Everything that is still in the pipe was acknowledged before the kill.
            let told = told.join().map_err(|_| anyhow::anyhow!("reading acknowledgements panicked"));
            is_over.store(true, Ordering::Relaxed);
            let live = live.join().map_err(|_| anyhow::anyhow!("following panicked"));
            killed.context("killing the writing process")?;
            anyhow::Ok((told??, live??))
        })?;
        let outcome = check(&directory, pid, &acknowledged, live, self.json)?;
        exit::told(outcome, demo_audit::ask(&keep.path().join("trail"), self.json))
    }
}

fn read_acknowledgements(pipe: impl Read) -> anyhow::Result<Vec<Acknowledgement>> {
    let mut pipe = BufReader::with_capacity(1 << 16, pipe);
    let mut all = Vec::new();
    let mut bytes = [0; Acknowledgement::BYTES];
    loop {
        match pipe.read_exact(&mut bytes) {
            Ok(()) => all.push(Acknowledgement::from_bytes(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(all),
            Err(error) => return Err(error).context("reading acknowledgements"),
        }
    }
}

/// Follows the journal in this process while the other one writes it.
fn follow(directory: &Path, is_over: &AtomicBool) -> anyhow::Result<Live> {
    let mut live = Live::default();
    let mut follow = loop {
        match JournalReader::open(directory).and_then(|reader| reader.follow(Offset::ZERO)) {
            Ok(follow) => break follow,
            // The child has not made it yet.
            Err(Error::NotAJournal { .. } | Error::Io { .. }) if !is_over.load(Ordering::Relaxed) => {
                std::thread::yield_now();
            }
            Err(error) => return Err(error.into()),
        }
    };
    while !is_over.load(Ordering::Relaxed) {
        if let Some(record) = follow.next_timeout(Duration::from_millis(20))? {
            live.records += 1;
            live.last = Some(record.offset.get());
        }
    }
    Ok(live)
}
