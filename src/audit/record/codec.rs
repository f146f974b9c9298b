//! The envelope around the archive: which schema, and whether the bytes are those that were written.

use std::ops::Range;

use super::v1;
use crate::audit::error::{AuditError, RecordFault};
use crate::audit::types::QueryAudit;

const SCHEMA: Range<usize> = 0..2;
const CHECKSUM: Range<usize> = SCHEMA.end..SCHEMA.end + 4;
const HEADER_BYTES: usize = CHECKSUM.end;

/// The newest schema, and the one that is written.
const NEWEST: u16 = 1;
const _: () = assert!(v1::SCHEMA == NEWEST, "a new schema is written and the old ones stay");

/// More than the largest audit takes: three texts and all assertions at their limits, and some hundred bytes around.
const RECORD_BYTES_MAX: usize =
    3 * QueryAudit::TEXT_BYTES_MAX + QueryAudit::ASSERTIONS_MAX * v1::ASSERTION_BYTES + 1024;

/// The record of an audit that was [checked](QueryAudit::check).
pub(crate) fn encode(audit: &QueryAudit) -> Vec<u8> {
    let archive = v1::archive(audit);
    let schema = NEWEST.to_le_bytes();
    let checksum = checksum(&schema, &archive);
    let record = [&schema[..], &checksum.to_le_bytes(), &archive].concat();
    assert!(record.len() <= RECORD_BYTES_MAX, "an audit within its limits became too large a record");
    record
}

/// The audit of the query `query_id` whose record these bytes are.
pub(crate) fn decode(bytes: &[u8], query_id: &[u8; 32]) -> Result<QueryAudit, RecordFault> {
    let wrong_length = RecordFault::Length { bytes: bytes.len() };
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(wrong_length);
    }
    let Some((header, archive)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Err(wrong_length) };
    let [s0, s1, c0, c1, c2, c3] = *header;
    let schema = u16::from_le_bytes([s0, s1]);
    let stored = u32::from_le_bytes([c0, c1, c2, c3]);
    let computed = checksum(&[s0, s1], archive);
    if schema > NEWEST && stored == computed {
        return Err(RecordFault::UnknownSchema { found: schema, newest: NEWEST });
    }
    if stored != computed {
        return Err(RecordFault::Checksum { stored, computed });
    }
    let audit = match schema {
        v1::SCHEMA => v1::audit(archive)?,
        _ => return Err(RecordFault::Layout { schema }),
    };
    if let Err(AuditError::Invalid { field, .. }) = audit.check() {
        return Err(RecordFault::Value { field });
    }
    if audit.query_id != *query_id {
        return Err(RecordFault::OtherQuery { found: audit.query_id });
    }
    Ok(audit)
}

fn checksum(schema: &[u8; 2], archive: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(schema), archive)
}
