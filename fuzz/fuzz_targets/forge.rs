//! Directories whose checksums are right and whose contents make no sense: what random bytes never get to. The encoder
//! is written from docs/format.md and shares nothing with the crate.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use ringwal::{Backend, FlushMethod, JournalReader, JournalWriter, Offset, Options, RecoveryPolicy};

use crate::harness::{SEGMENT_BYTES, directory, exercise, write};

const ID: [u8; 16] = *b"a forged journal";
const HEADER_BYTES: usize = 4096;
const CAPACITY: u64 = (SEGMENT_BYTES - HEADER_BYTES) as u64;
const COMMIT_RECORD_BYTES: u64 = 104;
const CONTROL: u32 = 1 << 31;
const CONTINUES: u32 = 1 << 30;

/// What a forger knows: the input as a list of choices, and the journal as far as it is written.
struct Forge<'a> {
    choices: &'a [u8],
    id: [u8; 16],
    base: u64,
    capacity: u64,
    image: Vec<u8>,
    chain: [u8; 32],
    number: u64,
    durable_below: u64,
    last_commit: u64,
}

impl<'a> Forge<'a> {
    fn new(choices: &'a [u8]) -> Self {
        let chain = *blake3::hash(&[&b"ringwal chain v2"[..], &ID].concat()).as_bytes();
        let image = header(2, ID, 0, CAPACITY);
        let (base, capacity, number, durable_below, last_commit) = (0, CAPACITY, 0, 0, 0);
        Self { choices, id: ID, base, capacity, image, chain, number, durable_below, last_commit }
    }

    fn choose(&mut self) -> Option<u8> {
        let (first, rest) = self.choices.split_first()?;
        self.choices = rest;
        Some(*first)
    }

    /// The right value most of the time, else one from the edge of what the field can say.
    fn near(&mut self, right: u64) -> u64 {
        match self.choose().unwrap_or(0) {
            byte @ 0..=15 => right.wrapping_add(u64::from(byte)).wrapping_sub(8),
            byte @ 16..=31 => u64::from(byte - 16) * 4096,
            32 => u64::MAX,
            33 => u64::MAX - 1,
            34 => u64::MAX / 2,
            35 => u64::MAX / 2 + 1,
            36 => u64::from(u32::MAX),
            37 => self.offset(),
            38 => self.durable_below,
            39 => self.last_commit,
            40 => self.base.wrapping_add(self.capacity),
            41 => right.wrapping_add(4096),
            42 => right.wrapping_mul(2),
            _ => right,
        }
    }

    fn offset(&self) -> u64 {
        self.base.wrapping_add(self.image.len().saturating_sub(HEADER_BYTES) as u64)
    }

    fn put_record(&mut self, payload: &[u8], flags: u32) -> [u8; 32] {
        let hash = *blake3::hash(payload).as_bytes();
        let len = (u32::try_from(payload.len()).expect("small payloads") | flags).to_le_bytes();
        let place = [&self.offset().to_le_bytes()[..], &self.id].concat();
        let checked = [&len[..], &hash, payload, &place].concat();
        let record = [&len[..], &crc32c::crc32c(&checked).to_le_bytes(), &hash, payload].concat();
        self.image.extend(record);
        hash
    }

    /// A commit; `forged` lets every field stray.
    fn put_commit(&mut self, forged: bool) {
        let shape = self.choose().unwrap_or(0);
        let payloads: Vec<Vec<u8>> = (0..shape & 3).map(|_| self.payload()).collect();
        let padded = shape & 0x10 != 0;
        let start = self.offset();
        let records = payloads.len() as u64;
        let mut bytes =
            COMMIT_RECORD_BYTES + payloads.iter().map(|payload| 40 + payload.len() as u64).sum::<u64>();
        if padded {
            bytes = (start % 4096 + bytes).next_multiple_of(4096) - start % 4096;
        }
        let mut fields = [records, bytes, self.number, self.durable_below];
        let (mut head, mut chain) = ([1, shape >> 7, 0, 0], self.chain);
        if forged {
            fields = fields.map(|right| self.near(right));
            let stray = self.choose().unwrap_or(0);
            match stray & 0xf {
                0 => head[0] = stray,
                1 => head[1] = stray,
                2 => head[2] = stray,
                3 => chain[0] ^= 1,
                _ => {}
            }
        }
        let [records, bytes, number, durable_below] = fields;
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let mut body = head.to_vec();
        body.extend(records.to_le_bytes());
        for field in [bytes, number, durable_below] {
            body.extend(field.to_le_bytes());
        }
        body.extend(chain);
        let mut hashed = [&chain[..], &self.put_record(&body, CONTROL)].concat();
        for (index, payload) in payloads.iter().enumerate() {
            let is_last = index + 1 == payloads.len();
            let continues = shape & 0x20 != 0 && !is_last || forged && shape & 0x40 != 0;
            hashed.extend(self.put_record(payload, if continues { CONTINUES } else { 0 }));
        }
        if padded {
            self.pad();
        }
        self.chain = *blake3::hash(&hashed).as_bytes();
        self.number = number.wrapping_add(1);
        self.durable_below = self.offset();
        self.last_commit = start;
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = usize::from(self.choose().unwrap_or(0));
        vec![b'p'; if length > 200 { length * 16 } else { length }]
    }

