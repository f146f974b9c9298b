//! The oracle for histories in which nothing acknowledged may be lost: O1 to O9 of the fault model.

use super::ledger::{Known, Ledger};
use crate::disk::sim::{FrozenContent, SimDisk};
use crate::error::{Error, Result};
use crate::format::file_name::{self, UNFINISHED};
use crate::journal::{CursorKind, JournalReader, JournalWriter, Options, VerifyOptions};
use crate::recovery::{RecoverOptions, Verdict, recover};

/// A promise that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

pub(super) type Judged<T = ()> = std::result::Result<T, Violation>;

/// Says what is wrong unless the condition holds.
macro_rules! judge {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::simulator::check::Violation(format!($($words)+)));
        }
    };
}
pub(super) use judge;

/// An error that the disk gave no cause for.
pub(super) fn uncalled_for(what: &str, error: &Error) -> Violation {
    Violation(format!("{what} on a healthy disk: {error}"))
}

/// A journal that was opened after a crash: everything acknowledged is there, nothing else but what may be, and that is
/// known from now on. Gives how many records were compared.
pub(super) fn check_opened(ledger: &mut Ledger, writer: &JournalWriter) -> Judged<u64> {
    let report = writer.recovery_report();
    judge!(report.evidence.is_empty(), "a crash was taken for damage: {report:?}");
    judge!(matches!(report.verdict, Verdict::Clean | Verdict::CutTorn), "a crash was given up: {report:?}");
    let reader = writer.reader().map_err(|error| uncalled_for("a reader", &error))?;
    let compared = compare(ledger, &reader)?;
    // Recovery has made it durable.
    ledger.floor = reader.floor().map_err(|error| uncalled_for("a floor", &error))?;
    check_cursors(ledger, writer)?;
    let verified = reader.verify(&VerifyOptions::new(), &mut |_| ());
    let verified = verified.map_err(|error| uncalled_for("a verification", &error))?;
    judge!(verified.is_sound(), "verification finds damage: {:?}", verified.damage);
    Ok(compared)
}

/// Everything that a reader shows against everything known.
pub(super) fn compare(ledger: &mut Ledger, reader: &JournalReader) -> Judged<u64> {
    let floor = reader.floor().map_err(|error| uncalled_for("a floor", &error))?;
    judge!(floor >= ledger.floor, "the floor went back from {} to {floor}", ledger.floor);
    if let Some(pin) = ledger.pinned_at() {
        judge!(floor <= pin, "the floor {floor} is above a pinned cursor at {pin}");
    }
    let found = read_all(reader).map_err(|error| uncalled_for("reading", &error))?;
    let known = ledger.from(floor);
    for (known, found) in known.iter().zip(&found) {
        judge!(known == found, "the record at {} is another one, at {}", known.offset, found.offset);
    }
    judge!(
        found.len() >= known.len(),
        "{} acknowledged records are gone, the first at {}",
        known.len() - found.len(),
        known[found.len()].offset
    );
    let extra = &found[known.len()..];
    judge!(
        ledger.allows(extra),
        "{} records behind the last known one that were not appended so; pending: {:?}",
        extra.len(),
        ledger.pending.is_some()
    );
    ledger.learn(extra.to_vec());
    ledger.pending = None;
    Ok(found.len() as u64)
}

fn read_all(reader: &JournalReader) -> Result<Vec<Known>> {
    let known = |record: Result<crate::journal::Record>| {
        record.map(|record| Known { offset: record.offset, payload: record.payload })
    };
    reader.iter_from(reader.floor()?)?.map(known).collect()
}

fn check_cursors(ledger: &Ledger, writer: &JournalWriter) -> Judged {
    let cursors = writer.cursors().map_err(|error| uncalled_for("cursors", &error))?;
    for (name, places) in &ledger.cursors {
        let now = cursors.get(name).map_err(|error| uncalled_for("a cursor", &error))?;
        let now = now.map(|cursor| (cursor.offset, cursor.kind));
        let below = now.is_some_and(|(offset, kind)| kind == CursorKind::Pinned && offset < ledger.floor);
        judge!(!below, "pinned cursor {name} is {now:?}, below the floor {}", ledger.floor);
        judge!(places.contains(&now), "cursor {name} is {now:?}, and should be one of {places:?}");
    }
    Ok(())
}

/// After an opening nothing is left of what was being made: only files that a journal has.
pub(super) fn check_files(disk: &SimDisk) -> Judged {
    for name in disk.files() {
        let is_known = match name.split_once('/') {
            None => {
                [file_name::LOCK, file_name::FLOOR, file_name::WATERMARK].contains(&name.as_str())
                    || file_name::parse_segment(&name).is_some()
            }
            Some(("cursors", name)) => file_name::is_cursor_name(name),
            Some((_, name)) => !name.ends_with(UNFINISHED),
        };
        judge!(is_known, "{name} was left behind");
    }
    Ok(())
}

/// Recovering what was recovered changes no byte.
pub(super) fn check_idempotent(disk: &SimDisk, options: &Options) -> Judged {
    let options = RecoverOptions {
        policy: options.policy,
        known_durable_below: 0,
        lock_wait: std::time::Duration::from_secs(1),
    };
    let mut left = Vec::new();
    disk.clear_faults();
    disk.set_room(None);
    for _ in 0..2 {
        match recover(&*disk.disk(), &options) {
            Ok(_) => left.push(contents(disk)),
            // Before the first segment had its name there was no journal.
            Err(Error::NotAJournal { .. }) => return Ok(()),
            Err(error) => return Err(uncalled_for("recovery", &error)),
        }
    }
    judge!(left[0] == left[1], "recovering a second time changed something");
    Ok(())
}

/// Every file with its content, but the lock file, which says who opened last.
pub(super) fn contents(disk: &SimDisk) -> Vec<(String, FrozenContent)> {
    let mut files = disk.frozen();
    files.retain(|(name, _)| name != file_name::LOCK);
    files
}
