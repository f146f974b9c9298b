//! `ringwal audit explain`: why did you think that? For people.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use ringwal::{CheckedAudit, ContributingAssertion};

use super::{form, id, open, show, time};
use crate::exit::{self, Outcome};
use crate::output;

#[derive(Args)]
pub(crate) struct Explain {
    /// The store's directory
    store: PathBuf,
    /// The query: hex, or as much of its beginning as no other has
    #[arg(value_parser = id::prefix)]
    id: id::Prefix,
    /// Columns to fill; those of the terminal if it is not given, else 80
    #[arg(long, value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
    /// As JSON, with its receipt
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> exit::Result {
        let trail = open::for_reading(&self.store)?;
        let checked = show::checked(&trail, &self.id)?;
        if self.json {
            output::json(&form::audit_with_receipt(&checked.audit, &checked.receipt))?;
        } else {
            output::text(&Look::of_terminal(self.width).explain(&checked))?;
        }
        Ok(Outcome::Good)
    }
}

/// How an explanation is to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    width: usize,
    has_colour: bool,
}

impl Look {
    /// As standard output and the environment say: `NO_COLOR`, `COLUMNS`, a terminal.
    pub(crate) fn of_terminal(width: Option<u16>) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let columns = || std::env::var("COLUMNS").ok()?.parse::<u16>().ok();
        let terminal = || console::Term::stdout().size_checked().map(|(_, columns)| columns);
        let width = width.or_else(columns).or_else(terminal).map_or(80, usize::from);
        let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { width: width.clamp(40, 200), has_colour }
    }

    pub(crate) fn explain(self, checked: &CheckedAudit) -> String {
        let CheckedAudit { audit, receipt, .. } = checked;
        let params = &audit.params;
        let who = audit
            .agent_id
            .map_or_else(|| "somebody without a name".to_owned(), |id| format!("agent {}", id::hex(&id)));
        let mut lines = vec![
            self.strong(&format!("Query {}", id::hex(&audit.query_id))),
            format!("asked by {who}"),
            format!("at {}", time::format(audit.timestamp)),
            String::new(),
            self.strong("The question"),
            format!("  about       {}", printable(&params.subject, self.width.saturating_sub(14))),
        ];
        let mut add =
            |name: &str, value: Option<String>| {
                lines.extend(value.map(|value| {
                    format!("  {name:<10}  {}", printable(&value, self.width.saturating_sub(14)))
                }));
            };
        add("property", params.predicate.clone());
        add("lens", params.lens.clone());
        add("counting", params.lifecycle.map(|stage| format!("only assertions that were {stage}")));
        add("as of", params.epoch.map(|epoch| format!("epoch {}", id::hex(&epoch))));
        lines.extend([String::new(), self.strong("The answer")]);
        lines.push(match audit.result_hash {
            Some(hash) => format!("  {}", id::hex(&hash)),
            None => "  none".to_owned(),
        });
        lines.push(format!(
            "  confidence  {} {:.2}",
            self.bar(audit.result_confidence),
            audit.result_confidence
        ));
        lines.extend([String::new(), self.strong(&because(audit.contributing_assertions.len()))]);
        // Heaviest first; those of equal weight as the audit has them.
        let mut assertions: Vec<_> = audit.contributing_assertions.iter().collect();
        assertions.sort_by(|one, other| other.weight.total_cmp(&one.weight));
        lines.extend(assertions.into_iter().map(|assertion| self.assertion(assertion)));
        lines.extend([String::new(), self.strong("The proof")]);
        lines.push(format!("  journal record at offset {}, blake3", receipt.offset));
        lines.push(format!("  {}", receipt.hash));
        lines.push("  The index and that record hold the same bytes.".to_owned());
        lines.push("  `ringwal audit verify` checks the chain that the record stands in.".to_owned());
        lines.join("\n")
    }

    fn assertion(self, assertion: &ContributingAssertion) -> String {
        format!(
            "  {} {:.2}  {:<11}  {} from source {}",
            self.bar(assertion.weight),
            assertion.weight,
            assertion.lifecycle.name(),
            id::hex(&assertion.assertion_hash[..6]),
            id::hex(&assertion.source_hash[..6]),
        )
    }

    /// A share as a bar, in eighths of a column.
    fn bar(self, share: f32) -> String {
        const EIGHTHS: [&str; 8] =
            ["", "\u{258F}", "\u{258E}", "\u{258D}", "\u{258C}", "\u{258B}", "\u{258A}", "\u{2589}"];
        // What stands beside it takes 59 columns.
        let columns = self.width.saturating_sub(59).clamp(8, 40);
        let filled =
            (0..=columns * 8).rev().find(|eighths| *eighths as f32 <= share * (columns * 8) as f32 + 0.5);
        let filled = filled.unwrap_or(0);
        let bar = "\u{2588}".repeat(filled / 8) + EIGHTHS[filled % 8];
        let rest = " ".repeat(columns - filled.div_ceil(8));
        if self.has_colour { format!("\u{1b}[36m{bar}\u{1b}[0m{rest}") } else { bar + &rest }
    }

    fn strong(self, text: &str) -> String {
        if self.has_colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn because(assertions: usize) -> String {
    match assertions {
        0 => "Because of no assertion".to_owned(),
        1 => "Because of one assertion".to_owned(),
        count => format!("Because of {count} assertions"),
    }
}

/// A stored text for a terminal: whatever would move the cursor is spelt out, and what is too long is cut.
pub(super) fn printable(text: &str, columns: usize) -> String {
    let is_harmless = |letter: char| {
        !letter.is_control()
            && !matches!(letter, '\u{200E}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::new();
    let mut letters = 0;
    for letter in text.chars() {
        let piece =
            if is_harmless(letter) { letter.to_string() } else { letter.escape_default().to_string() };
        letters += piece.chars().count();
        if letters > columns {
            shown.push('\u{2026}');
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{202E}", 99), "a\\u{1b}[2Jb\\n\\u{202e}");
        assert_eq!(printable("pump 7, J\u{F6}rg", 99), "pump 7, J\u{F6}rg");
        assert_eq!(printable("abcdef", 3), "abc\u{2026}");
    }

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        let look = Look { width: 69, has_colour: false };
        let length = |share| look.bar(share).trim_end().chars().count();
        assert_eq!([length(0.0), length(0.5), length(1.0)], [0, 5, 10]);
        assert!((0..=100).all(|share| look.bar(share as f32 / 100.0).chars().count() == 10));
    }
}
