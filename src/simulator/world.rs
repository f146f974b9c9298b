//! One world: a disk, at most one writer, readers that outlive steps, and the ledger. Does the steps of a plan.

use super::check::{
    Judged, Violation, check_files, check_idempotent, check_opened, contents, judge, uncalled_for,
};
use super::damage;
use super::figures::Figures;
use super::ledger::{Ledger, Pending};
use super::plan::{Action, Plan, Profile, SEGMENT_BYTES, Step, Stop};
use crate::disk::sim::{Failure, Injected, SimDisk};
use crate::error::Error;
use crate::format::file_name;
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::journal::{JournalReader, JournalWriter, Options, Packing, Records};
use crate::recovery::{RecoveryPolicy, Verdict};
use crate::segment::prepare::Background;

/// A healthy call has far fewer operations; a loop without end has more.
const OPERATIONS_MAX: u64 = 100_000;
/// Crashes inside one recovery, one in the other.
const NESTED_MAX: usize = 3;

pub(super) struct World<'a> {
    plan: &'a Plan,
    /// Of the next opening.
    options: Options,
    /// The most that the writer takes as one batch, with the headers of its records, in bytes.
    batch_max: u64,
    /// What had been injected when it was opened.
    injected_before: Injected,
    pub(super) disk: SimDisk,
    pub(super) ledger: Ledger,
    pub(super) figures: Figures,
    writer: Option<JournalWriter>,
    reader: Option<JournalReader>,
    /// An iterator, and the number of the known record that it gives next.
    records: Option<(Records, usize)>,
    /// How the machine stops if the disk freezes.
    armed: Stop,
    /// Crashes that are to come in the next recovery.
    recovery_stops: Vec<(u64, Stop)>,
    recovery_errors: Vec<(u64, i32, Failure)>,
    /// Damage made the journal one that cannot be opened: nothing more is to be seen.
    over: bool,
    /// A cleanup of this writer, or a change of its cursors, met an error.
    upkeep_failed: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let disk = SimDisk::new(plan.seed);
        disk.short_writes(plan.short_writes);
        disk.powersafe_overwrite(plan.powersafe_overwrite);
        disk.flush_failure(plan.flush_failure);
        disk.buffered_log(plan.buffered_log);
        disk.reserves(plan.reserves);
        Self {
            plan,
            options: plan.options.clone(),
            batch_max: 0,
            injected_before: Injected::default(),
            disk,
            ledger: Ledger::default(),
            figures: Figures::default(),
            writer: None,
            reader: None,
            records: None,
            armed: Stop::PowerCut,
            recovery_stops: Vec::new(),
            recovery_errors: Vec::new(),
            over: false,
            upkeep_failed: false,
        }
    }

    /// Does one step and judges what came of it.
    pub(super) fn step(&mut self, step: &Step) -> Judged {
        if self.over {
            return Ok(());
        }
        self.disk.reseed(step.seed);
        let before = self.disk.operations();
        let outcome = self.act(&step.action, step.seed);
        for (name, bytes) in self.disk.take_astray() {
            self.note_damage(&name, bytes);
        }
        outcome?;
        if self.disk.is_frozen() {
            self.stop(self.armed);
        }
        let operations = self.disk.operations() - before;
        judge!(operations < OPERATIONS_MAX, "{operations} operations of the disk in one step");
        judge!(self.disk.retries_after_error() == 0, "something was tried again after it had failed");
        Ok(())
    }

    pub(super) fn options(&self) -> Options {
        self.options.clone()
    }

    /// Does a step up to where the disk freezes, and leaves everything so.
    pub(super) fn step_until_frozen(&mut self, step: &Step) -> Judged {
        self.disk.reseed(step.seed);
        self.act(&step.action, step.seed)
    }

    /// Another world with the same promises and a copy of the disk, on which nobody has anything open.
    pub(super) fn fork(&self, seed: u64) -> Self {
        let (disk, ledger) = (self.disk.snapshot(seed), self.ledger.clone());
        Self { disk, ledger, options: self.options(), ..Self::new(self.plan) }
    }

    /// Opens what a crash has left, and judges it; then once more: recovering again changes nothing.
    pub(super) fn judge_left(&mut self) -> Judged {
        check_idempotent(&self.disk.snapshot(0), &self.options)?;
        self.open().map(drop)
    }

    /// After the last step: one more crash, and all is there.
    pub(super) fn finish(&mut self, stop: Stop) -> Judged {
        self.figures.histories += 1;
        if !self.over {
            self.disk.clear_faults();
            self.disk.set_room(None);
            self.stop(stop);
            self.open()?;
        }
        self.figures.injected = self.disk.injected();
        Ok(())
    }

    fn act(&mut self, action: &Action, seed: u64) -> Judged {
        match action {
            Action::Append { bytes } => self.append(seed, &[*bytes], Pending::Batch),
            Action::Batch { sizes } => self.append(seed, sizes, Pending::Batch),
            Action::Group { sizes } => self.append(seed, sizes, Pending::Group),
            Action::Vouch => self.call(|writer| writer.vouch()).map(drop),
            Action::SetCursor { name, place, kind } => self.set_cursor(name, *place, *kind),
            Action::RemoveCursor { name } => self.remove_cursor(name),
            Action::Cleanup => self.clean_up(),
            Action::Read { place } => self.read(*place),
            Action::ReadAll => self.read_all(),
            Action::ReadOn { records } => self.read_on(*records, seed),
            Action::Close => self.close(),
            Action::Reconfigure { segments, repack, close } => {
                self.reconfigure(*segments, *repack);
                if *close { self.close() } else { Ok(()) }
            }
            Action::Stop(stop) => {
                self.stop(*stop);
                Ok(())
            }
            fault => {
                self.plan_fault(fault);
                Ok(())
            }
        }
    }

    fn reconfigure(&mut self, segments: u64, repack: bool) {
        let packing = match self.options.packing {
            Packing::Dense if repack => Packing::Padded,
            // It rewrites acknowledged bytes.
            Packing::Padded if repack && self.plan.powersafe_overwrite => Packing::Dense,
            same => same,
        };
        self.options = self.options().segment_bytes(SEGMENT_BYTES * segments).packing(packing);
        self.figures.reconfigured += 1;
    }

    fn plan_fault(&mut self, fault: &Action) {
        let lasting = |forever| if forever { Failure::Forever } else { Failure::Once };
        let doubtful_from = self.ledger.known.last().map(|known| known.offset);
        match *fault {
            Action::StopAt { nth, stop } => {
                self.armed = stop;
                self.disk.crash_at(nth);
            }
            Action::StopRecovery { nth, stop } if self.recovery_stops.len() < NESTED_MAX => {
                self.recovery_stops.push((nth, stop));
            }
            Action::FailAt { nth, number, forever } => {
                self.disk.fail_operation(nth, number, lasting(forever));
                self.ledger.may_lie(self.plan.flush_failure, doubtful_from);
            }
            Action::FailRecovery { nth, number, forever } => {
                self.recovery_errors.push((nth, number, lasting(forever)));
                self.ledger.may_lie(self.plan.flush_failure, doubtful_from);
            }
            Action::Room { bytes } => self.disk.set_room(bytes),
            Action::Rot { file, place, ref mask } => self.rot(file, place, mask),
            Action::Lie { on } => {
                self.disk.lying_flush(on);
                self.ledger.doubt_from(doubtful_from);
            }
            Action::MisdirectWrite { nth } => {
                self.disk.misdirect_write(nth);
                self.ledger.doubt_from(doubtful_from);
                self.ledger.is_rotten = true;
            }
            Action::MisdirectRead { nth } => {
                self.disk.misdirect_read(nth);
                self.ledger.is_rotten = true;
            }
            _ => {}
        }
    }

    fn rot(&mut self, file: usize, place: u64, mask: &[u8]) {
        let names = self.disk.files();
        let Some(name) = names.get(file % names.len().max(1)) else { return };
        let length = self.disk.content(name).map_or(0, |content| content.len());
        // The beginning of a file is where most of what is written stands.
        let length = if place.is_multiple_of(2) { length } else { length.min(12 << 10) };
        let place = usize::try_from(place / 2 % (length.max(1) as u64)).unwrap_or(0);
        self.ledger.is_rotten |= self.disk.rot(name, place, mask);
        self.note_damage(name, place..place + mask.len());
    }

    fn note_damage(&mut self, name: &str, bytes: std::ops::Range<usize>) {
        if let Some(base) = file_name::parse_segment(name) {
            let from = (base + bytes.start as u64).saturating_sub(SEGMENT_HEADER_BYTES as u64);
            self.ledger.rotten.push(from..from + bytes.len() as u64);
        }
    }

    /// Everything stops. What was open then is dead.
    fn stop(&mut self, stop: Stop) {
        self.figures.cycles += 1;
        if self.plan.profile == Profile::PowerLoss {
            self.figures.pure_power_cycles += 1;
        }
        match stop {
            Stop::PowerCut => {
                self.figures.power_cuts += 1;
                self.disk.power_cut();
            }
            Stop::Kill => {
                self.figures.kills += 1;
                self.disk.process_kill();
            }
        }
        // Only now: a drop would have closed it in order.
        self.writer = None;
        self.reader = None;
        self.records = None;
    }

    /// The writer, opened if there is none.
    fn open(&mut self) -> Judged<Option<&mut JournalWriter>> {
        if self.writer.is_none() && !self.over {
            self.reopen()?;
        }
        Ok(self.writer.as_mut().filter(|_| !self.over))
    }

    fn reopen(&mut self) -> Judged {
        let mut depth = 0;
        loop {
            let stop = self.recovery_stops.pop();
            if let Some((nth, stop)) = stop {
                self.armed = stop;
                self.disk.crash_at(nth);
            }
            for (nth, number, lasting) in std::mem::take(&mut self.recovery_errors) {
                self.disk.fail_operation(nth, number, lasting);
            }
            let before = self.disk.injected();
            let is_hostile = self.plan.profile == Profile::Hostile;
            let left = is_hostile.then(|| contents(&self.disk));
            // What lands late or astray is no change that opening made, nor is a cache that forgets.
            let in_flight = self.disk.is_write_in_flight() || self.plan.buffered_log;
            if stop.is_none() && depth == 0 && !is_hostile {
                self.look_before_opening()?;
            }
            self.figures.calls += 1;
            let opened = JournalWriter::open_simulated_with(&self.disk, self.options(), self.plan.background);
            if self.disk.is_frozen() {
                self.stop(self.armed);
                drop(opened);
                if let Some(count) = self.figures.nested.get_mut(depth) {
                    *count += 1;
                }
                depth += 1;
                continue;
            }
            let writer = match opened {
                Ok(writer) => writer,
                Err(error) if self.disk.injected().errors > before.errors => {
                    let said = !is_hostile && error.is_corruption();
                    judge!(!said, "an error of the disk was taken for damage: {error}");
                    // The errors are over; what they left behind must be as good as what a crash leaves.
                    self.disk.clear_faults();
                    self.disk.set_room(None);
                    continue;
                }
                Err(error) if is_hostile => {
                    self.figures.refused += 1;
                    let astray = self.disk.injected().misdirected > before.misdirected;
                    damage::check_refused(&self.ledger, &self.disk, &error, astray)?;
                    let unchanged = left == Some(contents(&self.disk));
                    judge!(astray || in_flight || unchanged, "refusing to open changed something: {error}");
                    return self.give_up();
                }
                Err(error) => return Err(uncalled_for("opening", &error)),
            };
            return self.opened(writer, self.disk.injected().errors > before.errors);
        }
    }

    /// A reader of the dead journal sees what recovery will keep, and recovery, tried on a copy, settles it.
    fn look_before_opening(&self) -> Judged {
        if self.disk.operations().is_multiple_of(4) {
            check_idempotent(&self.disk.snapshot(self.plan.seed), &self.options)?;
        }
        Ok(())
    }

    fn opened(&mut self, writer: JournalWriter, had_errors: bool) -> Judged {
        let report = writer.recovery_report();
        self.figures.torn += u64::from(report.verdict == Verdict::CutTorn);
        let (ledger, disk) = (&mut self.ledger, &self.disk);
        if self.plan.profile == Profile::Hostile {
            self.forget_readers();
            self.check_damaged(&writer, false)?;
        } else {
            // What an error kept from being made ready is made ready, or cleared away, the next time.
            if !had_errors {
                check_files(disk)?;
            }
            self.figures.compared += disk.undisturbed(|| check_opened(ledger, &writer))?;
        }
        self.adopt(writer);
        Ok(())
    }

    fn adopt(&mut self, writer: JournalWriter) {
        self.writer = Some(writer);
        self.upkeep_failed = false;
        self.batch_max = self.options.records_bytes_max();
        self.injected_before = self.disk.injected();
    }

    /// Readers from before damage was cut have seen another journal.
    fn forget_readers(&mut self) {
        self.reader = None;
        self.records = None;
    }

    fn check_damaged(&mut self, writer: &JournalWriter, gave_up: bool) -> Judged {
        let ledger = &mut self.ledger;
        match self.disk.undisturbed(|| damage::check_opened(ledger, writer, gave_up))? {
            Some(compared) => self.figures.compared += compared,
            None => self.over = true,
        }
        Ok(())
    }

    /// Opens a damaged journal with the policy that gives up what is damaged.
    fn give_up(&mut self) -> Judged {
        let options = self.options().recovery(RecoveryPolicy::TruncateCorrupt);
        self.disk.clear_faults();
        self.disk.set_room(None);
        let before = self.disk.injected();
        match JournalWriter::open_simulated_with(&self.disk, options, self.plan.background) {
            // An error that was late: the same once more.
            Err(_) if self.disk.injected().errors > before.errors => return self.give_up(),
            Ok(writer) => {
                self.figures.given_up += 1;
                self.check_given_up()?;
                self.forget_readers();
                self.check_damaged(&writer, true)?;
                self.adopt(writer);
            }
            Err(error) => {
                let astray = self.disk.injected().misdirected > before.misdirected;
                damage::check_refused(&self.ledger, &self.disk, &error, astray)?;
                self.over = true;
            }
        }
        Ok(())
    }

    /// What was given up once is not refused again: recovery without that leave, tried on a copy, finds it in order.
    fn check_given_up(&self) -> Judged {
        if self.disk.injected().lies > 0 || self.disk.operations().is_multiple_of(2) {
            return Ok(());
        }
        let copy = self.disk.snapshot(self.plan.seed);
        copy.power_cut();
        match JournalWriter::open_simulated(&copy, self.options()) {
            Ok(_) => Ok(()),
            Err(error) => Err(uncalled_for("opening what was given up", &error)),
        }
    }

    /// Calls the writer. `None` when it could not do it, for a reason that the disk gave.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut JournalWriter) -> Result<T, Error>,
    ) -> Judged<Option<std::result::Result<T, Error>>> {
        let before = self.disk.injected();
        let Some(writer) = self.open()? else { return Ok(None) };
        let outcome = call(writer);
        self.figures.calls += 1;
        if let Err(error) = &outcome {
            let called_for = self.disk.injected() != before || self.disk.is_frozen();
            let by_choice = match error {
                Error::BelowFloor { .. } => true,
                Error::TooLarge { bytes, max } => *max == self.batch_max && bytes > max,
                _ => false,
            };
            let rotten = self.ledger.is_rotten || self.ledger.doubtful_from.is_some();
            judge!(
                called_for || self.is_late(error) || by_choice || rotten,
                "{}",
                uncalled_for("a call", error).0
            );
        }
        if matches!(&outcome, Err(error) if error.is_failed()) && !self.disk.is_frozen() {
            self.failed()?;
        }
        Ok(Some(outcome))
    }

    /// The next segment could not be made ready, or a flush for a cleanup or a cursor failed, and it is not known what is
    /// durable: told by the next commit.
    fn is_late(&self, error: &Error) -> bool {
        let is_prepared_early = self.plan.background == Background::Caller;
        (is_prepared_early || self.upkeep_failed)
            && error.is_failed()
            && self.disk.injected().errors > self.injected_before.errors
    }

    /// The journal failed: it takes nothing more, and shows what was acknowledged and nothing else.
    fn failed(&mut self) -> Judged {
        self.figures.failed += 1;
        self.disk.clear_faults();
        if let Some(writer) = &mut self.writer {
            let before = self.disk.operations();
            for outcome in [writer.append(b"too late").map(drop), writer.vouch()] {
                judge!(outcome.is_err_and(|error| error.is_failed()), "a failed journal takes records");
            }
            judge!(self.disk.operations() == before, "a failed journal touches the disk");
        }
        let reads = self.plan.profile != Profile::Hostile;
        if let (true, Some(writer)) = (reads, &self.writer) {
            let reader = writer.reader().map_err(|error| uncalled_for("a reader", &error))?;
            let (pending, before) = (self.ledger.pending.clone(), self.ledger.known.len());
            if matches!(pending, Some(Pending::Batch(_))) {
                // It has not been acknowledged, so nobody is shown it.
                self.ledger.pending = None;
            }
            super::check::compare(&mut self.ledger, &reader)?;
            self.ledger.pending = pending.map(|pending| pending.behind(self.ledger.known.len() - before));
        }
        // The process goes, the machine stays: what was lost by the flush is now what the device has.
        self.stop(Stop::Kill);
        Ok(())
    }

    fn close(&mut self) -> Judged {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let before = self.disk.injected();
        self.figures.calls += 1;
        let closed = writer.close();
        if let Err(error) = closed {
            let called_for = self.disk.injected() != before || self.disk.is_frozen();
            let excused = called_for || self.is_late(&error) || self.ledger.is_rotten;
            judge!(excused, "{}", uncalled_for("closing", &error).0);
        }
        Ok(())
    }
}

mod appending;
mod reading;

/// What a panic said.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Violation {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
    Violation(format!("a panic: {words}"))
}
