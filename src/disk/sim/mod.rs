//! A disk in memory that keeps what was written apart from what is durable, and can crash, fail and lie.
//!
//! One [`SimDisk`] is one journal's directory with its folders. The same seed and the same calls give the same result,
//! so every failure it provokes can be run again. It is for ringwal's own tests, outside the semver promise.
//!
//! Must not know: records, segments, journals.
//!
//! # The fault model
//!
//! What a power cut may do is the weakest common behaviour of Linux file systems; nothing that one of them promises
//! alone is promised here. Sectors have 512 bytes: the unit that disks write whole.
//!
//! | zone | what may break | what may not, and why |
//! |---|---|---|
//! | content since the last flush | each sector alone: kept, dropped (the old content, zeros if there was none), torn (its first part new) or garbage, where not [`SimDisk::whole_bytes`]; in any order | flushed sectors: that is what a flush means |
//! | a sector written again | the same, but bytes that were durable and were written with the same value survive, unless [`SimDisk::powersafe_overwrite`] is off | rewriting the block that holds the last commit's end relies on it; so does every log that packs densely |
//! | length since the last flush | kept or dropped, apart from the content (kept length and lost content: zeros) | a flushed length, or the length that flushed log bytes need |
//! | names since the last `sync_folder` | each change alone: kept or dropped; syncing a file does not save its name | a rename in one folder is atomic; one across folders is so only while neither folder is synced |
//! | a shared page | an older state of each sector, torn only between words | a word is never half written: the processor stores it whole |
//! | a failed write | any of its sectors may have been written, none is flushed | bytes outside the write |
//! | a failed flush | any of the sectors it was for may be lost for good: the cache shows them and calls them clean, the next flush says OK, `read_past_cache` shows the old ones. The others stay un-flushed | sectors flushed before; other ways: [`FlushFailure`]. Direct log writes are not in the cache, so nobody is shown what they lost |
//! | a lying flush | says OK and flushes no content | names |
//! | a misdirected write or read | it says OK and touches another place, of this file or, a write, of another | its length |
//! | a killed process | nothing: the kernel still holds what was written, un-flushed; a log write that it died in may land after the next process has begun, and holds the file's lock until then | |
//! | damage at rest | whatever a test does with [`SimDisk::set_content`] and [`SimDisk::rot`] | the disk never does it by itself |
//!
//! After a crash every handle from before it is dead: it answers with `ESHUTDOWN`, changes nothing and holds no lock.
//!
//! # What counts as an operation
//!
//! For [`SimDisk::fail_operation`], [`SimDisk::crash_at`] and [`SimDisk::operations`] each of these counts one: `list`,
//! `open_read`, `open_write`, `open_page`, `create`, `make_folder`, `rename`, `remove`, `sync_folder`, `read_at`,
//! `read_past_cache`, `written_from`, `written_until`, `write_at`, `write_zeros`, `allocate`, `sync` of a file or a page, and in
//! `write_durably` each write (short ones are finished by another) and the flush. Locks, lengths, times, loads and stores
//! of a page and `log_writer` do not count. Operations of a frozen disk or a dead handle are refused and not counted.

mod control;
mod disk;
mod fault;
mod file;
mod inode;
mod names;
mod page;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use control::SimDisk;
pub use fault::{Failure, FlushFailure, Injected};
pub(crate) use inode::FrozenContent;
