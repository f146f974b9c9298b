//! What was asked for, checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::contender::Contender;

pub(crate) struct Run {
    pub(crate) contenders: Vec<Box<dyn Contender>>,
    pub(crate) place: PathBuf,
    pub(crate) payloads: Vec<usize>,
    pub(crate) threads: Vec<usize>,
    pub(crate) duration: Duration,
    pub(crate) rounds: usize,
    /// Payload bytes of a full log.
    pub(crate) fill_bytes: u64,
}
