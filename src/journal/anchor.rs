//! Heads that were stored elsewhere, and what a journal looks like beside them.
//!
//! Guarantees: an anchor that holds vouches for every byte of every record before it. Must not know: how commits are read.

use crate::position::{Hash, Offset};

/// The end of the chain: stored elsewhere, it proves later that nothing before it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Where the next commit will begin, or would in the same segment.
    pub offset: Offset,
    /// The number of the last commit.
    pub commit_number: u64,
    /// Hash over everything up to there: what the next commit will carry.
    pub chain: Hash,
}

impl Head {
    /// A head that was stored elsewhere.
    #[must_use]
    pub const fn new(offset: Offset, commit_number: u64, chain: Hash) -> Self {
        Self { offset, commit_number, chain }
    }
}

/// What a journal looks like beside one anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnchorCheck {
    /// The head that was stored elsewhere.
    pub anchor: Head,
    /// What was found.
    pub finding: AnchorFinding,
}

/// What was found at the place of an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnchorFinding {
    /// The chain comes to the same value there: all before it is what it was.
    Holds,
    /// The chain comes to the same value there, but could not be followed from its origin, for damage or cleanup: only the
    /// commits from `first_commit` to the anchor's are what they were. Of those before, nothing is said.
    HoldsFrom {
        /// The first commit of those that were followed without a break.
        first_commit: u64,
    },
    /// The chain comes to another value there: history before it was written anew.
    Differs {
        /// What stands there now.
        found: Head,
        /// The first commit that may be another: the one behind the latest earlier anchor that holds.
        first_commit: u64,
        /// The last commit that may be the first that is another.
        last_commit: u64,
    },
    /// The journal ends before the anchor: it was rolled back to an earlier state.
    RolledBack {
        /// The number of the last commit there is; `None` when there is none.
        last_commit: Option<u64>,
    },
    /// The commits up to the anchor were cleaned up: it cannot be judged any more.
    NotKept {
        /// The number of the first commit kept.
        first_commit: u64,
    },
    /// Damage lies at the anchor's place, or right behind it: it cannot be judged.
    Damaged,
}

impl AnchorFinding {
    /// Whether the journal is not the one from which the anchor was taken.
    #[must_use]
    pub const fn is_contradiction(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::RolledBack { .. })
    }
}

/// How far back the walk is without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unbroken {
    /// To the chain's origin.
    Origin,
    /// To this commit; what it says of the chain before it is its own word.
    Commit(u64),
    /// Not at all: the next commit begins anew.
    No,
}

/// Anchors while verification comes past their places.
#[derive(Debug)]
pub(super) struct Anchors {
    /// In the order of their commits.
    checks: Vec<(Head, Option<AnchorFinding>)>,
    /// How many of them are judged, or lie behind.
    passed: usize,
    unbroken: Unbroken,
    first_commit: Option<u64>,
    last_commit: Option<u64>,
    /// The commit behind the latest anchor that holds.
    first_unvouched: u64,
}

impl Anchors {
    /// Where the walk does not begin at the chain's origin, it must be told so: [`note_break`](Self::note_break).
    pub(super) fn new(anchors: &[Head]) -> Self {
        let mut checks: Vec<_> = anchors.iter().map(|anchor| (*anchor, None)).collect();
        checks.sort_by_key(|(anchor, _)| anchor.commit_number);
        Self {
            checks,
            passed: 0,
            unbroken: Unbroken::Origin,
            first_commit: None,
            last_commit: None,
            first_unvouched: 0,
        }
    }

    /// What comes next was not reached by following the chain.
    pub(super) fn note_break(&mut self) {
        self.unbroken = Unbroken::No;
    }

    /// A commit begins, and carries this chain value: the first one kept says what came before it.
    pub(super) fn note_begin(&mut self, number: u64, chain: Hash) {
        self.first_commit.get_or_insert(number);
        if self.unbroken == Unbroken::No {
            self.unbroken = Unbroken::Commit(number);
        }
        let Some(before) = number.checked_sub(1) else { return };
        // Where it begins is not told here: the anchor's own word is taken for that.
        self.pass(before, |anchor| Head { chain, ..*anchor });
    }

