#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("ringwal works on Linux only: its promises rest on io_uring, O_DIRECT and Linux's file locks");

#[cfg(feature = "audit")]
mod audit;
mod disk;
mod error;
mod format;
mod journal;
mod position;
mod recovery;
mod segment;
#[cfg(feature = "sim")]
mod simulator;
#[cfg(feature = "store")]
mod store;

#[cfg(feature = "audit")]
pub use audit::{
    AuditError, AuditPut, AuditResult, AuditStore, Audits, CheckedAudit, ContributingAssertion,
    GenericAuditStore, LifecycleStage, QueryAudit, QueryParams, RecordFault, TrailProblem, TrailReport,
    TrailStage, key_codec,
};
pub use disk::{Backend, BackendReport, FlushMethod, FlushTiming};
pub use error::{Corruption, CorruptionKind, Error, Evidence, Result};
pub use journal::{
    AnchorCheck, AnchorFinding, CleanupReport, Cursor, CursorKind, Cursors, Follow, Head, JournalReader,
    JournalWriter, Options, Packing, Receipt, Record, RecordRef, Records, Stats, VerifyOptions, VerifyReport,
    WriterInfo, cleanup_directory,
};
#[cfg(feature = "group-commit")]
pub use journal::{GroupCommitBuffer, Journal, Ticket, TrySubmitError};
pub use position::{Hash, JournalId, Offset};
pub use recovery::{
    RecoveryPolicy, RecoveryReport, Salvage, Salvaged, Verdict, plan_recovery, recover_directory,
    recover_file,
};
pub use segment::manager::{SegmentInfo, SegmentManager};
#[cfg(feature = "store")]
pub use store::{
    BatchOp, Direction, Entry, EntryRef, HybridOptions, HybridReader, HybridStore, JournaledStore, KeyRange,
    KvStore, MemStore, Scan, StoreError, StoreResult, WriteBatch, Written,
};

/// The simulated disk of ringwal's own tests; outside the semver promise.
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim {
    pub use crate::disk::sim::{Failure, FlushFailure, Injected, SimDisk};

    /// The format's parsers on arbitrary bytes.
    pub mod parse {
        #[cfg(feature = "audit")]
        pub use crate::simulator::parse::decode_audit_bytes;
        #[cfg(feature = "store")]
        pub use crate::simulator::parse::decode_batch_bytes;
        pub use crate::simulator::parse::{decode_everything, open_with_state_files};
    }

    /// The pure parts of appending and reading, for benchmarks.
    pub mod work {
        pub use crate::simulator::work::{Segment, check, encode};
    }

    /// Histories made from numbers, and their judge.
    pub mod simulator {
        pub use crate::simulator::{
            Campaign, DamageFound, Failure, FaultsTried, Figures, Profile, SmallWorlds, Step,
            damage_everything, explore_small_worlds, fail_everything, run_bytes, run_many,
        };
    }
}
