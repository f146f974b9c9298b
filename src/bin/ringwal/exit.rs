//! What the program ends with: 0 good, 1 damage found, 2 wrong use, 3 input or output failed.

use std::io::{self, Write};
use std::process::ExitCode;

use ringwal::{AuditError, StoreError};

/// What a command came to when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    Damage,
}

pub(crate) type Result = anyhow::Result<Outcome>;

/// A use that cannot be right, found after the arguments were parsed.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) String);

impl std::fmt::Display for WrongUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// The exit code; tells the error on standard error. Output that nobody reads any more is no error; what a command found
/// before that stands ([`told`]).
pub(crate) fn code(outcome: Result) -> ExitCode {
    let error = match outcome {
        Ok(Outcome::Good) => return ExitCode::SUCCESS,
        Ok(Outcome::Damage) => return ExitCode::from(1),
        Err(error) => error,
    };
    if is_closed_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    // Standard error may be closed too; there is nobody left to tell then.
    let _ = writeln!(io::stderr(), "ringwal: {error:#}");
    ExitCode::from(class(&error))
}

/// Whether the error is that nobody reads the output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is_one = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_one)
}

/// What a command came to before it told: that nobody reads what it tells does not change it.
pub(crate) fn told(outcome: Outcome, told: anyhow::Result<()>) -> Result {
    match told {
        Err(error) if !is_closed_pipe(&error) => Err(error),
        _ => Ok(outcome),
    }
}

fn class(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<WrongUse>().is_some() {
        return 2;
    }
    if let Some(error) = error.downcast_ref::<AuditError>() {
        return of_audit(error);
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return of_store(error);
    }
    error.downcast_ref::<ringwal::Error>().map_or(3, of_journal)
}

fn of_audit(error: &AuditError) -> u8 {
    match error {
        _ if error.is_corruption() => 1,
        AuditError::Store(error) => of_store(error),
        AuditError::BadRecord { .. }
        | AuditError::Invalid { .. }
        | AuditError::Conflict { .. }
        | AuditError::InvalidRange { .. }
        | AuditError::NotShown { .. }
        | AuditError::NoAudit { .. } => 2,
        _ => 3,
    }
}

fn of_store(error: &StoreError) -> u8 {
    match error {
        _ if error.is_corruption() => 1,
        StoreError::Journal(error) => of_journal(error),
        StoreError::EmptyKey
        | StoreError::KeyTooLong { .. }
        | StoreError::TooLarge { .. }
        | StoreError::IndexNotClosed { .. }
        | StoreError::IndexChanged { .. }
        | StoreError::TailTooLong { .. }
        | StoreError::IndexUnsupported { .. } => 2,
        _ => 3,
    }
}

fn of_journal(error: &ringwal::Error) -> u8 {
    match error {
        _ if error.is_corruption() => 1,
        ringwal::Error::Torn { .. } => 1,
        ringwal::Error::InvalidOption { .. }
        | ringwal::Error::InvalidName { .. }
        | ringwal::Error::NoSuchCursor { .. }
        | ringwal::Error::TooLarge { .. }
        | ringwal::Error::NotAJournal { .. }
        | ringwal::Error::NotYetDurable { .. }
        | ringwal::Error::BelowFloor { .. }
        | ringwal::Error::NotARecord { .. }
        | ringwal::Error::UnsupportedVersion { .. }
        | ringwal::Error::Locked { .. } => 2,
        ringwal::Error::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            2
        }
        _ => 3,
    }
}
