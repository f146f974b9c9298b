//! Which way of making a block durable is cheapest here, by trying.
//!
//! Guarantees: methods take turns, so that a slow moment of the machine hits all of them; the fastest quarter decides, because
//! noise only ever adds.
//! Must not know: how a write is done.

use std::io;
use std::time::{Duration, Instant};

use crate::disk::{FlushMethod, FlushTiming};

/// Fewer say nothing.
const ROUNDS_MIN: usize = 5;
/// More say nothing new.
const ROUNDS_MAX: usize = 101;
/// One write that takes this many budgets ends the measurement after one round: the device is very slow.
const BUDGETS_TOO_SLOW: u32 = 10;

/// Times `write` with each method in turn and gives what they cost, the cheapest first; among equals the order of
/// `methods` decides. A method that is answered with "not supported" is left out; any other error ends it all.
pub(super) fn measure(
    methods: &[FlushMethod],
    budget: Duration,
    write: &mut dyn FnMut(FlushMethod) -> io::Result<()>,
) -> io::Result<Vec<FlushTiming>> {
    let mut candidates: Vec<(FlushMethod, Vec<Duration>)> =
        methods.iter().map(|m| (*m, Vec::new())).collect();
    let start = Instant::now();
    for round in 1..=ROUNDS_MAX {
        let mut slowest = Duration::ZERO;
        let mut refusal = None;
        let mut still_in = Vec::with_capacity(candidates.len());
        for (method, mut durations) in candidates {
            let before = Instant::now();
            match write(method) {
                Ok(()) => {
                    let duration = before.elapsed();
                    slowest = slowest.max(duration);
                    durations.push(duration);
                    still_in.push((method, durations));
                }
                Err(error) if is_not_supported(&error) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        candidates = still_in;
        if let (true, Some(error)) = (candidates.is_empty(), refusal) {
            return Err(error);
        }
        // Whoever was first after another method's flush must not always be the same.
        candidates.rotate_left(1);
        let too_slow = slowest >= budget.saturating_mul(BUDGETS_TOO_SLOW);
        if too_slow || (round >= ROUNDS_MIN && start.elapsed() >= budget) {
            break;
        }
    }
    let rank = |timing: &FlushTiming| methods.iter().position(|method| *method == timing.method);
    let mut timings: Vec<_> = candidates.into_iter().map(timing).collect();
    timings.sort_by_key(|timing| (handicapped(timing), rank(timing)));
    Ok(timings)
}

/// What a method is compared by. A flush through the ring goes through a worker thread of the kernel each time; a few
/// rounds on a busy moment can flatter it, so it has to be a fifth faster than the others to be taken.
fn handicapped(timing: &FlushTiming) -> Duration {
    match timing.method {
        FlushMethod::RingFsync => timing.fast_quarter * 5 / 4,
        _ => timing.fast_quarter,
    }
}

fn timing((method, mut durations): (FlushMethod, Vec<Duration>)) -> FlushTiming {
    durations.sort_unstable();
    let median = durations.get(durations.len() / 2).copied().unwrap_or_default();
    let fast_quarter = durations.get(durations.len() / 4).copied().unwrap_or_default();
    FlushTiming { method, median, fast_quarter, rounds: u32::try_from(durations.len()).unwrap_or(u32::MAX) }
}

/// A flush through the ring is canceled where the kernel can start no thread for it (docs/decisions/0014).
fn is_not_supported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ECANCELED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FlushMethod::{Fdatasync, RingFsync, WriteDsync};
    use std::thread::sleep;

    const ALL: [FlushMethod; 3] = [Fdatasync, WriteDsync, RingFsync];

    #[test]
    fn the_cheapest_comes_first_and_all_had_as_many_turns() {
        let timings = measure(&ALL, Duration::from_millis(30), &mut |method| {
            sleep(Duration::from_millis(if method == WriteDsync { 1 } else { 5 }));
            Ok(())
        })
        .unwrap();
        assert_eq!((timings.len(), timings[0].method), (3, WriteDsync));
        assert!(timings.iter().all(|t| t.rounds == timings[0].rounds && t.rounds >= 3));
    }

    /// Found by reading: opening failed where the kernel could start no thread for the ring.
    #[test]
    fn a_method_for_which_the_kernel_has_no_thread_drops_out() {
        let mut calls = 0;
        let timings = measure(&ALL, Duration::from_secs(1), &mut |method| {
            calls += u32::from(method == RingFsync);
            if method == RingFsync && calls > 1 {
                return Err(io::Error::from_raw_os_error(libc::ECANCELED));
            }
            Ok(())
        });
        assert_eq!(timings.unwrap().len(), 2);
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_method_that_is_not_supported_drops_out() {
        let timings = measure(&ALL, Duration::ZERO, &mut |method| match method {
            WriteDsync => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            _ => Ok(()),
        })
        .unwrap();
        assert_eq!(timings.len(), 2);
        assert!(timings.iter().all(|timing| timing.method != WriteDsync));
    }

    #[test]
    fn an_error_of_the_device_is_not_taken_for_lack_of_support() {
        let outcome = measure(&ALL, Duration::ZERO, &mut |_| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
        let outcome = measure(&ALL, Duration::ZERO, &mut |_| Err(io::Error::from_raw_os_error(libc::EINVAL)));
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_very_slow_device_is_asked_once() {
        let timings = measure(&ALL, Duration::from_micros(100), &mut |_| {
            sleep(Duration::from_millis(2));
            Ok(())
        })
        .unwrap();
        assert!(timings.iter().all(|timing| timing.rounds == 1));
    }
}
