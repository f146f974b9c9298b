//! The steps of consumers: reading, iterators that outlive steps, cursors, cleanup.

use super::World;
use crate::disk::sim::Injected;
use crate::error::Error;
use crate::journal::CursorKind;
use crate::position::Offset;
use crate::simulator::check::{Judged, compare, judge, uncalled_for};
use crate::simulator::plan::Profile;

impl World<'_> {
    /// Whether an error since then has a cause.
    fn has_cause(&self, before: &Injected) -> bool {
        self.disk.injected() != *before || self.disk.is_frozen() || self.is_damaged()
    }

    fn is_damaged(&self) -> bool {
        self.ledger.is_rotten || self.ledger.doubtful_from.is_some()
    }

    pub(super) fn set_cursor(&mut self, name: &'static str, place: usize, kind: CursorKind) -> Judged {
        let Some(offset) = self.ledger.pick(place).map(|known| known.offset) else { return Ok(()) };
        let outcome = self.call(|writer| writer.cursors()?.set(name, offset, kind))?;
        self.upkeep_failed |= matches!(outcome, Some(Err(_)));
        match outcome {
            Some(Ok(())) => self.ledger.move_cursor(name, Some((offset, kind)), true),
            Some(Err(Error::BelowFloor { floor, .. })) => {
                judge!(offset < floor || self.is_damaged(), "offset {offset} is not below the floor {floor}");
            }
            Some(Err(_)) => self.ledger.move_cursor(name, Some((offset, kind)), false),
            None => {}
        }
        Ok(())
    }

    pub(super) fn remove_cursor(&mut self, name: &'static str) -> Judged {
        if self.ledger.cursors.get(name).is_none_or(|places| places == &[None]) {
            return Ok(());
        }
        let outcome = self.call(|writer| match writer.cursors()?.remove(name) {
            Err(Error::NoSuchCursor { .. }) => Ok(()),
            outcome => outcome,
        })?;
        self.upkeep_failed |= matches!(outcome, Some(Err(_)));
        match outcome {
            Some(Ok(())) => self.ledger.move_cursor(name, None, true),
            Some(Err(_)) => self.ledger.move_cursor(name, None, false),
            None => {}
        }
        Ok(())
    }

    pub(super) fn clean_up(&mut self) -> Judged {
        let outcome = self.call(|writer| writer.cleanup())?;
        self.upkeep_failed |= matches!(outcome, Some(Err(_)));
        if let Some(Ok(report)) = outcome {
            judge!(
                report.floor >= self.ledger.floor || self.is_damaged(),
                "cleanup took the floor back to {}",
                report.floor
            );
            self.ledger.floor = report.floor;
        }
        Ok(())
    }

    /// Opens a reader that stays until the next crash.
    fn has_reader(&mut self) -> Judged<bool> {
        if self.reader.is_none() {
            self.reader = match self.call(|writer| writer.reader())? {
                Some(Ok(reader)) => Some(reader),
                Some(Err(_)) | None => None,
            };
        }
        Ok(self.reader.is_some())
    }

    pub(super) fn read(&mut self, place: usize) -> Judged {
        if !self.has_reader()? {
            return Ok(());
        }
        let (Some(reader), Some(known)) = (&self.reader, self.ledger.pick(place)) else { return Ok(()) };
        let before = self.disk.injected();
        self.figures.calls += 1;
        match reader.read(known.offset) {
            Ok(record) => {
                judge!(record.payload == known.payload, "the record at {} is another one", known.offset);
                self.figures.compared += 1;
            }
            Err(Error::BelowFloor { floor, .. }) => {
                judge!(known.offset < floor, "{} is not below the floor {floor}", known.offset);
            }
            Err(error) => judge!(self.has_cause(&before), "{}", uncalled_for("reading", &error).0),
        }
        Ok(())
    }

    pub(super) fn read_all(&mut self) -> Judged {
        if self.plan.profile == Profile::Hostile || self.ledger.pending.is_some() || !self.has_reader()? {
            return Ok(());
        }
        let Some(reader) = &self.reader else { return Ok(()) };
        let (ledger, disk) = (&mut self.ledger, &self.disk);
        self.figures.compared += disk.undisturbed(|| compare(ledger, reader))?;
        Ok(())
    }

    pub(super) fn read_on(&mut self, records: usize, seed: u64) -> Judged {
        if self.records.is_none() && !self.begin_reading(seed)? {
            return Ok(());
        }
        for _ in 0..records {
            let before = self.disk.injected();
            let Some((iterator, at)) = &mut self.records else { return Ok(()) };
            let next = iterator.next();
            let known = self.ledger.known.get(*at);
            match (next, known) {
                (Some(Ok(record)), Some(known)) => {
                    let same = record.offset == known.offset && record.payload == known.payload;
                    judge!(same, "an iterator gives {} in place of {}", record.offset, known.offset);
                    *at += 1;
                    self.figures.compared += 1;
                }
                (Some(Ok(record)), None) => {
                    judge!(false, "an iterator gives {}, behind all that was acknowledged", record.offset);
                }
                (Some(Err(error)), _) => {
                    let too_late = matches!(error, Error::BelowFloor { .. });
                    judge!(too_late || self.has_cause(&before), "{}", uncalled_for("reading on", &error).0);
                    self.records = None;
                }
                // The end, as it was when the iterator last looked.
                (None, _) => self.records = None,
            }
        }
        Ok(())
    }

    fn begin_reading(&mut self, seed: u64) -> Judged<bool> {
        if !self.has_reader()? {
            return Ok(false);
        }
        let place = usize::try_from(seed % 1000).unwrap_or(0);
        let from = self.ledger.pick(place).map_or(Offset::ZERO, |known| known.offset);
        let at = self.ledger.known.partition_point(|known| known.offset < from);
        let before = self.disk.injected();
        let Some(reader) = &self.reader else { return Ok(false) };
        match reader.iter_from(from) {
            Ok(records) => self.records = Some((records, at)),
            Err(Error::BelowFloor { .. }) => {}
            Err(error) => judge!(self.has_cause(&before), "{}", uncalled_for("reading", &error).0),
        }
        Ok(self.records.is_some())
    }
}
