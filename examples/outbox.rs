//! An outbox: messages stand in a journal, and are forwarded from there to somebody else's store, each exactly once however
//! often the forwarder is killed. The receiver keeps the position up to which it has received in the same atomic batch as
//! what it received; the durable cursor in the journal follows, and lets cleanup go on. Shows: cursors, atomic batches, restarts.
//!
//! `cargo run --release --features store --example outbox`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use ringwal::{
    CursorKind, Direction, HybridOptions, HybridStore, Journal, KvStore, Offset, Options, StoreResult,
    WriteBatch,
};

const CURSOR: &str = "outbox";
const POSITION: &[u8] = b"position";
const AT_A_TIME: usize = 10;

/// Small, so that it is seen how they are cleaned up.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Where a forwarder is interrupted: as if it had been killed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    Never,
    /// Some messages were delivered, and the cursor does not know it.
    BeforeTheCursor,
    /// Messages were read, and not delivered.
    BeforeDelivery,
}

/// The position up to which the receiver has received: its own word, not the cursor's, which may be behind.
fn received_to(receiver: &HybridStore) -> StoreResult<Offset> {
    let position = receiver.get(POSITION)?;
    let number = position.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    Ok(number.map_or(Offset::ZERO, Offset::new))
}

/// Forwards what is new; gives how many messages were delivered.
fn forward(outbox: &Journal, receiver: &HybridStore, interrupted: Interrupted) -> StoreResult<u64> {
    let mut records = outbox.iter_from(received_to(receiver)?)?;
    let mut delivered = 0;
    loop {
        let mut batch = WriteBatch::new();
        for _ in 0..AT_A_TIME {
            let Some(record) = records.next_ref()? else { break };
            batch.put(format!("message/{:020}", record.offset.get()), record.payload);
        }
        if batch.is_empty() {
            return Ok(delivered);
        }
        if interrupted == Interrupted::BeforeDelivery && delivered > 0 {
            return Ok(delivered);
        }
        delivered += batch.len() as u64;
        // Messages and position together, or neither: no crash can come in between.
        batch.put(POSITION, records.offset().get().to_le_bytes());
        receiver.write(batch)?;
        if interrupted == Interrupted::BeforeTheCursor {
            return Ok(delivered);
        }
        outbox.cursors().set(CURSOR, records.offset(), CursorKind::Pinned)?;
    }
}

fn open(directory: &Path) -> StoreResult<(Journal, HybridStore)> {
    let options = Options::new().segment_bytes(SEGMENT_BYTES);
    let outbox = Journal::open(directory.join("outbox"), options)?;
    let options = HybridOptions::new().journal(Options::new().segment_bytes(1 << 20));
    Ok((outbox, HybridStore::open(directory.join("receiver"), options)?))
}

fn run(directory: &Path, rounds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut sent = Vec::new();
    for round in 0..rounds {
        // Everything is opened anew in each round: what the round before left in memory is gone.
        let (outbox, receiver) = open(directory)?;
        if round == 0 {
            // From the first message on nothing is removed that was not forwarded.
            outbox.cursors().set(CURSOR, Offset::ZERO, CursorKind::Pinned)?;
        }
        for number in 0..35 {
            let message = format!("message {number} of round {round}, {}", "x".repeat(200));
            outbox.append(message.as_bytes())?;
            sent.push(message);
        }
        let interruptions = [Interrupted::BeforeTheCursor, Interrupted::BeforeDelivery, Interrupted::Never];
        let interrupted = interruptions[usize::try_from(round % 3)?];
        let delivered = forward(&outbox, &receiver, interrupted)?;
        println!("round {round}: {delivered} delivered, interrupted: {interrupted:?}");
        outbox.cleanup()?;
    }
    let (outbox, receiver) = open(directory)?;
    forward(&outbox, &receiver, Interrupted::Never)?;
    let mut received = Vec::new();
    for entry in receiver.scan_prefix(b"message/", Direction::Forward, usize::MAX)? {
        received.push(String::from_utf8(entry?.value)?);
    }
    println!(
        "{} sent, {} received; the outbox begins at offset {}",
        sent.len(),
        received.len(),
        outbox.reader().floor()?
    );
    if received != sent {
        return Err("not every message was received exactly once, in order".into());
    }
    receiver.close()?;
    Ok(outbox.close()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keep = tempfile::tempdir()?;
    run(keep.path(), 12)
}

#[test]
fn every_message_is_received_exactly_once_however_often_the_forwarder_is_interrupted() {
    let keep = tempfile::tempdir().expect("a temporary directory");
    run(keep.path(), 12).expect("a run");
    let outbox = Journal::open(keep.path().join("outbox"), Options::new()).expect("the outbox");
    assert!(outbox.reader().floor().expect("a floor") > Offset::ZERO, "what was forwarded is cleaned up");
}
