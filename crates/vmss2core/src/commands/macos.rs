//! Questions about a macOS guest.

use std::fmt::Write;

use anyhow::Context;

use vmss2core_answers::MacosModulesReport;
use vmss2core_guest::Facts;
use vmss2core_guest::macos::MacosFacts;

/// What can be asked of a macOS guest; said to who asks for something else.
pub(super) const ANSWERS: &str = "this is a macOS guest, and the command is not for those yet; of \
    macOS it can be asked: info, modules; gdb serves it to lldb and gdb, and convert writes \
    elf-physical, elf-linear and raw files of it";

/// What `modules` says.
pub(super) fn modules(facts: &Facts) -> anyhow::Result<MacosModulesReport> {
    let macos = facts.macos.as_ref().context("this is no macOS guest")?;
    Ok(MacosModulesReport::new(macos, &facts.problems))
}

/// Where the kernel lies, and how that is known.
pub(super) fn place(macos: &MacosFacts) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(image) = &macos.image {
        let _ = writeln!(text, "__TEXT     {}  ({})", image.value.base, image.how);
        if let Some(uuid) = image.value.uuid {
            let _ = writeln!(text, "UUID       {uuid}");
        }
    }
    if let Some(slide) = &macos.slide {
        let _ = writeln!(text, "slide      {:#x}  ({})", slide.value, slide.how);
    }
    if text.is_empty() {
        text.push_str("the kernel's image was not found\n");
    }
    text
}