    /// A commit has ended. Without a head what stands before it is damaged.
    pub(super) fn note_end(&mut self, head: Option<Head>) {
        let Some(head) = head else { return };
        self.last_commit = Some(head.commit_number);
        self.pass(head.commit_number, |_| head);
    }

    /// Judges the anchors of this commit.
    fn pass(&mut self, commit_number: u64, found: impl Fn(&Head) -> Head) {
        while let Some((anchor, finding)) = self.checks.get_mut(self.passed) {
            if anchor.commit_number > commit_number {
                return;
            }
            self.passed += 1;
            if anchor.commit_number < commit_number {
                continue;
            }
            let found = found(anchor);
            if found != *anchor {
                let first_commit = self.first_unvouched.min(commit_number);
                *finding = Some(AnchorFinding::Differs { found, first_commit, last_commit: commit_number });
                continue;
            }
            match self.unbroken {
                Unbroken::Origin => {
                    *finding = Some(AnchorFinding::Holds);
                    self.first_unvouched = commit_number + 1;
                }
                Unbroken::Commit(first_commit) if first_commit <= commit_number => {
                    *finding = Some(AnchorFinding::HoldsFrom { first_commit });
                }
                // The word of the commit behind the anchor alone: whoever wrote that commit can have taken it from the anchor.
                Unbroken::Commit(_) | Unbroken::No => {}
            }
        }
    }

    pub(super) fn finish(self, is_sound: bool) -> Vec<AnchorCheck> {
        let (first, last) = (self.first_commit, self.last_commit);
        let judge = |anchor: &Head| match first {
            Some(first_commit) if anchor.commit_number < first_commit => {
                AnchorFinding::NotKept { first_commit }
            }
            _ if !is_sound => AnchorFinding::Damaged,
            _ => AnchorFinding::RolledBack { last_commit: last },
        };
        let check = |(anchor, finding): &(Head, Option<AnchorFinding>)| AnchorCheck {
            anchor: *anchor,
            finding: finding.unwrap_or_else(|| judge(anchor)),
        };
        self.checks.iter().map(check).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(commit_number: u64, chain: u8) -> Head {
        Head::new(Offset::new(commit_number * 4096), commit_number, Hash([chain; 32]))
    }

    fn findings(anchors: Anchors, is_sound: bool) -> Vec<AnchorFinding> {
        anchors.finish(is_sound).iter().map(|check| check.finding).collect()
    }

    #[test]
    fn a_commit_behind_damage_cannot_vouch_with_its_own_word() {
        let mut anchors = Anchors::new(&[anchor(0, 1), anchor(2, 3), anchor(3, 4)]);
        anchors.note_begin(0, Hash([0; 32]));
        anchors.note_end(Some(anchor(0, 1)));
        anchors.note_break();
        // Carries what the anchor says.
        anchors.note_begin(3, Hash([3; 32]));
        anchors.note_end(Some(anchor(3, 4)));
        let found = findings(anchors, false);
        let from = AnchorFinding::HoldsFrom { first_commit: 3 };
        assert_eq!(found, [AnchorFinding::Holds, AnchorFinding::Damaged, from]);
    }

    #[test]
    fn a_commit_that_calls_itself_the_first_behind_damage_is_not_the_origin() {
        let mut anchors = Anchors::new(&[anchor(1, 2)]);
        anchors.note_break();
        anchors.note_begin(0, Hash([9; 32]));
        anchors.note_end(Some(anchor(0, 1)));
        anchors.note_begin(1, Hash([1; 32]));
        anchors.note_end(Some(anchor(1, 2)));
        assert_eq!(findings(anchors, false), [AnchorFinding::HoldsFrom { first_commit: 0 }]);
    }
}
