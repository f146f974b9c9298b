use super::*;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

fn journal() -> (TempDir, Arc<NativeDisk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk = NativeDisk::open_write(&dir.path().join("journal"), true).unwrap();
    (dir, disk)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_missing_directory_is_made_for_the_owner_alone_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let missing = NativeDisk::open_write(&path, false).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    NativeDisk::open_write(&path, true).unwrap();
    assert_eq!(mode(&path), 0o700);
    NativeDisk::open_write(&path, true).unwrap();
    // Only the last component.
    let deeper = NativeDisk::open_write(&dir.path().join("a/b"), true).unwrap_err();
    assert_eq!(deeper.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    for bits in [0o770, 0o702] {
        fs::set_permissions(dir.path(), Permissions::from_mode(bits)).unwrap();
        let error = NativeDisk::open_write(dir.path(), true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("chmod go-w"));
        NativeDisk::open_read(dir.path()).unwrap();
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    NativeDisk::open_write(dir.path(), true).unwrap();
}

#[test]
fn the_directory_may_be_reached_over_a_link_but_must_be_one() {
    let (dir, _disk) = journal();
    let link = dir.path().join("link");
    symlink("journal", &link).unwrap();
    NativeDisk::open_read(&link).unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = NativeDisk::open_read(&dir.path().join("file")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn only_regular_files_are_opened() {
    let (dir, disk) = journal();
    let root = dir.path().join("journal");
    fs::write(dir.path().join("target"), b"x").unwrap();
    symlink(dir.path().join("target"), root.join("link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    let pipe = CString::new(root.join("pipe").to_str().unwrap()).unwrap();
    make_pipe(&pipe);
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    for (name, kind) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("folder", "directory"),
        ("pipe", "pipe"),
        ("socket", "socket"),
    ] {
        let errors = [
            ReadDisk::open_read(&*disk, Folder::Root, name).err(),
            Disk::open_write(&*disk, Folder::Root, name).err(),
            disk.open_page(Folder::Root, name).err(),
        ];
        for error in errors {
            let error = error.unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(error.to_string().contains(kind), "{name}: {error}");
        }
        let exists = disk.create(Folder::Root, name).unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
    }
    let missing = ReadDisk::open_read(&*disk, Folder::Root, "none").unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[expect(unsafe_code, reason = "std makes no pipes with names")]
fn make_pipe(path: &CString) {
    // SAFETY: mkfifo needs a string that ends with zero.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[test]
fn what_opening_answers_after_a_race_says_the_same_as_looking_before() {
    for (errno, word) in [(libc::ELOOP, "link"), (libc::EISDIR, "directory"), (libc::ENXIO, "pipe")] {
        let error = explain_refusal(io::Error::from_raw_os_error(errno));
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(word));
    }
}

#[test]
fn a_folder_that_is_a_link_is_not_entered() {
    let (dir, disk) = journal();
    symlink(dir.path(), dir.path().join("journal/cut")).unwrap();
    assert!(disk.list(Folder::Cut).is_err());
    assert!(disk.make_folder(Folder::Cut).is_err());
    assert!(disk.create(Folder::Cut, "file").is_err());
}

#[test]
fn names_cannot_lead_out_of_their_folder() {
    let (_dir, disk) = journal();
    for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"] {
        assert_eq!(disk.create(Folder::Root, name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(disk.remove(Folder::Root, name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_file_with_two_names_is_not_written_to_but_can_be_looked_at() {
    let (dir, disk) = journal();
    disk.create(Folder::Root, "one").unwrap().write_at(&[7; 4096], 0).unwrap();
    let (one, two) = (dir.path().join("journal/one"), dir.path().join("two"));
    fs::hard_link(one, &two).unwrap();
    let error = Disk::open_write(&*disk, Folder::Root, "one").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(!disk.open_page(Folder::Root, "one").unwrap().is_writable());
    assert_eq!(ReadDisk::open_read(&*disk, Folder::Root, "one").unwrap().len().unwrap(), 4096);
    fs::remove_file(two).unwrap();
    Disk::open_write(&*disk, Folder::Root, "one").unwrap();
    assert!(disk.open_page(Folder::Root, "one").unwrap().is_writable());
}

#[test]
fn files_are_created_once_listed_renamed_and_removed() {
    let (dir, disk) = journal();
    disk.make_folder(Folder::Cursors).unwrap();
    disk.make_folder(Folder::Cursors).unwrap();
    assert_eq!(mode(&dir.path().join("journal/cursors")), 0o700);
    disk.create(Folder::Root, "one").unwrap();
    assert_eq!(mode(&disk.path(Folder::Root, "one")), 0o600);
    assert_eq!(disk.create(Folder::Root, "one").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    symlink("one", dir.path().join("journal/link")).unwrap();

    let mut entries = disk.list(Folder::Root).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds: Vec<_> = entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind)).collect();
    let expected = [("cursors", EntryKind::Folder), ("link", EntryKind::Other), ("one", EntryKind::File)];
    assert_eq!(kinds, expected);

    disk.rename((Folder::Root, "one"), (Folder::Cursors, "two")).unwrap();
    disk.sync_folder(Folder::Root).unwrap();
    disk.sync_folder(Folder::Cursors).unwrap();
    assert_eq!(disk.list(Folder::Cursors).unwrap().len(), 1);
    disk.remove(Folder::Cursors, "two").unwrap();
    assert!(disk.list(Folder::Cursors).unwrap().is_empty());
    assert_eq!(disk.list(Folder::Cut).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.path(Folder::Cut, "x"), dir.path().join("journal/cut/x"));
}

#[test]
fn a_directory_that_is_moved_away_is_still_the_same() {
    let (dir, disk) = journal();
    fs::rename(dir.path().join("journal"), dir.path().join("elsewhere")).unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    disk.create(Folder::Root, "file").unwrap();
    assert!(dir.path().join("elsewhere/file").exists());
}

#[test]
fn a_folder_lock_keeps_other_threads_out_until_it_is_dropped() {
    let (_dir, disk) = journal();
    disk.make_folder(Folder::Cursors).unwrap();
    let held = disk.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
    let error = disk.lock_folder(Folder::Cursors, Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    disk.lock_folder(Folder::Root, Duration::ZERO).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| disk.lock_folder(Folder::Cursors, Duration::from_secs(20)).map(drop));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().unwrap().unwrap();
    });
    disk.lock_folder(Folder::Cursors, Duration::ZERO).unwrap();
}

#[test]
fn the_file_system_has_a_name_and_memory_a_warning() {
    let (_dir, disk) = journal();
    assert!(!disk.file_system().name.is_empty());
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        let memory = NativeDisk::open_write(memory.path(), false).unwrap().file_system();
        assert_eq!(memory.name, "tmpfs");
        assert!(memory.warning.is_some());
    }
}
