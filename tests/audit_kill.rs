//! kill -9 of a process that puts audits: every audit that was acknowledged is there with its index entries, and what the
//! crashes left is never taken for tampering, beside anchors from before them.
#![cfg(feature = "audit")]
#![allow(clippy::print_stdout, reason = "tests report figures")]

mod common;
mod trail;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use ringwal::{
    AuditStore, GenericAuditStore, Hash, Head, HybridOptions, HybridStore, Offset, Options, VerifyOptions,
};

const KILLS: u64 = 20;
const THREADS: u64 = 4;

fn options() -> HybridOptions {
    // Checkpoints and changes of segments all the time, so that kills hit them.
    let journal = Options::new().segment_bytes(256 << 10).idle_commit(Some(Duration::from_millis(2)));
    HybridOptions::new().keep_journal(true).checkpoint_bytes(32 << 10).journal(journal)
}

/// Puts from several threads and tells of each acknowledgement, and of heads, until it is killed.
fn put_until_killed(store: &Path) {
    let trail = GenericAuditStore::checking(HybridStore::open(store, options()).expect("the store"));
    let first =
        trail.list_recent_audits(1).expect("audits").first().map_or(0, |audit| audit.timestamp / 10 + 1_000);
    common::tell("open");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let trail = &trail;
            scope.spawn(move || {
                for number in (first + thread..).step_by(usize::try_from(THREADS).expect("a few threads")) {
                    trail.put_audit(&trail::audit(number)).expect("an audit");
                    let mut line = format!("put {number}\n");
                    if number % 40 == 0 {
                        let Head { offset, commit_number, chain, .. } =
                            trail.head().expect("a head").expect("a commit");
                        line += &format!("head {offset} {commit_number} {chain}\n");
                    }
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("a parent that listens");
                }
            });
        }
    });
}

fn parse_head(words: &str) -> Head {
    let mut words = words.split(' ');
    let mut word = || words.next().expect("a word");
    let (offset, number) = (word().parse().expect("a number"), word().parse().expect("a number"));
    let (chain, mut bytes) = (word(), [0; 32]);
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&chain[place * 2..place * 2 + 2], 16).expect("hex");
    }
    Head::new(Offset::new(offset), number, Hash(bytes))
}

#[test]
fn acknowledged_audits_survive_kills_and_no_kill_is_taken_for_tampering() {
    if let Some(store) = common::child_argument() {
        put_until_killed(&store);
        return;
    }
    let mut rng = fastrand::Rng::with_seed(common::seed());
    let keep = tempfile::tempdir().expect("a temporary directory");
    let store = keep.path().join("trail");
    let (mut put, mut anchors) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        let test = "acknowledged_audits_survive_kills_and_no_kill_is_taken_for_tampering";
        let mut child = common::child(test, &store);
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "open"), "the child opened the store");
        let enough = put.len() + rng.usize(1..400);
        let mut is_killed = false;
        for line in lines {
            match line.split_once(' ') {
                Some(("put", number)) => put.push(number.parse::<u64>().expect("a number")),
                Some(("head", words)) => anchors.push(parse_head(words)),
                _ => {}
            }
            if put.len() >= enough && !is_killed {
                child.kill().expect("a kill");
                is_killed = true;
            }
        }
        assert!(is_killed, "the child ended by itself");
        child.wait().expect("its end");
        let trail = GenericAuditStore::checking(HybridStore::open(&store, options()).expect("the store"));
        for number in &put {
            let audit = trail.get_audit(&trail::id(*number)).expect("an answer");
            assert_eq!(
                audit.as_ref(),
                Some(&trail::audit(*number)),
                "acknowledged, and gone after kill {kill}"
            );
        }
        let report = trail.verify(&anchors, &VerifyOptions::new(), &mut |_, _, _| ()).expect("a report");
        assert!(report.is_sound(), "kill {kill}: {report:?}");
        assert!(report.audits >= put.len() as u64);
    }
    println!(
        "{KILLS} kills, {} audits acknowledged, {} anchors: all there, none contradicted",
        put.len(),
        anchors.len()
    );
    assert!(put.len() as u64 > KILLS * 10 && anchors.len() > 10);
}
