//! `ringwal audit generate`: made-up audits, for tests, measurements and newcomers.

use std::io::Write;

use clap::Args;

use super::{form, sample};
use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Generate {
    /// How many
    count: u64,
    /// The same seed gives the same audits
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Generate {
    pub(crate) fn run(self) -> exit::Result {
        let mut out = output::out();
        for audit in sample::audits(self.count, self.seed) {
            writeln!(out, "{}", form::audit(&audit))?;
        }
        out.flush()?;
        Ok(Outcome::Good)
    }
}
