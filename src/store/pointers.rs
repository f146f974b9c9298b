//! What points to a store is a store: `&S`, `Box<S>`, `Arc<S>`, also of a `dyn` one.
//!
//! Guarantees: every call goes through to the store, those that have a default in the trait too. Must not know: any store.

use std::sync::Arc;

use super::batch::WriteBatch;
use super::error::StoreResult;
use super::journaled::JournaledStore;
use super::kv::{KvStore, Written};
use super::range::{Direction, KeyRange};
use super::scan::Scan;
use crate::journal::{JournalReader, Receipt};
use crate::position::Offset;

macro_rules! a_pointer_is_a_store {
    ($($pointer:ty),*) => {$(
        impl<S: KvStore + ?Sized> KvStore for $pointer {
            fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
                (**self).get(key)
            }

            fn write(&self, batch: WriteBatch) -> StoreResult<Written> {
                (**self).write(batch)
            }

            fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
                (**self).scan(range, direction, limit)
            }

            fn flush(&self) -> StoreResult<()> {
                (**self).flush()
            }

            fn put(&self, key: &[u8], value: &[u8]) -> StoreResult<Written> {
                (**self).put(key, value)
            }

            fn delete(&self, key: &[u8]) -> StoreResult<Written> {
                (**self).delete(key)
            }

            fn scan_prefix(&self, prefix: &[u8], direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
                (**self).scan_prefix(prefix, direction, limit)
            }
        }

        impl<S: JournaledStore + ?Sized> JournaledStore for $pointer {
            fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>> {
                (**self).get_with_origin(key)
            }

            fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)> {
                (**self).batch_at(offset)
            }

            fn shown_end(&self) -> StoreResult<Offset> {
                (**self).shown_end()
            }

            fn journal_reader(&self) -> JournalReader {
                (**self).journal_reader()
            }
        }
    )*};
}

a_pointer_is_a_store!(&S, Box<S>, Arc<S>);
