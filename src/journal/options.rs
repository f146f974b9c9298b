//! The options of a journal: plain, checked once in `open`, never changed silently.

use std::time::Duration;

use crate::disk::{Backend, FlushMethod};
use crate::error::{Error, Result};
use crate::format::commit::COMMIT_RECORD_BYTES;
use crate::format::record::{FORMAT_PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::format::segment_header::{CAPACITY_UNIT, SEGMENT_HEADER_BYTES};
use crate::position::Offset;
use crate::recovery::RecoveryPolicy;

/// How commits share device blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// A commit begins right behind the one before. The block that holds the end of the commit before is written again
    /// with the same bytes in front: this trusts the device not to damage a block that it rewrites, as PostgreSQL,
    /// SQLite, etcd and RocksDB do.
    #[default]
    Dense,
    /// Every commit fills whole blocks of 4096 bytes; no acknowledged byte is ever rewritten. (When a journal written
    /// with `Dense` is opened with `Padded`, its last block is rewritten once.)
    Padded,
}

/// How a journal is opened. Options hold for this opening only: every one of them can be another the next time,
/// `segment_bytes` included, which applies to new segments.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) segment_bytes: u64,
    pub(crate) payload_bytes_max: Option<u64>,
    pub(crate) commit_bytes_max: usize,
    pub(crate) commit_records_max: u32,
    pub(crate) queue_depth: usize,
    pub(crate) linger: Duration,
    pub(crate) spin: Duration,
    pub(crate) idle_commit: Option<Duration>,
    pub(crate) packing: Packing,
    pub(crate) backend: Backend,
    pub(crate) flush: FlushMethod,
    pub(crate) policy: RecoveryPolicy,
    pub(crate) lock_wait: Duration,
    pub(crate) create: bool,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) retention_age: Option<Duration>,
    pub(crate) known_durable_below: Offset,
}

