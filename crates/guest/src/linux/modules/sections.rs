//! Sections of a module, as `/sys/module/NAME/sections` has them.

use vmss2core_mem::Gva;

use super::shape::text_at;
use crate::linux::Kernel;

/// No module has more.
const MOST_SECTIONS: u64 = 1 << 12;

/// Where the section `.text` lies.
pub(super) fn text(kernel: &Kernel<'_>, module: Gva) -> Option<Gva> {
    let attributes =
        kernel.object(module, "module").follow("sect_attrs", "module_sect_attrs").ok()??;
    let layout = kernel.layout();
    // To 6.13 a count and an array; then an array of pointers that ends in null.
    if let Ok(count) = attributes.uint("nsections") {
        let size = layout.size_of("module_sect_attr")?.value;
        let first = attributes.address_of("attrs").ok()?;
        return (0..count.min(MOST_SECTIONS)).find_map(|index| {
            let at = Gva(first.0.wrapping_add(index.wrapping_mul(size)));
            let section = kernel.object(at, "module_sect_attr");
            let name = section.pointer("battr.attr.name|mattr.attr.name|name").ok()?;
            is_text(kernel, name).then(|| section.pointer("address").ok())?
        });
    }
    let list = attributes.pointer("grp.bin_attrs|grp.bin_attrs_new").ok()?;
    (0..MOST_SECTIONS)
        .map_while(|index| {
            let at = list.0.wrapping_add(index * kernel.word_len());
            let section = kernel.read_pointer(Gva(at), "bin_attribute").ok()?;
            (section.0 != 0).then(|| kernel.object(section, "bin_attribute"))
        })
        .find_map(|section| {
            let name = section.pointer("attr.name").ok()?;
            is_text(kernel, name).then(|| section.pointer("private").ok())?
        })
}

fn is_text(kernel: &Kernel<'_>, name: Gva) -> bool {
    text_at(kernel, name).is_some_and(|name| name == ".text")
}
