//! `--mode size`: whether cost grows with the work only. Journals of several sizes, in turn: appends, opening, reading and
//! cleanup, with a bare durable write beside each.
//!
//! Ringwal alone: what is asked is whether its own figures stay, and other logs have no cleanup that could be compared.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use ringwal::{CursorKind, Journal, Offset};

use crate::baselines::{Bare, Durably};
use crate::contender::{Address, Contender, Log};
use crate::measure::{Figures, Load, appends};
use crate::modes::fill::{PAYLOAD_BYTES, fill};
use crate::modes::open::{kill_one, open};
use crate::modes::point::reads;
use crate::payload::Payloads;
use crate::rounds::{fresh, order, settle};
use crate::run::Run;
use crate::section::Section;
use crate::table::{Order, Row, Table};

const COLUMNS: [&str; 12] = [
    "filled, MB/s",
    "append p50 us, 1 thread",
    "bare write p50 us",
    "records/s, 16 threads",
    "open ms",
    "open after kill ms",
    "read MB/s",
    "point reads/s",
    "cleanup ms",
    "until all are gone ms",
    "segments removed",
    "append p99.9 us meanwhile",
];
/// Records that point reads choose from, spread over the journal.
const CHOICES: u64 = 20_000;
/// Of the journal's end, what is read in order.
const READ_BYTES: u64 = 512 << 20;
const WARM_UP: Duration = Duration::from_millis(300);

/// One section.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let sizes = run.fill_mib.iter();
    let all: Vec<_> = sizes.flat_map(|mib| run.contenders.iter().map(move |c| (*mib, &**c))).collect();
    let mut rows: Vec<_> =
        all.iter().map(|(mib, contender)| Row::new(format!("{}, {mib} MiB", contender.name()))).collect();
    for round in 0..run.rounds {
        for place in order(all.len(), round) {
            let (mib, contender) = all[place];
            if let Some(figures) =
                one(run, contender, mib << 20).with_context(|| rows_name(contender, mib))?
            {
                rows[place].add(figures);
            }
        }
    }
    let title = format!("journals of several sizes, {PAYLOAD_BYTES} B records");
    Ok(vec![Section::table(title, Table::new(COLUMNS, rows, Order::AsMeasured))])
}

fn rows_name(contender: &dyn Contender, mib: u64) -> String {
    format!("{} at {mib} MiB", contender.name())
}

fn one(run: &Run, contender: &dyn Contender, bytes: u64) -> Result<Option<[f64; 12]>> {
    let keep = tempfile::Builder::new().prefix("peers-").tempdir_in(&run.place)?;
    let log = contender.open(keep.path())?;
    if log.journal().is_none() {
        log.close()?;
        return Ok(None);
    }
    let begun = Instant::now();
    let addresses = sample(&*log, bytes)?;
    let filled = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    settle(&run.place)?;
    let bare = bare(run)?;
    let alone = after_a_while(&*log, &load(run, 1))?;
    let many = after_a_while(&*log, &load(run, 16))?;
    log.close()?;
    let opened = open(contender, keep.path())?;
    kill_one(run, contender, keep.path())?;
    let after_kill = open(contender, keep.path())?;
    let log = contender.open(keep.path())?;
    let journal = log.journal().context("it was a journal before")?;
    let read = read_end(journal, &addresses)?;
    addresses.iter().try_for_each(|address| journal.read(Offset::new(address.0)).map(|_| ()))?;
    let points = reads(&*log, &addresses, 1, run.duration)?;
    let (cleaned, meanwhile) = clean_up(&*log, &keep.path().join("journal"), &load(run, 1))?;
    log.close()?;
    keep.close()?;
    settle(&run.place)?;
    let [p50, bare] = [alone, bare].map(|figures| figures.latency.map_or(f64::NAN, |latency| latency.p50_us));
    let slow = meanwhile.latency.map_or(f64::NAN, |latency| latency.p999_us);
    let [call, gone, removed] = cleaned;
    Ok(Some([
        filled,
        p50,
        bare,
        many.per_second,
        opened,
        after_kill,
        read,
        points,
        call,
        gone,
        removed,
        slow,
    ]))
}

fn load(run: &Run, threads: usize) -> Load {
    Load { payloads: Payloads::new(PAYLOAD_BYTES), threads, batch: 1, duration: run.duration }
}

fn after_a_while(log: &dyn Log, load: &Load) -> Result<Figures> {
    appends(log, &Load { duration: WARM_UP, ..load.clone() }, None)?;
    appends(log, load, None)
}

fn bare(run: &Run) -> Result<Figures> {
    fresh(&Bare(Durably::DirectDsync), run, |log| after_a_while(log, &load(run, 1)))
}

/// Fills piece by piece and keeps some of the addresses: all of them would be more than the records' headers.
fn sample(log: &dyn Log, bytes: u64) -> Result<Vec<Address>> {
    const PIECE: u64 = 64 << 20;
    let payloads = Payloads::new(PAYLOAD_BYTES);
    let each = (bytes / PAYLOAD_BYTES as u64 / CHOICES).max(1) as usize;
    let mut some = Vec::new();
    for from in (0..bytes).step_by(PIECE as usize) {
        some.extend(fill(log, &payloads, PIECE.min(bytes - from))?.into_iter().step_by(each));
    }
    Ok(some)
}

/// MB of payload a second, warm, from the journal's last part.
fn read_end(journal: &Journal, addresses: &[Address]) -> Result<f64> {
    let wanted = journal.durable_end().get().saturating_sub(READ_BYTES);
    let near = addresses.iter().find(|address| address.0 >= wanted).context("an address near the end")?;
    let from = Offset::new(near.0);
    let read = || -> Result<f64> {
        let (begun, mut bytes) = (Instant::now(), 0);
        let mut records = journal.iter_from(from)?;
        while let Some(record) = records.next_ref()? {
            bytes += record.payload.len();
        }
        Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
    };
    read()?;
    read()
}

/// Removes everything while a thread goes on appending. Milliseconds of the call, milliseconds until the files are gone,
/// and their number; and how the appends went.
fn clean_up(log: &dyn Log, directory: &Path, load: &Load) -> Result<([f64; 3], Figures)> {
    let journal = log.journal().context("it was a journal before")?;
    let clean = || -> Result<[f64; 3]> {
        journal.cursors().set("all", journal.durable_end(), CursorKind::Pinned)?;
        let mut segments: Vec<_> = std::fs::read_dir(directory)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        segments.sort();
        let begun = Instant::now();
        let report = journal.cleanup()?;
        let call = begun.elapsed();
        ensure!(report.segments_removed > 0, "nothing was there to remove");
        // The oldest goes first: when the last of them is gone, all are.
        let last = &segments[report.segments_removed as usize - 1];
        while last.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let gone = begun.elapsed();
        Ok([call.as_secs_f64() * 1e3, gone.as_secs_f64() * 1e3, report.segments_removed as f64])
    };
    std::thread::scope(|scope| {
        let cleaning = scope.spawn(clean);
        let figures = appends(log, load, None)?;
        let cleaned = cleaning.join().map_err(|_| anyhow!("the cleaning thread panicked"))??;
        Ok((cleaned, figures))
    })
}
