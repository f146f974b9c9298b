//! Making a ring that this kernel and its guards allow, and saying why there is none.
//!
//! Guarantees: a ring that is given out has carried an operation to its end, knows all operations that are needed,
//! and loses no completion.
//! Must not know: files, buffers, commits.

#![expect(unsafe_code, reason = "submission")]

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// One operation is in flight at a time; the rest is slack.
const ENTRIES: u32 = 4;

/// A ring, and its set-up flags in words.
pub(super) struct Setup {
    pub(super) ring: IoUring,
    pub(super) words: &'static str,
}

/// Sets up a ring. With `single_thread` it must be used on the calling thread only.
pub(super) fn set_up(single_thread: bool) -> io::Result<Setup> {
    let mut setup = climb_down(single_thread)?;
    if !setup.ring.params().is_feature_nodrop() {
        return Err(unsupported("the kernel may lose completions (before Linux 5.5)"));
    }
    refuse_missing_operations(&setup.ring)?;
    try_out(&mut setup.ring)?;
    Ok(setup)
}

/// The most fitting flags first; older kernels answer EINVAL to those they do not know.
fn climb_down(single_thread: bool) -> io::Result<Setup> {
    if single_thread {
        // Completions are worked off when this thread asks for them, and not by interrupting it: least work.
        let mut builder = IoUring::builder();
        builder.dontfork().setup_submit_all().setup_single_issuer().setup_defer_taskrun();
        match builder.build(ENTRIES) {
            Ok(ring) => return Ok(Setup { ring, words: "single issuer, deferred task run" }),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let mut builder = IoUring::builder();
    builder.dontfork().setup_submit_all().setup_coop_taskrun();
    match builder.build(ENTRIES) {
        Ok(ring) => return Ok(Setup { ring, words: "cooperative task run" }),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(error),
    }
    let ring = IoUring::builder().dontfork().build(ENTRIES)?;
    Ok(Setup { ring, words: "plain" })
}

fn refuse_missing_operations(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_err() {
        // Forbidden by a guard, or too old to be asked. The first write will tell.
        return Ok(());
    }
    let needed = [opcode::Write::CODE, opcode::WriteFixed::CODE, opcode::Fsync::CODE];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        Ok(())
    } else {
        Err(unsupported("the kernel's io_uring cannot write files (before Linux 5.6)"))
    }
}

/// A guard may allow the set-up and forbid the use.
fn try_out(ring: &mut IoUring) -> io::Result<()> {
    let nothing = opcode::Nop::new().build();
    // SAFETY: the entry points to no memory.
    unsafe { ring.submission().push(&nothing) }.map_err(|_| io::Error::other("a new ring is full"))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if ring.completion().next().is_some() {
            return Ok(());
        }
    }
}

fn unsupported(sentence: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, sentence)
}

/// Why there is no ring and what to do, as a sentence for people.
pub(super) fn explain(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden, by a seccomp profile (such as Docker's default) or by the sysctl \
             kernel.io_uring_disabled; allow io_uring_setup, io_uring_enter and io_uring_register in the profile, or set \
             the sysctl to 0"
        }
        Some(libc::ENOSYS) => {
            "the kernel has no io_uring, or a seccomp profile or sandbox hides it; use Linux 5.6 or newer, or allow \
             io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(libc::ENOMEM) => {
            "there is not enough memory that may be locked for io_uring; raise RLIMIT_MEMLOCK (ulimit -l)"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "there are too many open files for io_uring; raise RLIMIT_NOFILE (ulimit -n)"
        }
        _ => "io_uring cannot be used",
    };
    format!("{cause} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_cause_and_the_remedy() {
        for (errno, words) in [
            (libc::EPERM, ["seccomp", "io_uring_disabled"]),
            (libc::ENOSYS, ["kernel", "5.6"]),
            (libc::ENOMEM, ["RLIMIT_MEMLOCK", "ulimit -l"]),
            (libc::EMFILE, ["RLIMIT_NOFILE", "ulimit -n"]),
        ] {
            let sentence = explain(&io::Error::from_raw_os_error(errno));
            assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        }
    }

    #[test]
    fn a_ring_for_one_thread_is_told_so_where_the_kernel_can() {
        let (Ok(one), Ok(many)) = (set_up(true), set_up(false)) else { return };
        assert!(!many.ring.params().is_setup_single_issuer());
        assert_eq!(one.ring.params().is_setup_single_issuer(), one.words.starts_with("single"));
    }
}
