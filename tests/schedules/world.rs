//! A small world: a journal on a simulated disk, two or three callers, and something that comes between them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ringwal::sim::{Failure, SimDisk};
use ringwal::{Error, FlushMethod, Journal, JournalWriter, Offset, Options};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::caller::Caller;

const EIO: i32 = 5;

/// What comes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Somebody closes the journal, or two do.
    Close,
    /// The last handle goes while tickets are out.
    Drop,
    /// A write or a flush fails.
    Device,
    /// The first segment is all there is room for.
    Room,
    /// The commit thread panics.
    Panic,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) schedules: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// Waits whose patience was over first.
    pub(crate) impatient: u64,
    /// Payloads that came back because the queue was full.
    pub(crate) full: u64,
    /// Acknowledgements that were held against what a power cut at that moment leaves.
    pub(crate) looks: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.impatient += other.impatient;
        self.full += other.full;
        self.looks += other.looks;
    }
}

/// What callers share in their judgement.
#[derive(Debug)]
pub(crate) struct World {
    trouble: Trouble,
    disk: SimDisk,
    options: Options,
    /// The first cause, as the first one who was refused was told it.
    first_cause: Mutex<Option<String>>,
}

impl World {
    pub(crate) fn new(trouble: Trouble) -> Self {
        let mut random = thread_rng();
        let mut options = Options::new()
            .segment_bytes(64 << 10)
            .flush(FlushMethod::Fdatasync)
            // Memory that is asked for in each schedule.
            .commit_bytes_max(16 << 10)
            .queue_depth(random.gen_range(1..4))
            .commit_records_max(random.gen_range(2..6))
            .spin(Duration::from_micros(random.gen_range(0..4)))
            .idle_commit(None);
        if random.gen_ratio(1, 4) {
            options = options.linger(Duration::from_millis(1));
        }
        if random.gen_ratio(1, 4) {
            options = options.idle_commit(Some(Duration::from_millis(1)));
        }
        Self {
            trouble,
            disk: SimDisk::new(random.gen_range(0..1 << 48)),
            options,
            first_cause: Mutex::new(None),
        }
    }

    pub(crate) fn run(self) -> Figures {
        let this = Arc::new(self);
        let journal = Journal::open_simulated(&this.disk, this.options.clone()).expect("a new journal");
        let journal = Arc::new(journal);
        if this.trouble == Trouble::Device {
            let (nth, errno) = (thread_rng().gen_range(1..12), EIO);
            let how = if thread_rng().gen_ratio(1, 2) { Failure::Once } else { Failure::Forever };
            this.disk.fail_operation(nth, errno, how);
        }
        if this.trouble == Trouble::Room {
            this.disk.set_room(Some(0));
        }
        let callers: Vec<_> = (0..thread_rng().gen_range(2..4))
            .map(|number| {
                let (world, journal) = (this.clone(), journal.clone());
                thread::spawn(move || Caller::new(number, world).live(journal))
            })
            .collect();
        let journal = this.make_trouble(journal);
        let callers: Vec<Caller> =
            callers.into_iter().map(|caller| caller.join().expect("a caller")).collect();
        if let Some(journal) = journal {
            this.look_once_more(&journal);
            this.check_durable_end(&journal);
        }
        this.check_what_is_left(&callers);
        let mut figures = Figures { schedules: 1, ..Figures::default() };
        callers.iter().for_each(|caller| figures.add(&caller.figures));
        figures
    }

    /// Gives the journal back where the callers are to find it open.
    fn make_trouble(&self, journal: Arc<Journal>) -> Option<Arc<Journal>> {
        match self.trouble {
            Trouble::Drop => return None,
            Trouble::None | Trouble::Device | Trouble::Room => {}
            Trouble::Panic => journal.panic_commit_thread(),
            Trouble::Close => {
                let other = thread_rng().gen_ratio(1, 2).then(|| {
                    let journal = journal.clone();
                    thread::spawn(move || journal.close().expect("closed by somebody"))
                });
                journal.close().expect("a close");
                assert!(
                    matches!(journal.append(b"late"), Err(Error::Closed)),
                    "a closed journal takes records"
                );
                if let Some(other) = other {
                    other.join().expect("a closer");
                }
            }
        }
        // Without it the last caller's handle is the last one.
        thread_rng().gen_ratio(1, 2).then_some(journal)
    }

