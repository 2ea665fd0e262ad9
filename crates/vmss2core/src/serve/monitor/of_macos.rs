//! Answers about a macOS guest, where they are others than about Linux.

use std::fmt::Write;

use vmss2core_guest::macos::MacosFacts;

use super::Said;
use crate::Guest;

/// What a command says; `None` if it is not about a kernel, or this is no macOS.
pub(super) fn answer(guest: &Guest, name: &str) -> Option<Said> {
    let found = guest.facts().macos()?;
    match name {
        "kaslr" => Some(Ok(place(found))),
        "ps" | "dmesg" | "bt" | "vmcoreinfo" | "linuxoffsets" => Some(Err(
            "this is a macOS guest, of which info, mods, kaslr, find-vmlinux, cr3 and vtop are \
             answered; lldb with the kernel's file shows the stack of each vCPU"
                .to_owned(),
        )),
        _ => None,
    }
}

/// Where the kernel lies, and how that is known.
fn place(macos: &MacosFacts) -> String {
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
