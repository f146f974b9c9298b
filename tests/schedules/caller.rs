//! One thread that uses the journal in every way there is, and judges what it is told.

use std::sync::Arc;
use std::time::Duration;

use ringwal::{Error, Journal, Offset, Receipt, Ticket, TrySubmitError};
use shuttle::rand::{Rng, thread_rng};

use crate::world::{Figures, World};

const CALLS: u8 = 3;
const SHORT: Duration = Duration::from_millis(1);

pub(crate) struct Caller {
    number: u8,
    world: Arc<World>,
    /// Records handed over, taken or not: the next one's number.
    pub(crate) handed_over: u8,
    pub(crate) acknowledged: Vec<(Offset, Vec<u8>)>,
    pub(crate) figures: Figures,
}

impl Caller {
    pub(crate) fn new(number: u8, world: Arc<World>) -> Self {
        let figures = Figures::default();
        Self { number, world, handed_over: 0, acknowledged: Vec::new(), figures }
    }

    pub(crate) fn wrote(&self, payload: &[u8]) -> bool {
        payload.first() == Some(&self.number)
    }

    /// Some calls, then the tickets that are still out, with the journal's handle gone or not.
    pub(crate) fn live(mut self, journal: Arc<Journal>) -> Self {
        let mut tickets = Vec::new();
        for _ in 0..CALLS {
            let knew_of_failure = self.world.has_failed();
            let is_taken = self.call(&journal, &mut tickets);
            assert!(!(is_taken && knew_of_failure), "a failed journal takes something");
        }
        if thread_rng().gen_ratio(1, 2) {
            drop(journal);
            self.settle(tickets);
        } else {
            self.settle(tickets);
            drop(journal);
        }
        self
    }

    /// Whether the journal took something new.
    fn call(&mut self, journal: &Journal, tickets: &mut Vec<(Ticket, Vec<u8>)>) -> bool {
        let error = match thread_rng().gen_range(0..6) {
            0 => {
                let payload = self.payload();
                match journal.append(&payload) {
                    Ok(receipt) => return self.kept(receipt, &payload),
                    Err(error) => error,
                }
            }
            1 => {
                let payload = self.payload();
                match journal.submit(payload.clone()) {
                    Ok(ticket) => {
                        tickets.push((ticket, payload));
                        return true;
                    }
                    Err(error) => error,
                }
            }
            2 => return self.try_submit(journal, tickets),
            3 => {
                let batch = [self.payload(), self.payload()];
                match journal.append_batch(&batch) {
                    Ok(receipts) => {
                        assert_eq!(receipts.len(), batch.len());
                        return receipts
                            .into_iter()
                            .zip(&batch)
                            .all(|(receipt, payload)| self.kept(receipt, payload));
                    }
                    Err(error) => error,
                }
            }
            4 => match journal.sync() {
                Ok(end) => {
                    let below = self.acknowledged.iter().all(|(offset, _)| *offset < end);
                    assert!(below, "a durable end of {end} below an acknowledged record");
                    return true;
                }
                Err(error) => error,
            },
            _ => {
                self.wait_a_little(tickets);
                return false;
            }
        };
        self.refused(&error);
        false
    }

    fn try_submit(&mut self, journal: &Journal, tickets: &mut Vec<(Ticket, Vec<u8>)>) -> bool {
        let payload = self.payload();
        match journal.try_submit(payload.clone()) {
            Ok(ticket) => {
                tickets.push((ticket, payload));
                return true;
            }
            Err(TrySubmitError::Full { payload: back }) => {
                assert_eq!(back, payload, "another payload comes back");
                self.handed_over -= 1;
                self.figures.full += 1;
            }
            Err(TrySubmitError::Refused { payload: back, error }) => {
                assert_eq!(back, payload, "another payload comes back");
                self.refused(&error);
            }
            Err(error) => panic!("{error}"),
        }
        false
    }

    fn wait_a_little(&mut self, tickets: &mut Vec<(Ticket, Vec<u8>)>) {
        let Some((ticket, payload)) = tickets.pop() else { return };
        let answer =
            if thread_rng().gen_ratio(1, 2) { ticket.wait_timeout(SHORT) } else { ticket.try_wait() };
        match answer.transpose() {
            Some(answer) => self.judge(answer, &payload),
            None => {
                self.figures.impatient += 1;
                tickets.push((ticket, payload));
            }
        }
    }

    fn settle(&mut self, tickets: Vec<(Ticket, Vec<u8>)>) {
        for (ticket, payload) in tickets {
            let answer = ticket.wait();
            self.judge(answer, &payload);
        }
    }

    fn judge(&mut self, answer: ringwal::Result<Receipt>, payload: &[u8]) {
        match answer {
            Ok(receipt) => drop(self.kept(receipt, payload)),
            Err(error) => self.refused(&error),
        }
    }

    fn kept(&mut self, receipt: Receipt, payload: &[u8]) -> bool {
        if thread_rng().gen_ratio(1, 4) {
            self.world.survives_a_power_cut(receipt.offset, payload);
            self.figures.looks += 1;
        }
        self.acknowledged.push((receipt.offset, payload.to_vec()));
        self.figures.acknowledged += 1;
        true
    }

    fn refused(&mut self, error: &Error) {
        self.world.judge_refusal(error);
        self.figures.refused += 1;
    }

    /// Says whose it is and which: in the order in which they are handed over.
    fn payload(&mut self) -> Vec<u8> {
        self.handed_over += 1;
        let mut payload = vec![self.number, self.handed_over];
        payload.resize(self.world.payload_bytes(), 0);
        payload
    }
}
