//! Answers about a macOS guest, where they are others than about Linux.

use super::Said;
use crate::Guest;

/// Refusal of a command; `None` if it is not about a kernel, or this is no macOS.
pub(super) fn answer(guest: &Guest, name: &str) -> Option<Said> {
    guest.facts().macos()?;
    match name {
        "ps" | "dmesg" | "bt" | "vmcoreinfo" | "linuxoffsets" => Some(Err(
            "this is a macOS guest, of which info, mods, kaslr, find-vmlinux, cr3 and vtop are \
             answered; lldb with the kernel's file shows the stack of each vCPU"
                .to_owned(),
        )),
        _ => None,
    }
}
