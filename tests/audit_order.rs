//! An index whose every entry is found by who looks for it, and which shows something else to who goes over it: an edited page
//! ends a list, and searches go on. Verification finds that too.
#![cfg(all(feature = "audit", feature = "sim"))]

mod common;
#[path = "trail/journaled.rs"]
mod journaled;
mod trail;

use std::sync::atomic::{AtomicU32, Ordering};

use journaled::JournalStore;
use ringwal::sim::SimDisk;
use ringwal::{
    AuditStore, Direction, Entry, GenericAuditStore, HybridOptions, HybridStore, JournalReader,
    JournaledStore, KeyRange, KvStore, Offset, Options, Receipt, Scan, StoreResult, TrailProblem,
    TrailReport, VerifyOptions, WriteBatch, Written,
};

const AUDITS: u64 = 60;

/// A store that shows its entries as they were edited; what is looked for in it is found as it was put.
struct Edited<E> {
    store: JournalStore,
    edit: E,
}

impl<E: Fn(&mut Vec<Entry>) + Send + Sync> KvStore for Edited<E> {
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.store.get(key)
    }

    fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
        self.store.write(batch)
    }

    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        let mut found = self.store.scan(range, direction, limit)?.collect::<StoreResult<Vec<_>>>()?;
        (self.edit)(&mut found);
        Ok(Scan::new(found.into_iter().map(Ok)))
    }

    fn flush(&self) -> StoreResult<()> {
        self.store.flush()
    }
}

impl<E: Fn(&mut Vec<Entry>) + Send + Sync> JournaledStore for Edited<E> {
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
        self.store.get_with_origin(key)
    }

    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
        self.store.batch_at(offset)
    }

    fn shown_end(&self) -> StoreResult<Offset> {
        self.store.shown_end()
    }

    fn journal_reader(&self) -> JournalReader {
        self.store.journal_reader()
    }
}

/// What verification says of a sound journal whose index was edited so.
fn verified(edit: impl Fn(&mut Vec<Entry>) + Send + Sync) -> TrailReport {
    let disk = SimDisk::new(common::seed());
    let trail = GenericAuditStore::new(JournalStore::open(&disk).expect("a new journal"));
    for number in 1..=AUDITS {
        trail.put_audit(&trail::audit(number)).expect("an audit");
    }
    let trail = GenericAuditStore::checking(Edited { store: trail.into_store(), edit });
    let report = trail.verify(&[], &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report");
    assert!(report.journal.is_sound() && report.is_complete);
    report
}

/// In the middle of some agent's entries.
fn middle(found: &[Entry]) -> usize {
    let first = found.iter().position(|entry| entry.key.starts_with(b"\0AUDA:")).expect("an agent's entry");
    first + 20
}

fn assert_finds(edit: impl Fn(&mut Vec<Entry>) + Send + Sync, expected: impl Fn(&TrailProblem) -> bool) {
    let report = verified(edit);
    assert!(!report.is_sound(), "an edited index that was found sound");
    assert!(report.problems.iter().any(expected), "{:?}", report.problems);
    for problem in &report.problems {
        assert!(problem.to_string().contains("index"), "{problem}");
    }
}

#[test]
fn an_index_that_shows_what_was_put_is_sound() {
    let report = verified(|_| ());
    assert!(report.is_sound(), "{:?}", report.problems);
}

/// Found by reading: an entry behind the last one of a page, in the middle of an agent's entries and with a key above all of
/// them, ended the list of that agent, and the index passed for sound.
#[test]
fn an_entry_that_is_shown_and_not_found_is_a_problem() {
    let edit = |found: &mut Vec<Entry>| {
        let at = middle(found);
        let mut key = found[at].key.clone();
        key[6..38].fill(0xFF);
        found.insert(at, Entry::new(key, Vec::new()));
    };
    assert_finds(edit, |problem| matches!(problem, TrailProblem::ShownOtherwise { .. }));
    assert_finds(edit, |problem| matches!(problem, TrailProblem::OutOfOrder { .. }));
}

#[test]
fn entries_that_are_found_and_not_shown_are_a_problem() {
    let hidden = |count: u64| move |problem: &TrailProblem| matches!(problem, TrailProblem::NotAllShown { put, shown } if put - shown == count);
    let one = |found: &mut Vec<Entry>| drop(found.remove(middle(found)));
    let some = |found: &mut Vec<Entry>| {
        let from = middle(found);
        drop(found.drain(from..from + 9));
    };
    assert_finds(one, hidden(1));
    assert_finds(some, hidden(9));
    assert_finds(|found| drop(found.pop()), hidden(1));
}

#[test]
fn entries_out_of_order_are_a_problem() {
    let is_one = |problem: &TrailProblem| matches!(problem, TrailProblem::OutOfOrder { .. });
    let swapped = |found: &mut Vec<Entry>| {
        let at = middle(found);
        found.swap(at, at + 1);
    };
    assert_finds(swapped, is_one);
    let twice = |found: &mut Vec<Entry>| {
        let at = middle(found);
        found.insert(at, found[at].clone());
    };
    assert_finds(twice, is_one);
    assert_finds(|found| found.reverse(), is_one);
}

#[test]
fn a_value_that_is_shown_otherwise_than_found_is_a_problem() {
    let edit = |found: &mut Vec<Entry>| found[3].value[10] ^= 1;
    assert_finds(edit, |problem| matches!(problem, TrailProblem::ShownOtherwise { .. }));
}

#[test]
fn an_index_that_shows_something_else_each_time_is_not_sound() {
    let times = AtomicU32::new(0);
    let edit = move |found: &mut Vec<Entry>| {
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            found.pop();
        }
    };
    assert_finds(edit, |problem| matches!(problem, TrailProblem::NotAllShown { .. }));
}

