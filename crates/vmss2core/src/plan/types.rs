//! Questions about the kernel's types.

use std::path::PathBuf;

use vmss2core_guest::linux::KernelVersion;

use super::GuestPlan;
use crate::args::{BtfArgs, Global, LinuxoffsetsArgs};

/// Print where members of structures lie.
#[derive(Debug)]
pub(crate) struct OffsetsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) what: Offsets,
    /// Of a file that does not tell it.
    pub(crate) version: Option<KernelVersion>,
}

/// What is printed of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offsets {
    /// The 14 numbers of the original.
    Line,
    /// Every member.
    Layout,
}

impl OffsetsPlan {
    pub(super) fn new(args: &LinuxoffsetsArgs, global: &Global) -> Self {
        let what = if args.print_layout { Offsets::Layout } else { Offsets::Line };
        Self { guest: GuestPlan::new(args.guest(), global), what, version: args.kernel_version }
    }
}

/// Write the kernel's BTF.
#[derive(Debug)]
pub(crate) struct BtfPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) module: Option<String>,
    /// Standard output if there is none.
    pub(crate) output: Option<PathBuf>,
    pub(crate) overwrite: bool,
}

impl BtfPlan {
    pub(super) fn new(args: BtfArgs, global: &Global) -> Self {
        let output = Some(args.output).filter(|path| path.as_os_str() != "-");
        let guest = GuestPlan::new(args.guest, global);
        Self { guest, module: args.module, output, overwrite: args.force }
    }
}
