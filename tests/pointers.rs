//! A reference, a box and a shared pointer to a store, or to a trail, do what it does: every call goes through.
#![cfg(feature = "audit")]

mod trail;

use std::sync::{Arc, Mutex};

use ringwal::{
    AuditPut, AuditResult, AuditStore, Audits, Direction, GenericAuditStore, HybridStore, JournalReader,
    JournaledStore, KeyRange, KvStore, MemStore, Offset, QueryAudit, Receipt, Scan, StoreResult, WriteBatch,
    Written,
};

/// Notes the name of each call. What has a default in the trait is a call of its own here.
struct Noting<S> {
    inner: S,
    calls: Mutex<Vec<&'static str>>,
}

impl<S> Noting<S> {
    fn new(inner: S) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    fn note(&self, call: &'static str) -> &S {
        self.calls.lock().expect("no panic").push(call);
        &self.inner
    }

    fn noted(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().expect("no panic"))
    }
}

impl<S: KvStore> KvStore for Noting<S> {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.note("get").get(key)
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        self.note("write").write(batch)
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        self.note("scan").scan(range, direction, limit)
    }

    fn flush(&self) -> StoreResult<()> {
        self.note("flush").flush()
    }

    fn put(&self, key: &[u8], value: &[u8]) -> StoreResult<Written> {
        self.note("put").put(key, value)
    }

    fn delete(&self, key: &[u8]) -> StoreResult<Written> {
        self.note("delete").delete(key)
    }

    fn scan_prefix(&self, prefix: &[u8], direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        self.note("scan_prefix").scan_prefix(prefix, direction, limit)
    }
}

impl<S: JournaledStore> JournaledStore for Noting<S> {
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
        self.note("get_with_origin").get_with_origin(key)
    }

    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
        self.note("batch_at").batch_at(offset)
    }

    fn shown_end(&self) -> StoreResult<Offset> {
        self.note("shown_end").shown_end()
    }

    fn journal_reader(&self) -> JournalReader {
        self.note("journal_reader").journal_reader()
    }
}

impl<S: AuditStore> AuditStore for Noting<S> {
    fn put_audit_with_receipt(&self, audit: &QueryAudit) -> AuditResult<AuditPut> {
        self.note("put_audit_with_receipt").put_audit_with_receipt(audit)
    }

    fn get_audit(&self, query_id: &[u8; 32]) -> AuditResult<Option<QueryAudit>> {
        self.note("get_audit").get_audit(query_id)
    }

    fn audits_of_agent(
        &self,
        agent_id: &[u8; 32],
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        self.note("audits_of_agent").audits_of_agent(agent_id, from, to, direction, limit)
    }

    fn audits_between(
        &self,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        self.note("audits_between").audits_between(from, to, direction, limit)
    }

    fn audits_by_subject(
        &self,
        subject: &str,
        from: u64,
        to: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> AuditResult<Audits<'_>> {
        self.note("audits_by_subject").audits_by_subject(subject, from, to, direction, limit)
    }

    fn has_audits_for_agent(&self, agent_id: &[u8; 32]) -> AuditResult<bool> {
        self.note("has_audits_for_agent").has_audits_for_agent(agent_id)
    }

    fn put_audit(&self, audit: &QueryAudit) -> AuditResult<[u8; 32]> {
        self.note("put_audit").put_audit(audit)
    }

    fn get_audits_for_agent(
        &self,
        agent_id: &[u8; 32],
        from: u64,
        to: Option<u64>,
        limit: usize,
    ) -> AuditResult<Vec<QueryAudit>> {
        self.note("get_audits_for_agent").get_audits_for_agent(agent_id, from, to, limit)
    }

    fn list_recent_audits(&self, limit: usize) -> AuditResult<Vec<QueryAudit>> {
        self.note("list_recent_audits").list_recent_audits(limit)
    }
}

fn use_store(store: impl KvStore) {
    store.put(b"a/1", b"1").expect("a put");
    store.put(b"a/2", b"2").expect("a put");
    store.delete(b"a/1").expect("a delete");
    let mut batch = WriteBatch::new();
    batch.put("b", "3");
    store.write(batch).expect("a write");
    assert_eq!(store.get(b"a/1").expect("a get"), None);
    assert_eq!(store.get(b"a/2").expect("a get"), Some(b"2".to_vec()));
    assert_eq!(store.scan(KeyRange::all(), Direction::Reverse, 9).expect("a scan").count(), 2);
    assert_eq!(store.scan_prefix(b"a/", Direction::Forward, 9).expect("a scan").count(), 1);
    store.flush().expect("a flush");
}

