//! Rounds: everybody in turn, in an order that moves on by one each round, each in a directory of its own that begins
//! empty. Medians over the rounds are what is told.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::contender::{Contender, Log};
use crate::measure::{Figures, Latency};
use crate::run::Run;

/// What one contender reached under one load, in all rounds.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) is_floor: bool,
    pub(crate) note: String,
    pub(crate) rounds: Vec<Figures>,
}

impl Series {
    pub(crate) fn new(contender: &dyn Contender) -> Self {
        Self {
            name: contender.name().to_owned(),
            is_floor: contender.is_floor(),
            note: String::new(),
            rounds: Vec::new(),
        }
    }

    /// The median of a figure over the rounds.
    pub(crate) fn of(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }

    pub(crate) fn latency(&self, figure: impl Fn(&Latency) -> f64) -> f64 {
        self.of(|figures| figures.latency.as_ref().map_or(f64::NAN, &figure))
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({
            "contender": self.name,
            "note": self.note,
            "rounds": self.rounds.iter().map(Figures::as_json).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}

/// The contenders' numbers in the order of that round.
pub(crate) fn order(contenders: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contenders).map(move |place| (place + round) % contenders)
}

/// Opens the contender in an empty directory, does the work, and leaves nothing behind for the next one to wait for.
pub(crate) fn fresh<T>(
    contender: &dyn Contender,
    run: &Run,
    work: impl FnOnce(&dyn Log) -> Result<T>,
) -> Result<T> {
    let outcome = (|| -> Result<T> {
        let keep = tempfile::Builder::new().prefix("peers-").tempdir_in(&run.place)?;
        let log = contender.open(keep.path())?;
        settle(&run.place)?;
        std::thread::sleep(run.pause);
        let result = work(&*log)?;
        log.close()?;
        keep.close()?;
        settle(&run.place)?;
        Ok(result)
    })();
    outcome.with_context(|| contender.name().to_owned())
}

/// Waits until the file system has written what it still had to.
pub(crate) fn settle(place: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    let directory = std::fs::File::open(place)?;
    // SAFETY: the call touches no memory of ours.
    let result = unsafe { libc::syncfs(directory.as_raw_fd()) };
    anyhow::ensure!(result == 0, "syncfs: {}", std::io::Error::last_os_error());
    Ok(())
}
