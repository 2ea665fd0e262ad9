//! Questions about a macOS guest.

use std::fmt::Write as _;
use std::io::Write;

use vmss2core_answers::{MacosModulesReport, write_json};
use vmss2core_guest::Facts;
use vmss2core_guest::macos::MacosFacts;
use vmss2core_mem::Problem;

use super::modules::ModulesPlan;
use super::source::Guest;
use crate::args::Style;
use crate::output;

/// What can be asked of a macOS guest; said to who asks for something else.
pub(super) const ANSWERS: &str = "this is a macOS guest, and the command is not for those yet; of \
    macOS it can be asked: info, modules; gdb serves it to lldb and gdb, and convert writes \
    elf-physical, elf-linear and raw files of it";

/// `modules`.
pub(super) fn modules(plan: &ModulesPlan, guest: &Guest) -> anyhow::Result<Vec<Problem>> {
    let mut out = output::stdout();
    write_modules(&guest.facts, plan.style, &mut out)?;
    out.flush()?;
    Ok(Vec::new())
}

/// Writes what `modules` says.
pub(super) fn write_modules(
    facts: &Facts,
    style: Style,
    mut out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(macos) = &facts.macos else { anyhow::bail!("this is no macOS guest") };
    let report = MacosModulesReport::new(macos, &facts.problems);
    match style {
        Style::Json => write_json(&report, &mut out)?,
        Style::Text => report.write_text(&mut out)?,
    }
    Ok(())
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
