//! Proof that nobody altered the trail: the journal's chain against anchors, and journal and index against each other.

mod check;
mod report;
mod same;

pub use report::{TrailProblem, TrailReport, TrailStage};
