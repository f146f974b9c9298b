use super::*;
use crate::disk::sim::{Failure, SimDisk};
use crate::segment::prepare::Background;

const EIO: i32 = 5;

/// Found by reading: a new segment's flush that failed was no concern of the commits that were flushed meanwhile.
#[test]
fn a_flush_that_failed_for_the_next_segment_fails_the_next_commit_and_the_close() {
    let mut failed = 0;
    for nth in 1..20 {
        for closes in [false, true] {
            let sim = SimDisk::new(1);
            let options = Options::new().segment_bytes(64 << 10);
            let mut writer = JournalWriter::open_simulated_with(&sim, options, Background::Caller).unwrap();
            sim.fail_operation(nth, EIO, Failure::Once);
            if writer.append(b"first").is_err() || writer.preparer.failure().is_none() {
                continue;
            }
            let outcome = if closes { writer.close() } else { writer.append(b"second").map(drop) };
            assert!(outcome.is_err_and(|error| error.is_failed()), "operation {nth}");
            failed += 1;
        }
    }
    assert!(failed > 1, "no preparation failed");
}
