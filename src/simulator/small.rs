//! Small worlds, all of them: every short history, stopped before every operation of the disk, with every subset of what
//! was not flushed.
//!
//! A history's earlier steps are the last ones of shorter histories, so only the last step is stopped in.

use super::check::Judged;
use super::plan::{Action, Plan, Profile, Step};
use super::world::World;
use crate::disk::sim::FlushFailure;
use crate::journal::{CursorKind, Options, Packing};
use crate::segment::prepare::Background;

/// So many undecided sectors, lengths and names are decided in every way: 4096 of them.
const UNDECIDED_MAX: usize = 12;
/// With more, so many ways are drawn, besides the regular ones.
const DRAWN: u64 = 512;
pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
/// Leaves room for two small commits in the first segment.
const FILL_BYTES: usize = 57_500;
const COMMITS_MAX: usize = 3;

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmallWorlds {
    /// Histories.
    pub histories: u64,
    /// Places at which they were stopped.
    pub stops: u64,
    /// Stops with more undecided things than are decided in every way.
    pub drawn_stops: u64,
    /// States of the disk that were recovered from and judged.
    pub states: u64,
    /// The most undecided things of which every subset was tried.
    pub undecided: usize,
}

/// Every history of up to three commits with cursors, cleanup and closing between them, of up to `steps` steps. Of the
/// histories, numbered in order, those whose number leaves the rest `part` when divided by `parts`.
///
/// # Errors
/// The first history, place and subset that broke a promise, in words.
pub fn explore_small_worlds(steps: usize, part: usize, parts: usize) -> Result<SmallWorlds, String> {
    let mut found = SmallWorlds::default();
    for (number, plan) in plans(steps).enumerate() {
        if number % parts == part {
            found.histories += 1;
            explore(&plan, &mut found)?;
        }
    }
    Ok(found)
}

fn alphabet() -> [Action; 9] {
    [
        Action::Append { bytes: 10 },
        Action::Batch { sizes: vec![700, 0, 700] },
        Action::Group { sizes: vec![10, 900] },
        Action::Group { sizes: vec![1400, 0, 1500] },
        Action::Append { bytes: 3700 },
        Action::SetCursor { name: "far", place: usize::MAX, kind: CursorKind::Pinned },
        Action::Cleanup,
        Action::Vouch,
        Action::Close,
    ]
}

fn is_commit(action: &Action) -> bool {
    matches!(action, Action::Append { .. } | Action::Batch { .. } | Action::Group { .. })
}

/// All sequences of up to so many actions with at most three commits, in both packings, in an empty journal and in one
/// whose first segment is nearly full.
fn plans(steps: usize) -> impl Iterator<Item = Plan> {
    let letters = alphabet();
    let sequences = (1..=steps).flat_map(move |length| {
        let letters = letters.clone();
        (0..letters.len().pow(u32::try_from(length).unwrap_or(0))).map(move |mut number| {
            let mut sequence = Vec::with_capacity(length);
            for _ in 0..length {
                sequence.push(letters[number % letters.len()].clone());
                number /= letters.len();
            }
            sequence
        })
    });
    let small =
        |sequence: &Vec<Action>| sequence.iter().filter(|action| is_commit(action)).count() <= COMMITS_MAX;
    sequences.filter(small).flat_map(|sequence| {
        [(Packing::Dense, false), (Packing::Dense, true), (Packing::Padded, false), (Packing::Padded, true)]
            .map(|(packing, filled)| plan(&sequence, packing, filled))
    })
}

pub(super) fn plan(sequence: &[Action], packing: Packing, filled: bool) -> Plan {
    let fill = filled.then_some(Action::Append { bytes: FILL_BYTES });
    let steps = fill.into_iter().chain(sequence.iter().cloned());
    let step = |(number, action)| Step { seed: number as u64, action };
    Plan {
        seed: 1,
        profile: Profile::PowerLoss,
        options: Options::new().segment_bytes(SEGMENT_BYTES).packing(packing).commit_bytes_max(8 << 10),
        short_writes: false,
        powersafe_overwrite: true,
        flush_failure: FlushFailure::CacheKeeps,
        buffered_log: false,
        reserves: true,
        background: Background::Nobody,
        steps: steps.enumerate().map(step).collect(),
    }
}

fn explore(plan: &Plan, found: &mut SmallWorlds) -> Result<(), String> {
    let Some((last, before)) = plan.steps.split_last() else { return Ok(()) };
    for operation in 1.. {
        let mut world = World::new(plan);
        let explain = |violation: super::check::Violation| {
            format!("{:?}, stopped before operation {operation} of the last: {}", plan.steps, violation.0)
        };
        for step in before {
            world.step(step).map_err(explain)?;
        }
        world.disk.crash_before(operation);
        world.step_until_frozen(last).map_err(explain)?;
        let is_whole = !world.disk.is_frozen();
        found.stops += 1;
        explore_stop(&world, found).map_err(explain)?;
        if is_whole {
            break;
        }
    }
    Ok(())
}

fn explore_stop(world: &World<'_>, found: &mut SmallWorlds) -> Judged {
    let undecided = world.disk.undecided();
    found.drawn_stops += u64::from(undecided > UNDECIDED_MAX);
    if undecided <= UNDECIDED_MAX {
        found.undecided = found.undecided.max(undecided);
        for subset in 0..1_u64 << undecided {
            judge_subset(world, found, &mut |thing| subset >> thing & 1 == 1)?;
        }
    } else {
        for one in 0..undecided {
            judge_subset(world, found, &mut |thing| thing == one)?;
            judge_subset(world, found, &mut |thing| thing != one)?;
            judge_subset(world, found, &mut |thing| thing < one)?;
            judge_subset(world, found, &mut |thing| thing >= one)?;
        }
        for seed in 0..DRAWN {
            let mut random = fastrand::Rng::with_seed(seed);
            judge_subset(world, found, &mut |_| random.bool())?;
        }
    }
    // The process alone is gone: everything is there.
    found.states += 1;
    let mut left = world.fork(found.states);
    left.disk.process_kill();
    left.judge_left()
}

fn judge_subset(world: &World<'_>, found: &mut SmallWorlds, keeps: &mut dyn FnMut(usize) -> bool) -> Judged {
    found.states += 1;
    let mut left = world.fork(found.states);
    left.disk.power_cut_keeping(keeps);
    left.judge_left()
}
