//! The plan of a history: everything that will be done, drawn from one number before anything is done.
//!
//! Each step has a number of its own for what is left to chance in it, so that steps can be left out and the others go
//! on as before: that is how a failing history is made small.

use fastrand::Rng;

use crate::disk::sim::FlushFailure;
use crate::journal::{CursorKind, Options, Packing};
use crate::segment::prepare::Background;

/// What may go wrong in a history, and so what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Crashes of the machine and of the process: nothing acknowledged is lost, nothing is taken for damage.
    PowerLoss,
    /// Also errors, full disks and failed flushes: still nothing acknowledged is lost.
    Errors,
    /// Also rot, lies and misdirected writes: what is lost is named.
    Hostile,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Append {
        bytes: usize,
    },
    Batch {
        sizes: Vec<usize>,
    },
    Group {
        sizes: Vec<usize>,
    },
    Vouch,
    SetCursor {
        name: &'static str,
        place: usize,
        kind: CursorKind,
    },
    RemoveCursor {
        name: &'static str,
    },
    Cleanup,
    Read {
        place: usize,
    },
    ReadAll,
    /// Goes on reading with an iterator that was begun earlier.
    ReadOn {
        records: usize,
    },
    Close,
    /// From the next opening on, segments are so many times the smallest; `repack`: and the packing is the other one, if
    /// the device allows it. `close`: what is open is closed, in order.
    Reconfigure {
        segments: u64,
        repack: bool,
        close: bool,
    },
    /// The process or the machine stops between two calls.
    Stop(Stop),
    /// It stops in the `nth` operation of the disk from here.
    StopAt {
        nth: u64,
        stop: Stop,
    },
    /// The next recovery is stopped in its `nth` operation.
    StopRecovery {
        nth: u64,
        stop: Stop,
    },
    FailAt {
        nth: u64,
        number: i32,
        forever: bool,
    },
    /// An error in the next recovery.
    FailRecovery {
        nth: u64,
        number: i32,
        forever: bool,
    },
    Room {
        bytes: Option<u64>,
    },
    Rot {
        file: usize,
        place: u64,
        mask: Vec<u8>,
    },
    Lie {
        on: bool,
    },
    MisdirectWrite {
        nth: u64,
    },
    MisdirectRead {
        nth: u64,
    },
}

/// How everything stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    PowerCut,
    Kill,
}

/// An action with its chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(crate) seed: u64,
    pub(crate) action: Action,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.action {
            Action::Rot { file, place, mask } => {
                write!(f, "Rot {{ file: {file}, place: {place}, bytes: {} }}", mask.len())
            }
            action => write!(f, "{action:?}"),
        }
    }
}

/// A history before it happens.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) options: Options,
    pub(crate) short_writes: bool,
    pub(crate) powersafe_overwrite: bool,
    pub(crate) flush_failure: FlushFailure,
    pub(crate) buffered_log: bool,
    pub(crate) reserves: bool,
    /// Who prepares segments.
    pub(crate) background: Background,
    pub(crate) steps: Vec<Step>,
}

/// Errors that a disk gives (errno(3)): those of faults.md, and the ones that must not be taken for success.
pub(super) const ERRNOS: [i32; 12] = [
    errno::EIO,
    errno::ENOSPC,
    errno::EINTR,
    errno::EAGAIN,
    errno::ENOMEM,
    errno::EACCES,
    errno::EMFILE,
    errno::EROFS,
    errno::EDQUOT,
    errno::EFBIG,
    errno::ECANCELED,
    errno::ESTALE,
];

/// The numbers of Linux on the architectures that have io_uring in common.
mod errno {
    pub(super) const EINTR: i32 = 4;
    pub(super) const EIO: i32 = 5;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const EFBIG: i32 = 27;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const ESTALE: i32 = 116;
    pub(super) const EDQUOT: i32 = 122;
    pub(super) const ECANCELED: i32 = 125;
}

const CURSORS: [&str; 2] = ["near", "far"];
pub(super) const SEGMENT_BYTES: u64 = 64 << 10;

impl Plan {
    /// The history of this number.
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring numbers must not give similar streams.
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7269_6e67);
        let profile = match rng.u8(..20) {
            0..=11 => Profile::PowerLoss,
            12..=16 => Profile::Errors,
            _ => Profile::Hostile,
        };
        let packing = if rng.bool() { Packing::Dense } else { Packing::Padded };
        let mut options =
            Options::new().segment_bytes(SEGMENT_BYTES).packing(packing).commit_bytes_max(8 << 10);
        if rng.u8(..8) == 0 {
            options = options.retention_bytes(Some(SEGMENT_BYTES * rng.u64(1..4)));
        }
        let flush_failure = match (profile, rng.u8(..3)) {
            (_, 0) => FlushFailure::CacheKeeps,
            (Profile::Hostile, 1) => FlushFailure::ReportedLate,
            _ => FlushFailure::Reverts,
        };
        // Dense packing rewrites acknowledged bytes, and says that it needs a device that keeps them.
        let (short_writes, powersafe_overwrite) = (rng.bool(), packing == Packing::Dense || rng.bool());
        let buffered_log = rng.u8(..4) == 0;
        let reserves = rng.u8(..4) != 0;
        let background = if rng.bool() { Background::Caller } else { Background::Nobody };
        let mut draw = Draw { rng, profile, lies: false };
        let count = draw.rng.usize(12..48);
        let steps = (0..count).map(|_| draw.step()).collect();
        Self {
            seed,
            profile,
            options,
            short_writes,
            powersafe_overwrite,
            flush_failure,
            buffered_log,
            reserves,
            background,
            steps,
        }
    }
}

