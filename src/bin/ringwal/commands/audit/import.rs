//! `ringwal audit import`: JSON lines into a trail, each durable before the program ends.

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use anyhow::Context;
use clap::Args;
use ringwal::{AuditStore, GenericAuditStore, HybridStore};
use serde_json::json;

use super::{form, open, parse};
use crate::exit::{self, Outcome, WrongUse};
use crate::input;
use crate::output::{self, Progress};
use crate::text;

/// The longest line that is read: an audit with as many assertions as one may have takes half of it.
const LINE_BYTES_MAX: usize = 32 << 20;
/// Longer lines are put one after the other. Read as JSON, a line takes several times its length, and there are many threads.
const LONG_LINE_BYTES: usize = 256 << 10;

#[derive(Args)]
#[command(after_long_help = form::HELP)]
pub(crate) struct Import {
    /// The store's directory; made if it is not there
    store: PathBuf,
    /// Where the audits come from; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Put from so many threads: so many audits are on their way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What all importing threads share.
struct Shared<'a> {
    trail: &'a GenericAuditStore<HybridStore>,
    input: Mutex<Input>,
    /// Whoever has a long line. Nobody waits for the input who has one: whoever has the input may wait for this.
    long: Mutex<()>,
    new: AtomicU64,
    known: AtomicU64,
}

/// A line that is not empty.
struct Line<'a> {
    number: u64,
    bytes: Vec<u8>,
    long: Option<MutexGuard<'a, ()>>,
}

struct Input {
    lines: Box<dyn BufRead + Send>,
    number: u64,
    bytes: u64,
    progress: Progress,
    /// Somebody came upon a line that cannot be put: no further one is taken.
    is_over: bool,
}

/// A line that cannot be put.
struct BadLine {
    number: u64,
    error: anyhow::Error,
}

impl Import {
    pub(crate) fn run(self) -> exit::Result {
        let (lines, total) = input::open(&self.file)?;
        let trail = open::for_writing(&self.store)?;
        let started = std::time::Instant::now();
        let progress = Progress::new(total, "importing");
        let shared = Shared {
            trail: &trail,
            input: Mutex::new(Input { lines, number: 0, bytes: 0, progress, is_over: false }),
            long: Mutex::new(()),
            new: AtomicU64::new(0),
            known: AtomicU64::new(0),
        };
        let bad = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| import_some(&shared))).collect();
            let panicked = |_| BadLine { number: 0, error: anyhow::anyhow!("an importing thread panicked") };
            let outcomes =
                threads.into_iter().map(|thread| thread.join().map_err(panicked).and_then(|outcome| outcome));
            outcomes.filter_map(Result::err).min_by_key(|bad| bad.number)
        });
        let (new, known) = (shared.new.into_inner(), shared.known.into_inner());
        let closed = trail.store().close();
        let told = self.report(new, known, started.elapsed());
        if let Some(BadLine { number, error }) = bad {
            return Err(error.context(format!("line {number}")));
        }
        closed?;
        exit::told(Outcome::Good, told)
    }

    fn report(&self, new: u64, known: u64, elapsed: std::time::Duration) -> anyhow::Result<()> {
        if self.json {
            return output::json(&json!({ "new": new, "known": known, "seconds": elapsed.as_secs_f64() }));
        }
        let elapsed = text::duration(elapsed);
        Ok(writeln!(io::stderr(), "{new} audits durable, {known} were there already, {elapsed}")?)
    }
}

/// One thread: takes lines and puts what they hold, until there are no more or somebody came upon a bad one.
fn import_some(shared: &Shared<'_>) -> Result<(), BadLine> {
    while let Some(Line { number, bytes, long }) = next_line(shared)? {
        let put = parse::audit(&bytes)
            .map_err(|wrong| WrongUse(wrong).into())
            .and_then(|audit| shared.trail.put_audit_with_receipt(&audit).map_err(anyhow::Error::from));
        drop((bytes, long));
        match put {
            Ok(put) if put.is_new => shared.new.fetch_add(1, Ordering::Relaxed),
            Ok(_) => shared.known.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                if let Ok(mut input) = shared.input.lock() {
                    input.is_over = true;
                }
                return Err(BadLine { number, error });
            }
        };
    }
    Ok(())
}

/// The next line that is not empty, with its number.
fn next_line<'a>(shared: &'a Shared<'_>) -> Result<Option<Line<'a>>, BadLine> {
    let panicked = || BadLine { number: 0, error: anyhow::anyhow!("another importing thread panicked") };
    let mut input = shared.input.lock().map_err(|_| panicked())?;
    while !input.is_over {
        let number = input.number + 1;
        let bytes = match read_line(&mut *input.lines) {
            Ok(line) if line.is_empty() => break,
            Ok(line) => line,
            Err(error) => {
                input.is_over = true;
                return Err(BadLine { number, error });
            }
        };
        input.number = number;
        input.bytes += bytes.len() as u64;
        let done = input.bytes;
        input.progress.at(done);
        if !bytes.trim_ascii().is_empty() {
            let long = match bytes.len() > LONG_LINE_BYTES {
                true => Some(shared.long.lock().map_err(|_| panicked())?),
                false => None,
            };
            return Ok(Some(Line { number, bytes, long }));
        }
    }
    Ok(None)
}

/// A line with its end; empty where there is none any more. Reads no more of one that is too long than shows it.
fn read_line(lines: &mut dyn BufRead) -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    let most = LINE_BYTES_MAX as u64 + 1;
    lines.take(most).read_until(b'\n', &mut line).context("reading the input")?;
    if line.len() > LINE_BYTES_MAX {
        let wrong = format!(
            "the line has more than {LINE_BYTES_MAX} bytes, and no audit needs as many; each audit is a line of its own: \
             `ringwal audit import --help` shows the form"
        );
        return Err(WrongUse(wrong).into());
    }
    Ok(line)
}
