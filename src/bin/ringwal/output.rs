//! Standard output, tables and progress bars.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Standard output, buffered; whoever writes to it flushes it.
pub(crate) fn out() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Writes one JSON value as a line.
pub(crate) fn json(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = out();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// Writes text.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = out();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// A table with a head.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    table
}

/// Shows how far something has come, on a terminal only, and only what takes longer than a second.
pub(crate) struct Progress {
    bar: ProgressBar,
    since: std::time::Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(total: u64, what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let template = if std::env::var_os("NO_COLOR").is_some() {
            "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        } else {
            "{msg} [{wide_bar:.cyan}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self { bar, since: std::time::Instant::now(), is_shown: false }
    }

    pub(crate) fn at(&mut self, done: u64) {
        if !self.is_shown && io::stderr().is_terminal() && self.since.elapsed() > Duration::from_secs(1) {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
