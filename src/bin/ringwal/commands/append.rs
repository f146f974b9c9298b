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
    progress: Progress,
    /// Nothing more is read: a line was too long, and what follows it is its rest.
    is_over: bool,
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
    /// Nobody reads the receipts any more.
    is_unheard: AtomicBool,
}

impl Append {
    pub(crate) fn run(self) -> exit::Result {
        let (input, total) = input::open(&self.file)?;
        let journal = Journal::open(&self.journal, Options::new().segment_bytes(self.segment_bytes))?;
        let started = std::time::Instant::now();
        let records = if self.whole {
            let mut payload = Vec::new();
            input.take(self.payload_bytes_max()).read_to_end(&mut payload).context("reading the input")?;
            let receipt = journal.append(&payload)?;
            if self.receipts {
                print_receipts(&[receipt], self.json)?;
            }
            1
        } else {
            self.append_lines(&journal, input, total)?
        };
        journal.close()?;
        let stats = journal.stats();
        let elapsed = started.elapsed();
        if self.json {
            output::json(&json!({
                "records": records,
                "payload_bytes": stats.payload_bytes,
                "commits": stats.commits,
                "seconds": elapsed.as_secs_f64(),
                "durable_end": stats.durable_end.get(),
                "backend": text::backend_json(&journal.backend()),
            }))?;
        } else {
            writeln!(
                io::stderr(),
                "{records} records ({}) durable in {} commits, {}",
                text::bytes(stats.payload_bytes),
                stats.commits,
                text::duration(elapsed),
            )?;
        }
        Ok(Outcome::Good)
    }

    /// No record has so many bytes: who gives as many is told so by the journal.
    fn payload_bytes_max(&self) -> u64 {
        const NO_RECORD_BYTES: u64 = 1 << 30;
        self.segment_bytes.min(NO_RECORD_BYTES)
    }

    fn append_lines(
        &self,
        journal: &Journal,
        input: Box<dyn BufRead + Send>,
        total: u64,
    ) -> anyhow::Result<u64> {
        let shared = Shared {
            journal,
            input: Mutex::new(Input {
                lines: input,
                progress: Progress::new(total, "appending"),
                is_over: false,
            }),
            read_bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            line_bytes_max: self.payload_bytes_max(),
            receipts: self.receipts,
            json: self.json,
            is_unheard: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| append_some(&shared))).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("an appending thread panicked")))
            })
        })?;
        Ok(shared.records.into_inner())
    }
}

/// One thread: takes lines and appends them, with a bounded number on their way.
fn append_some(shared: &Shared<'_>) -> anyhow::Result<()> {
    let mut tickets: VecDeque<Ticket> = VecDeque::new();
    while let Some(line) = next_line(shared)? {
        if tickets.len() >= IN_FLIGHT_MAX {
            settle(shared, &mut tickets, IN_FLIGHT_MAX / 2)?;
        }
        tickets.push_back(shared.journal.submit(line)?);
        shared.records.fetch_add(1, Ordering::Relaxed);
    }
    settle(shared, &mut tickets, 0)
}

fn next_line(shared: &Shared<'_>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut input = shared.input.lock().map_err(|_| anyhow::anyhow!("another appending thread panicked"))?;
    if input.is_over {
        return Ok(None);
    }
    let mut line = Vec::new();
    let most = shared.line_bytes_max;
    let bytes = (&mut input.lines).take(most).read_until(b'\n', &mut line).context("reading the input")?;
    let done = shared.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    input.progress.at(done);
    if bytes == 0 {
        return Ok(None);
    }
    input.is_over = bytes as u64 == most && line.last() != Some(&b'\n');
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

/// Waits for the oldest until no more than `left` are on their way.
fn settle(shared: &Shared<'_>, tickets: &mut VecDeque<Ticket>, left: usize) -> anyhow::Result<()> {
    let mut receipts = Vec::new();
    while tickets.len() > left {
        let Some(ticket) = tickets.pop_front() else { break };
        receipts.push(ticket.wait()?);
    }
    if !shared.receipts || shared.is_unheard.load(Ordering::Relaxed) {
        return Ok(());
    }
    match print_receipts(&receipts, shared.json) {
        // That nobody reads the receipts any more is no reason to leave the rest of the input unappended.
        Err(error) if exit::is_closed_pipe(&error) => shared.is_unheard.store(true, Ordering::Relaxed),
        printed => printed?,
    }
    Ok(())
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
