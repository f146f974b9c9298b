//! What the tests of the audit trail share: audits made from numbers.
#![allow(dead_code, reason = "each test file uses its own part")]

use ringwal::{ContributingAssertion, LifecycleStage, QueryAudit, QueryParams};

/// An id that follows from a number, all of its bytes used.
pub(crate) fn id(number: u64) -> [u8; 32] {
    *ringwal::Hash::of(&number.to_le_bytes()).as_bytes()
}

/// An audit that follows from its number, of agent `number % 7` (the first of them is nobody), at time `number * 10`.
pub(crate) fn audit(number: u64) -> QueryAudit {
    let assertion = |index: u64| ContributingAssertion {
        assertion_hash: id(number * 100 + index),
        weight: (index % 11) as f32 / 10.0,
        source_hash: id(index),
        lifecycle: LifecycleStage::ALL[(index % 5) as usize],
    };
    QueryAudit {
        query_id: id(number),
        agent_id: (!number.is_multiple_of(7)).then(|| agent(number % 7)),
        timestamp: number * 10,
        params: QueryParams {
            subject: format!("subject {}", number % 5),
            predicate: number.is_multiple_of(2).then(|| "has_state".to_owned()),
            lifecycle: number.is_multiple_of(3).then_some(LifecycleStage::Approved),
            epoch: number.is_multiple_of(4).then(|| id(number / 4)),
            lens: number.is_multiple_of(5).then(|| "recency".to_owned()),
        },
        result_hash: (!number.is_multiple_of(6)).then(|| id(number + 1)),
        result_confidence: (number % 101) as f32 / 100.0,
        contributing_assertions: (0..number % 4).map(assertion).collect(),
    }
}

pub(crate) fn agent(number: u64) -> [u8; 32] {
    id(1_000_000 + number)
}

/// An audit in which everything is drawn; ids and times are drawn out of few, so that they meet.
pub(crate) fn drawn(rng: &mut fastrand::Rng) -> QueryAudit {
    let text = |rng: &mut fastrand::Rng| -> String {
        let length = [0, 1, 7, 300][rng.usize(..4)];
        (0..length).map(|_| rng.char('\0'..='\u{FFFF}')).collect()
    };
    let option = |rng: &mut fastrand::Rng| rng.bool().then(|| id(rng.u64(..50)));
    let assertion = |rng: &mut fastrand::Rng| ContributingAssertion {
        assertion_hash: id(rng.u64(..)),
        weight: rng.f32(),
        source_hash: id(rng.u64(..9)),
        lifecycle: LifecycleStage::ALL[rng.usize(..5)],
    };
    let count = [0, 1, 5, 40][rng.usize(..4)];
    QueryAudit {
        query_id: id(rng.u64(..)),
        agent_id: rng.bool().then(|| agent(rng.u64(..4))),
        timestamp: [rng.u64(..20), rng.u64(..), u64::MAX - rng.u64(..2)][rng.usize(..3)],
        params: QueryParams {
            subject: if rng.bool() { ["a", "ab", "", "a:"][rng.usize(..4)].to_owned() } else { text(rng) },
            predicate: rng.bool().then(|| text(rng)),
            lifecycle: rng.bool().then(|| LifecycleStage::ALL[rng.usize(..5)]),
            epoch: option(rng),
            lens: rng.bool().then(|| text(rng)),
        },
        result_hash: option(rng),
        result_confidence: rng.f32(),
        contributing_assertions: (0..count).map(|_| assertion(rng)).collect(),
    }
}
