//! A large audit trail: how long opening takes, and the questions that people ask. `cargo bench --features audit --bench
//! trail -- STORE [ROUNDS]` on a store that `ringwal audit import` has filled; what a killed import left is replayed.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::time::{Duration, Instant};

use ringwal::{AuditStore, Direction, GenericAuditStore, HybridOptions, HybridStore, JournaledStore};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(directory) = arguments.next() else {
        println!("which store? cargo bench --features audit --bench trail -- STORE [ROUNDS]");
        return;
    };
    let rounds: usize = arguments.next().map_or(101, |rounds| rounds.parse().expect("a number"));
    let start = Instant::now();
    let options = HybridOptions::new().keep_journal(true).create(false);
    let store = HybridStore::open(&directory, options).expect("the store");
    let opened = start.elapsed();
    let end = store.journal().durable_end().get();
    let replayed = end.saturating_sub(store.checkpointed_below().get());
    println!("opened for writing in {opened:?}, {replayed} bytes of the journal's {end} replayed");
    ask("in the writer", &GenericAuditStore::new(&store), rounds);
    store.close().expect("closed");
    let start = Instant::now();
    let reader = HybridStore::open_read_only(&directory).expect("a reader");
    println!("opened for reading in {:?}", start.elapsed());
    ask("in a reader, each audit compared with the journal", &GenericAuditStore::checking(&reader), rounds);
}

fn ask<S: JournaledStore>(where_asked: &str, trail: &GenericAuditStore<S>, rounds: usize) {
    println!("{where_asked}: median and longest of {rounds}");
    let recent = trail.list_recent_audits(100).expect("audits");
    let agents: Vec<_> = recent.iter().filter_map(|audit| audit.agent_id).collect();
    let agent = |round: usize| agents[round % agents.len()];
    // Spread over the whole trail.
    let newest = recent.first().map_or(0, |audit| audit.timestamp);
    let oldest = trail.audits_between(0, None, Direction::Forward, 1).expect("audits").next();
    let oldest = oldest.map_or(0, |audit| audit.expect("an audit").timestamp);
    let moment = |round: usize| oldest + (newest - oldest) / rounds as u64 * round as u64;
    let ids: Vec<_> = (0..rounds)
        .filter_map(|round| {
            trail.audits_between(moment(round), None, Direction::Forward, 1).expect("audits").next()
        })
        .map(|audit| audit.expect("an audit").query_id)
        .collect();
    time("list_recent_audits(100)", rounds, |_| trail.list_recent_audits(100).expect("audits").len());
    time("get_audits_for_agent, 100 from a time on", rounds, |round| {
        trail.get_audits_for_agent(&agent(round), moment(round), None, 100).expect("audits").len()
    });
    time("get_audit", ids.len(), |round| usize::from(trail.get_audit(&ids[round]).expect("a get").is_some()));
}

fn time(what: &str, rounds: usize, mut question: impl FnMut(usize) -> usize) {
    let mut found = 0;
    let mut times: Vec<Duration> = (0..rounds)
        .map(|round| {
            let start = Instant::now();
            found += question(round);
            start.elapsed()
        })
        .collect();
    times.sort();
    let (median, longest) = (times[rounds / 2], times[rounds - 1]);
    println!("  {what}: {median:?}, {longest:?}, {found} found");
}