const DEFAULT_PAYLOAD_BYTES_MAX: u64 = 16 << 20;
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;
const COMMIT_BYTES: std::ops::RangeInclusive<usize> = 4096..=256 << 20;
const QUEUE_DEPTH_MAX: usize = 1 << 20;
const LINGER_MAX: Duration = Duration::from_secs(1);
const SPIN_MAX: Duration = Duration::from_millis(10);

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults, which are safe: every acknowledgement means "on stable storage".
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segment_bytes: 64 << 20,
            payload_bytes_max: None,
            commit_bytes_max: 1 << 20,
            commit_records_max: 65_536,
            queue_depth: 1024,
            linger: Duration::ZERO,
            spin: Duration::from_micros(200),
            idle_commit: Some(Duration::from_millis(100)),
            packing: Packing::Dense,
            backend: Backend::Auto,
            flush: FlushMethod::Auto,
            policy: RecoveryPolicy::TolerateTornTail,
            lock_wait: Duration::from_secs(10),
            create: true,
            retention_bytes: None,
            retention_age: None,
            known_durable_below: Offset::ZERO,
        }
    }

    /// Size of a segment file in bytes, 64 KiB to 1 TiB, a multiple of 4096. Default 64 MiB. A record and a batch must
    /// fit into one segment; cleanup removes whole segments.
    #[must_use]
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The largest payload in bytes, at most 1 GiB - 1 and what fits into a segment. Default: 16 MiB, or what fits into
    /// a segment where that is less.
    #[must_use]
    pub const fn payload_bytes_max(mut self, bytes: u64) -> Self {
        self.payload_bytes_max = Some(bytes);
        self
    }

    /// A commit is not made larger than this many bytes, 4096 to 256 MiB, unless a single record or batch is. Default
    /// 1 MiB: the memory of the commit buffer.
    #[must_use]
    pub const fn commit_bytes_max(mut self, bytes: usize) -> Self {
        self.commit_bytes_max = bytes;
        self
    }

    /// A commit takes at most this many records, at least 1, unless a single batch has more. Default 65,536.
    #[must_use]
    pub const fn commit_records_max(mut self, records: u32) -> Self {
        self.commit_records_max = records;
        self
    }

    /// So many appends can wait for the commit thread, 1 to 1,048,576; beyond it `append` and `submit` block and
    /// `try_submit` gives the payload back. Default 1024.
    #[must_use]
    pub const fn queue_depth(mut self, appends: usize) -> Self {
        self.queue_depth = appends;
        self
    }

    /// How long the commit thread waits for more appends after the first of a commit, at most 1 s. Default zero: a
    /// commit starts as soon as the one before is durable.
    #[must_use]
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// A thread that appends while no other does looks out for its acknowledgement for so long before it sleeps, at most 10 ms.
    /// It is told sooner, and keeps a processor busy meanwhile, though whoever else needs that processor gets it. After looking
    /// out in vain it sleeps at once for some appends. Where there is only one processor nobody looks out. Default 200 us; zero for
    /// never.
    #[must_use]
    pub const fn spin(mut self, longest: Duration) -> Self {
        self.spin = longest;
        self
    }

    /// After so long without an append, an empty commit is written that vouches for the last one (recovery can then
    /// tell damage to it from a crash). `None` for never. Default 100 ms.
    #[must_use]
    pub const fn idle_commit(mut self, after: Option<Duration>) -> Self {
        self.idle_commit = after;
        self
    }

    /// How commits share device blocks. Default [`Packing::Dense`].
    #[must_use]
    pub const fn packing(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// The kernel interface for writes. Default [`Backend::Auto`].
    #[must_use]
    pub const fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// How commits are made durable. Default [`FlushMethod::Auto`]: measured at open, in about 5 ms.
    #[must_use]
    pub const fn flush(mut self, method: FlushMethod) -> Self {
        self.flush = method;
        self
    }

    /// What recovery may do. Default [`RecoveryPolicy::TolerateTornTail`].
    #[must_use]
    pub const fn recovery(mut self, policy: RecoveryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How long `open` waits for writes that a killed writer still has in flight. Default 10 s. (A living writer is
    /// reported after a quarter of a second.)
    #[must_use]
    pub const fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// Whether a journal that does not exist is created. Default true. The parent directory must exist.
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Cleanup removes the oldest sealed segments while the journal holds more bytes than this; pinned cursors hold them
    /// back. The cleanup after a change of segments is left to the next change where a consumer keeps the cursors' lock for
    /// more than 50 ms. Default `None`.
    #[must_use]
    pub const fn retention_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retention_bytes = bytes;
        self
    }

    /// Cleanup removes sealed segments last written longer ago than this, by the machine's clock; pinned cursors hold
    /// them back. Default `None`.
    #[must_use]
    pub const fn retention_age(mut self, age: Option<Duration>) -> Self {
        self.retention_age = age;
        self
    }

    /// The caller knows that everything below was durable (a store's checkpoint says so): recovery then takes a journal
    /// that ends before for damaged, not for torn. Default zero.
    #[must_use]
    pub const fn known_durable_below(mut self, offset: Offset) -> Self {
        self.known_durable_below = offset;
        self
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.segment_bytes - SEGMENT_HEADER_BYTES as u64
    }

    /// The most bytes of records that one commit can hold.
    pub(crate) const fn records_bytes_max(&self) -> u64 {
        self.capacity() - COMMIT_RECORD_BYTES as u64
    }

    pub(crate) fn payload_limit(&self) -> u64 {
        let fits = self.payload_that_fits();
        self.payload_bytes_max.unwrap_or(DEFAULT_PAYLOAD_BYTES_MAX.min(fits))
    }

    const fn payload_that_fits(&self) -> u64 {
        self.records_bytes_max() - RECORD_HEADER_BYTES as u64
    }

    pub(crate) const fn has_retention(&self) -> bool {
        self.retention_bytes.is_some() || self.retention_age.is_some()
    }

    /// Checks every option.
    pub(crate) fn check(&self) -> Result<()> {
        let rule = |name, value: String, holds: bool, rule| {
            if holds { Ok(()) } else { Err(Error::InvalidOption { name, value, rule }) }
        };
        rule(
            "segment_bytes",
            self.segment_bytes.to_string(),
            SEGMENT_BYTES.contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(CAPACITY_UNIT),
            "must be 64 KiB to 1 TiB and a multiple of 4096",
        )?;
        if let Some(bytes) = self.payload_bytes_max {
            let fits = self.payload_that_fits().min(FORMAT_PAYLOAD_BYTES_MAX);
            let holds = (1..=fits).contains(&bytes);
            rule(
                "payload_bytes_max",
                bytes.to_string(),
                holds,
                "must be at least 1, at most 1 GiB - 1, and fit into a segment with 4,240 bytes of headers",
            )?;
        }
        let holds = COMMIT_BYTES.contains(&self.commit_bytes_max);
        rule("commit_bytes_max", self.commit_bytes_max.to_string(), holds, "must be 4 KiB to 256 MiB")?;
        let holds = self.commit_records_max > 0;
        rule("commit_records_max", self.commit_records_max.to_string(), holds, "must be at least 1")?;
        let holds = (1..=QUEUE_DEPTH_MAX).contains(&self.queue_depth);
        rule("queue_depth", self.queue_depth.to_string(), holds, "must be 1 to 1,048,576")?;
        rule(
            "linger",
            format!("{:?}", self.linger),
            self.linger <= LINGER_MAX,
            "must be at most one second",
        )?;
        rule("spin", format!("{:?}", self.spin), self.spin <= SPIN_MAX, "must be at most ten milliseconds")?;
        let holds = self.idle_commit.is_none_or(|after| after >= Duration::from_millis(1));
        rule(
            "idle_commit",
            format!("{:?}", self.idle_commit),
            holds,
            "must be at least one millisecond, or None",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: Options) -> &'static str {
        match options.check() {
            Err(Error::InvalidOption { name, .. }) => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_option_out_of_its_range_is_named() {
        assert!(Options::new().check().is_ok());
        assert_eq!(refused(Options::new().segment_bytes(60 << 10)), "segment_bytes");
        assert_eq!(refused(Options::new().segment_bytes((64 << 10) + 512)), "segment_bytes");
        assert_eq!(refused(Options::new().segment_bytes(u64::MAX)), "segment_bytes");
        assert_eq!(refused(Options::new().payload_bytes_max(0)), "payload_bytes_max");
        assert_eq!(refused(Options::new().payload_bytes_max(1 << 30)), "payload_bytes_max");
        assert_eq!(
            refused(Options::new().segment_bytes(64 << 10).payload_bytes_max(64 << 10)),
            "payload_bytes_max"
        );
        assert_eq!(refused(Options::new().commit_bytes_max(0)), "commit_bytes_max");
        assert_eq!(refused(Options::new().commit_records_max(0)), "commit_records_max");
        assert_eq!(refused(Options::new().queue_depth(0)), "queue_depth");
        assert_eq!(refused(Options::new().linger(Duration::from_secs(2))), "linger");
        assert_eq!(refused(Options::new().spin(Duration::from_millis(11))), "spin");
        assert_eq!(refused(Options::new().idle_commit(Some(Duration::ZERO))), "idle_commit");
    }

    #[test]
    fn the_default_limit_of_a_payload_fits_into_the_smallest_segment() {
        let options = Options::new().segment_bytes(64 << 10);
        assert_eq!(options.payload_limit(), (64 << 10) - 4096 - 104 - 40);
        assert_eq!(Options::new().payload_limit(), 16 << 20);
    }
}
