//! `linuxoffsets`: the offsets of structures as `-l` takes them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, ValueHint};
use vmss2core_answers::{OffsetInfo, OffsetsReport};
use vmss2core_guest::linux::{KernelFile, KernelVersion, Layout, known_layout, offsets_line};

use super::open::ask_linux;
use super::{Arguments, Plan};
use crate::args::{Global, GuestPlan, KernelArgs, Style};
use crate::exit::Exit;
use crate::output;

/// Print the offsets of the kernel's structures, as -l takes them
///
/// What the getlinuxoffsets scripts of the original printed from a vmlinux in gdb:
/// the kernel's version and 13 offsets and sizes. Here they come from the guest's
/// own memory, or from a kernel file. They are rarely needed: every command finds
/// them itself.
#[derive(Debug, Args)]
#[command(after_help = "\
A kernel file is a vmlinux with debug information, or BTF, for example
/sys/kernel/btf/vmlinux.

Examples:
  vmss2core linuxoffsets vm.vmss
  vmss2core linuxoffsets --print-layout vm.vmss    all that is asked of layouts
  vmss2core linuxoffsets /usr/lib/debug/boot/vmlinux-6.1.0-28-amd64
  vmss2core -P -l \"$(vmss2core linuxoffsets vmlinux)\" old.vmss")]
pub(crate) struct LinuxoffsetsArgs {
    /// Files of the checkpoint, or its directory; or a kernel file
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    inputs: Vec<PathBuf>,
    /// Print every member that is asked for, and who says where it lies
    ///
    /// Each line is an item that -l takes; after the # is a remark.
    #[arg(long)]
    print_layout: bool,
    /// The version of a kernel file that does not tell it, such as 6.1.0
    #[arg(long, value_name = "VERSION", value_parser = version)]
    kernel_version: Option<KernelVersion>,
    /// Print JSON instead of text (docs/schema/linuxoffsets-1.json)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kernel: KernelArgs,
}

impl Arguments for LinuxoffsetsArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let what = if self.print_layout { Offsets::Layout } else { Offsets::Line };
        let guest = GuestPlan::new(self.inputs, self.kernel, global.spill_dir(), global.talk());
        let style = Style::of(self.json);
        Ok(Box::new(OffsetsPlan { guest, what, version: self.kernel_version, style }))
    }
}

fn version(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::of_release(text).ok_or_else(|| format!("not a kernel version: {text}"))
}

/// Print where members of structures lie.
#[derive(Debug)]
struct OffsetsPlan {
    guest: GuestPlan,
    what: Offsets,
    /// Of a file that does not tell it.
    version: Option<KernelVersion>,
    style: Style,
}

/// Printed form of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offsets {
    /// The 14 numbers of the original.
    Line,
    /// Every member.
    Layout,
}

impl Plan for OffsetsPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        if let [only] = self.guest.source.inputs.as_slice()
            && only.is_file()
            && let Some(file) = KernelFile::open(only, &self.guest.source.spill_dir)?
        {
            let version = self.version.or(file.version).or_else(|| running(only));
            let version = version.ok_or_else(|| {
                anyhow!(
                    "the file does not tell the kernel's version; say it with --kernel-version, \
                     for example --kernel-version 6.1.0"
                )
            })?;
            print(self, &file.layout, version, file.is_64_bit)?;
            return Ok(Exit::Done);
        }
        ask_linux(&self.guest, |kernel| {
            let release = kernel.linux().release.as_ref();
            let version = release.and_then(|release| KernelVersion::of_release(&release.value));
            let version = self.version.or(version).ok_or_else(|| {
                anyhow!("the kernel's version was not found; give --kernel-version")
            })?;
            print(self, kernel.layout(), version, kernel.linux().is_64_bit)?;
            Ok(Vec::new())
        })
    }
}

/// The version of the kernel that runs here, if the file is its types.
fn running(file: &Path) -> Option<KernelVersion> {
    if file != Path::new("/sys/kernel/btf/vmlinux") {
        return None;
    }
    KernelVersion::of_release(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn print(
    plan: &OffsetsPlan,
    layout: &Layout,
    version: KernelVersion,
    is_64_bit: bool,
) -> anyhow::Result<()> {
    let line = offsets_line(layout, version, is_64_bit);
    let is_whole = plan.what == Offsets::Layout;
    if !is_whole && plan.style == Style::Text {
        line.as_ref().map_err(|missing| {
            anyhow!("where {missing} lies is not known; --print-layout shows what is")
        })?;
    }
    let report = OffsetsReport {
        version: version.to_string(),
        bits: if is_64_bit { 64 } else { 32 },
        line: line.ok(),
        layout: known_layout(layout).iter().map(OffsetInfo::from).collect(),
        is_whole,
    };
    output::answer(&report, plan.style)
}
