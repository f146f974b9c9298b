//! What points to an audit trail is one: `&S`, `Box<S>`, `Arc<S>`, also of a `dyn` one.
//!
//! Guarantees: every call goes through to the trail, those that have a default in the trait too. Must not know: any trail.

use std::sync::Arc;

use super::audit_store::{AuditPut, AuditStore};
use super::audits::Audits;
use super::error::AuditResult;
use super::types::QueryAudit;
use crate::store::Direction;

macro_rules! a_pointer_is_a_trail {
    ($($pointer:ty),*) => {$(
        impl<S: AuditStore + ?Sized> AuditStore for $pointer {
            fn put_audit_with_receipt(&self, audit: &QueryAudit) -> AuditResult<AuditPut> {
                (**self).put_audit_with_receipt(audit)
            }

            fn get_audit(&self, query_id: &[u8; 32]) -> AuditResult<Option<QueryAudit>> {
                (**self).get_audit(query_id)
            }

            fn audits_of_agent(
                &self,
                agent_id: &[u8; 32],
                from: u64,
                to: Option<u64>,
                direction: Direction,
                limit: usize,
            ) -> AuditResult<Audits<'_>> {
                (**self).audits_of_agent(agent_id, from, to, direction, limit)
            }

            fn audits_between(
                &self,
                from: u64,
                to: Option<u64>,
                direction: Direction,
                limit: usize,
            ) -> AuditResult<Audits<'_>> {
                (**self).audits_between(from, to, direction, limit)
            }

            fn audits_by_subject(
                &self,
                subject: &str,
                from: u64,
                to: Option<u64>,
                direction: Direction,
                limit: usize,
            ) -> AuditResult<Audits<'_>> {
                (**self).audits_by_subject(subject, from, to, direction, limit)
            }

            fn has_audits_for_agent(&self, agent_id: &[u8; 32]) -> AuditResult<bool> {
                (**self).has_audits_for_agent(agent_id)
            }

            fn put_audit(&self, audit: &QueryAudit) -> AuditResult<[u8; 32]> {
                (**self).put_audit(audit)
            }

            fn get_audits_for_agent(
                &self,
                agent_id: &[u8; 32],
                from: u64,
                to: Option<u64>,
                limit: usize,
            ) -> AuditResult<Vec<QueryAudit>> {
                (**self).get_audits_for_agent(agent_id, from, to, limit)
            }

            fn list_recent_audits(&self, limit: usize) -> AuditResult<Vec<QueryAudit>> {
                (**self).list_recent_audits(limit)
            }
        }
    )*};
}

a_pointer_is_a_trail!(&S, Box<S>, Arc<S>);
