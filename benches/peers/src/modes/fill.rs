//! Logs of a given size, for what is measured on full ones.

use anyhow::Result;

use crate::contender::{Address, Log};
use crate::payload::Payloads;

/// Bytes of each record in a full log.
pub(crate) const PAYLOAD_BYTES: usize = 256;
const BATCH: u64 = 1000;

/// Appends that many bytes of payload; gives where the records stand.
pub(crate) fn fill(log: &dyn Log, payloads: &Payloads, bytes: u64) -> Result<Vec<Address>> {
    let records = bytes / payloads.length() as u64;
    let mut appender = log.appender(0)?;
    let mut addresses = Vec::with_capacity(records as usize);
    for first in (0..records).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..records.min(first + BATCH)).map(|number| payloads.at(number)).collect();
        appender.append_batch(&batch, &mut addresses)?;
    }
    Ok(addresses)
}
