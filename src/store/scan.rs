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
    /// A scan over what an iterator gives; for those who write a store of their own.
    pub fn new(entries: impl Iterator<Item = StoreResult<Entry>> + Send + 'a) -> Self {
        Self::over(Given { entries, current: None })
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

/// What an iterator gives, and the entry that it gave last.
struct Given<I> {
    entries: I,
    current: Option<Entry>,
}

impl<I: Iterator<Item = StoreResult<Entry>> + Send> Entries for Given<I> {
    fn next_ref(&mut self) -> StoreResult<Option<EntryRef<'_>>> {
        self.current = None;
        self.current = self.next_owned()?;
        Ok(self.current.as_ref().map(|entry| EntryRef::new(&entry.key, &entry.value)))
    }

    fn next_owned(&mut self) -> StoreResult<Option<Entry>> {
        self.entries.next().transpose()
    }
}
