//! Where the index' bytes lie: a real file through redb's own back end, or the simulated disk.
//!
//! Guarantees: the file is opened by `disk`, under its rules: regular, no links, mode 0600, one name.

use std::io;

use redb::backends::FileBackend;
use redb::{Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase};

use crate::disk::{Disk, FileIdentity, Folder, ReadDisk};
use crate::error::Error;
use crate::store::error::StoreResult;

/// The index.
pub(in crate::store::hybrid) const INDEX: &str = "index.redb";
/// An index that is being made: it gets its name when it is whole.
pub(in crate::store::hybrid) const UNFINISHED: &str = "index.redb.new";

/// What was opened, and which file that is, where there are real ones.
pub(super) type Opened<T> = (Result<T, DatabaseError>, Option<FileIdentity>);

/// Whether the index' name still leads to the file that was opened: somebody may have put another in its place.
pub(super) fn is_named(disk: &dyn ReadDisk, opened: Option<FileIdentity>) -> StoreResult<bool> {
    match disk.identity(Folder::Root, INDEX) {
        Ok(named) => Ok(named == opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::io("open", disk.path(Folder::Root, INDEX), source).into()),
    }
}

/// Opens the file for the one writer. A real file can be read by other processes at the same time; the simulated disk
/// has no locks on ranges, which that needs. The outer error is the file's, the inner one redb's.
pub(super) fn open_write(disk: &dyn Disk, name: &str, builder: &mut Builder) -> io::Result<Opened<Database>> {
    let Some(file) = disk.lend_write(Folder::Root, name)? else {
        return Ok((simulated::open_write(disk, name, builder)?, None));
    };
    let identity = FileIdentity::of(&file)?;
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    let opened = FileBackend::new(file).and_then(|backend| builder.create_with_backend(backend));
    Ok((opened, Some(identity)))
}

/// Opens the file for one who only reads.
pub(super) fn open_read(
    disk: &dyn ReadDisk,
    name: &str,
    builder: &mut Builder,
) -> io::Result<Opened<ReadOnlyDatabase>> {
    let Some(file) = disk.lend_read(Folder::Root, name)? else {
        return Ok((simulated::open_read(disk, name, builder)?, None));
    };
    let identity = FileIdentity::of(&file)?;
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    let opened = FileBackend::new(file).and_then(|backend| builder.open_read_only_with_backend(backend));
    Ok((opened, Some(identity)))
}

#[cfg(not(feature = "sim"))]
mod simulated {
    use super::{Builder, Database, DatabaseError, Disk, ReadDisk, ReadOnlyDatabase, io};

    pub(super) fn open_write(
        _disk: &dyn Disk,
        _name: &str,
        _builder: &Builder,
    ) -> io::Result<Result<Database, DatabaseError>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn open_read(
        _disk: &dyn ReadDisk,
        _name: &str,
        _builder: &Builder,
    ) -> io::Result<Result<ReadOnlyDatabase, DatabaseError>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(feature = "sim")]
mod simulated {
    use std::sync::Arc;

    use redb::StorageBackend;

    use super::{Builder, Database, DatabaseError, Disk, Folder, ReadDisk, ReadOnlyDatabase, io};
    use crate::disk::{ReadFile, WriteFile};

    pub(super) fn open_write(
        disk: &dyn Disk,
        name: &str,
        builder: &Builder,
    ) -> io::Result<Result<Database, DatabaseError>> {
        let file = disk.open_write(Folder::Root, name)?;
        Ok(builder.create_with_backend(WrittenFile(file)))
    }

    pub(super) fn open_read(
        disk: &dyn ReadDisk,
        name: &str,
        builder: &Builder,
    ) -> io::Result<Result<ReadOnlyDatabase, DatabaseError>> {
        let file = disk.open_read(Folder::Root, name)?;
        Ok(builder.open_read_only_with_backend(OnlyReadFile(file)))
    }

    fn read_all(file: &dyn ReadFile, position: u64, into: &mut [u8]) -> io::Result<()> {
        if file.read_at(into, position)? < into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    #[derive(Debug)]
    struct WrittenFile(Arc<dyn WriteFile>);

    impl StorageBackend for WrittenFile {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
            read_all(&*self.0, position, into)
        }

        fn set_len(&self, bytes: u64) -> io::Result<()> {
            self.0.allocate(bytes).map(drop)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync()
        }

        fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_at(bytes, position)
        }
    }

    #[derive(Debug)]
    struct OnlyReadFile(Arc<dyn ReadFile>);

    impl StorageBackend for OnlyReadFile {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
            read_all(&*self.0, position, into)
        }

        fn set_len(&self, _bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn sync_data(&self) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn write(&self, _position: u64, _bytes: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}
