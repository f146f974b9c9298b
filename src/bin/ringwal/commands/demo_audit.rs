//! The end of the demo: an audit trail is filled, asked one question, and its answer is shown and proven.

use std::path::Path;

use anyhow::Context;
use ringwal::{AuditStore, GenericAuditStore, HybridOptions, HybridStore, Options, VerifyOptions};

use super::audit::{Look, sample_audits};
use crate::output;

const AUDITS: u64 = 200;
const SEGMENT_BYTES: u64 = 4 << 20;

/// Puts made-up audits, and asks of the surest of the answers that many assertions contributed to: why?
pub(super) fn ask(directory: &Path, as_json: bool) -> anyhow::Result<()> {
    let options =
        HybridOptions::new().keep_journal(true).journal(Options::new().segment_bytes(SEGMENT_BYTES));
    let trail = GenericAuditStore::checking(HybridStore::open(directory, options)?);
    let audits: Vec<_> = sample_audits(AUDITS, 1).collect();
    std::thread::scope(|scope| {
        let put = |audits: &[ringwal::QueryAudit]| {
            audits.iter().try_for_each(|audit| trail.put_audit(audit).map(drop))
        };
        let threads: Vec<_> = audits.chunks(25).map(|some| scope.spawn(move || put(some))).collect();
        threads.into_iter().try_for_each(|thread| {
            anyhow::Ok(thread.join().map_err(|_| anyhow::anyhow!("putting audits panicked"))??)
        })
    })?;
    let anchor = trail.head()?.context("the trail's head")?;
    let asked = audits
        .iter()
        .filter(|audit| audit.contributing_assertions.len() > 3)
        .max_by(|one, other| one.result_confidence.total_cmp(&other.result_confidence))
        .context("an audit to ask about")?;
    let answer = trail.get_audit_checked(&asked.query_id)?.context("the audit that was put")?;
    let report = trail.verify(&[anchor], &VerifyOptions::new(), &mut |_, _, _| ())?;
    anyhow::ensure!(report.is_sound() && answer.audit == *asked, "the audit trail gave a wrong answer");
    trail.store().close()?;
    if as_json {
        return Ok(());
    }
    let explained = Look::of_terminal(None).explain(&answer);
    output::text(&format!(
        "\n{} audits were put into an audit trail from 8 threads; the chain holds up to its anchor at commit {}.\n\
         Why did you think that? `ringwal audit explain` answers:\n\n{explained}",
        report.audits, anchor.commit_number,
    ))
}
