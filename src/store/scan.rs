//! What a scan gives back: entries one by one, borrowed or with bytes of their own.

use super::error::StoreResult;
use super::kv::Entry;

/// A key and its value, borrowed from the scan that they were found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// A key and its value.
    #[must_use]
    pub const fn new(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key, value }
    }

    /// The same with bytes of its own.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        Entry::new(self.key.to_vec(), self.value.to_vec())
    }
}

/// Where a scan's entries come from.
pub(super) trait Entries: Send {
    /// The next entry, borrowed until the next call.
    fn next_ref(&mut self) -> StoreResult<Option<EntryRef<'_>>>;

    /// The next entry with bytes of its own.
    fn next_owned(&mut self) -> StoreResult<Option<Entry>> {
        Ok(self.next_ref()?.map(|entry| entry.to_entry()))
    }
}

/// The entries that a scan found, in its direction, as they were at one moment. An error ends it.
///
/// [`next_ref`](Self::next_ref) borrows each entry from the scan; as an `Iterator` it gives each entry bytes of its own.
/// ```
/// use ringwal::{Direction, KeyRange, KvStore, MemStore};
/// # fn main() -> ringwal::StoreResult<()> {
/// let store = MemStore::new();
/// store.put(b"alice", b"5")?;
/// store.put(b"bob", b"7")?;
/// let mut accounts = store.scan(KeyRange::all(), Direction::Forward, 10)?;
/// let mut bytes = 0;
/// while let Some(account) = accounts.next_ref()? {
///     bytes += account.key.len() + account.value.len();
/// }
/// assert_eq!(bytes, 10);
/// # Ok(())
/// # }
/// ```
pub struct Scan<'a>(Option<Box<dyn Entries + 'a>>);

impl<'a> Scan<'a> {
    /// A scan over what an iterator gives up to its end or an error; for those who write a store of their own.
    pub fn new(entries: impl Iterator<Item = StoreResult<Entry>> + Send + 'a) -> Self {
        Self::over(Given { entries: Some(entries), current: None })
    }

    /// A scan that found nothing.
    pub(super) fn empty() -> Self {
        Self(None)
    }

    pub(super) fn over(entries: impl Entries + 'a) -> Self {
        Self(Some(Box::new(entries)))
    }

    /// The next entry, its bytes borrowed until the next call; `None` at the end, and after an error.
    ///
    /// # Errors
    /// What reading the store's medium answered.
    pub fn next_ref(&mut self) -> StoreResult<Option<EntryRef<'_>>> {
        let Some(entries) = &mut self.0 else { return Ok(None) };
        entries.next_ref()
    }
}

impl Iterator for Scan<'_> {
    type Item = StoreResult<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next_owned().transpose()
    }
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

/// What an iterator gives up to its end or an error, and the entry that it gave last.
struct Given<I> {
    /// `None` after that.
    entries: Option<I>,
    current: Option<Entry>,
}

impl<I: Iterator<Item = StoreResult<Entry>> + Send> Entries for Given<I> {
    fn next_ref(&mut self) -> StoreResult<Option<EntryRef<'_>>> {
        self.current = None;
        self.current = self.next_owned()?;
        Ok(self.current.as_ref().map(|entry| EntryRef::new(&entry.key, &entry.value)))
    }

    fn next_owned(&mut self) -> StoreResult<Option<Entry>> {
        let next = self.entries.as_mut().and_then(Iterator::next).transpose();
        if !matches!(next, Ok(Some(_))) {
            self.entries = None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn an_error_and_the_end_are_the_end_whatever_the_iterator_gives_then() {
        let entry = || Some(Ok(Entry::new(b"key".to_vec(), b"value".to_vec())));
        let scan = || {
            let mut given = [entry(), Some(Err(Error::Closed.into())), entry()].into_iter();
            Scan::new(std::iter::from_fn(move || given.next().flatten()))
        };
        let mut borrowed = scan();
        assert!(matches!(borrowed.next_ref(), Ok(Some(_))));
        assert!(borrowed.next_ref().is_err());
        assert!(matches!(borrowed.next_ref(), Ok(None)));
        let mut owned = scan();
        assert!(owned.next().is_some_and(|entry| entry.is_ok()));
        assert!(owned.next().is_some_and(|entry| entry.is_err()));
        assert!(owned.next().is_none());
        let mut given = [entry(), None, entry()].into_iter();
        let mut ended = Scan::new(std::iter::from_fn(move || given.next().flatten()));
        assert_eq!((ended.by_ref().count(), ended.count()), (1, 0));
    }
}
