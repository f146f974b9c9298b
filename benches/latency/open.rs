//! Records that arrive by a schedule.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use ringwal::{Journal, Ticket};

use super::Figures;

/// So many records a second arrive for so long, one thread handing them over when they are due, another waiting for their
/// tickets. The gaps are drawn like those between independent callers, the same in every run.
pub(super) fn run(
    journal: &Journal,
    payload: &[u8],
    rate: u64,
    duration: Duration,
) -> anyhow::Result<Figures> {
    // Without a bound: a schedule that the journal could hold up would be no schedule.
    let (sender, tickets) = std::sync::mpsc::channel::<(Instant, Ticket)>();
    let (late, latencies, elapsed) = std::thread::scope(|scope| {
        let waiter = scope.spawn(move || -> anyhow::Result<Histogram<u64>> {
            let mut latencies = Histogram::new(3)?;
            for (due, ticket) in tickets {
                ticket.wait()?;
                latencies.record(nanos_since(due)?)?;
            }
            Ok(latencies)
        });
        let begun = Instant::now();
        let mut late = Histogram::new(3)?;
        let mut gaps = Gaps::new(rate);
        let mut due = begun + gaps.next();
        while due < begun + duration {
            wait_until(due);
            late.record(nanos_since(due)?)?;
            let ticket = journal.submit(payload)?;
            sender.send((due, ticket)).ok().context("the waiting thread is gone")?;
            due += gaps.next();
        }
        drop(sender);
        let latencies = waiter.join().map_err(|_| anyhow!("the waiting thread panicked"))??;
        anyhow::Ok((late, latencies, begun.elapsed().as_secs_f64()))
    })?;
    let per_second = latencies.len() as f64 / elapsed;
    Ok(Figures { name: format!("{rate} a second"), per_second, latencies, late: Some(late) })
}

fn nanos_since(due: Instant) -> anyhow::Result<u64> {
    Ok(u64::try_from(due.elapsed().as_nanos())?.max(1))
}

/// Sleeps as long as the kernel's timers are exact enough, then looks at the clock.
fn wait_until(due: Instant) {
    const INEXACT: Duration = Duration::from_micros(80);
    let left = due.saturating_duration_since(Instant::now());
    if left > INEXACT {
        std::thread::sleep(left - INEXACT);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

/// Gaps between arrivals: exponential, from one number.
struct Gaps {
    state: u64,
    mean_ns: f64,
}

impl Gaps {
    fn new(rate: u64) -> Self {
        Self { state: 0x9E37_79B9_7F4A_7C15, mean_ns: 1e9 / rate as f64 }
    }

    fn next(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        // From above zero to one.
        let uniform = ((self.state >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() * self.mean_ns / 1e9)
    }
}
