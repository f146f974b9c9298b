//! One figure: threads that append for a while, each as soon as its last append is acknowledged, and what that cost.

use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::contender::{Appender, Log};
use crate::count::{self, Device, DeviceCounts, cpu_time};
use crate::payload::Payloads;

/// What is appended, by how many, for how long.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) payloads: Payloads,
    pub(crate) threads: usize,
    /// Records that one call appends.
    pub(crate) batch: usize,
    pub(crate) duration: Duration,
}

/// What one measurement of one contender gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    pub(crate) per_second: f64,
    /// Of a call, in microseconds; none where calls are not waited for one by one.
    pub(crate) latency: Option<Latency>,
    pub(crate) cpu_us_per_record: f64,
    /// Flushes asked for.
    pub(crate) flushes_per_record: f64,
    /// Flushes that the block device was sent.
    pub(crate) device_flushes_per_record: Option<f64>,
    /// Bytes that the block device was sent, over payload bytes.
    pub(crate) device_bytes_per_byte: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), p999_us: at(0.999), max_us: at(1.0) }
    }
}

impl Figures {
    pub(crate) fn as_json(&self) -> Value {
        json!({
            "records": self.records,
            "records_per_second": self.per_second,
            "p50_us": self.latency.map(|latency| latency.p50_us),
            "p90_us": self.latency.map(|latency| latency.p90_us),
            "p99_us": self.latency.map(|latency| latency.p99_us),
            "p999_us": self.latency.map(|latency| latency.p999_us),
            "max_us": self.latency.map(|latency| latency.max_us),
            "cpu_us_per_record": self.cpu_us_per_record,
            "flushes_per_record": self.flushes_per_record,
            "device_flushes_per_record": self.device_flushes_per_record,
            "device_bytes_per_payload_byte": self.device_bytes_per_byte,
        })
    }
}

/// The state of all counters at one moment.
pub(crate) struct Counts {
    at: Instant,
    cpu: Duration,
    flushes: u64,
    device: Option<DeviceCounts>,
}

impl Counts {
    pub(crate) fn now(log: &dyn Log, device: Option<&Device>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: cpu_time()?,
            flushes: count::flush_calls() + log.uncounted_flushes(),
            device: device.map(Device::read).transpose()?,
        })
    }

    /// What happened from here to `end`.
    pub(crate) fn until(
        &self,
        end: &Self,
        records: u64,
        payload: usize,
        latency: Option<Latency>,
    ) -> Figures {
        let each = 1.0 / records.max(1) as f64;
        let device = self.device.zip(end.device);
        Figures {
            records,
            per_second: records as f64 / (end.at - self.at).as_secs_f64(),
            latency,
            cpu_us_per_record: (end.cpu - self.cpu).as_secs_f64() * 1e6 * each,
            flushes_per_record: (end.flushes - self.flushes) as f64 * each,
            device_flushes_per_record: device.map(|(from, to)| (to.flushes - from.flushes) as f64 * each),
            device_bytes_per_byte: device
                .map(|(from, to)| (to.written_bytes - from.written_bytes) as f64 * each / payload as f64),
        }
    }
}

/// Appends from all threads at once and measures.
pub(crate) fn appends(log: &dyn Log, load: &Load, device: Option<&Device>) -> Result<Figures> {
    let ready = Barrier::new(load.threads + 1);
    let all = Mutex::new((Histogram::<u64>::new(3)?, 0));
    let mut before = None;
    std::thread::scope(|scope| -> Result<()> {
        let work = |thread| {
            let appender = log.appender(thread);
            ready.wait();
            let (latencies, calls) = append_for(appender?.as_mut(), thread, load)?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.0.add(&latencies)?;
            all.1 += calls;
            Ok(())
        };
        let threads: Vec<_> = (0..load.threads).map(|thread| scope.spawn(move || work(thread))).collect();
        before = Some(Counts::now(log, device)?);
        ready.wait();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("an appending thread panicked")))
        })
    })?;
    let after = Counts::now(log, device)?;
    let (latencies, calls) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let records = calls * load.batch as u64;
    let before = before.context("counted before")?;
    Ok(before.until(&after, records, load.payloads.length(), Some(Latency::of(&latencies))))
}

fn append_for(appender: &mut dyn Appender, thread: usize, load: &Load) -> Result<(Histogram<u64>, u64)> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut calls = 0_u64;
    let mut addresses = Vec::new();
    let until = Instant::now() + load.duration;
    let mut begun = Instant::now();
    while begun < until {
        let number = calls * load.batch as u64 + thread as u64 * 7919;
        if load.batch == 1 {
            appender.append(load.payloads.at(number))?;
        } else {
            let batch: Vec<_> = (0..load.batch as u64).map(|n| load.payloads.at(number + n)).collect();
            addresses.clear();
            appender.append_batch(&batch, &mut addresses)?;
        }
        let ended = Instant::now();
        latencies.record(u64::try_from((ended - begun).as_nanos())?.max(1))?;
        calls += 1;
        begun = ended;
    }
    Ok((latencies, calls))
}
