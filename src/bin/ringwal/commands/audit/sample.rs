//! Made-up audits of a plausible world: a few agents, subjects that are asked about again and again, mostly good answers.

use ringwal::{ContributingAssertion, Hash, LifecycleStage, QueryAudit, QueryParams};

const SITES: [&str; 6] = ["hamburg", "rotterdam", "gdansk", "antwerp", "bremen", "oslo"];
const THINGS: [&str; 8] =
    ["pump 3", "pump 7", "crane 2", "berth 11", "reefer 40", "gate camera 5", "transformer 1", "tank 9"];
const PREDICATES: [&str; 7] =
    ["has_state", "is_inspected_by", "holds", "is_owned_by", "has_temperature", "is_due", "is_cleared_for"];
const LENSES: [&str; 4] = ["recency", "consensus", "authority", "skeptical"];
const AGENTS: u64 = 12;
/// 2026-01-01T00:00:00Z.
const BEGIN: u64 = 1_767_225_600_000_000_000;
/// A query every two seconds or so.
const GAP_NANOS: u64 = 4_000_000_000;

/// The audits, oldest first; the same for the same seed, and the first of more are those of fewer.
pub(crate) fn audits(count: u64, seed: u64) -> impl Iterator<Item = QueryAudit> {
    let mut time = BEGIN;
    (0..count).map(move |number| {
        let mut draw = Draw::new(seed, number);
        time += 1 + draw.below(GAP_NANOS);
        audit(&mut draw, time)
    })
}

fn audit(draw: &mut Draw, timestamp: u64) -> QueryAudit {
    let query_id = draw.id();
    let subject = format!("{}/{}", draw.one_of(&SITES), draw.one_of(&THINGS));
    // Few sources know a subject, and some say more than others.
    let source = |number: u64| *Hash::of(format!("source {subject} {number}").as_bytes()).as_bytes();
    let count = [0, 1, 2, 2, 3, 3, 4, 6, 9, 14][draw.index(10)];
    let mut left = 1.0_f32;
    let assertions: Vec<_> = (0..count)
        .map(|_| {
            let weight = round(left * (0.3 + 0.4 * draw.share()));
            left = (left - weight).max(0.0);
            ContributingAssertion {
                assertion_hash: draw.id(),
                weight,
                source_hash: source(draw.below(5)),
                lifecycle: stage(draw),
            }
        })
        .collect();
    let is_answered = !assertions.is_empty();
    QueryAudit {
        query_id,
        agent_id: (!draw.is_one_in(20)).then(|| agent(draw.below(AGENTS).min(draw.below(AGENTS)))),
        timestamp,
        params: QueryParams {
            predicate: (!draw.is_one_in(8)).then(|| draw.one_of(&PREDICATES).to_owned()),
            lifecycle: draw.is_one_in(3).then_some(LifecycleStage::Approved),
            epoch: draw.is_one_in(6).then(|| draw.id()),
            lens: (!draw.is_one_in(5)).then(|| draw.one_of(&LENSES).to_owned()),
            subject,
        },
        result_hash: is_answered.then(|| draw.id()),
        result_confidence: if is_answered { round(0.4 + 0.6 * draw.share()) } else { 0.0 },
        contributing_assertions: assertions,
    }
}

fn agent(number: u64) -> [u8; 32] {
    *Hash::of(format!("agent {number}").as_bytes()).as_bytes()
}

fn stage(draw: &mut Draw) -> LifecycleStage {
    match draw.below(10) {
        0..=5 => LifecycleStage::Approved,
        6 | 7 => LifecycleStage::Proposed,
        8 => LifecycleStage::UnderReview,
        _ if draw.is_one_in(2) => LifecycleStage::Deprecated,
        _ => LifecycleStage::Rejected,
    }
}

/// Two digits are as much as anybody says of a weight.
fn round(share: f32) -> f32 {
    (share * 100.0).round() / 100.0
}

/// Random numbers that follow from a seed and the number of an audit: blake3 of both and a counter.
struct Draw {
    seed: [u8; 24],
}

impl Draw {
    fn new(seed: u64, number: u64) -> Self {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        Self { seed: bytes }
    }

    fn id(&mut self) -> [u8; 32] {
        let id = *Hash::of(&self.seed).as_bytes();
        let counter = self.seed[16].wrapping_add(1);
        self.seed[16] = counter;
        self.seed[17] += u8::from(counter == 0);
        id
    }

    fn below(&mut self, limit: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.id();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.index(all.len())]
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn share(&mut self) -> f32 {
        self.below(1_000) as f32 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_for_the_same_seed_and_each_is_one_that_a_trail_takes() {
        let all: Vec<_> = audits(3_000, 5).collect();
        assert!(audits(1_000, 5).eq(all.iter().take(1_000).cloned()));
        assert_ne!(audits(1, 5).next(), audits(1, 6).next());
        let mut ids: Vec<_> = all.iter().map(|audit| audit.query_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|audit| audit.check().is_ok()));
        assert!(all.is_sorted_by_key(|audit| audit.timestamp));
        assert!(all.iter().any(|audit| audit.agent_id.is_none()));
    }
}
