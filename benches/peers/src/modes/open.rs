//! `--mode open`: how long opening takes on a full log, warm, after an orderly end and after a kill.
//!
//! Guarantees: the kill is one. A child process opens the log, appends, and is ended by SIGKILL.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::contender::Contender;
use crate::modes::fill::{PAYLOAD_BYTES, fill};
use crate::payload::Payloads;
use crate::rounds::settle;
use crate::run::Run;
use crate::section::Section;
use crate::table::Row;

/// One section for each size and way to end.
pub(crate) fn run(run: &Run) -> Result<Vec<Section>> {
    let sections = run.fill_mib.iter().map(|mib| of_size(run, mib << 20));
    Ok(sections.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn of_size(run: &Run, bytes: u64) -> Result<[Section; 2]> {
    let mut closed = Vec::new();
    let mut killed = Vec::new();
    for contender in run.contenders.iter().filter(|contender| contender.can_reopen()) {
        let mut after = [Row::new(contender.name()), Row::new(contender.name())];
        one(run, &**contender, bytes, &mut after).with_context(|| contender.name().to_owned())?;
        let [after_close, after_kill] = after;
        closed.push(after_close);
        killed.push(after_kill);
    }
    let title = |how| format!("opening {} MiB of {PAYLOAD_BYTES} B records, warm, after {how}", bytes >> 20);
    Ok([Section::times(title("an orderly end"), "ms", closed), Section::times(title("a kill"), "ms", killed)])
}

fn one(run: &Run, contender: &dyn Contender, bytes: u64, after: &mut [Row; 2]) -> Result<()> {
    let keep = tempfile::Builder::new().prefix("peers-").tempdir_in(&run.place)?;
    let log = contender.open(keep.path())?;
    fill(&*log, &Payloads::new(PAYLOAD_BYTES), bytes)?;
    log.close()?;
    settle(&run.place)?;
    for _ in 0..run.rounds {
        after[0].add([open(contender, keep.path())?]);
    }
    for _ in 0..run.rounds {
        kill_one(run, contender, keep.path())?;
        after[1].add([open(contender, keep.path())?]);
    }
    keep.close()?;
    settle(&run.place)
}

pub(super) fn open(contender: &dyn Contender, directory: &Path) -> Result<f64> {
    let begun = Instant::now();
    let log = contender.open(directory)?;
    let elapsed = begun.elapsed();
    log.close()?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// In place of the name of a mode, in the child.
pub(crate) const CHILD: &str = "RINGWAL_PEERS_CHILD";
/// What the child says when it has appended.
const APPENDED: &str = "appended";

pub(super) fn kill_one(run: &Run, contender: &dyn Contender, directory: &Path) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(run.segments_mib.iter().map(|mib| format!("--segment={mib}")))
        .args(["--only", contender.name(), "--dir"])
        .arg(directory)
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let output = child.stdout.take().context("the child's output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut said)?;
    child.kill()?;
    child.wait()?;
    ensure!(said.trim() == APPENDED, "the child did not append");
    Ok(())
}

/// The child: opens, appends, says so, and waits for its end.
pub(crate) fn child(contender: &dyn Contender, directory: &Path) -> Result<()> {
    let log = contender.open(directory)?;
    let mut appender = log.appender(0)?;
    for number in 0..16 {
        appender.append(Payloads::new(PAYLOAD_BYTES).at(number))?;
    }
    println!("{APPENDED}");
    loop {
        std::thread::park();
    }
}
