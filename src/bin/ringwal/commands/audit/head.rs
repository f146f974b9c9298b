//! `ringwal audit head`: the end of the chain.

use std::path::PathBuf;

use clap::Args;

use super::open;
use crate::exit::{self, Outcome, WrongUse};
use crate::{output, text};

#[derive(Args)]
#[command(
    after_long_help = "Keep what --json prints where whoever could alter the trail cannot write, one line below the other: \
each line is an anchor for `ringwal audit verify --anchor`. The more of them, the closer a change is narrowed down."
)]
pub(crate) struct Head {
    /// The store's directory
    store: PathBuf,
    /// As JSON: an anchor for `verify`
    #[arg(long)]
    json: bool,
}

impl Head {
    pub(crate) fn run(self) -> exit::Result {
        let trail = open::for_reading(&self.store)?;
        let head =
            trail.head()?.ok_or_else(|| WrongUse("nothing was written to this trail yet".to_owned()))?;
        if self.json {
            output::json(&text::head_json(&head))?;
        } else {
            output::text(&text::head(&head))?;
        }
        Ok(Outcome::Good)
    }
}
