//! Plans from arbitrary bytes, for a fuzzer that looks for histories nobody would draw.

use super::history;
use super::plan::{Action, ERRNOS, Plan, Profile, Step, Stop};
use crate::disk::sim::FlushFailure;
use crate::journal::{CursorKind, Options, Packing};
use crate::segment::prepare::Background;

const STEPS_MAX: usize = 64;

/// Runs the history that the bytes describe.
///
/// # Errors
/// What was broken, in words.
pub fn run_bytes(bytes: &[u8]) -> Result<(), String> {
    let plan = Bytes(bytes).plan();
    let outcome = history::run(&plan, &|_| true);
    outcome.map(drop).map_err(|broken| {
        let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
        format!("step {}: {}\n{:?}\n{}", broken.step, broken.violation.0, plan.profile, steps.join("\n"))
    })
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn plan(&mut self) -> Plan {
        let character = self.byte();
        let profile = match character & 3 {
            0 | 1 => Profile::PowerLoss,
            2 => Profile::Errors,
            _ => Profile::Hostile,
        };
        let packing = if character & 4 == 0 { Packing::Dense } else { Packing::Padded };
        let flush_failure = match (profile, character >> 3 & 3) {
            (Profile::Hostile, 0) => FlushFailure::ReportedLate,
            (_, 1) => FlushFailure::Reverts,
            _ => FlushFailure::CacheKeeps,
        };
        let options = Options::new().segment_bytes(64 << 10).packing(packing).commit_bytes_max(8 << 10);
        let retention = (character & 0x80 != 0).then_some(128 << 10);
        let mut steps = Vec::new();
        while let Some(action) = self.next() {
            if steps.len() == STEPS_MAX {
                break;
            }
            let seed = u64::from(self.byte());
            if let Some(action) = self.action(action, profile) {
                steps.push(Step { seed, action });
            }
        }
        Plan {
            seed: u64::from(character),
            profile,
            options: options.retention_bytes(retention),
            short_writes: character & 0x20 != 0,
            powersafe_overwrite: true,
            flush_failure,
            buffered_log: character & 0x40 != 0,
            reserves: true,
            background: if character & 0xa0 == 0xa0 { Background::Caller } else { Background::Nobody },
            steps,
        }
    }

    /// Up to about a quarter of a segment.
    fn size(&mut self) -> usize {
        let byte = usize::from(self.byte());
        if byte < 128 { byte * 2 } else { (byte - 127) * 128 - 100 }
    }

    /// Together less than a segment.
    fn sizes(&mut self) -> Vec<usize> {
        (0..=self.byte() % 8).map(|_| self.size() / 3).collect()
    }

    fn stop(&mut self) -> Stop {
        if self.byte().is_multiple_of(4) { Stop::Kill } else { Stop::PowerCut }
    }

    fn nth(&mut self) -> u64 {
        u64::from(self.byte() % 64) + 1
    }

    fn action(&mut self, choice: u8, profile: Profile) -> Option<Action> {
        let name = if choice & 0x80 == 0 { "near" } else { "far" };
        let place = usize::from(self.byte());
        Some(match choice % 24 {
            0 | 1 => Action::Append { bytes: self.size() },
            2 | 3 => Action::Batch { sizes: self.sizes() },
            4 | 5 => Action::Group { sizes: self.sizes() },
            6 => Action::Vouch,
            7 => Action::SetCursor { name, place, kind: CursorKind::Pinned },
            8 => Action::SetCursor { name, place, kind: CursorKind::Advisory },
            9 => Action::RemoveCursor { name },
            10 => Action::Cleanup,
            11 => Action::Read { place },
            12 => Action::ReadAll,
            13 => Action::ReadOn { records: place },
            14 if choice & 0x80 != 0 => Action::Reconfigure {
                segments: place as u64 % 3 + 1,
                repack: place & 0x40 != 0,
                close: place & 0x80 != 0,
            },
            14 => Action::Close,
            15 => Action::Stop(self.stop()),
            16 | 17 => Action::StopAt { nth: self.nth(), stop: self.stop() },
            18 => Action::StopRecovery { nth: self.nth(), stop: self.stop() },
            _ if profile == Profile::PowerLoss => return None,
            19 => Action::FailAt { nth: self.nth(), number: self.errno(), forever: choice & 0x80 != 0 },
            20 => Action::FailRecovery { nth: self.nth(), number: self.errno(), forever: choice & 0x80 != 0 },
            21 => Action::Room { bytes: (place > 0).then_some(place as u64 * 4096) },
            _ if profile == Profile::Errors => return None,
            22 => self.damage(place),
            _ => Action::Lie { on: choice & 0x80 != 0 },
        })
    }

    fn errno(&mut self) -> i32 {
        let place = usize::from(self.byte()) % ERRNOS.len();
        ERRNOS.get(place).copied().unwrap_or(5)
    }

    fn damage(&mut self, place: usize) -> Action {
        match self.byte() % 4 {
            0 => Action::MisdirectWrite { nth: self.nth() },
            1 => Action::MisdirectRead { nth: self.nth() },
            _ => {
                let at = u64::from(self.byte()) << 8 | u64::from(self.byte());
                let mask = vec![self.byte() | 1; usize::from(self.byte() % 32) + 1];
                Action::Rot { file: place, place: at * 2, mask }
            }
        }
    }
}
