//! What the integration tests share: directories, child processes that are this test again, and seeds.
#![allow(dead_code, clippy::print_stdout, reason = "each test file uses its own part; seeds are printed")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A temporary directory and the journal's path in it.
pub(crate) fn journal_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let journal = directory.path().join("journal");
    (directory, journal)
}

/// The same in memory where the machine has such a directory: for tests that open a journal ten thousand times.
pub(crate) fn fast_journal_directory() -> (tempfile::TempDir, PathBuf) {
    let directory =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory");
    let journal = directory.path().join("journal");
    (directory, journal)
}

const CHILD: &str = "RINGWAL_TEST_CHILD";

/// The argument of this process if it is a child that [`child`] started.
pub(crate) fn child_argument() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// The running test once more, as a child process in which [`child_argument`] gives `argument`.
pub(crate) fn child(test: &str, argument: &Path) -> Child {
    child_command(test, argument).spawn().expect("a child process")
}

pub(crate) fn child_command(test: &str, argument: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, argument)
        .stdout(Stdio::piped())
        .stdin(Stdio::piped());
    command
}

/// Tells the parent a line; one of its own, whatever the test harness has begun to print before.
pub(crate) fn tell(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("a parent that listens");
}

/// The seed of a random test: from `RINGWAL_SEED`, or a new one; printed, so that a failure can be replayed.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("RINGWAL_SEED") {
        Ok(text) => text.parse().expect("RINGWAL_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("RINGWAL_SEED={seed} replays this run");
    seed
}

/// The segment files of a journal, in order.
pub(crate) fn segments(journal: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> = std::fs::read_dir(journal)
        .expect("a journal's directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    segments
}

/// Copies a journal's files, with modes that a journal accepts.
pub(crate) fn copy_journal(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a journal's directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_journal(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// Every file of a directory with its content, `LOCK` left out: it holds the pid of whoever opened last.
pub(crate) fn contents(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            let content = std::fs::read(&path).expect("a readable file");
            all.insert(path, content);
        }
    }
    all
}

/// The same, a hash in place of each content: to be compared.
pub(crate) fn fingerprint(directory: &Path) -> std::collections::BTreeMap<PathBuf, String> {
    let hashed = |(path, content): (PathBuf, Vec<u8>)| (path, ringwal::Hash::of(&content).to_string());
    contents(directory).into_iter().map(hashed).collect()
}
