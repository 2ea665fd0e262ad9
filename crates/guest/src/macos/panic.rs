//! Why the kernel stopped: the text that it writes when it panics.

use memchr::memmem;
use vmss2core_mem::{Found, PhysicalMemory};

use super::macho::text;
use super::{KernelImage, place};

/// The beginning of the text; a number follows. The format of it has a `%` there.
const PREFIX: &[u8] = b"panic(cpu ";
/// As much of it as is told; kernels write one line of this.
const MAX_LEN: usize = 512;

/// The first line of the text in the kernel's data. Texts elsewhere may be of another
/// time: files keep them.
pub(super) fn find(memory: &PhysicalMemory, image: &KernelImage) -> Option<Found<String>> {
    place::static_parts(image).find_map(|part| {
        place::pieces(memory, part, MAX_LEN as u64, |gpa, bytes| {
            memmem::find_iter(bytes, PREFIX).find_map(|at| {
                let line = line(bytes.get(at..)?)?;
                let at = gpa.0.saturating_add(at as u64);
                Some(Found::new(line, format!("text in the kernel's image, physical {at:#x}")))
            })
        })
    })
}

fn line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.get(..MAX_LEN.min(bytes.len()))?;
    bytes.get(PREFIX.len()).filter(|digit| digit.is_ascii_digit())?;
    let line = text(bytes).lines().next()?.trim_end().to_owned();
    line.contains(" caller 0x").then_some(line)
}
