//! What `maps` and `extract` are to do.

use std::path::PathBuf;

use super::{GuestPlan, Style};
use crate::args::{ExtractArgs, ExtractWhat, Global, MapsArgs};

/// List the mappings of a process.
#[derive(Debug)]
pub(crate) struct MapsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) pid: u32,
    pub(crate) style: MapsStyle,
}

/// What a list of mappings looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapsStyle {
    Text,
    /// As `/proc/PID/maps`.
    Proc,
    Json,
}

impl MapsPlan {
    pub(super) fn new(args: MapsArgs, global: &Global) -> Self {
        let style = match (args.json, args.proc) {
            (true, _) => MapsStyle::Json,
            (false, true) => MapsStyle::Proc,
            (false, false) => MapsStyle::Text,
        };
        Self { guest: GuestPlan::new(args.guest, global), pid: args.pid, style }
    }
}

/// Rebuild files of a process.
#[derive(Debug)]
pub(crate) struct ExtractPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) pid: u32,
    pub(crate) files: WantedFiles,
    pub(crate) output: Option<PathBuf>,
    pub(crate) overwrite: bool,
    pub(crate) style: Style,
}

/// Which files of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WantedFiles {
    /// The executable.
    Executable,
    /// The executable and all libraries.
    Programs,
    /// The one of this path.
    Path(String),
}

impl ExtractPlan {
    pub(super) fn new(args: ExtractArgs, global: &Global) -> Self {
        let files = match args.what {
            ExtractWhat { file: Some(path), .. } => WantedFiles::Path(path),
            ExtractWhat { maps: true, .. } => WantedFiles::Programs,
            ExtractWhat { .. } => WantedFiles::Executable,
        };
        Self {
            guest: GuestPlan::new(args.guest, global),
            pid: args.pid,
            files,
            output: args.output,
            overwrite: args.force,
            style: Style::of(args.json),
        }
    }
}
