//! Arguments of every command that asks the guest's kernel something.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use vmss2core_guest::linux::{GivenFiles, LinuxOffsets, OffsetsError};

use super::{Global, Talk};

/// A checkpoint, and files that know its kernel better than the guest does.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuestArgs {
    /// Files of the checkpoint, in any order, or its directory
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) kernel: KernelArgs,
}

/// Files and numbers that know the guest's kernel better than the guest does.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KernelArgs {
    /// The guest's kernel file with debug information: layouts and symbols
    ///
    /// Debug information is DWARF, in the file or in one of debug symbols alone, or
    /// BTF. The file is checked to be of this kernel by its build id. It is rarely
    /// needed: the guest's memory holds what is asked of it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KERNEL)]
    pub(crate) vmlinux: Option<PathBuf>,
    /// Layouts of structures: BTF, or an ELF file with BTF
    ///
    /// As /sys/kernel/btf/vmlinux has them in the guest, or "vmss2core btf" writes
    /// them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KERNEL)]
    pub(crate) btf: Option<PathBuf>,
    /// The kernel's symbols as its build lists them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = KERNEL)]
    pub(crate) system_map: Option<PathBuf>,
    /// Layouts of structures, as "vmss2core linuxoffsets" prints them
    ///
    /// Either the 14 numbers of the original, 0xHEX,0xHEX,..., or items such as
    /// task_struct.tasks=0x890,mm_struct.pgd=0x48. They go before all else.
    #[arg(short = 'l', long, value_name = "LINE", value_parser = offsets, help_heading = KERNEL)]
    pub(crate) offsets: Option<LinuxOffsets>,
}

impl GuestArgs {
    /// The first word names a file; of the others, those that do not are names of
    /// something in the guest.
    pub(crate) fn take_names(&mut self) -> Vec<String> {
        let others = self.inputs.split_off(1.min(self.inputs.len()));
        let (files, names): (Vec<_>, Vec<_>) = others.into_iter().partition(|word| word.exists());
        self.inputs.extend(files);
        names.into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Their meaning.
    pub(crate) fn plan(self, global: &Global) -> GuestPlan {
        GuestPlan::new(self.inputs, self.kernel, global.spill_dir(), global.talk())
    }
}

/// Which checkpoint, and where its reader may put temporary files.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) spill_dir: PathBuf,
    pub(crate) talk: Talk,
}

/// A checkpoint whose kernel is asked something.
#[derive(Debug)]
pub(crate) struct GuestPlan {
    pub(crate) source: Source,
    /// Files that know its kernel better than it does.
    pub(crate) files: GivenFiles,
}

impl GuestPlan {
    pub(crate) fn new(
        inputs: Vec<PathBuf>,
        kernel: KernelArgs,
        spill_dir: PathBuf,
        talk: Talk,
    ) -> Self {
        let KernelArgs { vmlinux, btf, system_map, offsets } = kernel;
        let files = GivenFiles { offsets, vmlinux, btf, system_map, spill_dir: spill_dir.clone() };
        Self { source: Source { inputs, spill_dir, talk }, files }
    }
}

/// Heading of options about the kernel in help.
const KERNEL: &str = "Options about the guest's kernel";

fn offsets(text: &str) -> Result<LinuxOffsets, OffsetsError> {
    text.parse()
}
