//! The peers, one file each, and the list of all contenders.

mod fjall;
mod numbers;
mod okaywal;
mod open_wal;
mod raft_engine;
mod redb;
mod ringwal;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;
mod wal_db;
mod writeahead;

use ::ringwal::Backend;

pub(crate) use self::ringwal::flushes_of_the_ring;

use crate::baselines::{Bare, Durably, GroupCommit, OneWriter, Space};
use crate::contender::Contender;

const SEGMENT_BYTES: u64 = 64 << 20;

/// Everybody, in the order in which they are listed.
pub(crate) fn all() -> Vec<Box<dyn Contender>> {
    let ringwal = |name, backend| Box::new(ringwal::Ringwal { name, backend, segment_bytes: SEGMENT_BYTES });
    vec![
        ringwal("ringwal", Backend::IoUring),
        ringwal("ringwal-syscalls", Backend::Syscalls),
        Box::new(writeahead::Writeahead),
        Box::new(raft_engine::RaftEngine),
        Box::new(okaywal::Okaywal),
        Box::new(wal_db::WalDb),
        Box::new(open_wal::OpenWal),
        #[cfg(feature = "rocksdb")]
        Box::new(rocksdb::RocksDb),
        Box::new(sqlite::Sqlite),
        Box::new(fjall::Fjall),
        Box::new(redb::Redb),
        Box::new(OneWriter(Space::Growing)),
        Box::new(OneWriter(Space::WrittenAhead)),
        Box::new(GroupCommit),
        Box::new(Bare(Durably::DirectDsync)),
        Box::new(Bare(Durably::DirectFdatasync)),
        Box::new(Bare(Durably::BufferedFdatasync)),
    ]
}
