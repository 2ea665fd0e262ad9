//! `linuxoffsets`: the offsets of structures as `-l` takes them.

use std::io::Write;

use anyhow::anyhow;
use vmss2core_answers::printable;
use vmss2core_guest::linux::{KernelFile, KernelVersion, Layout, known_layout, offsets_line};

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::{Offsets, OffsetsPlan};

/// Column where remarks begin.
const REMARK: usize = 48;

pub(super) fn run(plan: &OffsetsPlan) -> anyhow::Result<Exit> {
    if let [only] = plan.guest.source.inputs.as_slice()
        && only.is_file()
        && let Some(file) = KernelFile::open(only, &plan.guest.source.spill_dir)?
    {
        let version = plan.version.or(file.version).ok_or_else(|| {
            anyhow!("the file does not tell the kernel's version; give --kernel-version")
        })?;
        print(plan.what, &file.layout, version, file.is_64_bit)?;
        return Ok(Exit::Done);
    }
    with_kernel(&plan.guest, |kernel| {
        let release = kernel.linux().release.as_ref();
        let version = release.and_then(|release| KernelVersion::of_release(&release.value));
        let version = plan
            .version
            .or(version)
            .ok_or_else(|| anyhow!("the kernel's version was not found; give --kernel-version"))?;
        print(plan.what, kernel.layout(), version, kernel.linux().is_64_bit)?;
        Ok(Vec::new())
    })
}

fn print(
    what: Offsets,
    layout: &Layout,
    version: KernelVersion,
    is_64_bit: bool,
) -> anyhow::Result<()> {
    let mut out = output::stdout();
    match what {
        Offsets::Line => {
            let line = offsets_line(layout, version, is_64_bit).map_err(|missing| {
                anyhow!("where {missing} lies is not known; --print-layout shows what is")
            })?;
            writeln!(out, "{line}")?;
        }
        Offsets::Layout => {
            writeln!(out, "version={version}")?;
            for item in known_layout(layout) {
                let (item, how) = (item.to_string(), printable(&item.how));
                writeln!(out, "{item:<REMARK$} # {how}")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
