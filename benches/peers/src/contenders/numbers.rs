//! Keys for records in stores that have no order of their own: numbers, given in turn.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::contender::Address;

/// The number that comes next.
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    /// Goes on behind the last number in the store, if it holds any.
    pub(super) fn after(last: Option<u64>) -> Self {
        Self(AtomicU64::new(last.map_or(0, |last| last + 1)))
    }

    /// As [`Numbers::after`], with the number as the key that it makes: big-endian, so that keys sort like numbers.
    pub(super) fn after_key(last: Option<impl AsRef<[u8]>>) -> Result<Self> {
        let number = last.map(|key| key.as_ref().try_into().map(u64::from_be_bytes)).transpose()?;
        Ok(Self::after(number))
    }

    /// Each payload with its number, which is its address as well.
    pub(super) fn give<'a>(
        &self,
        payloads: &'a [&'a [u8]],
        addresses: &mut Vec<Address>,
    ) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let count = payloads.len();
        let first = self.0.fetch_add(count as u64, Ordering::Relaxed);
        addresses.extend((first..).take(count).map(|number| (number, 0)));
        (first..).zip(payloads.iter().copied())
    }
}
