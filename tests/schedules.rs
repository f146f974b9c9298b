//! The hand-over between the callers' threads and the commit thread, under a scheduler that decides who goes on after each
//! step: queue, tickets, waking, closing, failures, panics. Built with `--cfg ringwal_shuttle` only.
#![cfg(all(ringwal_shuttle, feature = "sim", feature = "group-commit"))]
#![allow(clippy::print_stdout, reason = "tests report figures")]

#[path = "schedules/caller.rs"]
mod caller;
mod common;
#[path = "schedules/world.rs"]
mod world;

use std::sync::Once;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use world::{Figures, Trouble, World};

/// Schedules of each test; `RINGWAL_SCHEDULES` sets another number.
const SCHEDULES: usize = 20_000;
/// Places at which the second scheduler takes the thread that goes on away from the processor.
const CHANGES: usize = 4;
/// No schedule of so few appends needs more; who is not done by then waits for nothing.
const STEPS_MAX: usize = 200_000;

/// The commit thread is told to panic in some of these worlds: that is not to be printed each time.
fn quieten_panics_asked_for() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The scheduler puts its own hook in place in its first run.
        run(RandomScheduler::new_from_seed(0, 1), || {});
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let words = panic.payload().downcast_ref::<&str>();
            if !words.is_some_and(|words| words.contains("was told to panic")) {
                hook(panic);
            }
        }));
    });
}

fn run(scheduler: impl Scheduler + 'static, world: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(world);
}

/// Explores schedules of one kind of world: half of them at random, half with few changes at unlikely places.
fn explore(trouble: Trouble) -> Figures {
    quieten_panics_asked_for();
    let seed = common::seed();
    let wanted = std::env::var("RINGWAL_SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("a number"));
    let figures = std::sync::Arc::new(std::sync::Mutex::new(Figures::default()));
    let world = {
        let figures = figures.clone();
        move || {
            let seen = World::new(trouble).run();
            figures.lock().expect("one schedule at a time").add(&seen);
        }
    };
    run(RandomScheduler::new_from_seed(seed, wanted / 2), world.clone());
    run(PctScheduler::new_from_seed(seed, CHANGES, wanted - wanted / 2), world);
    let figures = *figures.lock().expect("one schedule at a time");
    println!("{trouble:?}: {figures:?}");
    assert!(figures.schedules == wanted as u64, "{} of {wanted} schedules", figures.schedules);
    assert!(figures.looks > 0, "no acknowledgement was held against the disk");
    figures
}

#[test]
fn everybody_is_answered_and_everything_is_there_after_a_close() {
    let seen = explore(Trouble::None);
    assert!(seen.refused == 0 && seen.impatient > 0 && seen.full > 0, "{seen:?}");
}

#[test]
fn a_close_in_the_midst_of_appends_takes_them_or_says_closed() {
    let seen = explore(Trouble::Close);
    assert!(seen.acknowledged > 0 && seen.refused > 0, "{seen:?}");
}

#[test]
fn tickets_outlive_the_journal_and_are_kept() {
    let seen = explore(Trouble::Drop);
    assert!(seen.acknowledged > 0 && seen.refused == 0, "{seen:?}");
}

#[test]
fn a_device_that_fails_wakes_everybody_with_the_first_cause() {
    let seen = explore(Trouble::Device);
    assert!(seen.acknowledged > 0 && seen.refused > 0, "{seen:?}");
}

/// Found by reading: who was refused in a round without a number slept on the word of the next one, which nobody wakes.
#[test]
fn a_disk_without_room_wakes_everybody_who_is_refused() {
    let seen = explore(Trouble::Room);
    assert!(seen.acknowledged > 0 && seen.refused > 0, "{seen:?}");
}

#[test]
fn a_panic_of_the_commit_thread_wakes_everybody_with_the_first_cause() {
    let seen = explore(Trouble::Panic);
    assert!(seen.acknowledged > 0 && seen.refused > 0, "{seen:?}");
}
