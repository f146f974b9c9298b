//! The second half of the demo: recovery, and the check of every acknowledgement.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use ringwal::{Journal, Offset, Options, RecoveryReport, VerifyReport};
use serde_json::json;

use super::demo::payload;
use crate::exit::{self, Outcome};
use crate::{output, text};

/// What the writing process tells of one append.
pub(super) struct Acknowledgement {
    pub(super) thread: u64,
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) nanos: u64,
}

impl Acknowledgement {
    pub(super) const BYTES: usize = 32;

    pub(super) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let fields = [self.thread, self.number, self.offset, self.nanos];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let field = |index: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
            u64::from_le_bytes(field)
        };
        Self { thread: field(0), number: field(1), offset: field(2), nanos: field(3) }
    }
}

/// What the follower saw while the other process wrote.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) records: u64,
    pub(super) last: Option<u64>,
}

/// What is wrong, by kind.
#[derive(Debug, Default)]
struct Wrong {
    lost: u64,
    changed: u64,
    invented: u64,
    disordered: u64,
    unseen_by_follower: u64,
}

impl Wrong {
    fn is_nothing(&self) -> bool {
        self.lost + self.changed + self.invented + self.disordered + self.unseen_by_follower == 0
    }
}

pub(super) fn check(
    directory: &Path,
    pid: u32,
    acknowledged: &[Acknowledgement],
    live: Live,
    as_json: bool,
) -> exit::Result {
    let journal = Journal::open(directory, Options::new()).context("recovering the journal")?;
    let report = journal.recovery_report().clone();
    let backend = journal.backend();
    let verified = journal.reader().verify(&Default::default(), &mut |_| ())?;
    let mut wrong = Wrong::default();
    for told in acknowledged {
        match journal.read(Offset::new(told.offset)) {
            Ok(record) if record.payload == payload(told.thread, told.number) => {}
            Ok(_) => wrong.changed += 1,
            Err(_) => wrong.lost += 1,
        }
    }
    let found = check_all(&journal, &mut wrong, live.last)?;
    let mut histogram = Histogram::<u64>::new(3)?;
    acknowledged.iter().try_for_each(|told| histogram.record(told.nanos.max(1)))?;
    let facts =
        Facts { pid, acknowledged: acknowledged.len(), found, live, wrong, histogram, report, verified };
    let passed = facts.wrong.is_nothing() && facts.verified.is_sound() && facts.acknowledged > 0;
    let told = if as_json {
        output::json(&facts.as_json(passed, &backend))
    } else {
        output::text(&facts.as_text(passed, &backend))
    };
    journal.close()?;
    exit::told(if passed { Outcome::Good } else { Outcome::Damage }, told)
}

/// Goes over all records: each must be one that was submitted, each thread's in order without a gap.
fn check_all(journal: &Journal, wrong: &mut Wrong, last_seen_live: Option<u64>) -> anyhow::Result<u64> {
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut found = 0;
    let mut saw_live = last_seen_live.is_none();
    let mut records = journal.iter_from(Offset::ZERO)?;
    while let Some(record) = records.next_ref()? {
        found += 1;
        saw_live |= last_seen_live == Some(record.offset.get());
        let (Some(thread), Some(number)) = (field(record.payload, 0), field(record.payload, 8)) else {
            wrong.invented += 1;
            continue;
        };
        if record.payload != payload(thread, number) {
            wrong.invented += 1;
            continue;
        }
        let expected = next.entry(thread).or_insert(0);
        wrong.disordered += u64::from(number != *expected);
        *expected = number + 1;
    }
    wrong.unseen_by_follower += u64::from(!saw_live);
    Ok(found)
}

fn field(payload: &[u8], at: usize) -> Option<u64> {
    payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

struct Facts {
    pid: u32,
    acknowledged: usize,
    found: u64,
    live: Live,
    wrong: Wrong,
    histogram: Histogram<u64>,
    report: RecoveryReport,
    verified: VerifyReport,
}

impl Facts {
    fn micros(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    fn records_per_commit(&self) -> f64 {
        self.verified.records as f64 / self.verified.commits.max(1) as f64
    }

    fn as_text(&self, passed: bool, backend: &ringwal::BackendReport) -> String {
        let Wrong { lost, changed, invented, disordered, unseen_by_follower } = self.wrong;
        [
            format!("process {} was killed (SIGKILL) while it appended", self.pid),
            format!("acknowledged   {} records before the kill", self.acknowledged),
            format!("found          {} records after recovery, in {} commits", self.found, self.verified.commits),
            format!("per commit     {:.1} records", self.records_per_commit()),
            format!(
                "latency        p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us",
                self.micros(0.5),
                self.micros(0.99),
                self.micros(0.999),
            ),
            format!("followed live  {} records, from this process", self.live.records),
            format!("recovery       {}", text::recovery(&self.report)),
            format!("back end       {}", text::backend(backend)),
            format!(
                "wrong          {lost} lost, {changed} changed, {invented} invented, {disordered} out of order, \
                 {unseen_by_follower} shown live and gone, {} damaged",
                self.verified.damage.len(),
            ),
            if passed { "PASS: every acknowledged record is there, byte for byte" } else { "FAIL" }.to_owned(),
        ]
        .join("\n")
    }

    fn as_json(&self, passed: bool, backend: &ringwal::BackendReport) -> serde_json::Value {
        json!({
            "passed": passed,
            "acknowledged": self.acknowledged,
            "found": self.found,
            "commits": self.verified.commits,
            "records_per_commit": self.records_per_commit(),
            "p50_us": self.micros(0.5),
            "p99_us": self.micros(0.99),
            "p999_us": self.micros(0.999),
            "followed_live": self.live.records,
            "lost": self.wrong.lost,
            "changed": self.wrong.changed,
            "invented": self.wrong.invented,
            "out_of_order": self.wrong.disordered,
            "shown_live_and_gone": self.wrong.unseen_by_follower,
            "damaged": self.verified.damage.len(),
            "recovery": text::recovery_json(&self.report),
            "backend": text::backend_json(backend),
        })
    }
}
