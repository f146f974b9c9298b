//! `ringwal recover`: put the end of a journal in order, or say what that would do.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ringwal::{RecoveryPolicy, plan_recovery, recover_directory};

use crate::exit::{self, Outcome};
use crate::{output, text};

#[derive(Args)]
pub(crate) struct Recover {
    /// The journal's directory
    journal: PathBuf,
    /// What may be cut
    #[arg(long, value_enum, default_value = "tolerate-torn-tail")]
    policy: Policy,
    /// Only say what would be done, taking no lock; beside a writer that appends nothing can be said
    #[arg(long)]
    dry_run: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Cut what a crash left half-written; refuse damage
    TolerateTornTail,
    /// Cut at the first bad place, acknowledged records behind it included (the bytes are kept in `cut/`)
    TruncateCorrupt,
    /// Refuse both
    Strict,
}

impl Recover {
    pub(crate) fn run(self) -> exit::Result {
        let policy = match self.policy {
            Policy::TolerateTornTail => RecoveryPolicy::TolerateTornTail,
            Policy::TruncateCorrupt => RecoveryPolicy::TruncateCorrupt,
            Policy::Strict => RecoveryPolicy::Strict,
        };
        let report = if self.dry_run {
            plan_recovery(&self.journal, policy)?
        } else {
            recover_directory(&self.journal, policy)?
        };
        if self.json {
            output::json(&text::recovery_json(&report))?;
        } else {
            let mood = if self.dry_run { "would be: " } else { "" };
            output::text(&format!("{mood}{}", text::recovery(&report)))?;
        }
        Ok(Outcome::Good)
    }
}
