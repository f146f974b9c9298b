//! Making a ring: the best set-up that the kernel has, and what it means when it refuses.

use std::io;

use io_uring::IoUring;

/// One entry is ever in flight; the kernel rounds up and doubles it for completions.
const ENTRIES: u32 = 4;

/// A ring, and its set-up in words.
pub(super) fn make_ring(single_thread: bool) -> io::Result<(IoUring, &'static str)> {
    let mut refused = None;
    for setup in LADDER.iter().filter(|setup| single_thread || !setup.needs_single_thread) {
        match (setup.build)() {
            Ok(ring) if !ring.params().is_feature_nodrop() => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's rings can lose completions"));
            }
            Ok(ring) => return Ok((ring, setup.words)),
            // An older kernel, which does not know a flag: the next step of the ladder.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL)))
}

struct Setup {
    words: &'static str,
    needs_single_thread: bool,
    build: fn() -> io::Result<IoUring>,
}

/// Best first. Rings are not inherited by forked children (`dontfork`).
const LADDER: [Setup; 3] = [
    Setup {
        words: "single issuer, deferred task run",
        needs_single_thread: true,
        build: || IoUring::builder().dontfork().setup_single_issuer().setup_defer_taskrun().build(ENTRIES),
    },
    Setup {
        words: "cooperative task run",
        needs_single_thread: false,
        build: || IoUring::builder().dontfork().setup_coop_taskrun().build(ENTRIES),
    },
    Setup { words: "plain", needs_single_thread: false, build: || IoUring::builder().dontfork().build(ENTRIES) },
];

/// Why io_uring does not run, and what to do about it, as a sentence.
pub(super) fn why_refused(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: by a seccomp profile (the default of Docker and containerd) or the sysctl \
             kernel.io_uring_disabled; allow io_uring_setup, io_uring_enter and io_uring_register to use it"
        }
        Some(libc::ENOSYS) => {
            "io_uring is not there: the kernel was built without it, is older than 5.1, or a seccomp profile hides it"
        }
        Some(libc::ENOMEM) => "io_uring was refused memory: raise RLIMIT_MEMLOCK (`ulimit -l`)",
        Some(libc::EMFILE | libc::ENFILE) => "io_uring was refused a file descriptor: raise RLIMIT_NOFILE (`ulimit -n`)",
        _ => "io_uring was refused",
    };
    format!("{cause} ({error})")
}
