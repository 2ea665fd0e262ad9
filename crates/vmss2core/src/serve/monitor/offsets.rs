//! `monitor linuxoffsets`: the line of Workstation's debug stub, which had to be
//! told before anything else. Nothing needs it here, so it is only checked.

use std::fmt::Write;

use vmss2core_guest::linux::{Kernel, KernelVersion, LinuxOffsets, OffsetsError, offsets_line};

use super::Said;

pub(super) const ABOUT: &str = "Compare offsets of the kernel's structures with those found";

pub(super) const HELP: &str = "\
Offsets need not be set: they are found in the guest. A line is accepted for the
sake of old scripts, and compared with what was found. The format is:

monitor linuxoffsets <version>,<mm>,<next_task>,<tasks>,<comm>,<pid>,<thread>,
        <pgd>,<rsp0>,<fs>,<threadsize>,<group_leader>,<thread_group>,<commsize>

or structure.member=offset items. Without a line, the one of this guest is printed.
";

/// Changes that the line would have made.
pub(super) fn check(kernel: &Kernel, line: &str) -> Said {
    let layout = kernel.layout();
    let release = kernel.linux().release.as_ref();
    let version = release.and_then(|release| KernelVersion::of_release(&release.value));
    if line.is_empty() {
        let version = version.ok_or("the kernel's version was not found")?;
        let line = offsets_line(layout, version, kernel.linux().is_64_bit);
        let line = line.map_err(|missing| format!("where {missing} lies is not known"))?;
        return Ok(format!("{line}\n"));
    }
    let given: LinuxOffsets = line.parse().map_err(|error: OffsetsError| error.to_string())?;
    let mut text = String::new();
    let mut agree = 0_u32;
    // Writing to a String cannot fail.
    for (structure, path, said) in given.members() {
        // What this kernel does not have cannot be compared.
        let Some(found) = layout.member(structure, path) else { continue };
        let (said, at) = (said.offset_bytes, found.value.offset_bytes);
        if said == at {
            agree = agree.saturating_add(1);
        } else {
            let how = found.how;
            let _ = writeln!(text, "{structure}.{path} is at {at:#x}, not {said:#x} ({how})");
        }
    }
    if let (Some(said), Some(found)) = (given.version(), version)
        && (said.0, said.1) != (found.0, found.1)
    {
        let _ = writeln!(text, "the kernel is {found}, not {said}");
    }
    let verdict = if text.is_empty() { "accepted" } else { "not used, it is wrong for this guest" };
    let _ = writeln!(text, "{verdict}: {agree} offsets agree with what was found");
    Ok(text)
}
