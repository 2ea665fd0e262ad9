//! Answers about a macOS guest, where they are others than about Linux.

use anyhow::anyhow;
use vmss2core_guest::Facts;

use super::printed;
use crate::commands::macos;

/// What a command says; `None` if it is not about a kernel, or this is no macOS.
pub(super) fn answer(facts: &Facts, name: &str) -> Option<anyhow::Result<String>> {
    let found = facts.macos.as_ref()?;
    match name {
        "mods" => Some(macos::modules(facts).and_then(|report| printed(&report))),
        "kaslr" => Some(Ok(macos::place(found))),
        "ps" | "dmesg" | "bt" | "vmcoreinfo" | "linuxoffsets" => Some(Err(anyhow!(
            "this is a macOS guest, of which info, mods, kaslr, find-vmlinux, cr3 and vtop are answered; \
                 lldb with the kernel's file shows the stack of each vCPU"
        ))),
        _ => None,
    }
}
