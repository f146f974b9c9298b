//! Random operations, crashes and reopenings on the simulated disk, against a plain list of what was acknowledged.
//!
//! After every crash: everything acknowledged is there, nothing that was not submitted is, batches are whole, a crash is
//! never taken for damage, recovering twice changes nothing, and a reader shows what recovery keeps.
#![cfg(feature = "sim")]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests report figures, and count small things"
)]

mod common;

use ringwal::sim::SimDisk;
use ringwal::{CursorKind, Error, JournalReader, JournalWriter, Offset, Options, Packing, Receipt, Verdict};

const RUNS: u64 = 1000;
const STEPS: u32 = 60;

/// What must be there, and what may be.
#[derive(Default)]
struct Model {
    /// (offset, payload) of everything acknowledged or found after a crash, in order.
    kept: Vec<(Offset, Vec<u8>)>,
    cursor: Option<Offset>,
    floor: Offset,
}

struct World {
    random: fastrand::Rng,
    disk: SimDisk,
    options: Options,
    model: Model,
    crashes: u64,
    torn: u64,
    next: u64,
    /// Was being appended when the disk stopped: may be there or not, decided by the next opening.
    pending: Option<Submitted>,
}

#[derive(Debug)]
enum Submitted {
    Batch(Vec<Vec<u8>>),
    Group(Vec<Vec<u8>>),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let packing = if random.bool() { Packing::Dense } else { Packing::Padded };
        let options = Options::new().segment_bytes(64 << 10).packing(packing).commit_bytes_max(8 << 10);
        let disk = SimDisk::new(random.u64(..));
        disk.short_writes(random.bool());
        Self { random, disk, options, model: Model::default(), crashes: 0, torn: 0, next: 0, pending: None }
    }

    fn payload(&mut self) -> Vec<u8> {
        let bytes = match self.random.u8(..10) {
            0 => 0,
            1..=6 => self.random.usize(1..200),
            7 | 8 => self.random.usize(200..3000),
            _ => self.random.usize(3000..12_000),
        };
        self.next += 1;
        let mut payload = self.next.to_le_bytes()[..bytes.min(8)].to_vec();
        payload.resize(bytes, (self.next % 256) as u8);
        payload
    }

    fn run(&mut self) {
        let mut writer = Some(self.open_in_peace());
        for _ in 0..STEPS {
            let Some(open) = writer.as_mut() else {
                writer = self.recover();
                continue;
            };
            // Sometimes the machine stops in the middle of what comes next.
            let crashes = self.random.u8(..8) == 0;
            if crashes {
                self.disk.crash_at(self.random.u64(1..12));
            }
            let closes = self.random.u8(..12) == 0;
            if closes {
                let closed = writer.take().map(JournalWriter::close);
                if !self.disk.is_frozen() {
                    closed.expect("open").expect("a close on a healthy disk");
                }
            } else {
                self.step(open);
            }
            if self.disk.is_frozen() || (crashes && self.random.bool()) {
                drop_without_closing(writer.take());
                self.crash();
            } else if crashes {
                self.disk.clear_faults();
            }
        }
        drop_without_closing(writer.take());
        self.crash();
        while self.recover().is_none() {}
        assert_eq!(self.disk.retries_after_error(), 0, "something was tried again after it had failed");
    }

    fn open_in_peace(&self) -> JournalWriter {
        JournalWriter::open_simulated(&self.disk, self.options.clone()).expect("a new journal")
    }

    fn step(&mut self, writer: &mut JournalWriter) {
        let count = self.random.usize(1..5);
        match self.random.u8(..10) {
            0..=3 => {
                let payload = self.payload();
                let appended = writer.append(&payload).map(|receipt| vec![receipt]);
                self.submitted(appended, Submitted::Batch(vec![payload]));
            }
            4 | 5 => {
                let batch: Vec<_> = (0..count).map(|_| self.payload()).collect();
                let appended = writer.append_batch(&batch);
                self.submitted(appended, Submitted::Batch(batch));
            }
            6 | 7 => {
                let group: Vec<_> = (0..count * 3).map(|_| self.payload()).collect();
                let appended = writer.append_group(&group);
                self.submitted(appended, Submitted::Group(group));
            }
            8 => {
                if let Some((offset, _)) =
                    self.model.kept.get(self.random.usize(..self.model.kept.len().max(1)))
                {
                    let offset = *offset;
                    match writer
                        .cursors()
                        .and_then(|cursors| cursors.set("model", offset, CursorKind::Pinned))
                    {
                        Ok(()) => self.model.cursor = Some(offset),
                        Err(Error::BelowFloor { .. }) => {}
                        Err(error) => self.unknown_cursor(&error),
                    }
                }
            }
            _ => match writer.cleanup() {
                Ok(report) => self.model.floor = report.floor,
                Err(_) => assert!(self.disk.is_frozen(), "a cleanup failed on a healthy disk"),
            },
        }
    }

    /// A cursor whose setting was interrupted may stand at the old or the new place.
    fn unknown_cursor(&mut self, error: &Error) {
        assert!(self.disk.is_frozen(), "{error} on a healthy disk");
        self.model.cursor = None;
    }

    fn submitted(&mut self, appended: ringwal::Result<Vec<Receipt>>, submitted: Submitted) {
        match appended {
            Ok(receipts) => {
                let (Submitted::Batch(payloads) | Submitted::Group(payloads)) = submitted;
                assert_eq!(receipts.len(), payloads.len());
                self.model.kept.extend(receipts.iter().map(|receipt| receipt.offset).zip(payloads));
            }
            Err(error) => {
                assert!(self.disk.is_frozen(), "{error} on a healthy disk");
                self.pending = Some(submitted);
            }
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        if self.random.u8(..4) == 0 { self.disk.process_kill() } else { self.disk.power_cut() }
    }

    /// Opens after a crash; sometimes that crashes too, and again.
    fn recover(&mut self) -> Option<JournalWriter> {
        if self.random.u8(..3) == 0 {
            self.disk.crash_at(self.random.u64(1..40));
            let opened = JournalWriter::open_simulated(&self.disk, self.options.clone());
            if self.disk.is_frozen() {
                drop_without_closing(opened.ok());
                self.crash();
                return None;
            }
            self.disk.clear_faults();
            drop_without_closing(opened.ok());
            self.disk.process_kill();
        }
        // What still lands is seen by recovery, which waits for it, and not by a reader, which does not.
        let in_flight = self.disk.is_write_in_flight();
        let by_reader = JournalReader::open_simulated(&self.disk).and_then(|reader| reader.durable_end());
        let writer = JournalWriter::open_simulated(&self.disk, self.options.clone());
        let writer = writer.unwrap_or_else(|error| panic!("a crash was taken for something else: {error}"));
        let report = writer.recovery_report().clone();
        assert!(report.evidence.is_empty(), "{report:?}");
        if !report.created && !in_flight {
            assert_eq!(by_reader.expect("a reader of the dead journal"), report.end);
        }
        self.torn += u64::from(report.verdict == Verdict::CutTorn);
        self.compare(&writer);
        Some(writer)
    }

    fn compare(&mut self, writer: &JournalWriter) {
        let reader = writer.reader().expect("a reader");
        let floor = reader.floor().expect("a floor");
        assert!(floor >= self.model.floor);
        let found: Vec<_> = reader
            .iter_from(floor)
            .expect("from the floor")
            .map(|record| record.expect("a record"))
            .map(|record| (record.offset, record.payload))
            .collect();
        let kept = self.model.kept.iter().filter(|(offset, _)| *offset >= floor).count();
        let known = &self.model.kept[self.model.kept.len() - kept..];
        assert!(found.len() >= kept, "{} acknowledged records are gone", kept - found.len());
        assert!(found[..kept] == *known, "an acknowledged record is another one");
        let extra: Vec<Vec<u8>> = found[kept..].iter().map(|(_, payload)| payload.clone()).collect();
        let is_allowed = match &self.pending.take() {
            None => extra.is_empty(),
            Some(Submitted::Batch(payloads)) => extra.is_empty() || extra == *payloads,
            Some(Submitted::Group(payloads)) => payloads.starts_with(&extra),
        };
        assert!(is_allowed, "{} records that nobody can have acknowledged", extra.len());
        self.model.kept.extend(found[kept..].iter().cloned());
        if let Some(cursor) = self.model.cursor {
            let now = writer
                .cursors()
                .expect("cursors")
                .get("model")
                .expect("a cursor")
                .expect("it was set durably");
            assert_eq!(now.offset, cursor);
        }
        let report = reader.verify(&Default::default(), &mut |_| ()).expect("a verification");
        assert!(report.is_sound(), "{:?}", report.damage);
    }
}

/// The process is gone: nothing more is written.
fn drop_without_closing(writer: Option<JournalWriter>) {
    let Some(writer) = writer else { return };
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _writer = writer;
        std::panic::resume_unwind(Box::new("a crash"));
    }));
    assert!(gone.is_err());
}

#[test]
fn no_crash_loses_invents_reorders_or_condemns_a_record() {
    let seed = common::seed();
    let (mut crashes, mut torn, mut records) = (0, 0, 0);
    let mut injected = 0;
    for run in 0..RUNS {
        let mut world = World::new(seed.wrapping_add(run));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = outcome {
            println!("run {run}: RINGWAL_SEED={} replays it as the first", seed.wrapping_add(run));
            std::panic::resume_unwind(panic);
        }
        crashes += world.crashes;
        torn += world.torn;
        records += world.model.kept.len();
        injected += world.disk.injected().total();
    }
    println!("{RUNS} runs, {crashes} crashes, {injected} faults, {torn} torn ends, {records} records");
    assert!(crashes > RUNS && injected > 1000 && torn > 20, "the faults did not happen");
}
