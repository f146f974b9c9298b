//! Every fault in turn: the Nth operation of the disk fails, for N = 1, 2, 3 and so on until a history gets by without,
//! once and for ever, with each error, in each way that a flush fails; and the same inside recovery.

use super::check::Violation;
use super::plan::{Action, ERRNOS, Plan, Profile, Stop};
use super::small;
use super::world::World;
use crate::disk::sim::FlushFailure;
use crate::journal::{CursorKind, Packing};

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultsTried {
    /// Histories with a fault in them.
    pub cases: u64,
    /// Of these, those with the fault inside recovery.
    pub in_recovery: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Journals that failed and were reopened.
    pub failed: u64,
    /// The most operations that a history had before it got by without a fault.
    pub operations: u64,
}

/// Where the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// From the first step on.
    Anywhere,
    /// In the recovery after a crash in the middle of the history.
    Recovery(Stop),
}

/// Tries the faults whose number leaves the rest `part` when divided by `parts`.
///
/// # Errors
/// The first fault that broke a promise, in words.
pub fn fail_everything(part: usize, parts: usize) -> Result<FaultsTried, String> {
    let mut tried = FaultsTried::default();
    let mut number = 0;
    for packing in [Packing::Dense, Packing::Padded] {
        for flush_failure in [FlushFailure::CacheKeeps, FlushFailure::Reverts] {
            for place in [Place::Anywhere, Place::Recovery(Stop::PowerCut), Place::Recovery(Stop::Kill)] {
                for errno in ERRNOS {
                    for forever in [false, true] {
                        number += 1;
                        if number % parts == part {
                            let character = (packing, flush_failure);
                            fail_each(character, place, (errno, forever), &mut tried)?;
                        }
                    }
                }
            }
        }
    }
    Ok(tried)
}

fn fail_each(
    (packing, flush_failure): (Packing, FlushFailure),
    place: Place,
    (number, forever): (i32, bool),
    tried: &mut FaultsTried,
) -> Result<(), String> {
    for nth in 1.. {
        let mut plan = small::plan(&steps(place, nth, number, forever), packing, false);
        plan.profile = Profile::Errors;
        plan.flush_failure = flush_failure;
        plan.buffered_log = nth % 2 == 0;
        let injected = run(&plan, tried).map_err(|Violation(words)| {
            format!("{packing:?}, {flush_failure:?}, {place:?}, operation {nth}, error {number}, for ever: {forever}: {words}")
        })?;
        tried.operations = tried.operations.max(nth);
        if injected == 0 {
            return Ok(());
        }
        tried.cases += 1;
        tried.in_recovery += u64::from(place != Place::Anywhere);
        tried.errors += injected;
    }
    Ok(())
}

fn run(plan: &Plan, tried: &mut FaultsTried) -> Result<u64, Violation> {
    let mut world = World::new(plan);
    for step in &plan.steps {
        world.step(step)?;
    }
    world.finish(Stop::PowerCut)?;
    tried.failed += world.figures.failed;
    Ok(world.figures.injected.errors)
}

/// A history with everything in it that a journal does: creation, commits, rotation, cursors, cleanup, closing, a crash.
fn steps(place: Place, nth: u64, number: i32, forever: bool) -> Vec<Action> {
    let big = Action::Append { bytes: 12_000 };
    let pin = Action::SetCursor { name: "far", place: usize::MAX, kind: CursorKind::Pinned };
    let mut steps = vec![
        Action::Append { bytes: 10 },
        Action::Batch { sizes: vec![300, 0, 300] },
        pin.clone(),
        Action::Group { sizes: vec![3000, 9000, 20_000] },
        Action::ReadAll,
        big.clone(),
        Action::Close,
    ];
    let rest = [big.clone(), Action::ReadOn { records: 3 }, big, pin, Action::Cleanup, Action::Vouch];
    let rest = rest.into_iter().chain([Action::Append { bytes: 5000 }, Action::Read { place: 3 }]);
    match place {
        Place::Anywhere => {
            steps.insert(0, Action::FailAt { nth, number, forever });
            steps.extend(rest);
        }
        Place::Recovery(stop) => {
            steps.extend(rest);
            steps.push(Action::StopAt { nth: 2, stop });
            steps.push(Action::Batch { sizes: vec![700, 1700] });
            steps.push(Action::FailRecovery { nth, number, forever });
        }
    }
    steps.extend([Action::Append { bytes: 1 }, Action::Batch { sizes: vec![50, 5] }, Action::ReadAll]);
    steps
}
