//! Values of VMCOREINFO for x86 alone (`arch_crash_save_vmcoreinfo`).

use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::modes;

use super::image::{offset_from_default, phys_base};
use crate::KernelText;
use crate::linux::discovery::KernelTables;

/// Lines by key and value.
pub(in crate::linux) fn vmcoreinfo_lines(
    mode: PagingMode,
    text: KernelText,
    tables: KernelTables,
) -> Vec<(&'static str, String)> {
    if !mode.is_64_bit() {
        return (mode == modes::PAE)
            .then(|| ("CONFIG_X86_PAE", "y".to_owned()))
            .into_iter()
            .collect();
    }
    let mut lines = vec![
        // libkdumpfile knows the 64-bit tables by this name only.
        ("SYMBOL(init_top_pgt)", format!("{:x}", tables.gva.0)),
        ("NUMBER(phys_base)", phys_base(text).to_string()),
        ("NUMBER(pgtable_l5_enabled)", u8::from(mode == modes::FIVE_LEVEL).to_string()),
        ("NUMBER(KERNEL_IMAGE_SIZE)", (1_u64 << 30).to_string()),
    ];
    lines.extend(offset_from_default(text).map(|offset| ("KERNELOFFSET", format!("{offset:x}"))));
    lines
}
