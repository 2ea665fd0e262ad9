//! ELF files: recognised, so that the refusal can say what they are.

use vmss2core_mem::text::shell_path;

use crate::format::{Case, Format, Recognition};
use crate::source::Source;
use crate::{OpenError, Opened};
use header::Header;
use notes::Note;

mod header;
mod notes;
#[cfg(test)]
mod tests;

/// ELF, of whatever kind.
pub(crate) struct ElfCore;

impl Format for ElfCore {
    fn name(&self) -> &'static str {
        "elf"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        head.starts_with(b"\x7fELF").then_some(Recognition::Refused)
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        let source = case.lead.source;
        let looks = looks(&source)?;
        Err(OpenError::NotACheckpoint { path: source.path, looks })
    }
}

fn looks(source: &Source) -> Result<String, OpenError> {
    let Some(header) = Header::read(source)? else {
        return Ok("it begins like an ELF file, and its header is broken or cut off".to_owned());
    };
    let kind = match header.kind {
        Header::CORE => return Ok(core(&notes::read(source, &header), source)),
        Header::RELOCATABLE => "object file or kernel module",
        _ => "program or library",
    };
    Ok(format!("it is an ELF {kind}; name the .vmss, .vmsn or .vmem file"))
}

/// The kind of a core, told by who wrote notes into it, and what opens it.
fn core(notes: &[Note], source: &Source) -> String {
    let file = shell_path(&source.path);
    let has = |name: &str| notes.iter().any(|note| note.name == name.as_bytes());
    if has("VMCOREINFO") {
        format!(
            "it is an ELF core of a Linux machine already: crash VMLINUX {file} and \
             drgn -c {file} open it as it is"
        )
    } else if has("VBCORE") {
        "it is VirtualBox's ELF core of a machine, which WinDbg does not open; volatility3 reads \
         its memory"
            .to_owned()
    } else if has("QEMU") {
        format!(
            "it is an ELF core of a machine with QEMU's notes and without VMCOREINFO: gdb -c \
             {file} shows its registers, and crash VMLINUX {file} opens those that QEMU wrote \
             of Linux; drgn, makedumpfile and WinDbg do not"
        )
    } else if has("Xen") || has(".note.Xen") {
        format!("it is Xen's ELF core of a machine: crash VMLINUX {file} opens those of Linux")
    } else if notes.iter().any(Note::is_of_process) {
        format!("it is an ELF core of one program: gdb PROGRAM {file} opens it")
    } else {
        format!("it is an ELF core already, of an unknown kind: gdb -c {file} shows what it holds")
    }
}
