//! Finding the BTF of the kernel in its image.

use std::sync::Arc;

use memchr::memmem;
use vmss2core_mem::{Found, Gpa, PhysicalMemory};

use super::types::Sections;
use super::{Btf, raw};
use crate::KernelText;
use crate::linux::{Kernel, Types};

/// Bytes of the image read at a time.
const CHUNK: usize = 1 << 20;
/// The largest kernels have 6 MiB.
const LONGEST: usize = 64 << 20;
/// Headers that are looked after; real images have up to seven.
const MOST_CANDIDATES: usize = 64;

/// Finds the kernel's BTF.
pub(in crate::linux) fn find(kernel: &Kernel) -> Option<Found<Arc<Btf>>> {
    let text = kernel.linux().text.as_ref()?.value;
    let (gpa, btf) = in_image(kernel.memory(), text)?;
    let gva = text.start.0.wrapping_add(gpa.0.saturating_sub(text.gpa.0));
    let how = format!("BTF at virtual {gva:#x} in the kernel image");
    let how = match btf.cut_short() {
        Some(why) => format!("{how}, not to its end: {why}"),
        None => how,
    };
    Some(Found::new(Arc::new(btf), how))
}

/// The first types in an image that are a kernel's, and where they lie.
pub(super) fn in_image(memory: &PhysicalMemory, text: KernelText) -> Option<(Gpa, Btf)> {
    let mut headers = headers(memory, text).into_iter().take(MOST_CANDIDATES);
    headers.find_map(|gpa| Some((gpa, read(memory, text, gpa)?)))
}

/// Where something like a BTF header lies in the image, which is physically one
/// piece.
fn headers(memory: &PhysicalMemory, text: KernelText) -> Vec<Gpa> {
    // Magic, version 1, no flags; of the length, which grows, two bytes are 0.
    let [low, high] = raw::MAGIC.to_le_bytes();
    let start = memmem::Finder::new(&[low, high, raw::VERSION, 0]).into_owned();
    let mut found = Vec::new();
    let mut buf = vec![0; CHUNK.saturating_add(size_of::<raw::Header>())];
    let mut at = 0_u64;
    while at < text.len {
        let left = usize::try_from(text.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let piece = buf.split_at_mut(left.min(CHUNK.saturating_add(size_of::<raw::Header>()))).0;
        let gpa = text.gpa.0.saturating_add(at);
        if memory.read_or_zero(Gpa(gpa), piece).is_ok() {
            let hits = start.find_iter(piece).filter(|hit| *hit < CHUNK);
            let hits = hits.filter(|hit| piece.get(*hit..).is_some_and(may_begin));
            found.extend(hits.map(|hit| Gpa(gpa.saturating_add(hit as u64))));
        }
        at = at.saturating_add(CHUNK as u64);
    }
    found
}

/// Whether bytes are a header of data of a kernel's size, made as linkers and
/// pahole make it: strings after types.
fn may_begin(bytes: &[u8]) -> bool {
    Sections::stated(bytes).is_some_and(|sections| {
        sections.end() <= LONGEST
            && !sections.types.is_empty()
            && sections.strings.start >= sections.types.end
    })
}

/// The types at an address, if they are a kernel's: a header alone, or that of a
/// module, leads to none that describe a task.
fn read(memory: &PhysicalMemory, text: KernelText, gpa: Gpa) -> Option<Btf> {
    let mut head = [0; size_of::<raw::Header>()];
    memory.read(gpa, &mut head).ok()?;
    let len = Sections::stated(&head)?.end();
    let end_of_text = text.gpa.0.saturating_add(text.len);
    if gpa.0.checked_add(len as u64)? > end_of_text {
        return None;
    }
    let mut bytes = vec![0; len];
    memory.read_or_zero(gpa, &mut bytes).ok()?;
    let btf = Btf::parse(bytes).ok()?;
    let describes_tasks =
        btf.member("task_struct", "comm").is_some() && btf.member("task_struct", "tasks").is_some();
    describes_tasks.then_some(btf)
}
