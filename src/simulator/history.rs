//! One history from its plan: done in order, every panic caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::check::Violation;
use super::figures::Figures;
use super::plan::{Plan, Stop};
use super::world::{World, panicked};

/// Where a history broke a promise.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The number of the step; that of the end when it broke there.
    pub(super) step: usize,
    pub(super) violation: Violation,
}

/// Does the plan's steps for which `keeps` says so, by their number.
pub(super) fn run(plan: &Plan, keeps: &dyn Fn(usize) -> bool) -> Result<Figures, Broken> {
    let mut world = World::new(plan);
    for (number, step) in plan.steps.iter().enumerate().filter(|(number, _)| keeps(*number)) {
        guarded(number, || world.step(step))?;
    }
    let stop = if plan.seed.is_multiple_of(2) { Stop::PowerCut } else { Stop::Kill };
    guarded(plan.steps.len(), || world.finish(stop))?;
    Ok(world.figures)
}

fn guarded(step: usize, what: impl FnOnce() -> Result<(), Violation>) -> Result<(), Broken> {
    let outcome = catch_unwind(AssertUnwindSafe(what));
    let judged = outcome.unwrap_or_else(|panic| Err(panicked(&*panic)));
    judged.map_err(|violation| Broken { step, violation })
}
