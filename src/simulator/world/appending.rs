//! The steps that append, and what their answers mean.

use std::sync::Arc;

use super::World;
use crate::journal::Receipt;
use crate::simulator::check::{Judged, compare, judge, uncalled_for};
use crate::simulator::damage;
use crate::simulator::ledger::Pending;
use crate::simulator::plan::Profile;

impl World<'_> {
    pub(super) fn append(
        &mut self,
        seed: u64,
        sizes: &[usize],
        pending: fn(Vec<Vec<u8>>) -> Pending,
    ) -> Judged {
        let mut random = fastrand::Rng::with_seed(seed);
        let payloads: Vec<Vec<u8>> = sizes
            .iter()
            .map(|bytes| {
                let mut payload = vec![0; *bytes];
                random.fill(&mut payload);
                payload
            })
            .collect();
        Arc::make_mut(&mut self.ledger.submitted).extend(payloads.iter().cloned());
        let submitted = pending(payloads.clone());
        let is_group = matches!(submitted, Pending::Group(_));
        if self.open()?.is_none() {
            return Ok(());
        }
        // Before the call: a failure is judged in it.
        self.ledger.pending = Some(submitted);
        let outcome = self.call(|writer| match is_group {
            true => writer.append_group(&payloads),
            false => writer.append_batch(&payloads),
        })?;
        match outcome {
            Some(Ok(receipts)) => self.acknowledged(&receipts, payloads)?,
            Some(Err(error)) if !error.is_failed() && !self.disk.is_frozen() => {
                self.definitely_failed(is_group)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, receipts: &[Receipt], payloads: Vec<Vec<u8>>) -> Judged {
        judge!(receipts.len() == payloads.len(), "{} receipts for {}", receipts.len(), payloads.len());
        self.figures.acknowledged += payloads.len() as u64;
        self.ledger.pending = None;
        let last = self.ledger.known.last().map(|known| known.offset);
        let first = receipts.first().map(|receipt| receipt.offset);
        judge!(first > last || first.is_none(), "{first:?} was given after {last:?}");
        self.ledger.acknowledge(receipts.iter().map(|receipt| receipt.offset), payloads);
        Ok(())
    }

    /// An answer that the records will never appear; of a group, those before the one that failed may have.
    fn definitely_failed(&mut self, is_group: bool) -> Judged {
        if !is_group {
            self.ledger.pending = None;
        }
        let is_hostile = self.plan.profile == Profile::Hostile;
        let (ledger, disk) = (&mut self.ledger, &self.disk);
        let Some(writer) = &self.writer else { return Ok(()) };
        if is_hostile {
            self.over = !disk.undisturbed(|| damage::take_up(ledger, writer))?;
            return Ok(());
        }
        disk.undisturbed(|| {
            let reader = writer.reader().map_err(|error| uncalled_for("a reader", &error))?;
            compare(ledger, &reader).map(drop)
        })
    }
}
