//! Choosing the flush method: a few durable writes by each, the cheapest median wins.

use std::io;
use std::time::{Duration, Instant};

use crate::disk::{AlignedBuffer, BLOCK_BYTES, FlushMethod, FlushTiming};

/// Fewer rounds say nothing.
const ROUNDS_MIN: usize = 3;
const ROUNDS_MAX: usize = 15;
/// On a device so slow that one write takes this many budgets, one round has to do.
const HOPELESS: u32 = 10;

/// Times each of `methods` by writing a block of zeros at `position`, in turn, within about `budget`. A method that is
/// not supported drops out. `write` makes one durable write.
pub(super) fn measure(
    methods: &[FlushMethod],
    position: u64,
    budget: Duration,
    mut write: impl FnMut(FlushMethod, &AlignedBuffer, u64) -> io::Result<()>,
) -> io::Result<Vec<FlushTiming>> {
    let zeros = AlignedBuffer::new(BLOCK_BYTES);
    let mut candidates: Vec<(FlushMethod, Vec<Duration>)> = methods.iter().map(|m| (*m, Vec::new())).collect();
    let start = Instant::now();
    for round in 0..ROUNDS_MAX {
        let spent = start.elapsed();
        let enough = spent > budget && (round >= ROUNDS_MIN || spent > budget * HOPELESS && round > 0);
        if enough {
            break;
        }
        let mut supported = Vec::with_capacity(candidates.len());
        for (method, mut timings) in candidates {
            let begin = Instant::now();
            match write(method, &zeros, position) {
                Ok(()) => {
                    timings.push(begin.elapsed());
                    supported.push((method, timings));
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error),
            }
        }
        candidates = supported;
    }
    let mut timings: Vec<FlushTiming> = candidates.into_iter().filter_map(|(m, t)| timing(m, t)).collect();
    timings.sort_by_key(|timing| timing.median);
    Ok(timings)
}

fn timing(method: FlushMethod, mut timings: Vec<Duration>) -> Option<FlushTiming> {
    timings.sort_unstable();
    let median = *timings.get(timings.len() / 2)?;
    let rounds = u32::try_from(timings.len()).ok()?;
    Some(FlushTiming { method, median, rounds })
}

pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_supported_method_comes_first() {
        let methods = [FlushMethod::WriteDsync, FlushMethod::Fdatasync, FlushMethod::RingFsync];
        let timings = measure(&methods, 0, Duration::from_millis(5), |method, zeros, _| {
            assert!(zeros.iter().all(|byte| *byte == 0));
            match method {
                FlushMethod::WriteDsync => std::thread::sleep(Duration::from_millis(3)),
                FlushMethod::RingFsync => return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
                _ => {}
            }
            Ok(())
        });
        let methods: Vec<_> = timings.unwrap().iter().map(|timing| timing.method).collect();
        assert_eq!(methods, [FlushMethod::Fdatasync, FlushMethod::WriteDsync]);
    }

    #[test]
    fn a_device_that_fails_is_an_error_not_a_slow_method() {
        let failing = |_: FlushMethod, _: &AlignedBuffer, _| Err(io::Error::from_raw_os_error(libc::EIO));
        let error = measure(&[FlushMethod::WriteDsync], 0, Duration::from_millis(5), failing).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
}
