//! The JSON form of an audit, for export and for people's programs. `parse.rs` reads it.

use ringwal::{ContributingAssertion, QueryAudit, Receipt};
use serde_json::{Value, json};

use super::id::hex;

/// What `import --help` says about the form.
pub(super) const HELP: &str = "\
Each line is one audit:

  {\"query_id\": \"<64 hex digits>\", \"agent_id\": \"<hex>\", \"timestamp\": 1769860800000000000,
   \"params\": {\"subject\": \"pump 7\", \"predicate\": \"has_state\", \"lifecycle\": \"Approved\",
              \"epoch\": \"<hex>\", \"lens\": \"recency\"},
   \"result_hash\": \"<hex>\", \"result_confidence\": 0.87,
   \"contributing_assertions\": [{\"assertion_hash\": \"<hex>\", \"weight\": 0.5,
                                \"source_hash\": \"<hex>\", \"lifecycle\": \"Proposed\"}]}

Needed are query_id, timestamp, params with its subject, and result_confidence; of an assertion
everything. The rest may be left out or null. A timestamp is a whole number of nanoseconds since the
Unix epoch, or RFC 3339. Confidence and weights are 0 to 1. A lifecycle is Proposed, UnderReview,
Approved, Deprecated or Rejected. A field that is none of these is an error; empty lines are skipped.
A line has at most 32 MiB.";

/// The audit as JSON: what `parse.rs` reads, and nothing left out.
pub(super) fn audit(audit: &QueryAudit) -> Value {
    json!({
        "query_id": hex(&audit.query_id),
        "agent_id": audit.agent_id.map(|id| hex(&id)),
        "timestamp": audit.timestamp,
        "params": {
            "subject": audit.params.subject,
            "predicate": audit.params.predicate,
            "lifecycle": audit.params.lifecycle.map(|stage| stage.name()),
            "epoch": audit.params.epoch.map(|id| hex(&id)),
            "lens": audit.params.lens,
        },
        "result_hash": audit.result_hash.map(|id| hex(&id)),
        "result_confidence": share(audit.result_confidence),
        "contributing_assertions": audit.contributing_assertions.iter().map(assertion).collect::<Vec<_>>(),
    })
}

/// The audit, and the journal record that holds it.
pub(super) fn audit_with_receipt(of: &QueryAudit, receipt: &Receipt) -> Value {
    json!({
        "audit": audit(of),
        "receipt": { "offset": receipt.offset.get(), "blake3": receipt.hash.to_string() },
    })
}

fn assertion(assertion: &ContributingAssertion) -> Value {
    json!({
        "assertion_hash": hex(&assertion.assertion_hash),
        "weight": share(assertion.weight),
        "source_hash": hex(&assertion.source_hash),
        "lifecycle": assertion.lifecycle.name(),
    })
}

/// The shortest number that is read as the same `f32`: 0.1, not 0.10000000149011612.
fn share(share: f32) -> Value {
    share.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