    fn pad(&mut self) {
        self.image.resize(self.image.len().next_multiple_of(4096), 0);
    }

    /// A record outside of any commit, or of a kind that does not exist.
    fn put_stray_record(&mut self) {
        let flags = u32::from(self.choose().unwrap_or(0)) << 24 & (CONTROL | CONTINUES);
        let payload = self.payload();
        self.put_record(&payload, flags);
    }

    fn put_gap(&mut self) {
        let length = usize::from(self.choose().unwrap_or(0)) * 8;
        let filler = self.choose().unwrap_or(0);
        self.image.resize(self.image.len() + length, filler);
    }

    /// Writes the segment down and begins the next one.
    fn finish_segment(&mut self, journal: &Path) {
        let name = format!("{:020}.seg", self.base);
        let whole = HEADER_BYTES + usize::try_from(CAPACITY).expect("a small capacity");
        let mut image = std::mem::take(&mut self.image);
        match self.choose().unwrap_or(0xff) {
            byte @ 0..=31 => image.truncate(image.len().saturating_sub(usize::from(byte))),
            byte @ 32..=47 => image.truncate(usize::from(byte - 32) * 512),
            48..=63 => {}
            _ => image.resize(whole, 0),
        }
        write(&journal.join(name), &image);
        self.base = self.near(self.base.wrapping_add(self.capacity));
        self.capacity = self.near(CAPACITY);
        let version = if self.choose() == Some(0) { 3 } else { 2 };
        self.image = header(version, self.id, self.base, self.capacity);
    }

    fn put_state(&mut self, journal: &Path, name: &str, kind: u8) {
        let kind = if self.choose() == Some(0) { kind ^ 2 } else { kind };
        let mut bytes = b"rwstate\x02".to_vec();
        bytes.push(kind);
        bytes.resize(16, 0);
        bytes.extend(self.id);
        bytes.extend(self.near(self.durable_below).to_le_bytes());
        bytes.resize(60, 0);
        let last_part = name.rsplit('/').next().unwrap_or(name);
        bytes.extend(crc32c::crc32c(&[&bytes[..], last_part.as_bytes()].concat()).to_le_bytes());
        if name.starts_with("cursors") {
            let _ = std::fs::DirBuilder::new().mode(0o700).create(journal.join("cursors"));
        }
        write(&journal.join(name), &bytes);
    }

    fn put_watermark(&mut self, journal: &Path) {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(b"rwmark\0\x02");
        page[8..24].copy_from_slice(&self.id);
        for slot in [64, 128] {
            let mark = [self.near(self.durable_below), self.near(self.last_commit)].map(u64::to_le_bytes);
            let checked = [&self.id[..], &mark[0], &mark[1]].concat();
            page[slot..slot + 16].copy_from_slice(&mark.concat());
            page[slot + 16..slot + 20].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
            page[slot + 20..slot + 24].copy_from_slice(b"rwma");
        }
        write(&journal.join("watermark"), &page);
    }
}

fn header(version: u16, id: [u8; 16], base: u64, capacity: u64) -> Vec<u8> {
    let mut bytes = b"ringwal\n".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.resize(16, 0);
    bytes.extend(id);
    bytes.extend(base.to_le_bytes());
    bytes.extend(capacity.to_le_bytes());
    bytes.resize(HEADER_BYTES - 4, 0);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The input is a list of choices of a forger. Whatever comes of it, every way of looking and mending must end with an
/// answer, and a journal that opens for writing must take a record and give it back.
pub fn recover_forged_directory(input: &[u8]) {
    let keep = directory();
    let journal = keep.path().join("journal");
    std::fs::DirBuilder::new().mode(0o700).create(&journal).expect("a directory");
    let mut forge = Forge::new(input);
    let mut segments = 0;
    for _ in 0..32 {
        if forge.image.len() >= SEGMENT_BYTES || segments > 4 {
            break;
        }
        let Some(choice) = forge.choose() else { break };
        match choice % 16 {
            0..=4 => forge.put_commit(false),
            5..=8 => forge.put_commit(true),
            9 => forge.put_stray_record(),
            10 => forge.put_gap(),
            11 => {
                forge.finish_segment(&journal);
                segments += 1;
            }
            12 => forge.put_watermark(&journal),
            13 => forge.put_state(&journal, "floor", 1),
            14 => forge.put_state(&journal, "cursors/a", 2),
            _ => forge.id[0] ^= 1,
        }
    }
    forge.finish_segment(&journal);
    exercise(&journal);
    append_and_read_back(&journal);
}

/// Goes on in the journal, if it can be opened at all.
fn append_and_read_back(journal: &Path) {
    let options = Options::new()
        .segment_bytes(SEGMENT_BYTES as u64)
        .backend(Backend::Syscalls)
        .flush(FlushMethod::Fdatasync)
        .recovery(RecoveryPolicy::TruncateCorrupt);
    let Ok(mut writer) = JournalWriter::open(journal, options) else { return };
    let Ok(receipt) = writer.append(b"goes on") else { return };
    let reader = JournalReader::open(journal).expect("a reader beside the writer");
    let record = reader.read(receipt.offset).expect("the record that was appended");
    assert_eq!(record.payload, b"goes on");
    assert!(receipt.offset >= reader.floor().unwrap_or(Offset::ZERO));
    let _ = writer.close();
}
