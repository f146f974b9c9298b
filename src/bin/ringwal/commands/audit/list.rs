//! Lists of audits, as a table or as JSON lines.

use std::io::Write;

use ringwal::{Audits, QueryAudit};

use super::explain::printable;
use super::{form, id, time};
use crate::exit::{self, Outcome};
use crate::output;

pub(super) fn print(audits: Audits<'_>, json: bool) -> exit::Result {
    if json {
        let mut out = output::out();
        for audit in audits {
            writeln!(out, "{}", form::audit(&audit?))?;
        }
        out.flush()?;
        return Ok(Outcome::Good);
    }
    let mut table =
        output::table(&["time", "query", "agent", "subject", "predicate", "confidence", "assertions"]);
    for audit in audits {
        table.add_row(row(&audit?));
    }
    output::text(&table.to_string())?;
    Ok(Outcome::Good)
}

fn row(audit: &QueryAudit) -> Vec<String> {
    let short = |id: &[u8; 32]| id::hex(&id[..6]);
    vec![
        time::format(audit.timestamp),
        short(&audit.query_id),
        audit.agent_id.as_ref().map_or_else(|| "(nobody)".to_owned(), short),
        printable(&audit.params.subject, 40),
        audit.params.predicate.as_deref().map_or_else(String::new, |text| printable(text, 30)),
        format!("{:.2}", audit.result_confidence),
        audit.contributing_assertions.len().to_string(),
    ]
}
