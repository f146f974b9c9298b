//! What the fuzz targets do with their input; an ordinary test replays the corpus through the same functions.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use ringwal::{
    JournalReader, JournalWriter, Offset, Options, RecoveryPolicy, Salvage, Salvaged, plan_recovery,
    recover_directory,
};

const POLICIES: [RecoveryPolicy; 3] =
    [RecoveryPolicy::Strict, RecoveryPolicy::TolerateTornTail, RecoveryPolicy::TruncateCorrupt];
pub const SEGMENT_BYTES: usize = 64 << 10;

/// A directory in memory where there is one.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

pub fn write(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).expect("a file");
}

/// Lets the process take the huge page that it keeps for long reads of large files, whatever their bytes say: not under
/// the bound on what one input may ask for.
pub fn take_the_shared_memory() {
    let keep = directory();
    let journal = keep.path().join("journal");
    let mut writer = JournalWriter::open(&journal, Options::new()).expect("a new journal");
    writer.append(b"one record").expect("durable");
    drop(writer);
    plan_recovery(&journal, RecoveryPolicy::Strict).expect("a look at all of it");
}

/// Looks at a directory in every way there is, then mends it in every way. Nothing may panic, hang or eat memory.
/// Gives every record that was shown.
pub fn exercise(journal: &Path) -> Vec<(Offset, Vec<u8>)> {
    let mut shown = Vec::new();
    for policy in POLICIES {
        let _ = plan_recovery(journal, policy);
    }
    if let Ok(reader) = JournalReader::open(journal) {
        let from = reader.floor().unwrap_or(Offset::ZERO);
        if let Ok(records) = reader.iter_from(from) {
            shown.extend(
                records.map_while(Result::ok).take(10_000).map(|record| (record.offset, record.payload)),
            );
        }
        let _ = reader.verify(&Default::default(), &mut |_| ());
        for offset in [0, 1, 104, 4096, u64::MAX] {
            let _ = reader.read(Offset::new(offset));
        }
    }
    if let Ok(mut salvage) = Salvage::open(journal) {
        // A journal of a few segments has no more pieces than bytes.
        for _ in 0..1_000_000 {
            match salvage.next_item() {
                Ok(Some(Salvaged::Record { offset, payload, .. })) => shown.push((offset, payload.to_vec())),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => break,
            }
        }
    }
    for policy in POLICIES {
        if recover_directory(journal, policy).is_ok() {
            let again =
                recover_directory(journal, RecoveryPolicy::Strict).expect("what was mended is in order");
            assert_eq!(again.bytes_cut, 0, "mending again changes nothing");
        }
    }
    shown
}

/// The input becomes the files of a directory: for each, one byte that names it, two that give the length, the bytes.
pub fn recover_any_directory(input: &[u8]) {
    let keep = directory();
    let journal = keep.path().join("journal");
    std::fs::DirBuilder::new().mode(0o700).create(&journal).expect("a directory");
    let mut rest = input;
    for _ in 0..8 {
        let Some((head, tail)) = rest.split_at_checked(3) else { break };
        let length = usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        let name = match head[0] % 8 {
            0..=2 => "00000000000000000000.seg",
            3 => "00000000000000061440.seg",
            4 => "watermark",
            5 => "floor",
            6 => "cursors/a",
            _ => "LOCK",
        };
        if name.starts_with("cursors") {
            let _ = std::fs::DirBuilder::new().mode(0o700).create(journal.join("cursors"));
        }
        let mut bytes = bytes.to_vec();
        // Half of the segments are filled up to the length that their header would name.
        if name.ends_with(".seg") && head[0] & 0x80 != 0 {
            bytes.resize(SEGMENT_BYTES, 0);
        }
        write(&journal.join(name), &bytes);
        rest = tail;
    }
    exercise(&journal);
}

/// A journal's files, and its records.
struct Original {
    files: BTreeMap<String, Vec<u8>>,
    records: BTreeMap<Offset, Vec<u8>>,
}

/// A small journal of several segments, made once.
fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let keep = directory();
        let journal = keep.path().join("journal");
        let options = Options::new().segment_bytes(SEGMENT_BYTES as u64);
        let mut writer = JournalWriter::open(&journal, options).expect("a new journal");
        let mut records = BTreeMap::new();
        let mut number = 0_u8;
        while writer.stats().rotations < 2 {
            let payloads: Vec<Vec<u8>> =
                (0..3).map(|part| vec![number; usize::from(number) * 37 % 2000 + part]).collect();
            let receipts = match number % 2 {
                0 => writer.append_batch(&payloads),
                _ => writer.append_group(&payloads),
            };
            let offsets = receipts.expect("an append").into_iter().map(|receipt| receipt.offset);
            records.extend(offsets.zip(payloads));
            number = number.wrapping_add(1);
        }
        writer.close().expect("a close");
        let files = std::fs::read_dir(&journal).expect("a directory").map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file"))
        });
        Original { files: files.collect(), records }
    })
}

/// The input changes bytes of a valid journal: for each change, which file, where, how. Every record that is shown
/// afterwards must be one that was appended, at its offset.
pub fn mutate_valid_journal(input: &[u8]) {
    let Original { files, records } = original();
    let mut changed = files.clone();
    let names: Vec<&String> = files.keys().filter(|name| *name != "LOCK").collect();
    for change in input.chunks_exact(5).take(64) {
        let name = names[usize::from(change[0] >> 3) % names.len()];
        let bytes = changed.get_mut(name).expect("a file of the journal");
        if bytes.is_empty() {
            continue;
        }
        let at = (usize::from(change[1]) << 8 | usize::from(change[2])) % bytes.len();
        match change[0] & 7 {
            0..=2 => bytes[at] ^= change[3].max(1),
            3 => bytes[at] = change[3],
            4 => bytes.truncate(at),
            5 => {
                let end = (at + usize::from(change[4]) * 16).min(bytes.len());
                bytes[at..end].fill(change[3]);
            }
            6 => {
                // A piece of the file at another place of it.
                let length = (usize::from(change[4]) * 8).min(bytes.len() - at);
                let from = usize::from(change[3]) * 256 % bytes.len();
                let length = length.min(bytes.len() - from);
                bytes.copy_within(from..from + length, at);
            }
            _ => drop(changed.remove(name)),
        }
        if changed.len() < files.len() {
            break;
        }
    }
    let keep = directory();
    let journal = keep.path().join("journal");
    std::fs::DirBuilder::new().mode(0o700).create(&journal).expect("a directory");
    for (name, bytes) in &changed {
        write(&journal.join(name), bytes);
    }
    for (offset, payload) in exercise(&journal) {
        assert!(records.get(&offset) == Some(&payload), "a record at {offset} that nobody appended");
    }
}
