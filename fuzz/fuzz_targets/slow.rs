//! A second parser of a segment, written from docs/format.md alone: slow, obvious, and without a line of the crate. What it
//! finds in a damaged journal of one segment must be what the crate finds.

use std::ops::Range;
use std::sync::OnceLock;

use ringwal::sim::SimDisk;
use ringwal::{JournalWriter, Options, Packing};

const HEADER: usize = 4096;
const COMMIT: usize = 104;
const SEGMENT: &str = "00000000000000000000.seg";

type Records = Vec<(u64, Vec<u8>)>;

/// What stands in a segment that begins a journal.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// Not a segment, or one whose header is damaged.
    NoSegment,
    /// Records of whole atomic batches up to the first bad place; `vouched` when a later commit says that what stands
    /// at that place had been durable.
    Log { records: Records, vouched: bool },
}

fn number(bytes: &[u8], range: Range<usize>) -> u64 {
    bytes[range].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The file's bytes, zeros behind its end.
fn log_bytes(file: &[u8], capacity: usize) -> Vec<u8> {
    let mut log = file[HEADER.min(file.len())..].to_vec();
    log.resize(capacity, 0);
    log
}

/// The record at an offset: (flags and length, payload, end).
fn record<'a>(log: &'a [u8], at: usize, id: &[u8]) -> Option<(u64, &'a [u8], usize)> {
    let head = log.get(at..at + 40)?;
    let len = number(head, 0..4);
    let end = at + 40 + usize::try_from(len & 0x3fff_ffff).ok()?;
    let payload = log.get(at + 40..end)?;
    let checked = [&head[0..4], &head[8..40], payload, &(at as u64).to_le_bytes(), id].concat();
    (u64::from(crc32c::crc32c(&checked)) == number(head, 4..8)).then_some((len, payload, end))
}

/// A commit record: its payload, when it is one of a kind that is known.
fn commit_record<'a>(log: &'a [u8], at: usize, id: &[u8]) -> Option<&'a [u8]> {
    let (len, body, _) = record(log, at, id)?;
    let is_one = len & 1 << 31 != 0 && body.len() == 64;
    (is_one && body[0] == 1 && body[1] & !1 == 0 && zeros(&body[2..4])).then_some(body)
}

fn parse(file: &[u8]) -> Parsed {
    let Some(header) = file.get(..HEADER) else { return Parsed::NoSegment };
    let capacity = number(header, 40..48);
    let sound = header.starts_with(b"ringwal\n\x02\0")
        && zeros(&header[10..16])
        && zeros(&header[56..4092])
        && number(header, 4092..4096) == u64::from(crc32c::crc32c(&header[..4092]))
        && number(header, 32..40) == 0
        && capacity > 0
        && capacity.is_multiple_of(4096);
    if !sound {
        return Parsed::NoSegment;
    }
    let id = header[16..32].to_vec();
    let log = log_bytes(file, usize::try_from(capacity).expect("a small capacity"));
    let mut chain = *blake3::hash(&[b"ringwal chain v2", &id[..]].concat()).as_bytes();
    let (mut at, mut commits) = (0, 0);
    let mut records = Records::new();
    loop {
        if log.len() - at < COMMIT {
            return Parsed::Log { records, vouched: false };
        }
        let Some(end) = commit(&log, at, &id, commits, &mut chain, &mut records) else { break };
        (at, commits) = (end.0, commits + 1);
        if let Some(bad) = end.1 {
            return Parsed::Log { records, vouched: is_vouched(&log, at, bad, &id) };
        }
    }
    Parsed::Log { records, vouched: is_vouched(&log, at, at, &id) }
}

