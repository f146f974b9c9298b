//! `ringwal audit show`: one audit, as it is.

use std::path::PathBuf;

use clap::Args;
use ringwal::CheckedAudit;

use super::explain::printable;
use super::{form, id, open, time};
use crate::exit::{self, Outcome, WrongUse};
use crate::output;

#[derive(Args)]
pub(crate) struct Show {
    /// The store's directory
    store: PathBuf,
    /// The query: hex, or as much of its beginning as no other has
    #[arg(value_parser = id::prefix)]
    id: id::Prefix,
    /// As JSON, with its receipt
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self) -> exit::Result {
        let trail = open::for_reading(&self.store)?;
        let checked = checked(&trail, &self.id)?;
        if self.json {
            output::json(&form::audit_with_receipt(&checked.audit, &checked.receipt))?;
        } else {
            output::text(&as_text(&checked))?;
        }
        Ok(Outcome::Good)
    }
}

/// The audit that an id or the beginning of one means.
pub(super) fn checked(trail: &open::Trail, prefix: &id::Prefix) -> anyhow::Result<CheckedAudit> {
    let query_id = id::query(trail, prefix)?;
    let gone = || WrongUse(format!("there is no query {} in this trail", id::hex(&query_id)));
    Ok(trail.get_audit_checked(&query_id)?.ok_or_else(gone)?)
}

fn as_text(checked: &CheckedAudit) -> String {
    let CheckedAudit { audit, receipt, .. } = checked;
    let none = || "-".to_owned();
    let id = |id: Option<[u8; 32]>| id.map_or_else(none, |id| id::hex(&id));
    let text = |text: Option<&String>| text.map_or_else(none, |text| printable(text, usize::MAX));
    let params = &audit.params;
    let mut lines = vec![
        format!("query        {}", id::hex(&audit.query_id)),
        format!("agent        {}", id(audit.agent_id)),
        format!("time         {} ({})", time::format(audit.timestamp), audit.timestamp),
        format!("subject      {}", text(Some(&params.subject))),
        format!("predicate    {}", text(params.predicate.as_ref())),
        format!("lifecycle    {}", params.lifecycle.map_or_else(none, |stage| stage.to_string())),
        format!("epoch        {}", id(params.epoch)),
        format!("lens         {}", text(params.lens.as_ref())),
        format!("result       {}", id(audit.result_hash)),
        format!("confidence   {}", audit.result_confidence),
        format!("assertions   {}", audit.contributing_assertions.len()),
    ];
    lines.extend(audit.contributing_assertions.iter().map(|assertion| {
        let (hash, source) = (id::hex(&assertion.assertion_hash), id::hex(&assertion.source_hash));
        format!("  {hash} weight {} {} source {source}", assertion.weight, assertion.lifecycle)
    }));
    lines.push(format!("receipt      offset {}, blake3 {}", receipt.offset, receipt.hash));
    lines.join("\n")
}
