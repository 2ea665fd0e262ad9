//! A VMCOREINFO text for a guest that has none: what crash, drgn and
//! libkdumpfile need to open a core. makedumpfile wants structure offsets, which
//! are not available this way.

use std::fmt::Write as _;

use vmss2core_mem::{Found, Gva};

use super::image::Image;
use super::roots::{self, KernelTables};
use crate::linux::{arch, kallsyms};
use crate::{KernelText, VmcoreInfo};

/// Makes up a text, or says what it lacks.
pub(super) fn vmcoreinfo(
    image: &Image,
    release: Option<&str>,
    tables: Option<&Found<KernelTables>>,
) -> Result<Found<VmcoreInfo>, &'static str> {
    let release = release.ok_or("the kernel's release")?;
    let tables = tables.ok_or("the kernel's page tables")?;
    let text = image.extent().ok_or("the kernel's code")?;
    let names = roots::init_uts_ns(image, release).ok_or("the kernel's init_uts_ns")?;
    let mut lines = Lines::default();
    lines.add("OSRELEASE", release);
    lines.add("PAGESIZE", "4096");
    lines.add("SYMBOL(init_uts_ns)", &format!("{:x}", names.gva.0));
    lines.add("OFFSET(uts_namespace.name)", &names.name_offset.to_string());
    lines.add("SYMBOL(swapper_pg_dir)", &format!("{:x}", tables.value.gva.0));
    lines.add("SYMBOL(_stext)", &format!("{:x}", stext(image, text).0));
    for (key, value) in arch::vmcoreinfo_lines(image.space.mode(), text, tables.value) {
        lines.add(key, &value);
    }
    let how = "made up, because none was found in the guest: release from linux_banner, _stext, \
               swapper_pg_dir and init_uts_ns by searching the kernel image";
    Ok(Found::new(VmcoreInfo { text: lines.0, synthesised: true }, how))
}

/// `_stext`, some bytes after `_text` in many kernels; where no symbols are, `_text`.
fn stext(image: &Image, text: KernelText) -> Gva {
    let symbols = kallsyms::search(&kallsyms::Source::of_image(&image.space, text));
    symbols.and_then(|symbols| symbols.value.address("_stext")).unwrap_or(text.start)
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key}={value}");
    }
}
