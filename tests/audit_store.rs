//! The trail on a store in memory: what goes in, what comes out, in which order, and how much is read for it.
#![cfg(feature = "audit")]

mod common;
mod trail;

use std::sync::atomic::{AtomicU64, Ordering};

use ringwal::{
    AuditError, AuditStore, Direction, GenericAuditStore, KeyRange, KvStore, MemStore, QueryAudit, Scan,
    StoreResult, WriteBatch, Written,
};

/// A store that counts what is read and written. Its scans read as they are consumed.
#[derive(Default)]
struct Counting {
    store: MemStore,
    entries_read: AtomicU64,
    gets: AtomicU64,
    writes: AtomicU64,
}

impl Counting {
    fn take(&self) -> [u64; 3] {
        [&self.entries_read, &self.gets, &self.writes].map(|counter| counter.swap(0, Ordering::Relaxed))
    }
}

impl KvStore for Counting {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.store.get(key)
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.store.write(batch)
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        let scan = self.store.scan(range, direction, limit)?;
        Ok(Scan::new(scan.inspect(|_| {
            self.entries_read.fetch_add(1, Ordering::Relaxed);
        })))
    }

    fn flush(&self) -> StoreResult<()> {
        self.store.flush()
    }
}

fn trail_of(numbers: std::ops::Range<u64>) -> GenericAuditStore<Counting> {
    let trail = GenericAuditStore::new(Counting::default());
    for number in numbers {
        let audit = trail::audit(number);
        assert_eq!(trail.put_audit(&audit).expect("a new audit"), audit.query_id);
    }
    trail.store().take();
    trail
}

#[test]
fn recent_audits_of_a_hundred_thousand_cost_ten_reads() {
    let trail = trail_of(0..100_000);
    let recent = trail.list_recent_audits(10).expect("audits");
    let expected: Vec<_> = (99_990..100_000).rev().map(trail::audit).collect();
    assert_eq!(recent, expected);
    let [entries, gets, _] = trail.store().take();
    assert!(entries <= 11 && gets <= 11, "{entries} entries and {gets} records read for ten audits");
    let found = trail.get_audits_for_agent(&trail::agent(3), 500_000, None, 10).expect("audits");
    assert!(found.len() == 10 && found.iter().all(|audit| audit.agent_id == Some(trail::agent(3))));
    assert!(trail.has_audits_for_agent(&trail::agent(3)).expect("an answer"));
    let [entries, gets, _] = trail.store().take();
    assert!(entries <= 12 && gets <= 11, "{entries} entries and {gets} records read for ten audits");
    // An iterator that is not consumed has read nothing but what it gave.
    let mut all = trail.audits_between(0, None, Direction::Forward, usize::MAX).expect("audits");
    assert_eq!(all.next().expect("the first").expect("an audit"), trail::audit(0));
    drop(all);
    let [entries, gets, _] = trail.store().take();
    assert!(entries <= 2 && gets <= 1, "{entries} entries and {gets} records read for one audit");
}

#[test]
fn a_limit_of_0_reads_nothing_and_a_range_that_ends_before_it_begins_is_refused() {
    let trail = trail_of(0..50);
    let agent = trail::agent(1);
    assert!(trail.list_recent_audits(0).expect("nothing").is_empty());
    assert!(trail.get_audits_for_agent(&agent, 0, None, 0).expect("nothing").is_empty());
    assert_eq!(trail.store().take(), [0; 3]);
    let is_refused = |result: Result<_, AuditError>| match result {
        Err(AuditError::InvalidRange { from: 5, to: 4 }) => {}
        Err(error) => panic!("{error}"),
        Ok(()) => panic!("not refused"),
    };
    is_refused(trail.get_audits_for_agent(&agent, 5, Some(4), 9).map(drop));
    is_refused(trail.audits_between(5, Some(4), Direction::Reverse, 9).map(drop));
    is_refused(trail.audits_by_subject("subject 1", 5, Some(4), Direction::Forward, 0).map(drop));
    let both_ends = trail.audits_between(50, Some(70), Direction::Forward, usize::MAX).expect("audits");
    let times: Vec<_> = both_ends.map(|audit| audit.expect("an audit").timestamp).collect();
    assert_eq!(times, [50, 60, 70], "both ends belong to a range");
}