/// A leaf of redb's: a mark, how many entries, the ends of their keys, the ends of their values, the keys, the values.
struct Leaf {
    at: usize,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

const PAGE: usize = 4096;

impl Leaf {
    fn read(file: &[u8], at: usize) -> Option<Self> {
        let page = file.get(at..at + PAGE)?;
        let number = |at: usize| Some(u32::from_le_bytes(*page.get(at..)?.first_chunk()?) as usize);
        let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
        if page[..2] != [1, 0] || count == 0 {
            return None;
        }
        let end = |index: usize| number(4 + 4 * index);
        let mut from = 4 + 8 * count;
        let mut parts = Vec::new();
        for index in 0..2 * count {
            parts.push(page.get(from..end(index)?)?.to_vec());
            from = end(index)?;
        }
        let values = parts.split_off(count);
        Some(Self { at, entries: parts.into_iter().zip(values).collect() })
    }

    /// Puts it in its place, if there is room for it.
    fn write(&self, file: &mut [u8]) -> bool {
        let (keys, values): (Vec<_>, Vec<_>) = self.entries.iter().map(|(key, value)| (key, value)).unzip();
        let mut page = vec![1, 0];
        page.extend(u16::try_from(keys.len()).expect("few entries").to_le_bytes());
        let mut end = 4 + 8 * keys.len();
        for part in keys.iter().chain(&values) {
            end += part.len();
            page.extend(u32::try_from(end).expect("a small page").to_le_bytes());
        }
        keys.into_iter().chain(values).for_each(|part| page.extend(part));
        let has_room = page.len() <= PAGE;
        if has_room {
            file[self.at..self.at + page.len()].copy_from_slice(&page);
        }
        has_room
    }
}

/// Puts an entry above all agents' behind the last one of each page that ends among one agent's; how many pages.
fn end_lists_early(index: &std::path::Path) -> usize {
    let mut file = std::fs::read(index).expect("the index");
    let key = [&b"\0AUDA:"[..], &[0xFF; 32], b":", &[0xFF; 8], b":", &[0xFF; 32]].concat();
    let pages = (0..file.len()).step_by(PAGE).filter_map(|at| Leaf::read(&file, at)).collect::<Vec<_>>();
    let ends_among_agents = |leaf: &Leaf| {
        leaf.entries.last().is_some_and(|(last, _)| last.len() == key.len() && last.starts_with(&key[..6]))
    };
    let mut edited = 0;
    for mut leaf in pages.into_iter().filter(ends_among_agents) {
        leaf.entries.push((key.clone(), 104_u64.to_le_bytes().to_vec()));
        edited += usize::from(leaf.write(&mut file));
    }
    std::fs::write(index, file).expect("a write");
    edited
}

/// The same in the pages of a real index: what is asked for by its id is there, what is listed is not all there is.
#[test]
fn a_page_that_ends_lists_early_is_found() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let directory = keep.path().join("trail");
    let options = HybridOptions::new().keep_journal(true).journal(Options::new().segment_bytes(1 << 20));
    let trail = GenericAuditStore::checking(HybridStore::open(&directory, options.clone()).expect("a store"));
    for number in 1..=500 {
        trail.put_audit(&trail::audit(number)).expect("an audit");
        if number % 50 == 0 {
            // What comes later than its neighbours finds a full page, and leaves two that are not.
            trail.store().flush().expect("a checkpoint");
        }
    }
    trail.store().close().expect("a close with a checkpoint");
    let edited = end_lists_early(&directory.join("index.redb"));
    assert!(edited > 0, "no page with room for an entry");
    let trail = GenericAuditStore::checking(HybridStore::open(&directory, options).expect("the store"));
    let listed =
        |agent| trail.get_audits_for_agent(&trail::agent(agent), 0, None, 999).expect("a list").len();
    let listed: usize = (1..7).map(listed).sum();
    assert!(listed < 500 - 500 / 7, "lists that end early");
    for number in 1..=500 {
        assert_eq!(trail.get_audit(&trail::id(number)).expect("an audit"), Some(trail::audit(number)));
    }
    let report = trail.verify(&[], &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report");
    assert!(!report.is_sound(), "{listed} audits are listed, and the index was found sound");
    let is_told = |problem: &TrailProblem| matches!(problem, TrailProblem::OutOfOrder { .. });
    assert!(report.problems.iter().any(is_told), "{:?}", report.problems);
}
