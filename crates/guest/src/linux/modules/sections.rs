//! Sections of a module, as `/sys/module/NAME/sections` has them: those that have
//! memory, in the order of its file.

use vmss2core_mem::Gva;

use super::Module;
use super::shape::text_at;
use crate::linux::{Kernel, Object};

/// No module has more.
const MOST_SECTIONS: u64 = 1 << 12;

impl Kernel {
    /// Names and addresses of a module's sections that have memory, in the order of
    /// its file; those for its start are listed although their memory is given back.
    /// Empty if they could not be told.
    pub fn module_sections(&self, module: &Module) -> Vec<(String, Gva)> {
        all(self, module.gva).unwrap_or_default()
    }
}

/// Where the section `.text` lies.
pub(super) fn text(kernel: &Kernel, module: Gva) -> Option<Gva> {
    let mut sections = all(kernel, module)?.into_iter();
    sections.find(|(name, _)| name == ".text").map(|(_, address)| address)
}

fn all(kernel: &Kernel, module: Gva) -> Option<Vec<(String, Gva)>> {
    let attributes =
        kernel.object(module, "module").follow("sect_attrs", "module_sect_attrs").ok()??;
    // To 6.13 a count and an array; then an array of pointers that ends in null.
    match attributes.uint("nsections") {
        Ok(count) => in_array(kernel, &attributes, count),
        Err(_) => behind_pointers(kernel, &attributes),
    }
}

fn in_array(kernel: &Kernel, attributes: &Object<'_>, count: u64) -> Option<Vec<(String, Gva)>> {
    let size = kernel.layout().size_of("module_sect_attr")?.value;
    let first = attributes.address_of("attrs").ok()?;
    let section = |index: u64| {
        let at = Gva(first.0.wrapping_add(index.wrapping_mul(size)));
        let section = kernel.object(at, "module_sect_attr");
        let name = section.pointer("battr.attr.name|mattr.attr.name|name").ok()?;
        Some((text_at(kernel, name)?, section.pointer("address").ok()?))
    };
    Some((0..count.min(MOST_SECTIONS)).map_while(section).collect())
}

fn behind_pointers(kernel: &Kernel, attributes: &Object<'_>) -> Option<Vec<(String, Gva)>> {
    let list = attributes.pointer("grp.bin_attrs|grp.bin_attrs_new").ok()?;
    let section = |index: u64| {
        let at = list.0.wrapping_add(index.saturating_mul(kernel.word_len()));
        let section = kernel.read_pointer(Gva(at), "bin_attribute").ok()?;
        let section = (section.0 != 0).then(|| kernel.object(section, "bin_attribute"))?;
        let name = section.pointer("attr.name").ok()?;
        Some((text_at(kernel, name)?, section.pointer("private").ok()?))
    };
    Some((0..MOST_SECTIONS).map_while(section).collect())
}