#[test]
fn the_same_audit_again_writes_nothing_and_another_one_is_refused_with_both() {
    let trail = trail_of(0..3);
    let audit = trail::audit(1);
    let put = trail.put_audit_with_receipt(&audit).expect("the same audit");
    assert_eq!((put.query_id, put.is_new, put.receipt), (audit.query_id, false, None));
    assert_eq!(trail.store().take(), [0, 1, 0]);
    type Change = (&'static str, fn(&mut QueryAudit));
    let changes: [Change; 6] = [
        ("agent_id", |audit| audit.agent_id = None),
        ("timestamp", |audit| audit.timestamp += 1),
        ("params", |audit| audit.params.subject.push('!')),
        ("result_hash", |audit| audit.result_hash = Some([9; 32])),
        ("result_confidence", |audit| audit.result_confidence = 0.75),
        ("contributing_assertions", |audit| audit.contributing_assertions.clear()),
    ];
    for (field, change) in changes {
        let mut other = audit.clone();
        change(&mut other);
        let Err(error) = trail.put_audit(&other) else { panic!("{field}: not refused") };
        assert!(error.to_string().contains(field) && error.to_string().contains("new query id"), "{error}");
        let AuditError::Conflict { stored, refused, fields } = error else { panic!("{error}") };
        assert_eq!((*stored, *refused, &fields[..]), (audit.clone(), other, &[field][..]));
    }
    assert_eq!(trail.store().take()[2], 0);
    assert_eq!(trail.get_audit(&audit.query_id).expect("an answer"), Some(audit));
}

#[test]
fn an_audit_that_no_trail_takes_writes_nothing() {
    let trail = trail_of(0..0);
    let mut audit = trail::audit(3);
    audit.contributing_assertions[1].weight = f32::NAN;
    let Err(error) = trail.put_audit(&audit) else { panic!("not refused") };
    assert!(error.to_string().contains("contributing_assertions.weight is NaN"), "{error}");
    assert_eq!(trail.store().take(), [0; 3]);
}

/// A thousand drawn audits against a list that is filtered and sorted.
#[test]
fn every_list_is_what_a_naive_list_gives() {
    let mut rng = fastrand::Rng::with_seed(common::seed());
    let trail = GenericAuditStore::new(MemStore::new());
    let mut all: Vec<QueryAudit> = (0..1_000).map(|_| trail::drawn(&mut rng)).collect();
    for audit in &all {
        trail.put_audit(audit).expect("an audit");
    }
    all.sort_by_key(|audit| (audit.timestamp, audit.query_id));
    let subjects = ["a", "ab", "", "a:", "never asked"];
    for _ in 0..2_000 {
        let (from, to) =
            ([0, rng.u64(..20), u64::MAX][rng.usize(..3)], [None, Some(u64::MAX), Some(15)][rng.usize(..3)]);
        if to.is_some_and(|to| from > to) {
            continue;
        }
        let direction = if rng.bool() { Direction::Forward } else { Direction::Reverse };
        let limit = [0, 1, 7, usize::MAX][rng.usize(..4)];
        let (agent, subject) = (trail::agent(rng.u64(..5)), subjects[rng.usize(..subjects.len())]);
        let naive = |is_meant: &dyn Fn(&QueryAudit) -> bool| -> Vec<QueryAudit> {
            let in_time =
                |audit: &&QueryAudit| from <= audit.timestamp && to.is_none_or(|to| audit.timestamp <= to);
            let mut meant: Vec<_> =
                all.iter().filter(in_time).filter(|audit| is_meant(audit)).cloned().collect();
            if direction == Direction::Reverse {
                meant.reverse();
            }
            meant.truncate(limit);
            meant
        };
        let given = match rng.usize(..3) {
            0 => (
                trail.audits_of_agent(&agent, from, to, direction, limit),
                naive(&|audit| audit.agent_id == Some(agent)),
            ),
            1 => (trail.audits_between(from, to, direction, limit), naive(&|_| true)),
            _ => (
                trail.audits_by_subject(subject, from, to, direction, limit),
                naive(&|audit| audit.params.subject == subject),
            ),
        };
        let audits: Result<Vec<_>, _> = given.0.expect("a range").collect();
        assert_eq!(audits.expect("audits"), given.1);
        assert_eq!(
            trail.has_audits_for_agent(&agent).expect("an answer"),
            all.iter().any(|audit| audit.agent_id == Some(agent))
        );
    }
    let recent = trail.list_recent_audits(5).expect("audits");
    assert!(recent.iter().eq(all.iter().rev().take(5)));
}

#[test]
fn of_many_that_are_put_under_one_id_exactly_one_wins() {
    let trail = GenericAuditStore::new(Counting::default());
    for round in 0..200 {
        let candidate = |thread: u64| QueryAudit { timestamp: thread, ..trail::audit(round) };
        let barrier = std::sync::Barrier::new(8);
        let outcomes: Vec<Result<bool, AuditError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (trail, barrier) = (&trail, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        // Threads 6 and 7 put what threads 0 and 1 put.
                        trail.put_audit_with_receipt(&candidate(thread % 6)).map(|put| put.is_new)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
        });
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(true))).count();
        assert_eq!(won, 1, "round {round}: {outcomes:?}");
        let stored = trail.get_audit(&trail::id(round)).expect("an answer").expect("an audit");
        for (thread, outcome) in (0..8).zip(&outcomes) {
            let is_the_same = candidate(thread % 6) == stored;
            assert_eq!(outcome.is_ok(), is_the_same, "round {round}, thread {thread}: {outcome:?}");
        }
    }
    assert_eq!(trail.store().take()[2], 200, "one write for each query");
}

