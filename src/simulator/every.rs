//! Every bit of a journal of several segments, flipped, and every length that one of its files can be cut to.

use super::check::{Judged, Violation, judge};
use super::damage;
use super::plan::Action;
use super::small;
use super::world::World;
use crate::disk::sim::SimDisk;
use crate::format::file_name;
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::journal::{JournalReader, JournalWriter, Packing, VerifyOptions};

/// What was done to journals and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamageFound {
    /// Bits flipped.
    pub flips: u64,
    /// Files cut.
    pub cuts: u64,
    /// Of these, how many were noticed: refused, reported, or cut as the torn end that they look like.
    pub noticed: u64,
    /// How many changed nothing that anybody could see, where nothing stands that could be damaged.
    pub harmless: u64,
}

/// Damages a journal of three segments in every way whose number leaves the rest `part` when divided by `parts`; of the
/// flips only every `stride`th bit.
///
/// # Errors
/// The first damage that was not noticed, or that made something else than what was appended appear, in words.
pub fn damage_everything(part: usize, parts: usize, stride: usize) -> Result<DamageFound, String> {
    let mut found = DamageFound::default();
    for packing in [Packing::Dense, Packing::Padded] {
        let plan = small::plan(&steps(), packing, false);
        let mut world = World::new(&plan);
        for step in &plan.steps {
            world.step(step).map_err(|Violation(words)| words)?;
        }
        for name in world.disk.files() {
            damage_file(&mut world, &name, (part, parts, stride), &mut found)
                .map_err(|Violation(words)| format!("{packing:?}, {name}: {words}"))?;
        }
    }
    Ok(found)
}

/// Records of many sizes over three segments, closed in order.
fn steps() -> Vec<Action> {
    let big = (0..10).map(|number| Action::Append { bytes: 12_100 + number });
    let small = [Action::Batch { sizes: vec![0, 1, 300] }, Action::Group { sizes: vec![7, 70, 700] }];
    small.iter().cloned().chain(big).chain(small.clone()).chain([Action::Vouch, Action::Close]).collect()
}

fn damage_file(
    world: &mut World<'_>,
    name: &str,
    (part, parts, stride): (usize, usize, usize),
    found: &mut DamageFound,
) -> Judged {
    let content = world.disk.content(name).unwrap_or_default();
    let is_mine = |number: usize| number % parts == part;
    for bit in (0..content.len() * 8).step_by(stride.max(1)).filter(|bit| is_mine(bit / stride.max(1))) {
        let disk = world.disk.snapshot(bit as u64);
        disk.rot(name, bit / 8, &[1 << (bit % 8)]);
        found.flips += 1;
        judge_damage(world, &disk, name, bit / 8..bit / 8 + 1, found)
            .map_err(|Violation(words)| Violation(format!("bit {bit}: {words}")))?;
    }
    for length in (0..content.len()).filter(|length| is_mine(*length)) {
        let disk = world.disk.snapshot(length as u64);
        disk.set_content(name, content[..length].to_vec());
        found.cuts += 1;
        judge_damage(world, &disk, name, length..content.len(), found)
            .map_err(|Violation(words)| Violation(format!("cut to {length} bytes: {words}")))?;
    }
    Ok(())
}

fn judge_damage(
    world: &World<'_>,
    disk: &SimDisk,
    name: &str,
    bytes: std::ops::Range<usize>,
    found: &mut DamageFound,
) -> Judged {
    let mut ledger = world.ledger.clone();
    ledger.is_rotten = true;
    let last = ledger.known.last().map_or(0, |known| known.end());
    let base = file_name::parse_segment(name);
    if let Some(base) = base {
        let offset = |position: usize| (base + position as u64).saturating_sub(SEGMENT_HEADER_BYTES as u64);
        ledger.rotten.push(offset(bytes.start)..offset(bytes.end));
    }
    let untouched = disk.snapshot(0);
    let mut is_noticed;
    match JournalWriter::open_simulated(disk, world.options()) {
        Err(error) => {
            damage::check_refused(&ledger, disk, &error, false)?;
            is_noticed = true;
        }
        Ok(writer) => {
            is_noticed = writer.recovery_report().bytes_cut > 0 || !writer.recovery_report().clean_shutdown;
            damage::check_opened(&mut ledger, &writer, false)?;
            is_noticed |= !is_sound(&untouched);
        }
    }
    // What stands in a segment's file up to the last record is all of use.
    let used = base.is_some_and(|base| {
        let start = base + bytes.start as u64;
        start < base + SEGMENT_HEADER_BYTES as u64 || start < last + SEGMENT_HEADER_BYTES as u64
    });
    let sealed_rest = base.is_some_and(|base| is_behind_sealed_end(world, base, bytes.start));
    judge!(is_noticed || !used || sealed_rest, "nobody noticed");
    found.noticed += u64::from(is_noticed);
    found.harmless += u64::from(!is_noticed);
    Ok(())
}

fn is_sound(disk: &SimDisk) -> bool {
    let reader = JournalReader::open_simulated(disk);
    reader.is_ok_and(|reader| {
        reader.verify(&VerifyOptions::new(), &mut |_| ()).is_ok_and(|report| report.is_sound())
    })
}

/// Whether the place lies between the last commit of a sealed segment and the segment's end.
fn is_behind_sealed_end(world: &World<'_>, base: u64, position: usize) -> bool {
    let next = base + (small::SEGMENT_BYTES - SEGMENT_HEADER_BYTES as u64);
    let before = world.ledger.known.iter().filter(|known| known.offset.get() < next);
    let end = before.max_by_key(|known| known.offset).map_or(0, |known| known.end());
    let is_sealed = world.ledger.known.last().is_some_and(|known| known.offset.get() >= next);
    is_sealed && base + position as u64 >= end + SEGMENT_HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::plan::Step;

    #[test]
    fn the_journal_that_is_damaged_has_several_segments() {
        let plan = small::plan(&steps(), Packing::Dense, false);
        let mut world = World::new(&plan);
        plan.steps.iter().for_each(|step: &Step| assert_eq!(world.step(step), Ok(())));
        let segments = world.disk.files().iter().filter(|name| name.ends_with(".seg")).count();
        assert!(segments >= 3, "{segments}");
    }
}