struct Draw {
    rng: Rng,
    profile: Profile,
    lies: bool,
}

impl Draw {
    fn step(&mut self) -> Step {
        let seed = self.rng.u64(..);
        let roll = self.rng.u8(..100);
        let action = match roll {
            0..=44 => self.append(),
            45..=62 => self.use_otherwise(),
            63..=79 => Action::StopAt { nth: self.nth(14), stop: self.stop() },
            80..=83 => Action::Stop(self.stop()),
            84..=91 => Action::StopRecovery { nth: self.nth(40), stop: self.stop() },
            _ => self.fault(),
        };
        Step { seed, action }
    }

    /// Small numbers more often: most calls have few operations.
    fn nth(&mut self, below: u64) -> u64 {
        let below = self.rng.u64(2..=below);
        self.rng.u64(1..below)
    }

    fn stop(&mut self) -> Stop {
        if self.rng.u8(..4) == 0 { Stop::Kill } else { Stop::PowerCut }
    }

    fn bytes(&mut self) -> usize {
        match self.rng.u8(..12) {
            0 => 0,
            1..=7 => self.rng.usize(1..200),
            8 | 9 => self.rng.usize(200..3000),
            10 => self.rng.usize(3000..12_000),
            // About where a record ends with a sector or a block.
            _ => (self.rng.usize(1..9) * 512).saturating_sub(self.rng.usize(100..160)),
        }
    }

    fn sizes(&mut self, most: usize) -> Vec<usize> {
        (0..self.rng.usize(1..=most)).map(|_| self.bytes()).collect()
    }

    /// More than the smallest segment takes.
    fn large(&mut self) -> Vec<usize> {
        (0..self.rng.usize(6..9)).map(|_| self.rng.usize(11_000..13_000)).collect()
    }

    fn append(&mut self) -> Action {
        match self.rng.u8(..9) {
            0..=3 => Action::Append { bytes: self.bytes() },
            4 | 5 if self.rng.u8(..10) == 0 => Action::Batch { sizes: self.large() },
            4 | 5 => Action::Batch { sizes: self.sizes(5) },
            6 | 7 => Action::Group { sizes: self.sizes(12) },
            _ => Action::Vouch,
        }
    }

    fn use_otherwise(&mut self) -> Action {
        let name = CURSORS[self.rng.usize(..CURSORS.len())];
        let place = self.rng.usize(..1000);
        match self.rng.u8(..19) {
            0..=4 => {
                let kind = if self.rng.u8(..4) == 0 { CursorKind::Advisory } else { CursorKind::Pinned };
                Action::SetCursor { name, place, kind }
            }
            5 => Action::RemoveCursor { name },
            6..=8 => Action::Cleanup,
            9..=11 => Action::Read { place },
            12 => Action::ReadAll,
            13..=15 => Action::ReadOn { records: self.rng.usize(1..20) },
            16 => {
                let (segments, repack) = (self.rng.u64(1..=3), self.rng.bool());
                Action::Reconfigure { segments, repack, close: self.rng.bool() }
            }
            _ => Action::Close,
        }
    }

    fn fault(&mut self) -> Action {
        let number = ERRNOS[self.rng.usize(..ERRNOS.len())];
        let forever = self.rng.u8(..3) == 0;
        match self.profile {
            Profile::PowerLoss => Action::StopAt { nth: self.nth(40), stop: self.stop() },
            Profile::Hostile if self.rng.bool() => self.hostility(),
            Profile::Errors | Profile::Hostile => match self.rng.u8(..5) {
                0..=2 => Action::FailAt { nth: self.nth(14), number, forever },
                3 => Action::FailRecovery { nth: self.nth(40), number, forever },
                _ => {
                    let bytes = self.rng.bool().then(|| self.rng.u64(2..6) * SEGMENT_BYTES);
                    Action::Room { bytes }
                }
            },
        }
    }

    fn hostility(&mut self) -> Action {
        match self.rng.u8(..8) {
            0..=3 => {
                let length = if self.rng.bool() { 1 } else { self.rng.usize(2..600) };
                let bit = 1 << self.rng.u8(..8);
                let mask = match self.rng.bool() {
                    true => vec![bit; length],
                    false => (0..length).map(|_| self.rng.u8(..)).collect(),
                };
                Action::Rot { file: self.rng.usize(..1000), place: self.rng.u64(..), mask }
            }
            4 => {
                self.lies = !self.lies;
                Action::Lie { on: self.lies }
            }
            5 | 6 => Action::MisdirectWrite { nth: self.nth(14) },
            _ => Action::MisdirectRead { nth: self.nth(14) },
        }
    }
}