    fn look_once_more(&self, journal: &Journal) {
        if self.has_failed() {
            self.judge_refusal(&journal.append(b"late").expect_err("a failed journal takes records"));
            self.judge_refusal(&journal.close().expect_err("a failed journal closes"));
        } else if self.takes_all() || self.trouble == Trouble::Close {
            journal.close().expect("a close");
            journal.close().expect("closed already");
        }
    }

    /// What the handle calls durable outlives a power cut, also after a failure.
    fn check_durable_end(&self, journal: &Journal) {
        let said = journal.durable_end();
        let disk = self.disk.snapshot(said.get());
        disk.clear_faults();
        disk.set_room(None);
        disk.power_cut();
        let writer = JournalWriter::open_simulated(&disk, self.options.clone()).expect("only the power went");
        let end = writer.durable_end();
        assert!(end >= said, "{said} was called durable, and the journal ends at {end}");
    }

    /// Large enough that the first segment does not take all, where that is wanted.
    pub(crate) fn payload_bytes(&self) -> usize {
        if self.trouble == Trouble::Room { 7000 } else { 2 }
    }

    /// Whether this is how a caller may be refused here; everybody is told the same cause.
    pub(crate) fn judge_refusal(&self, error: &Error) {
        match (self.trouble, error) {
            (Trouble::Close, Error::Closed) | (Trouble::Room, Error::DiskFull { .. }) => {}
            (Trouble::Device | Trouble::Panic, Error::Failed { first }) => {
                let right = match **first {
                    Error::Io { .. } => self.trouble == Trouble::Device,
                    Error::Panicked { .. } => self.trouble == Trouble::Panic,
                    _ => false,
                };
                assert!(right, "{first}");
                let mut known = self.first_cause.lock().unwrap_or_else(PoisonError::into_inner);
                let cause = known.get_or_insert_with(|| first.to_string());
                assert_eq!(*cause, first.to_string(), "two first causes");
            }
            (trouble, error) => panic!("{trouble:?}: {error}"),
        }
    }

    /// Whether somebody was told already that the journal failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.first_cause.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn takes_all(&self) -> bool {
        self.trouble == Trouble::None || self.trouble == Trouble::Drop
    }

    /// The record is there if the power goes now. To be called in the step in which the acknowledgement came.
    pub(crate) fn survives_a_power_cut(&self, offset: Offset, payload: &[u8]) {
        let disk = self.disk.snapshot(offset.get());
        disk.clear_faults();
        disk.set_room(None);
        disk.power_cut();
        let writer = JournalWriter::open_simulated(&disk, self.options.clone()).expect("only the power went");
        let found = writer.reader().and_then(|reader| reader.read(offset));
        assert_eq!(found.expect("acknowledged, and gone").payload, payload);
    }

    /// Every acknowledged record is there in the end, and nothing twice.
    fn check_what_is_left(&self, callers: &[Caller]) {
        self.disk.clear_faults();
        self.disk.set_room(None);
        self.disk.power_cut();
        let writer =
            JournalWriter::open_simulated(&self.disk, self.options.clone()).expect("only the power went");
        let reader = writer.reader().expect("a reader");
        let records = reader.iter_from(Offset::ZERO).expect("from the start");
        let found: Vec<_> = records
            .map(|record| record.expect("a sound journal"))
            .map(|record| (record.offset, record.payload))
            .collect();
        for caller in callers {
            let mine: Vec<_> = found.iter().filter(|(_, payload)| caller.wrote(payload)).collect();
            for acknowledged in &caller.acknowledged {
                assert!(mine.contains(&acknowledged), "acknowledged at {}, and gone", acknowledged.0);
            }
            let in_order = mine.windows(2).all(|pair| pair[0].1 < pair[1].1);
            assert!(in_order, "one caller's records are out of order: {mine:?}");
            if self.takes_all() {
                assert_eq!(
                    mine.len(),
                    usize::from(caller.handed_over),
                    "not everything that was handed over"
                );
            }
        }
        if matches!(self.trouble, Trouble::None | Trouble::Drop | Trouble::Close) {
            assert!(writer.recovery_report().clean_shutdown, "{:?}", writer.recovery_report());
        }
    }
}
