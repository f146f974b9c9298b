//! `ringwal append`: lines or a whole file as records.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context;
use clap::Args;
use ringwal::{Journal, Options, Receipt, Ticket};
use serde_json::json;

use crate::exit::{self, Outcome};
use crate::input;
use crate::output::{self, Progress};
use crate::text;

/// So many records of each thread may be on their way.
const IN_FLIGHT_MAX: usize = 512;

#[derive(Args)]
pub(crate) struct Append {
    /// The journal's directory; made if it is not there
    journal: PathBuf,
    /// Where the records come from; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Append from so many threads. With more than one, the order of lines is not kept between threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Print offset and blake3 hash of each record as it becomes durable
    #[arg(long)]
    receipts: bool,
    /// Take the input as one record instead of one record a line
    #[arg(long)]
    whole: bool,
    /// Bytes of a segment file
    #[arg(long, default_value_t = 64 << 20)]
    segment_bytes: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

struct Input {
    lines: Box<dyn BufRead + Send>,
    /// Of the line that was read last.
    number: u64,
    progress: Progress,
}

/// A line that could not be appended, or why no further one could be.
struct BadLine {
    number: Option<u64>,
    error: anyhow::Error,
}

impl BadLine {
    fn of(number: u64, error: impl Into<anyhow::Error>) -> Self {
        Self { number: Some(number), error: error.into() }
    }

    fn none(error: anyhow::Error) -> Self {
        Self { number: None, error }
    }
}

/// What all appending threads share.
struct Shared<'a> {
    journal: &'a Journal,
    input: Mutex<Input>,
    read_bytes: AtomicU64,
    records: AtomicU64,
    line_bytes_max: u64,
    receipts: bool,
    json: bool,
    /// Nothing more is read: a line was refused, or is so long that what follows is its rest.
    is_over: AtomicBool,
    /// Nobody reads the receipts any more.
    is_unheard: AtomicBool,
}

impl Append {
    pub(crate) fn run(self) -> exit::Result {
        let (input, total) = input::open(&self.file)?;
        let journal = Journal::open(&self.journal, Options::new().segment_bytes(self.segment_bytes))?;
        let started = std::time::Instant::now();
        let (records, bad) = if self.whole {
            let mut payload = Vec::new();
            input.take(self.payload_bytes_max()).read_to_end(&mut payload).context("reading the input")?;
            let receipt = journal.append(&payload)?;
            if self.receipts {
                print_receipts(&[receipt], self.json)?;
            }
            (1, None)
        } else {
            self.append_lines(&journal, input, total)
        };
        let closed = journal.close();
        let told = self.report(&journal, records, started.elapsed());
        if let Some(BadLine { number, error }) = bad {
            return Err(match number {
                Some(number) => error.context(format!("line {number}")),
                None => error,
            });
        }
        closed?;
        exit::told(Outcome::Good, told)
    }

    fn report(&self, journal: &Journal, records: u64, elapsed: std::time::Duration) -> anyhow::Result<()> {
        let stats = journal.stats();
        if self.json {
            return output::json(&json!({
                "records": records,
                "payload_bytes": stats.payload_bytes,
                "commits": stats.commits,
                "seconds": elapsed.as_secs_f64(),
                "durable_end": stats.durable_end.get(),
                "backend": text::backend_json(&journal.backend()),
            }));
        }
        let (bytes, elapsed) = (text::bytes(stats.payload_bytes), text::duration(elapsed));
        let commits = stats.commits;
        Ok(writeln!(io::stderr(), "{records} records ({bytes}) durable in {commits} commits, {elapsed}")?)
    }

    /// No record has so many bytes: who gives as many is told so by the journal.
    fn payload_bytes_max(&self) -> u64 {
        const NO_RECORD_BYTES: u64 = 1 << 30;
        self.segment_bytes.min(NO_RECORD_BYTES)
    }

