//! One key: what it says, as bytes and back.

use crate::position::Hash;

/// What every key of the trail begins with.
pub(in crate::audit) const TRAIL: &[u8] = b"\x00AUD";
pub(super) const RECORD: &[u8] = b"\x00AUD:";
pub(super) const AGENT: &[u8] = b"\x00AUDA:";
pub(super) const TIME: &[u8] = b"\x00AUDT:";
pub(super) const SUBJECT: &[u8] = b"\x00AUDS:";
pub(super) const SEPARATOR: u8 = b':';

const ID_BYTES: usize = 32;
const TIME_BYTES: usize = 8;
/// Timestamp, separator, query id.
const MOMENT_BYTES: usize = TIME_BYTES + 1 + ID_BYTES;
/// Agent or subject, separator, and the moment.
const OWNED_BYTES: usize = ID_BYTES + 1 + MOMENT_BYTES;
const _: () = assert!(RECORD.len() + ID_BYTES == 37, "docs/format.md says 37");
const _: () = assert!(AGENT.len() + OWNED_BYTES == 80, "docs/format.md says 80");
const _: () = assert!(TIME.len() + MOMENT_BYTES == 47, "docs/format.md says 47");
const _: () = assert!(SUBJECT.len() + OWNED_BYTES == 80, "docs/format.md says 80");

/// A key of the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditKey {
    /// The audit itself.
    Record {
        /// The query.
        query_id: [u8; 32],
    },
    /// An entry of the index by agent and time. An anonymous audit has none.
    Agent {
        /// The agent.
        agent_id: [u8; 32],
        /// When.
        timestamp: u64,
        /// The query.
        query_id: [u8; 32],
    },
    /// An entry of the index by time, over all agents and none.
    Time {
        /// When.
        timestamp: u64,
        /// The query.
        query_id: [u8; 32],
    },
    /// An entry of the index by subject and time.
    Subject {
        /// [`subject_hash`] of the subject: a subject of any length has a key, and none is the beginning of another's.
        subject: Hash,
        /// When.
        timestamp: u64,
        /// The query.
        query_id: [u8; 32],
    },
}

/// Bytes that are no key of the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It does not begin as any of the trail's keys does.
    #[error("the key begins as none of the trail's keys does")]
    Prefix,
    /// It begins as one, but is too short or too long.
    #[error("the key has {bytes} bytes where its kind has {expected}")]
    Length {
        /// How many it has.
        bytes: usize,
        /// How many its kind has.
        expected: usize,
    },
    /// Another byte stands where a separator must.
    #[error("the key has another byte than ':' at {at}")]
    Separator {
        /// Where.
        at: usize,
    },
}

/// What stands for a subject in the keys of its index: blake3 of its bytes.
#[must_use]
pub fn subject_hash(subject: &str) -> Hash {
    Hash::of(subject.as_bytes())
}

impl AuditKey {
    /// The query that the key is about.
    #[must_use]
    pub const fn query_id(&self) -> &[u8; 32] {
        match self {
            Self::Record { query_id }
            | Self::Agent { query_id, .. }
            | Self::Time { query_id, .. }
            | Self::Subject { query_id, .. } => query_id,
        }
    }

    /// The key as it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Record { query_id } => [RECORD, query_id].concat(),
            Self::Agent { agent_id, timestamp, query_id } => owned(AGENT, agent_id, *timestamp, query_id),
            Self::Time { timestamp, query_id } => {
                [TIME, &big_endian(*timestamp), &[SEPARATOR], query_id].concat()
            }
            Self::Subject { subject, timestamp, query_id } => {
                owned(SUBJECT, subject.as_bytes(), *timestamp, query_id)
            }
        }
    }

    /// What the bytes of a key say.
    ///
    /// # Errors
    /// [`KeyError`]: the bytes are no key of the trail.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Some(rest) = bytes.strip_prefix(RECORD) {
            return Parts::new(bytes, rest, ID_BYTES)?.id().map(|query_id| Self::Record { query_id });
        }
        if let Some(rest) = bytes.strip_prefix(TIME) {
            let (timestamp, query_id) = Parts::new(bytes, rest, MOMENT_BYTES)?.moment()?;
            return Ok(Self::Time { timestamp, query_id });
        }
        if let Some(rest) = bytes.strip_prefix(AGENT) {
            let (agent_id, timestamp, query_id) = Parts::new(bytes, rest, OWNED_BYTES)?.owned()?;
            return Ok(Self::Agent { agent_id, timestamp, query_id });
        }
        if let Some(rest) = bytes.strip_prefix(SUBJECT) {
            let (subject, timestamp, query_id) = Parts::new(bytes, rest, OWNED_BYTES)?.owned()?;
            return Ok(Self::Subject { subject: Hash(subject), timestamp, query_id });
        }
        Err(KeyError::Prefix)
    }
}

#[expect(clippy::big_endian_bytes, reason = "the order of the bytes is the order of the times")]
pub(super) const fn big_endian(timestamp: u64) -> [u8; TIME_BYTES] {
    timestamp.to_be_bytes()
}

fn owned(prefix: &[u8], owner: &[u8; 32], timestamp: u64, query_id: &[u8; 32]) -> Vec<u8> {
    [prefix, owner, &[SEPARATOR], &big_endian(timestamp), &[SEPARATOR], query_id].concat()
}

/// What is left of a key while its parts are taken off its front.
struct Parts<'a> {
    rest: &'a [u8],
    /// Bytes of the whole key: where a part begins is told from its beginning.
    bytes: usize,
}

impl<'a> Parts<'a> {
    fn new(key: &[u8], rest: &'a [u8], expected: usize) -> Result<Self, KeyError> {
        if rest.len() == expected {
            return Ok(Self { rest, bytes: key.len() });
        }
        Err(KeyError::Length { bytes: key.len(), expected: key.len() - rest.len() + expected })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], KeyError> {
        let too_short = KeyError::Length { bytes: self.bytes, expected: self.bytes + N };
        let (part, rest) = self.rest.split_first_chunk::<N>().ok_or(too_short)?;
        self.rest = rest;
        Ok(*part)
    }

    fn separator(&mut self) -> Result<(), KeyError> {
        let at = self.bytes - self.rest.len();
        match self.take()? {
            [SEPARATOR] => Ok(()),
            _ => Err(KeyError::Separator { at }),
        }
    }

    fn id(&mut self) -> Result<[u8; 32], KeyError> {
        self.take()
    }

    #[expect(clippy::big_endian_bytes, reason = "the order of the bytes is the order of the times")]
    fn moment(&mut self) -> Result<(u64, [u8; 32]), KeyError> {
        let timestamp = u64::from_be_bytes(self.take()?);
        self.separator()?;
        Ok((timestamp, self.id()?))
    }

    fn owned(&mut self) -> Result<([u8; 32], u64, [u8; 32]), KeyError> {
        let owner = self.id()?;
        self.separator()?;
        let (timestamp, query_id) = self.moment()?;
        Ok((owner, timestamp, query_id))
    }
}
