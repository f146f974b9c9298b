//! Where lines come from: a file, or standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

const BUFFER_BYTES: usize = 256 << 10;

/// The file, or standard input for `-`; and its length in bytes, 0 where that is not known.
pub(crate) fn open(file: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, u64)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())), 0));
    }
    let named = || file.display().to_string();
    let opened = File::open(file).with_context(named)?;
    let bytes = opened.metadata().with_context(named)?.len();
    Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, opened)), bytes))
}
