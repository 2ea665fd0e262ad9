//! Kinds of failures, by names that programs can go by.

use std::io;

use anyhow::Error;
use vmss2core_checkpoint::OpenError;
use vmss2core_dump::DumpError;
use vmss2core_guest::AskError;

use crate::exit::{Stopped, UsageError};

/// The kind of a failure: the first cause that has one.
pub(crate) fn kind(error: &Error) -> &'static str {
    error.chain().find_map(kind_of).unwrap_or("failed")
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if cause.is::<UsageError>() {
        return Some("usage");
    }
    if cause.is::<Stopped>() {
        return Some("stopped");
    }
    if let Some(error) = cause.downcast_ref::<vmss2core::Error>() {
        return of_library(error);
    }
    if let Some(error) = cause.downcast_ref::<OpenError>() {
        return Some(of_opening(error));
    }
    if let Some(error) = cause.downcast_ref::<DumpError>() {
        return of_writing(error);
    }
    cause.is::<io::Error>().then_some("io")
}

fn of_library(error: &vmss2core::Error) -> Option<&'static str> {
    match error {
        vmss2core::Error::Open(error) => Some(of_opening(error)),
        vmss2core::Error::Write(error) => of_writing(error),
        vmss2core::Error::NoSystem => Some("no-system"),
        vmss2core::Error::OtherSystem(_) => Some("other-system"),
        vmss2core::Error::Ask(AskError::NoProcess(_) | AskError::NoCpu { .. })
        | vmss2core::Error::NoProcessMemory(_) => Some("no-such-process"),
        vmss2core::Error::SeveralProcesses { .. } => Some("several-processes"),
        _ => None,
    }
}

fn of_opening(error: &OpenError) -> &'static str {
    match error {
        OpenError::NotACheckpoint { .. } | OpenError::NothingInside { .. } => "not-a-checkpoint",
        OpenError::Ambiguous { .. } | OpenError::TwoCheckpoints { .. } => "several-checkpoints",
        OpenError::Encrypted { .. } => "encrypted",
        OpenError::NamedFileMissing { encryption: Some(_), .. } => "encrypted",
        OpenError::MemoryNotFound { .. } => "memory-not-found",
        OpenError::NamedFileMissing { .. } => "file-missing",
        OpenError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "file-missing"
        }
        OpenError::Open { .. } | OpenError::Read { .. } | OpenError::Spill { .. } => "io",
        OpenError::Pieces { .. } | OpenError::Piece { .. } => "pieces",
        OpenError::Unknown { .. } => "unknown-version",
        OpenError::Broken { .. } | OpenError::Format(_) => "broken",
        _ => "failed",
    }
}

fn of_writing(error: &DumpError) -> Option<&'static str> {
    match error {
        DumpError::Exists { .. } => Some("exists"),
        DumpError::NotLinux { .. } | DumpError::NotWindows { .. } => Some("other-system"),
        _ => None,
    }
}