const STORE_CALLS: [&str; 9] =
    ["put", "put", "delete", "write", "get", "get", "scan", "scan_prefix", "flush"];

#[test]
fn what_points_to_a_store_is_that_store() {
    let store = Noting::new(MemStore::new());
    use_store(&store);
    assert_eq!(store.noted(), STORE_CALLS);
    use_store(&store as &dyn KvStore);
    assert_eq!(store.noted(), STORE_CALLS);
    let shared = Arc::new(store);
    use_store(Arc::clone(&shared));
    assert_eq!(shared.noted(), STORE_CALLS);
    use_store(Arc::clone(&shared) as Arc<dyn KvStore>);
    assert_eq!(shared.noted(), STORE_CALLS);
    use_store(Box::new(Arc::clone(&shared)));
    assert_eq!(shared.noted(), STORE_CALLS);
    use_store(Box::new(&*shared) as Box<dyn KvStore + '_>);
    assert_eq!(shared.noted(), STORE_CALLS);
}

fn use_journaled(store: impl JournaledStore) {
    let receipt = store.put(b"key", b"value").expect("a put").receipt.expect("a journal");
    let (value, origin) = store.get_with_origin(b"key").expect("a get").expect("it is there");
    assert_eq!((value.as_slice(), origin), (&b"value"[..], receipt.offset));
    assert_eq!(store.batch_at(origin).expect("a batch").0, receipt);
    assert!(store.shown_end().expect("an end") > origin);
    store.journal_reader().check_receipt(&receipt).expect("its receipt");
}

const JOURNALED_CALLS: [&str; 5] = ["put", "get_with_origin", "batch_at", "shown_end", "journal_reader"];

#[test]
fn what_points_to_a_store_with_a_journal_is_that_store() {
    let store = Arc::new(Noting::new(HybridStore::open_temp().expect("a store")));
    use_journaled(&*store);
    assert_eq!(store.noted(), JOURNALED_CALLS);
    use_journaled(Arc::clone(&store) as Arc<dyn JournaledStore>);
    assert_eq!(store.noted(), JOURNALED_CALLS);
    use_journaled(Box::new(Arc::clone(&store)) as Box<dyn JournaledStore>);
    assert_eq!(store.noted(), JOURNALED_CALLS);
}

fn use_trail(trail: impl AuditStore) {
    let audit = trail::audit(1);
    trail.put_audit(&audit).expect("a put");
    assert!(!trail.put_audit_with_receipt(&audit).expect("a put").is_new);
    assert_eq!(trail.get_audit(&audit.query_id).expect("a get"), Some(audit.clone()));
    let agent = audit.agent_id.expect("an agent");
    let forward = Direction::Forward;
    assert_eq!(trail.audits_of_agent(&agent, 0, None, forward, 9).expect("audits").count(), 1);
    assert_eq!(trail.audits_between(0, None, forward, 9).expect("audits").count(), 1);
    let subject = &audit.params.subject;
    assert_eq!(trail.audits_by_subject(subject, 0, None, forward, 9).expect("audits").count(), 1);
    assert!(trail.has_audits_for_agent(&agent).expect("an answer"));
    assert_eq!(trail.get_audits_for_agent(&agent, 0, None, 9).expect("audits").len(), 1);
    assert_eq!(trail.list_recent_audits(9).expect("audits").len(), 1);
}

const TRAIL_CALLS: [&str; 9] = [
    "put_audit",
    "put_audit_with_receipt",
    "get_audit",
    "audits_of_agent",
    "audits_between",
    "audits_by_subject",
    "has_audits_for_agent",
    "get_audits_for_agent",
    "list_recent_audits",
];

#[test]
fn what_points_to_a_trail_is_that_trail() {
    let trail = Arc::new(Noting::new(GenericAuditStore::new(MemStore::new())));
    use_trail(&*trail);
    assert_eq!(trail.noted(), TRAIL_CALLS);
    use_trail(Arc::clone(&trail) as Arc<dyn AuditStore>);
    assert_eq!(trail.noted(), TRAIL_CALLS);
    use_trail(Box::new(Arc::clone(&trail)) as Box<dyn AuditStore>);
    assert_eq!(trail.noted(), TRAIL_CALLS);
}

#[test]
fn one_store_carries_a_trail_and_what_else_is_in_it() {
    let store = Arc::new(HybridStore::open_temp().expect("a store"));
    let trail = GenericAuditStore::checking(Arc::clone(&store) as Arc<dyn JournaledStore>);
    use_trail(&trail);
    store.put(b"else", b"1").expect("a put");
    assert_eq!(trail.store().get(b"else").expect("a get"), Some(b"1".to_vec()));
}
