//! Many histories side by side: each thread takes the next few numbers. The histories themselves know no threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::campaign::{Campaign, Failure};
use super::figures::Figures;

/// Histories that a thread takes at once.
const AT_ONCE: u64 = 64;

struct Shared {
    next: u64,
    figures: Figures,
    failure: Option<Box<Failure>>,
}

/// Runs the histories of these numbers on so many threads until one breaks a promise, all are done, or `enough` says so
/// of the figures so far. Which histories ran is then known by their count: the first ones.
///
/// # Errors
/// The first failure that was found, made small.
pub fn run_many(
    seeds: Range<u64>,
    threads: usize,
    enough: &(dyn Fn(&Figures) -> bool + Sync),
) -> Result<Figures, Box<Failure>> {
    let shared = Mutex::new(Shared { next: seeds.start, figures: Figures::default(), failure: None });
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| while run_some(&shared, seeds.end, enough) {});
        }
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    shared.failure.map_or(Ok(shared.figures), Err)
}

/// Whether there is more to do.
fn run_some(shared: &Mutex<Shared>, end: u64, enough: &(dyn Fn(&Figures) -> bool + Sync)) -> bool {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut campaign = {
        let mut shared = lock();
        if shared.failure.is_some() || shared.next >= end || enough(&shared.figures) {
            return false;
        }
        let until = shared.next.saturating_add(AT_ONCE).min(end);
        Campaign::new(std::mem::replace(&mut shared.next, until)..until)
    };
    while let Some(outcome) = campaign.run_next() {
        if let Err(failure) = outcome {
            lock().failure.get_or_insert(failure);
            return false;
        }
    }
    lock().figures.add(campaign.figures());
    true
}