    /// How many records are durable, and the first line that is none, if there is one.
    fn append_lines(
        &self,
        journal: &Journal,
        input: Box<dyn BufRead + Send>,
        total: u64,
    ) -> (u64, Option<BadLine>) {
        let progress = Progress::new(total, "appending");
        let shared = Shared {
            journal,
            input: Mutex::new(Input { lines: input, number: 0, progress }),
            read_bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            line_bytes_max: self.payload_bytes_max(),
            receipts: self.receipts,
            json: self.json,
            is_over: AtomicBool::new(false),
            is_unheard: AtomicBool::new(false),
        };
        let bad = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| append_some(&shared))).collect();
            let panicked = |_| Err(BadLine::none(anyhow::anyhow!("an appending thread panicked")));
            let outcomes = threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked));
            outcomes.filter_map(Result::err).min_by_key(|bad| bad.number)
        });
        (shared.records.into_inner(), bad)
    }
}

/// One thread: appends lines until there are no more or somebody came upon one that is refused, and tells of those that are
/// durable in either case.
fn append_some(shared: &Shared<'_>) -> Result<(), BadLine> {
    let mut tickets = VecDeque::new();
    let taken = take_lines(shared, &mut tickets);
    if taken.is_err() {
        shared.is_over.store(true, Ordering::Relaxed);
    }
    let settled = settle(shared, &mut tickets, 0);
    taken.and(settled)
}

/// Takes lines and appends them, with a bounded number on their way.
fn take_lines(shared: &Shared<'_>, tickets: &mut VecDeque<(u64, Ticket)>) -> Result<(), BadLine> {
    while let Some((number, line)) = next_line(shared)? {
        if tickets.len() >= IN_FLIGHT_MAX {
            settle(shared, tickets, IN_FLIGHT_MAX / 2)?;
        }
        let ticket = shared.journal.submit(line).map_err(|error| BadLine::of(number, error))?;
        tickets.push_back((number, ticket));
    }
    Ok(())
}

/// The next line, with its number.
fn next_line(shared: &Shared<'_>) -> Result<Option<(u64, Vec<u8>)>, BadLine> {
    let panicked = |_| BadLine::none(anyhow::anyhow!("another appending thread panicked"));
    let mut input = shared.input.lock().map_err(panicked)?;
    if shared.is_over.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut line = Vec::new();
    let (most, number) = (shared.line_bytes_max, input.number + 1);
    let read = (&mut input.lines).take(most).read_until(b'\n', &mut line).context("reading the input");
    let bytes = read.map_err(|error| BadLine::of(number, error))?;
    let done = shared.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    input.progress.at(done);
    if bytes == 0 {
        return Ok(None);
    }
    input.number = number;
    if bytes as u64 == most && line.last() != Some(&b'\n') {
        shared.is_over.store(true, Ordering::Relaxed);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some((number, line)))
}

/// Waits for the oldest until no more than `left` are on their way, and tells of those that are durable.
fn settle(shared: &Shared<'_>, tickets: &mut VecDeque<(u64, Ticket)>, left: usize) -> Result<(), BadLine> {
    let (mut receipts, mut refused) = (Vec::new(), Ok(()));
    while tickets.len() > left {
        let Some((number, ticket)) = tickets.pop_front() else { break };
        match ticket.wait() {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => refused = refused.and(Err(BadLine::of(number, error))),
        }
    }
    shared.records.fetch_add(receipts.len() as u64, Ordering::Relaxed);
    if !shared.receipts || shared.is_unheard.load(Ordering::Relaxed) {
        return refused;
    }
    match print_receipts(&receipts, shared.json) {
        // That nobody reads the receipts any more is no reason to leave the rest of the input unappended.
        Err(error) if exit::is_closed_pipe(&error) => shared.is_unheard.store(true, Ordering::Relaxed),
        printed => refused = refused.and(printed.map_err(BadLine::none)),
    }
    refused
}

fn print_receipts(receipts: &[Receipt], json: bool) -> anyhow::Result<()> {
    let mut out = output::out();
    for receipt in receipts {
        if json {
            let line = json!({ "offset": receipt.offset.get(), "blake3": receipt.hash.to_string() });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{} {}", receipt.offset, receipt.hash)?;
        }
    }
    Ok(out.flush()?)
}
