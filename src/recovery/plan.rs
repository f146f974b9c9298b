//! What to do at the first place where no valid record stands: a table, one row for every combination of its inputs.

use std::fmt;

/// What recovery may do with a journal whose end is not clean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryPolicy {
    /// Cut off what a crash left half-written (never acknowledged); refuse damage to what was acknowledged.
    #[default]
    TolerateTornTail,
    /// Cut at the first bad place whatever the evidence. Acknowledged records behind it are given up (the bytes are
    /// kept in `cut/`), and their offsets will be given to new records.
    TruncateCorrupt,
    /// Refuse both: change nothing.
    Strict,
}

impl fmt::Display for RecoveryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TolerateTornTail => "tolerate-torn-tail",
            Self::TruncateCorrupt => "truncate-corrupt",
            Self::Strict => "strict",
        })
    }
}

/// What stands at the first place that is no valid record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// Zeros from there to the end of everything.
    Zeros,
    /// A part of a record or commit, one that does not check, or anything else that is not zero.
    Failing,
    /// The device does not give the bytes.
    Unreadable,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    CleanEnd,
    CutTorn,
    CutCorrupt,
    RefuseTorn,
    RefuseCorrupt,
    RefuseUnreadable,
}

struct Row {
    at_end: AtEnd,
    evidence: Option<bool>,
    policy: Option<RecoveryPolicy>,
    decision: Decision,
}

const fn row(
    at_end: AtEnd,
    evidence: Option<bool>,
    policy: Option<RecoveryPolicy>,
    decision: Decision,
) -> Row {
    Row { at_end, evidence, policy, decision }
}

use AtEnd::{Failing, Unreadable, Zeros};
use RecoveryPolicy::{Strict, TolerateTornTail, TruncateCorrupt};

/// `None` in a row means: whichever.
#[rustfmt::skip]
const TABLE: [Row; 11] = [
    //  at the end   evidence      policy                    decision
    row(Zeros,       Some(false),  None,                     Decision::CleanEnd),
    row(Zeros,       Some(true),   Some(TolerateTornTail),   Decision::RefuseCorrupt),
    row(Zeros,       Some(true),   Some(Strict),             Decision::RefuseCorrupt),
    row(Zeros,       Some(true),   Some(TruncateCorrupt),    Decision::CutCorrupt),
    row(Failing,     Some(false),  Some(TolerateTornTail),   Decision::CutTorn),
    row(Failing,     Some(false),  Some(TruncateCorrupt),    Decision::CutTorn),
    row(Failing,     Some(false),  Some(Strict),             Decision::RefuseTorn),
    row(Failing,     Some(true),   Some(TruncateCorrupt),    Decision::CutCorrupt),
    row(Failing,     Some(true),   Some(TolerateTornTail),   Decision::RefuseCorrupt),
    row(Failing,     Some(true),   Some(Strict),             Decision::RefuseCorrupt),
    row(Unreadable,  None,         None,                     Decision::RefuseUnreadable),
];

/// The decision for one combination.
pub(super) fn decide(at_end: AtEnd, evidence: bool, policy: RecoveryPolicy) -> Decision {
    let mut rows = TABLE.iter().filter(|row| row.fits(at_end, evidence, policy));
    let row = rows.next().expect("the table covers every combination");
    row.decision
}

impl Row {
    fn fits(&self, at_end: AtEnd, evidence: bool, policy: RecoveryPolicy) -> bool {
        self.at_end == at_end
            && self.evidence.is_none_or(|wanted| wanted == evidence)
            && self.policy.is_none_or(|wanted| wanted == policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_fits_exactly_one_row() {
        let mut used = [false; TABLE.len()];
        for at_end in [Zeros, Failing, Unreadable] {
            for evidence in [false, true] {
                for policy in [TolerateTornTail, TruncateCorrupt, Strict] {
                    let fits: Vec<usize> =
                        (0..TABLE.len()).filter(|row| TABLE[*row].fits(at_end, evidence, policy)).collect();
                    assert_eq!(fits.len(), 1, "{at_end:?}, evidence {evidence}, {policy}: rows {fits:?}");
                    used[fits[0]] = true;
                }
            }
        }
        assert_eq!(used, [true; TABLE.len()], "a row that nothing reaches");
    }

    #[test]
    fn policies_have_the_names_that_the_tool_takes() {
        let names = [TolerateTornTail, TruncateCorrupt, Strict].map(|policy| policy.to_string());
        assert_eq!(names, ["tolerate-torn-tail", "truncate-corrupt", "strict"]);
    }

    #[test]
    fn nothing_acknowledged_is_cut_without_being_told_to() {
        for at_end in [Zeros, Failing, Unreadable] {
            for policy in [TolerateTornTail, Strict] {
                let decision = decide(at_end, true, policy);
                assert!(matches!(decision, Decision::RefuseCorrupt | Decision::RefuseUnreadable));
            }
        }
    }
}
