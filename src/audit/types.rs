//! What an audit is: one query of an agent, what was answered, and which assertions contributed.

use super::error::{AuditError, AuditResult};

/// The record of one query: who asked what when, what was answered with what confidence, and from which assertions.
///
/// Once put under its id it is never changed and never removed.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryAudit {
    /// The id of the query; the audit's key.
    pub query_id: [u8; 32],
    /// Who asked; `None` for an anonymous query.
    pub agent_id: Option<[u8; 32]>,
    /// When, in the caller's own unit; any `u64`. The tool reads it as nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// What was asked.
    pub params: QueryParams,
    /// Hash of the answer; `None` when there was none.
    pub result_hash: Option<[u8; 32]>,
    /// How sure the answer was: 0 to 1.
    pub result_confidence: f32,
    /// The assertions that the answer rests on, in the caller's order; at most [`ASSERTIONS_MAX`](Self::ASSERTIONS_MAX).
    pub contributing_assertions: Vec<ContributingAssertion>,
}

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueryParams {
    /// What the query is about: free text, also empty; at most [`QueryAudit::TEXT_BYTES_MAX`] bytes, as the other texts.
    pub subject: String,
    /// Which property of it, if one was named.
    pub predicate: Option<String>,
    /// The only stage whose assertions were to count, if one was named.
    pub lifecycle: Option<LifecycleStage>,
    /// The moment as of which was asked, if one was named.
    pub epoch: Option<[u8; 32]>,
    /// The rule by which contradicting assertions were weighed, if one was named.
    pub lens: Option<String>,
}

/// One assertion that an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContributingAssertion {
    /// Hash of the assertion.
    pub assertion_hash: [u8; 32],
    /// Its weight in the answer: 0 to 1.
    pub weight: f32,
    /// Hash of the source that it came from.
    pub source_hash: [u8; 32],
    /// Its stage when it contributed.
    pub lifecycle: LifecycleStage,
}

/// How far an assertion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifecycleStage {
    /// Somebody said so.
    Proposed,
    /// Somebody looks at it.
    UnderReview,
    /// Holds.
    Approved,
    /// Held once.
    Deprecated,
    /// Does not hold.
    Rejected,
}

impl LifecycleStage {
    /// All stages, in their order.
    pub const ALL: [Self; 5] =
        [Self::Proposed, Self::UnderReview, Self::Approved, Self::Deprecated, Self::Rejected];

    /// The stage's name, as this type spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "Proposed",
            Self::UnderReview => "UnderReview",
            Self::Approved => "Approved",
            Self::Deprecated => "Deprecated",
            Self::Rejected => "Rejected",
        }
    }
}

impl std::fmt::Display for LifecycleStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl QueryAudit {
    /// The most assertions of one audit.
    pub const ASSERTIONS_MAX: usize = 65_536;
    /// The most bytes of one text: subject, predicate, lens.
    pub const TEXT_BYTES_MAX: usize = 65_536;

    /// Whether the audit is one that a store takes: texts and assertions within their limits, confidence and weights
    /// from 0 to 1 (which no NaN is; both zeros are 0).
    ///
    /// # Errors
    /// [`AuditError::Invalid`]: the first field that is not, and its rule.
    pub fn check(&self) -> AuditResult<()> {
        check_text("params.subject", Some(&self.params.subject))?;
        check_text("params.predicate", self.params.predicate.as_ref())?;
        check_text("params.lens", self.params.lens.as_ref())?;
        check_share("result_confidence", self.result_confidence)?;
        let count = self.contributing_assertions.len();
        if count > Self::ASSERTIONS_MAX {
            return Err(AuditError::Invalid {
                field: "contributing_assertions",
                value: format!("{count} assertions"),
                rule: "at most 65,536 assertions",
            });
        }
        let mut weights = self.contributing_assertions.iter().map(|assertion| assertion.weight);
        weights.try_for_each(|weight| check_share("contributing_assertions.weight", weight))
    }
}

fn check_text(field: &'static str, text: Option<&String>) -> AuditResult<()> {
    match text {
        Some(text) if text.len() > QueryAudit::TEXT_BYTES_MAX => Err(AuditError::Invalid {
            field,
            value: format!("{} bytes", text.len()),
            rule: "at most 65,536 bytes",
        }),
        _ => Ok(()),
    }
}

fn check_share(field: &'static str, share: f32) -> AuditResult<()> {
    // Not the other way round: every comparison with NaN is false.
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(AuditError::Invalid { field, value: share.to_string(), rule: "a number from 0 to 1" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit() -> QueryAudit {
        QueryAudit {
            query_id: [1; 32],
            agent_id: None,
            timestamp: 0,
            params: QueryParams::default(),
            result_hash: None,
            result_confidence: 0.5,
            contributing_assertions: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut QueryAudit)) -> &'static str {
        let mut changed = audit();
        change(&mut changed);
        match changed.check() {
            Err(AuditError::Invalid { field, .. }) => field,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn numbers_that_are_no_share_are_refused() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.001, 1.000_001, f32::MIN] {
            assert_eq!(refused(|audit| audit.result_confidence = bad), "result_confidence");
            let assertion = ContributingAssertion {
                assertion_hash: [0; 32],
                weight: bad,
                source_hash: [0; 32],
                lifecycle: LifecycleStage::Approved,
            };
            let good = ContributingAssertion { weight: 1.0, ..assertion };
            let field = refused(|audit| audit.contributing_assertions = vec![good, assertion]);
            assert_eq!(field, "contributing_assertions.weight");
        }
        for good in [0.0, -0.0, f32::MIN_POSITIVE, 1e-45, 0.1, 1.0] {
            QueryAudit { result_confidence: good, ..audit() }.check().unwrap();
        }
    }

    #[test]
    fn too_much_text_and_too_many_assertions_are_refused_and_the_limits_are_legal() {
        let long = |more: usize| "s".repeat(QueryAudit::TEXT_BYTES_MAX + more);
        assert_eq!(refused(|audit| audit.params.subject = long(1)), "params.subject");
        assert_eq!(refused(|audit| audit.params.predicate = Some(long(1))), "params.predicate");
        assert_eq!(refused(|audit| audit.params.lens = Some(long(1))), "params.lens");
        let assertion = ContributingAssertion {
            assertion_hash: [0; 32],
            weight: 0.0,
            source_hash: [0; 32],
            lifecycle: LifecycleStage::Proposed,
        };
        let many = |count| vec![assertion; count];
        let over = QueryAudit::ASSERTIONS_MAX + 1;
        assert_eq!(refused(|audit| audit.contributing_assertions = many(over)), "contributing_assertions");
        let mut largest = audit();
        largest.params.subject = long(0);
        largest.contributing_assertions = many(QueryAudit::ASSERTIONS_MAX);
        largest.check().unwrap();
    }
}
