//! A service that answers questions from many threads and puts an audit of each into its trail, and an investigator who asks
//! later: why did you think that? Shows: putting from many threads, receipts, anchors, lists, and the proof.
//!
//! `cargo run --release --features audit --example audit_service [DIRECTORY]`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use ringwal::{
    AuditStore, ContributingAssertion, GenericAuditStore, Hash, HybridOptions, HybridStore, LifecycleStage,
    QueryAudit, QueryParams, VerifyOptions,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const THREADS: u64 = 8;
const QUESTIONS: u64 = 50;

fn id(text: &str) -> [u8; 32] {
    *Hash::of(text.as_bytes()).as_bytes()
}

/// The service's answer to one question, as an audit: what was asked, what was answered, and because of what.
fn answer(agent: u64, question: u64) -> QueryAudit {
    let claim = |source: &str, weight| ContributingAssertion {
        assertion_hash: id(&format!("{source} says that pump {question} is running")),
        weight,
        source_hash: id(source),
        lifecycle: LifecycleStage::Approved,
    };
    QueryAudit {
        query_id: id(&format!("question {question} of agent {agent}")),
        agent_id: Some(id(&format!("agent {agent}"))),
        timestamp: question * 1_000 + agent,
        params: QueryParams {
            subject: format!("pump {question}"),
            predicate: Some("is_running".to_owned()),
            lens: Some("consensus".to_owned()),
            ..QueryParams::default()
        },
        result_hash: Some(id("yes")),
        result_confidence: 0.9,
        contributing_assertions: vec![claim("sensor", 0.7), claim("technician", 0.3)],
    }
}

fn run(directory: &Path) -> Outcome<()> {
    // The whole journal is kept: the proof needs every record.
    let store = HybridStore::open(directory, HybridOptions::new().keep_journal(true))?;
    let trail = GenericAuditStore::checking(store);
    let receipts = std::thread::scope(|scope| {
        let serve = |agent| {
            let put = |question| trail.put_audit_with_receipt(&answer(agent, question));
            (0..QUESTIONS).map(put).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|agent| scope.spawn(move || serve(agent))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        Outcome::Ok(all)
    })?;
    println!("{} answers are durable, each with its audit", receipts.iter().map(Vec::len).sum::<usize>());
    // To be kept where nobody who could alter the trail can write.
    let anchor = trail.head()?.ok_or("nothing was written")?;
    println!("anchor: commit {}, chain {}", anchor.commit_number, anchor.chain);

    let asked = trail.get_audits_for_agent(&id("agent 3"), 10_000, Some(20_000), 100)?;
    println!("agent 3 asked {} questions in that time; why was the first answered so?", asked.len());
    let first = asked.first().ok_or("agent 3 asked nothing")?;
    for assertion in &first.contributing_assertions {
        println!("  {:.2} of it: {}", assertion.weight, Hash(assertion.assertion_hash));
    }
    if let Some(receipt) = receipts.first().and_then(|puts| puts.first()).and_then(|put| put.receipt) {
        let checked = trail.check_receipt(&receipt)?;
        println!("the receipt of offset {} holds: {}", receipt.offset, Hash(checked.audit.query_id));
    }
    let report = trail.verify(&[anchor], &VerifyOptions::new(), &mut |_, _, _| ())?;
    println!("{} audits, {}", report.audits, if report.is_sound() { "sound" } else { "ALTERED" });
    if !report.is_sound() || asked.len() != 10 {
        return Err("the trail is not what was put".into());
    }
    Ok(trail.store().close()?)
}

fn main() -> Outcome<()> {
    let keep = tempfile::tempdir()?;
    let given = std::env::args_os().nth(1);
    run(given.as_deref().map_or(&keep.path().join("trail"), Path::new))
}

#[test]
fn it_runs_and_runs_again_on_what_it_left() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    let directory = keep.path().join("trail");
    run(&directory).expect("the first run");
    // Every audit is there already: accepted, and nothing is written.
    run(&directory).expect("the second run");
}
