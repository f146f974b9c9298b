//! The oracle for histories with damage: what is lost is named, nothing that is shown was never appended, and silence is
//! allowed only where nothing can know.

use super::check::{Judged, Violation, judge, uncalled_for};
use super::ledger::{Known, Ledger};
use crate::disk::sim::SimDisk;
use crate::error::Error;
use crate::journal::{JournalReader, JournalWriter, VerifyOptions};
use crate::position::Offset;

/// An opening that was refused names damage, and there is some. `astray`: one of its own writes or reads went to another
/// place, which looks like anything.
pub(super) fn check_refused(ledger: &Ledger, disk: &SimDisk, error: &Error, astray: bool) -> Judged {
    let is_damaged = ledger.is_rotten || ledger.doubtful_from.is_some();
    judge!(is_damaged, "{}", uncalled_for("opening", error).0);
    let names_damage = astray
        || error.is_corruption()
        || matches!(error, Error::UnsupportedVersion { .. } | Error::NotAJournal { .. });
    judge!(names_damage, "damage was called by another name: {error}");
    // Who may not open it for writing can still read what is sound.
    if let Ok(reader) = JournalReader::open_simulated(disk) {
        for known in ledger.known.iter() {
            check_one(ledger, &reader, known)?;
        }
        // Nor may it be told that nothing is wrong.
        let verified = reader.verify(&VerifyOptions::new(), &mut |_| ());
        let is_refused_for_damage = !astray && matches!(error, Error::Corrupt(_));
        let is_sound = verified.is_ok_and(|report| report.is_sound());
        judge!(
            !(is_refused_for_damage && is_sound),
            "verification finds sound what opening refused: {error}"
        );
    }
    Ok(())
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Sound,
    /// There is an error in its place.
    Named,
    /// The disk lied, and what stood here before is back.
    Returned,
}

/// A record is the one that was appended, or there is an error that says so.
fn check_one(ledger: &Ledger, reader: &JournalReader, known: &Known) -> Judged<Seen> {
    match reader.read(known.offset) {
        Ok(record) if record.payload == known.payload => Ok(Seen::Sound),
        Ok(record) if ledger.may_come_back(&record.payload) => Ok(Seen::Returned),
        Ok(record) => Err(Violation(format!("the record at {} is another one", record.offset))),
        Err(Error::Corrupt(corruption)) => {
            let (from, to) = (corruption.range.start, corruption.range.end);
            judge!(
                from <= known.offset && known.offset < to,
                "the record at {} is said to be damaged by {from} to {to}",
                known.offset
            );
            Ok(Seen::Named)
        }
        // An older commit without records can come back too.
        Err(Error::NotARecord { .. }) if ledger.doubtful_from.is_some() => Ok(Seen::Returned),
        Err(_) => Ok(Seen::Named),
    }
}

/// A journal that opened although it may be damaged. `gave_up`: with leave to lose what stands behind damage. Gives how
/// many records were compared; `None` when the disk has brought back what nobody can tell from what it should have.
pub(super) fn check_opened(
    ledger: &mut Ledger,
    writer: &JournalWriter,
    gave_up: bool,
) -> Judged<Option<u64>> {
    // Not the durable end: a commit that was cut is padded, and what it lost stood where the padding is.
    let end = writer.recovery_report().end;
    let kept = ledger.known.partition_point(|known| known.offset < end);
    if kept < ledger.known.len() && !gave_up {
        check_silence(ledger, kept, writer)?;
    }
    let (reader, floor) = match writer.reader().and_then(|reader| Ok((reader.floor()?, reader))) {
        Ok((floor, reader)) => (reader, floor),
        Err(error) => {
            judge!(ledger.is_rotten, "{}", uncalled_for("a reader", &error).0);
            // What became of an append without an answer cannot be seen.
            let can_go_on = ledger.pending.is_none();
            ledger.give_up_behind(kept, end);
            return Ok(can_go_on.then_some(0));
        }
    };
    let mut compared = 0;
    for known in &ledger.known[..kept] {
        if known.offset < floor {
            continue;
        }
        let seen = check_one(ledger, &reader, known)?;
        if seen == Seen::Returned {
            return Ok(None);
        }
        judge!(
            seen == Seen::Sound || ledger.is_rotten || ledger.doubtful_from.is_some(),
            "the record at {} cannot be read, and nothing was damaged",
            known.offset
        );
        compared += 1;
    }
    let Some(extra) = check_shown(ledger, &reader, floor, kept)? else { return Ok(None) };
    ledger.give_up_behind(kept, end);
    ledger.learn(extra);
    Ok(Some(compared))
}