#[test]
fn subjects_that_begin_alike_and_the_longest_are_kept_apart() {
    let trail = trail_of(0..0);
    let longest = "s".repeat(QueryAudit::TEXT_BYTES_MAX);
    let subjects = ["", "a", "a\0", "a:", "ab", "\u{10FFFF}", &longest, &longest[1..]];
    for (number, subject) in (0..).zip(subjects) {
        let mut audit = trail::audit(number);
        audit.params.subject = subject.to_owned();
        trail.put_audit(&audit).expect("an audit");
    }
    for (number, subject) in (0..).zip(subjects) {
        let found = trail.audits_by_subject(subject, 0, None, Direction::Forward, 99).expect("audits");
        let ids: Vec<_> = found.map(|audit| audit.expect("an audit").query_id).collect();
        assert_eq!(ids, [trail::id(number)]);
    }
}

#[test]
fn an_index_that_contradicts_the_records_is_an_error_and_never_a_wrong_answer() {
    use ringwal::key_codec::AuditKey;
    let trail = trail_of(0..10);
    let (query_id, nobody) = (trail::id(3), [0xEE; 32]);
    let put = |key: AuditKey| trail.store().put(&key.encode(), b"").expect("a store in memory");
    put(AuditKey::Time { timestamp: 1_000, query_id });
    let Err(error) = trail.list_recent_audits(1) else { panic!("an audit under another time") };
    assert!(matches!(error, AuditError::BadIndex { query_id: named, .. } if named == query_id), "{error}");
    assert!(error.is_corruption());
    put(AuditKey::Time { timestamp: 1_001, query_id: nobody });
    let Err(error) = trail.list_recent_audits(1) else { panic!("an audit that is not there") };
    assert!(matches!(error, AuditError::BadIndex { query_id, .. } if query_id == nobody), "{error}");
    let mut key = AuditKey::Time { timestamp: 1_002, query_id }.encode();
    key.push(0);
    trail.store().put(&key, b"").expect("a store in memory");
    let Err(error) = trail.list_recent_audits(1) else { panic!("a key that is none") };
    assert!(matches!(error, AuditError::BadKey(_)), "{error}");
    let stranger = trail::agent(99);
    put(AuditKey::Agent { agent_id: stranger, timestamp: 30, query_id });
    let mut audits = trail.audits_of_agent(&stranger, 0, None, Direction::Forward, 9).expect("audits");
    assert!(audits.next().is_some_and(|audit| audit.is_err()));
    assert!(audits.next().is_none(), "an error ends a list");
}

#[test]
fn the_trait_has_objects() {
    let trail: Box<dyn AuditStore> = Box::new(GenericAuditStore::new(MemStore::new()));
    let audit = trail::audit(5);
    trail.put_audit(&audit).expect("an audit");
    assert_eq!(trail.list_recent_audits(9).expect("audits"), [audit]);
}
