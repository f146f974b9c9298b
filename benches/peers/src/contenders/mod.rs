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

/// Everybody, in the order in which they are listed; ringwal with segments of so many MiB, of 64 where none are given.
pub(crate) fn all(segments_mib: &[u64]) -> Vec<Box<dyn Contender>> {
    let mut all = Vec::new();
    for (name, backend) in [("ringwal", Backend::IoUring), ("ringwal-syscalls", Backend::Syscalls)] {
        let mut add = |name, mib: u64| {
            all.push(Box::new(ringwal::Ringwal { name, backend, segment_bytes: mib << 20 }) as Box<_>);
        };
        if segments_mib.is_empty() {
            add(name.to_owned(), 64);
        }
        segments_mib.iter().for_each(|mib| add(format!("{name}-{mib}MiB"), *mib));
    }
    all.extend(others());
    all
}

fn others() -> Vec<Box<dyn Contender>> {
    vec![
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