/// Acknowledged records that are gone, and nobody said so: only appends that nothing undamaged vouches for can go like
/// that, or what was acknowledged since the disk began to lie.
fn check_silence(ledger: &Ledger, kept: usize, writer: &JournalWriter) -> Judged {
    let first = ledger.known[kept].offset;
    let lied = ledger.doubtful_from.is_some_and(|from| from <= first);
    let last = ledger.is_unvouched(kept);
    judge!(
        lied || last,
        "{} acknowledged records from {first} on are gone without a word; doubtful from {:?}, rotten: {}; {:?}",
        ledger.known.len() - kept,
        ledger.doubtful_from,
        ledger.is_rotten,
        writer.recovery_report()
    );
    Ok(())
}

/// After an append that failed in part: what of it became durable is known from now on.
/// `false` when that cannot be found out.
pub(super) fn take_up(ledger: &mut Ledger, writer: &JournalWriter) -> Judged<bool> {
    let Ok((floor, reader)) = writer.reader().and_then(|reader| Ok((reader.floor()?, reader))) else {
        return Ok(false);
    };
    let Some(extra) = check_shown(ledger, &reader, floor, ledger.known.len())? else { return Ok(false) };
    ledger.learn(extra);
    ledger.pending = None;
    Ok(true)
}

/// All that an iterator shows was appended, and stands where it did. Gives what is new; `None` when something has come
/// back, or the end cannot be read.
fn check_shown(
    ledger: &Ledger,
    reader: &JournalReader,
    floor: Offset,
    kept: usize,
) -> Judged<Option<Vec<Known>>> {
    let mut extra = Vec::new();
    // Damage ends an iterator; what stands behind the last known record is looked for from there.
    let last = ledger.known[..kept].last().map_or(floor, |known| known.offset.max(floor));
    for from in [floor, last] {
        extra.clear();
        let Ok(records) = reader.iter_from(from) else { return Ok(None) };
        let mut whole = true;
        for record in records {
            let Ok(record) = record else {
                whole = false;
                break;
            };
            let shown = Known { offset: record.offset, payload: record.payload };
            match judge_shown(ledger, &shown, kept)? {
                Shown::Known => {}
                Shown::New => extra.push(shown),
                Shown::Returned => return Ok(None),
            }
        }
        if whole {
            let is_last = extra.is_empty() || kept == ledger.known.len();
            if !(ledger.allows(&extra) && is_last) {
                let returned = extra.iter().all(|shown| ledger.may_come_back(&shown.payload));
                judge!(returned, "{} records at the end, not appended so", extra.len());
                return Ok(None);
            }
            return Ok(Some(extra));
        }
    }
    Ok(None)
}

enum Shown {
    Known,
    New,
    /// The disk lied, and what stood here before is back.
    Returned,
}

fn judge_shown(ledger: &Ledger, shown: &Known, kept: usize) -> Judged<Shown> {
    let known = &ledger.known[..kept];
    match known.binary_search_by_key(&shown.offset, |known| known.offset) {
        Ok(place) if known[place] == *shown => Ok(Shown::Known),
        Err(place) if place == kept && ledger.pending.is_some() => Ok(Shown::New),
        _ if ledger.may_come_back(&shown.payload) => Ok(Shown::Returned),
        Err(place) if place == kept => Ok(Shown::New),
        Ok(_) => Err(Violation(format!("the record at {} is another one", shown.offset))),
        Err(_) => Err(Violation(format!("a record at {} that was never appended", shown.offset))),
    }
}
