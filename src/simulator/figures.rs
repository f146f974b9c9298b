//! What histories did: so that nobody takes a run for a proof that injected nothing.

use crate::disk::sim::Injected;

/// Counts over one or many histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Histories that ran to their end.
    pub histories: u64,
    /// Crashes that were recovered from, those in the middle of a recovery included.
    pub cycles: u64,
    /// Crashes by loss of power.
    pub power_cuts: u64,
    /// Crashes by the end of the process alone.
    pub kills: u64,
    /// Crashes inside a recovery, by how many had come before in the same one: first, second, third.
    pub nested: [u64; 3],
    /// Cycles of histories in which nothing but power was lost: none of them may be taken for damage.
    pub pure_power_cycles: u64,
    /// Calls of the journal.
    pub calls: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were compared with what had been appended.
    pub compared: u64,
    /// Ends that recovery cut as torn.
    pub torn: u64,
    /// Openings that were refused because of damage.
    pub refused: u64,
    /// Journals given up in part by `TruncateCorrupt`.
    pub given_up: u64,
    /// Journals that failed on an error and had to be reopened.
    pub failed: u64,
    /// Changes of the options between two openings.
    pub reconfigured: u64,
    /// Faults that were really injected.
    pub injected: Injected,
}

impl Figures {
    /// Adds what other histories did.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.cycles += other.cycles;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        for (sum, more) in self.nested.iter_mut().zip(other.nested) {
            *sum += more;
        }
        self.pure_power_cycles += other.pure_power_cycles;
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.compared += other.compared;
        self.torn += other.torn;
        self.refused += other.refused;
        self.given_up += other.given_up;
        self.failed += other.failed;
        self.reconfigured += other.reconfigured;
        self.injected.add(&other.injected);
    }
}
