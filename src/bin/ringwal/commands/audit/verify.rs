//! `ringwal audit verify`: whether the trail is what was written.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ringwal::{AnchorCheck, AnchorFinding, Hash, Head, Offset, TrailReport, TrailStage, VerifyOptions};
use serde_json::{Value, json};

use super::{id, open};
use crate::exit::{self, Outcome, WrongUse};
use crate::output::{self, Progress};
use crate::text;

#[derive(Args)]
#[command(
    after_long_help = "Checked are every checksum and hash of the journal, its chain from the first commit, each anchor, every \
audit of the journal against the index, and every entry of the index against the journal. Without an anchor, someone who wrote \
the whole store anew or put back an old copy of it is not found out. A journal that does not begin with its first record is a \
problem: it was cleaned up, or somebody removed what stood there, and what remains does not tell which. Exit code 1: the trail is \
not what was written, or not whole."
)]
pub(crate) struct Verify {
    /// The store's directory
    store: PathBuf,
    /// A file of heads that were kept elsewhere: lines that `ringwal audit head --json` printed
    #[arg(long)]
    anchor: Option<PathBuf>,
    /// Read the journal past the page cache: what the device holds
    #[arg(long)]
    deep: bool,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self) -> exit::Result {
        let anchors = self.anchor.as_deref().map(read_anchors).transpose()?.unwrap_or_default();
        let trail = open::for_reading(&self.store)?;
        let mut progress: Option<(TrailStage, Progress)> = None;
        let mut tell = |stage: TrailStage, done: u64, total: u64| {
            if progress.as_ref().is_none_or(|(shown, _)| *shown != stage) {
                let what = match stage {
                    TrailStage::Chain => "recomputing the chain",
                    TrailStage::Journal => "comparing the journal with the index",
                    _ => "comparing the index with the journal",
                };
                progress = Some((stage, Progress::new(total, what)));
            }
            if let Some((_, progress)) = &mut progress {
                progress.at(done);
            }
        };
        let report = trail.verify(&anchors, &VerifyOptions::new().deep(self.deep), &mut tell)?;
        drop(progress);
        let outcome = if report.is_sound() { Outcome::Good } else { Outcome::Damage };
        let told = if self.json { output::json(&as_json(&report)) } else { output::text(&as_text(&report)) };
        exit::told(outcome, told)
    }
}

fn read_anchors(path: &Path) -> anyhow::Result<Vec<Head>> {
    let content = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut anchors = Vec::new();
    for (number, line) in (1..).zip(content.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let anchor = parse_anchor(line).ok_or_else(|| {
            WrongUse(format!(
                "{}: line {number} is no head as `ringwal audit head --json` prints it",
                path.display()
            ))
        })?;
        anchors.push(anchor);
    }
    if anchors.is_empty() {
        return Err(WrongUse(format!("{}: no anchor in it", path.display())).into());
    }
    Ok(anchors)
}

fn parse_anchor(line: &str) -> Option<Head> {
    let value: Value = serde_json::from_str(line).ok()?;
    let chain = id::parse(value.get("chain")?.as_str()?).ok()?;
    let (offset, commit_number) = (value.get("offset")?.as_u64()?, value.get("commit_number")?.as_u64()?);
    Some(Head::new(Offset::new(offset), commit_number, Hash(chain)))
}

fn as_text(report: &TrailReport) -> String {
    let journal = &report.journal;
    let mut lines = vec![format!(
        "{}: {} audits and {} index entries, {} in {} commits, offsets {} to {}",
        if report.is_sound() { "sound" } else { "ALTERED OR DAMAGED" },
        report.audits,
        report.entries - report.audits.min(report.entries),
        text::bytes(journal.payload_bytes),
        journal.commits,
        journal.start,
        journal.durable_end,
    )];
    lines.extend(
        journal.first_damaged_commit.map(|commit| format!("  the first commit that differs is {commit}")),
    );
    lines.extend(journal.damage.iter().map(|damage| format!("  {damage}")));
    lines.extend(journal.anchors.iter().map(|check| format!("  {}", anchor_text(check))));
    if journal.anchors.is_empty() {
        lines.push(
            "  no anchor: a store that was written anew as a whole, or rolled back, would look the same"
                .to_owned(),
        );
    }
    if !report.is_complete {
        lines.push("  not all of the journal could be compared with the index".to_owned());
    }
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    let unlisted = report.problems_found - report.problems.len() as u64;
    if unlisted > 0 {
        lines.push(format!("  and {unlisted} more"));
    }
    if let Some(head) = journal.head {
        lines.push(format!("head: {}", text::head(&head)));
    }
    lines.join("\n")
}

fn anchor_text(check: &AnchorCheck) -> String {
    let number = check.anchor.commit_number;
    match check.finding {
        AnchorFinding::Holds => format!("the anchor at commit {number} holds: nothing before it was altered"),
        AnchorFinding::HoldsFrom { first_commit } => format!(
            "the anchor at commit {number} does not vouch for everything: it agrees from commit {first_commit} on, of what was \
             before nothing is proved"
        ),
        AnchorFinding::Differs { first_commit, last_commit, .. } => format!(
            "the anchor at commit {number} does NOT hold: the first commit that differs is one of {first_commit} to {last_commit}"
        ),
        AnchorFinding::RolledBack { last_commit: Some(last) } => {
            format!(
                "the anchor at commit {number} is MISSING: the journal was rolled back, it ends with commit {last}"
            )
        }
        AnchorFinding::RolledBack { last_commit: None } => {
            format!("the anchor at commit {number} is MISSING: the journal was rolled back, it has no commit")
        }
        AnchorFinding::NotKept { first_commit } => {
            format!(
                "the anchor at commit {number} cannot be judged: the journal is kept from commit {first_commit} on"
            )
        }
        _ => format!("the anchor at commit {number} cannot be judged: there is damage"),
    }
}

fn as_json(report: &TrailReport) -> Value {
    let journal = &report.journal;
    let anchor = |check: &AnchorCheck| {
        let mut holds_from = None;
        let (finding, range) = match check.finding {
            AnchorFinding::Holds => ("holds", None),
            AnchorFinding::HoldsFrom { first_commit } => {
                holds_from = Some(first_commit);
                ("holds in part", None)
            }
            AnchorFinding::Differs { first_commit, last_commit, .. } => {
                ("differs", Some([first_commit, last_commit]))
            }
            AnchorFinding::RolledBack { .. } => ("rolled back", None),
            AnchorFinding::NotKept { .. } => ("not kept", None),
            _ => ("damaged", None),
        };
        json!({
            "anchor": text::head_json(&check.anchor),
            "finding": finding,
            "first_difference_in": range,
            "holds_from": holds_from,
        })
    };
    json!({
        "sound": report.is_sound(),
        "floor": report.floor.get(),
        "audits": report.audits,
        "entries": report.entries,
        "complete": report.is_complete,
        "commits": journal.commits,
        "durable_end": journal.durable_end.get(),
        "first_damaged_commit": journal.first_damaged_commit,
        "damage": journal.damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "anchors": journal.anchors.iter().map(anchor).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "problems_found": report.problems_found,
        "head": journal.head.as_ref().map(text::head_json),
    })
}
