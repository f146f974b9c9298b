//! Schema 1. Frozen: any change to what stands here is a new schema in a file of its own.
//!
//! The archive is rkyv's, with the features pinned in `Cargo.toml`: little-endian, 32-bit relative pointers, no alignment.

use std::num::NonZeroUsize;

use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archive, Deserialize, Serialize};

use crate::audit::error::RecordFault;
use crate::audit::types::{ContributingAssertion, LifecycleStage, QueryAudit, QueryParams};

pub(super) const SCHEMA: u16 = 1;
/// Bytes of one assertion in the archive.
pub(super) const ASSERTION_BYTES: usize = size_of::<ArchivedAssertionV1>();

/// Vectors and texts lie one level below the root; nothing lies deeper.
const DEPTH_MAX: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

const _: () = assert!(align_of::<ArchivedAuditV1>() == 1, "records are read at any place in memory");
const _: () = assert!(size_of::<ArchivedAuditV1>() == 179, "schema 1 is frozen");
const _: () = assert!(size_of::<ArchivedAssertionV1>() == 69, "schema 1 is frozen");

#[derive(Archive, Serialize, Deserialize)]
struct AuditV1 {
    query_id: [u8; 32],
    agent_id: Option<[u8; 32]>,
    timestamp: u64,
    subject: String,
    predicate: Option<String>,
    lifecycle: Option<StageV1>,
    epoch: Option<[u8; 32]>,
    lens: Option<String>,
    result_hash: Option<[u8; 32]>,
    result_confidence: f32,
    contributing_assertions: Vec<AssertionV1>,
}

#[derive(Archive, Serialize, Deserialize)]
struct AssertionV1 {
    assertion_hash: [u8; 32],
    weight: f32,
    source_hash: [u8; 32],
    lifecycle: StageV1,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
#[repr(u8)]
enum StageV1 {
    Proposed = 0,
    UnderReview = 1,
    Approved = 2,
    Deprecated = 3,
    Rejected = 4,
}

/// The archive of an audit.
pub(super) fn archive(audit: &QueryAudit) -> AlignedVec {
    rkyv::api::high::to_bytes_in::<_, Failure>(&AuditV1::from(audit), AlignedVec::new())
        .expect("memory takes whatever is serialised, and no pointer spans more than 4 GiB")
}

/// The audit that an archive holds. Its values are not checked yet.
pub(super) fn audit(archive: &[u8]) -> Result<QueryAudit, RecordFault> {
    let fault = |_: Failure| RecordFault::Layout { schema: SCHEMA };
    let mut validator = ArchiveValidator::with_max_depth(archive, Some(DEPTH_MAX));
    let found = rkyv::api::access_with_context::<ArchivedAuditV1, _, Failure>(archive, &mut validator)
        .map_err(fault)?;
    let audit: AuditV1 =
        rkyv::api::deserialize_using::<AuditV1, (), Failure>(found, &mut ()).map_err(fault)?;
    Ok(audit.into())
}

impl From<&QueryAudit> for AuditV1 {
    fn from(audit: &QueryAudit) -> Self {
        Self {
            query_id: audit.query_id,
            agent_id: audit.agent_id,
            timestamp: audit.timestamp,
            subject: audit.params.subject.clone(),
            predicate: audit.params.predicate.clone(),
            lifecycle: audit.params.lifecycle.map(StageV1::from),
            epoch: audit.params.epoch,
            lens: audit.params.lens.clone(),
            result_hash: audit.result_hash,
            result_confidence: audit.result_confidence,
            contributing_assertions: audit.contributing_assertions.iter().map(AssertionV1::from).collect(),
        }
    }
}

impl From<AuditV1> for QueryAudit {
    fn from(audit: AuditV1) -> Self {
        Self {
            query_id: audit.query_id,
            agent_id: audit.agent_id,
            timestamp: audit.timestamp,
            params: QueryParams {
                subject: audit.subject,
                predicate: audit.predicate,
                lifecycle: audit.lifecycle.map(LifecycleStage::from),
                epoch: audit.epoch,
                lens: audit.lens,
            },
            result_hash: audit.result_hash,
            result_confidence: audit.result_confidence,
            contributing_assertions: audit.contributing_assertions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&ContributingAssertion> for AssertionV1 {
    fn from(assertion: &ContributingAssertion) -> Self {
        Self {
            assertion_hash: assertion.assertion_hash,
            weight: assertion.weight,
            source_hash: assertion.source_hash,
            lifecycle: assertion.lifecycle.into(),
        }
    }
}

impl From<AssertionV1> for ContributingAssertion {
    fn from(assertion: AssertionV1) -> Self {
        Self {
            assertion_hash: assertion.assertion_hash,
            weight: assertion.weight,
            source_hash: assertion.source_hash,
            lifecycle: assertion.lifecycle.into(),
        }
    }
}

impl From<LifecycleStage> for StageV1 {
    fn from(stage: LifecycleStage) -> Self {
        match stage {
            LifecycleStage::Proposed => Self::Proposed,
            LifecycleStage::UnderReview => Self::UnderReview,
            LifecycleStage::Approved => Self::Approved,
            LifecycleStage::Deprecated => Self::Deprecated,
            LifecycleStage::Rejected => Self::Rejected,
        }
    }
}

impl From<StageV1> for LifecycleStage {
    fn from(stage: StageV1) -> Self {
        match stage {
            StageV1::Proposed => Self::Proposed,
            StageV1::UnderReview => Self::UnderReview,
            StageV1::Approved => Self::Approved,
            StageV1::Deprecated => Self::Deprecated,
            StageV1::Rejected => Self::Rejected,
        }
    }
}