/// Takes the records of the commit at `at`. Gives where the next one begins, or where what is kept of this one ends and the
/// first bad place; nothing when none begins here.
fn commit(
    log: &[u8],
    at: usize,
    id: &[u8],
    commits: u64,
    chain: &mut [u8; 32],
    records: &mut Records,
) -> Option<(usize, Option<usize>)> {
    let body = commit_record(log, at, id)?;
    let (count, bytes) = (number(body, 4..8), number(body, 8..16));
    let fits = bytes <= (log.len() - at) as u64 && bytes >= 104 + 40 * count;
    let follows =
        number(body, 16..24) == commits && number(body, 24..32) == at as u64 && body[32..64] == *chain;
    if !fits || !follows {
        return None;
    }
    let end = at + usize::try_from(bytes).expect("inside the segment");
    let mut hashed = [&chain[..], &log[at + 8..at + 40]].concat();
    let mut place = at + COMMIT;
    let (mut batch, mut kept_end) = (Records::new(), place);
    for index in 0..count {
        let found = record(&log[..end], place, id);
        let Some((len, payload, behind)) =
            found.filter(|(len, _, _)| len & 1 << 31 == 0 && !(index + 1 == count && len & 1 << 30 != 0))
        else {
            return Some((kept_end, Some(place)));
        };
        hashed.extend_from_slice(&log[place + 8..place + 40]);
        batch.push((place as u64, payload.to_vec()));
        place = behind;
        if len & 1 << 30 == 0 {
            records.append(&mut batch);
            kept_end = place;
        }
    }
    if end - place >= 4096 || !zeros(&log[place..end]) {
        return Some((kept_end, Some(place)));
    }
    *chain = *blake3::hash(&hashed).as_bytes();
    Some((end, None))
}

/// Whether a later commit says that everything below a place above `bad` had been durable.
fn is_vouched(log: &[u8], from: usize, bad: usize, id: &[u8]) -> bool {
    (from..log.len().saturating_sub(COMMIT - 1)).any(|at| {
        // A control record of 64 bytes, before anything dear is computed.
        log[at] == 64
            && log[at + 3] == 0x80
            && commit_record(log, at, id).is_some_and(|body| number(body, 24..32) > bad as u64)
    })
}

/// Two segments to be damaged: one packed densely, one padded.
fn originals() -> &'static [Vec<u8>; 2] {
    static ORIGINALS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        [Packing::Dense, Packing::Padded].map(|packing| {
            let disk = SimDisk::new(7);
            let options = Options::new().segment_bytes(64 << 10).packing(packing);
            let mut writer = JournalWriter::open_simulated(&disk, options).expect("a new journal");
            for (number, fill) in (0..6_usize).zip(1_u8..) {
                let payload = |bytes| vec![fill; bytes];
                let batch = [payload(number * 100), payload(0), payload(number * 7)];
                let done =
                    if number % 2 == 0 { writer.append_batch(&batch) } else { writer.append_group(&batch) };
                done.expect("an append");
            }
            disk.content(SEGMENT).expect("a segment")
        })
    })
}

/// Damages a segment as the input says, four bytes a change: where, and what with. Both parsers look at it.
pub fn compare_parsers(input: &[u8]) {
    let Some((first, changes)) = input.split_first() else { return };
    let mut file = originals()[usize::from(first & 1)].clone();
    for change in changes.chunks_exact(4) {
        let (place, with) = (usize::from(change[0]) << 8 | usize::from(change[1]), change[2]);
        match change[3] % 4 {
            0 => file[place % 12_000] ^= with,
            1 => file[place % 12_000] = with,
            2 => {
                let from = place % 12_000;
                let to = (from + usize::from(with) * 8).min(file.len());
                file[from..to].fill(0);
            }
            _ => {
                // A piece of the journal at another place of it.
                let (from, to) = (place % 12_000, place / 5 % 12_000);
                let bytes = usize::from(with) * 4;
                let piece = file[from..from + bytes].to_vec();
                file[to..to + bytes].copy_from_slice(&piece);
            }
        }
    }
    let parsed = parse(&file);
    let disk = SimDisk::new(1);
    disk.set_content(SEGMENT, file);
    let opened = JournalWriter::open_simulated(&disk, Options::new().create(false));
    match (parsed, opened) {
        (Parsed::NoSegment, Err(_)) => {}
        (Parsed::Log { vouched: true, .. }, Err(error)) => assert!(error.is_corruption(), "{error}"),
        (Parsed::Log { records, vouched: false }, Ok(writer)) => {
            let reader = writer.reader().expect("a reader");
            let found = reader.iter_from(ringwal::Offset::ZERO).expect("from the start");
            let found: Records = found
                .map(|record| record.expect("a record of a journal that opened"))
                .map(|record| (record.offset.get(), record.payload))
                .collect();
            assert_eq!(found, records);
        }
        (parsed, opened) => panic!("{parsed:?}, but {:?}", opened.map(|writer| writer.durable_end())),
    }
}
