//! The VMCOREINFO note that a kernel keeps for the one that would follow it.
//!
//! `crash_save_vmcoreinfo_init` (kernel/vmcore_info.c) builds a complete ELF note
//! at boot: `{u32 11, u32 size, u32 0, "VMCOREINFO\0\0", text}`. Since 4.13 it has
//! pages of its own, which two pointers in the image lead to
//! (`vmcoreinfo_note`, `vmcoreinfo_data`); before, it lies in the image. Old kernels
//! (2.6.32 is one) make the note when they crash: until then there is the text alone.
//! So the image is enough to find it, and the rest of memory is searched only if
//! there is no image to look at.

use std::collections::HashSet;
use std::ops::ControlFlow;

use memchr::memmem;
use vmss2core_formats::notes::{NT_NAMED, Nhdr};
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE, PhysicalMemory};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::image::{Content, Image};
use crate::VmcoreInfo;
use crate::scan::{self, Scanned};

/// Name of the note with the padding after it.
const NAME: &[u8] = b"VMCOREINFO\0\0";
const NAME_LEN: u32 = 11;
/// The beginning of every text.
const FIRST_KEY: &[u8] = b"OSRELEASE=";
/// Texts have 1.7 to 3.3 KiB so far; the kernel's limit is a page.
const LONGEST: usize = 8192;
/// More notes than this are no kernel's doing.
const MOST_CANDIDATES: usize = 16;
/// More different pointers than this are not worth following.
const MOST_POINTERS: usize = 1 << 16;

/// Head of an ELF note with this name.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NoteHead {
    note: Nhdr,
    name: [u8; 12],
}

const HEAD: usize = 24;
const PAGE: usize = 4096;
const _: () = assert!(size_of::<NoteHead>() == HEAD);

impl NoteHead {
    /// Length of the text, if this is the head of such a note.
    fn text_len(&self) -> Option<usize> {
        let note = &self.note;
        let len = usize::try_from(note.n_descsz.get()).ok()?;
        let named = note.n_namesz.get() == NAME_LEN && self.name == *NAME;
        let right = named && note.n_type.get() == NT_NAMED;
        (right && (FIRST_KEY.len()..=LONGEST).contains(&len)).then_some(len)
    }
}

/// Finds the texts that the kernel image holds or points at, likeliest first.
/// `direct_map` is the virtual address of physical 0, where the notes' own
/// pages are.
///
/// Both the note of old kernels and the pointers of new ones are variables; the
/// rest, most of the image, is read only if those lead nowhere.
pub(super) fn in_image(image: &Image, direct_map: Gva) -> Vec<Found<VmcoreInfo>> {
    let contents = [Content::Variables, Content::Constants, Content::Code].into_iter();
    let mut found = contents.map(|content| in_content(image, content, direct_map));
    found.find(|notes| !notes.is_empty()).unwrap_or_default()
}

fn in_content(image: &Image, content: Content, direct_map: Gva) -> Vec<Found<VmcoreInfo>> {
    let (mut notes, mut texts) = (Vec::new(), Vec::new());
    let mut pages = HashSet::new();
    image.scan_only(content, HEAD, &mut |gva, bytes| {
        for at in note_heads(bytes) {
            let head = Gva(gva.0.saturating_add(at as u64));
            notes.extend(note_in_image(image, head));
        }
        let firsts = memmem::find_iter(bytes, FIRST_KEY).take(MOST_CANDIDATES);
        texts.extend(
            firsts.filter_map(|at| text_in_image(image, Gva(gva.0.saturating_add(at as u64)))),
        );
        texts.truncate(MOST_CANDIDATES);
        collect_pointers(image, direct_map, bytes, &mut pages);
        if notes.len() < MOST_CANDIDATES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    notes.extend(behind_pointers(image.space.memory(), pages));
    notes.extend(texts);
    notes
}

/// Looks at pages that the image points at: notes first, then bare texts.
fn behind_pointers(memory: &PhysicalMemory, pages: HashSet<u64>) -> Vec<Found<VmcoreInfo>> {
    let mut pages: Vec<u64> = pages.into_iter().collect();
    pages.sort_unstable();
    let (mut notes, mut texts) = (Vec::new(), Vec::new());
    for gpa in pages.into_iter().map(Gpa) {
        let mut head = [0; HEAD];
        if notes.len() >= MOST_CANDIDATES || memory.read(gpa, &mut head).is_err() {
            continue;
        }
        if head.ends_with(NAME) {
            let place = format!("physical {gpa}, which the kernel image points at");
            notes.extend(note_at(memory, gpa, &place));
        } else if head.starts_with(FIRST_KEY) && texts.len() < MOST_CANDIDATES {
            texts.extend(text_at(memory, gpa));
        }
    }
    notes.extend(texts);
    notes
}

/// Finds the texts anywhere in memory.
pub(super) fn in_memory(memory: &PhysicalMemory) -> (Vec<Found<VmcoreInfo>>, Scanned) {
    let mut found = Vec::new();
    let scanned = scan::data(memory, HEAD, &mut |gpa, bytes| {
        for at in note_heads(bytes) {
            let head = Gpa(gpa.0.saturating_add(at as u64));
            found.extend(note_at(memory, head, &format!("physical {head}")));
        }
        if found.len() < MOST_CANDIDATES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    (found, scanned)
}

/// Positions of what looks like the head of a note.
fn note_heads(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memmem::find_iter(bytes, NAME).filter_map(|name| {
        let start = name.checked_sub(HEAD.saturating_sub(NAME.len()))?;
        let (head, _) = NoteHead::ref_from_prefix(bytes.get(start..)?).ok()?;
        head.text_len().map(|_| start)
    })
}

/// Adds the physical addresses of the pages in the direct map that words of
/// the image point at the start of.
fn collect_pointers(image: &Image, direct_map: Gva, bytes: &[u8], pages: &mut HashSet<u64>) {
    let end = image.space.memory().end().0;
    let mut consider = |word: u64| {
        let gpa = word.wrapping_sub(direct_map.0);
        // Nearly all words fail the first of these.
        let plausible = gpa < end && gpa & (PAGE_SIZE - 1) == 0 && !image.holds(word);
        if plausible && pages.len() < MOST_POINTERS {
            pages.insert(gpa);
        }
    };
    if image.space.mode().is_64_bit() {
        bytes.as_chunks().0.iter().for_each(|word| consider(u64::from_le_bytes(*word)));
    } else {
        bytes.as_chunks().0.iter().for_each(|word| consider(u32::from_le_bytes(*word).into()));
    }
}

fn note_in_image(image: &Image, head: Gva) -> Option<Found<VmcoreInfo>> {
    let gpa = image.space.translate(head).ok()?.gpa;
    note_at(image.space.memory(), gpa, &format!("physical {gpa}, where the kernel image is mapped"))
}

/// The note and its text lie in one physical piece, whatever maps them.
pub(super) fn note_at(memory: &PhysicalMemory, gpa: Gpa, place: &str) -> Option<Found<VmcoreInfo>> {
    let mut head = [0; HEAD];
    memory.read(gpa, &mut head).ok()?;
    let len = NoteHead::ref_from_bytes(&head).ok()?.text_len()?;
    let mut bytes = vec![0; len];
    memory.read(gpa.checked_add(HEAD as u64)?, &mut bytes).ok()?;
    Some(Found::new(parse(&bytes)?, format!("VMCOREINFO note at {place}")))
}

/// The text before it becomes a note: a page that begins with it.
fn text_at(memory: &PhysicalMemory, gpa: Gpa) -> Option<Found<VmcoreInfo>> {
    let place = format!("physical {gpa}, which the kernel image points at");
    text(memory, gpa, &place)
}

/// VMCOREINFO as a variable of the kernel.
fn text_in_image(image: &Image, at: Gva) -> Option<Found<VmcoreInfo>> {
    let gpa = image.space.translate(at).ok()?.gpa;
    let place = format!("physical {gpa}, where the kernel image is mapped");
    text(image.space.memory(), gpa, &place)
}

fn text(memory: &PhysicalMemory, gpa: Gpa, place: &str) -> Option<Found<VmcoreInfo>> {
    let mut bytes = [0; PAGE];
    memory.read(gpa, &mut bytes).ok()?;
    Some(Found::new(parse(&bytes)?, format!("vmcoreinfo_data at {place}")))
}

/// Takes the text up to the first NUL; `None` if it is not one.
fn parse(bytes: &[u8]) -> Option<VmcoreInfo> {
    if !bytes.starts_with(FIRST_KEY) {
        return None;
    }
    let len = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
    let printable = text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~'));
    // One line alone is the format string in the kernel's constants.
    (printable && text.lines().count() > 1)
        .then(|| VmcoreInfo { text: text.to_owned(), synthesised: false })
}

impl VmcoreInfo {
    /// The value of `SYMBOL(name)`, a virtual address.
    pub fn symbol(&self, name: &str) -> Option<Gva> {
        let value = self.get(&format!("SYMBOL({name})"))?;
        u64::from_str_radix(value, 16).ok().map(Gva)
    }

    /// The value of `NUMBER(name)`.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(&format!("NUMBER({name})"))?.parse().ok()
    }

    /// KERNELOFFSET: the distance of the kernel from its link address.
    pub fn kernel_offset(&self) -> Option<u64> {
        u64::from_str_radix(self.get("KERNELOFFSET")?, 16).ok()
    }

    /// Adds a line. Readers go by key, so its place does not matter.
    pub(super) fn push_line(&mut self, line: &str) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TEXT: &str = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\n\
                        NUMBER(phys_base)=-2097152\nKERNELOFFSET=1e600000\n";

    fn note(text: &[u8]) -> Vec<u8> {
        let len = u32::try_from(text.len()).unwrap();
        let mut bytes = [11_u32.to_le_bytes(), len.to_le_bytes(), [0; 4]].concat();
        bytes.extend_from_slice(NAME);
        bytes.extend_from_slice(text);
        bytes
    }

    fn memory(bytes: Vec<u8>) -> PhysicalMemory {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0x1000), bytes.len() as u64, Arc::new(bytes), 0).unwrap();
        memory
    }

    #[test]
    fn a_note_is_found_at_any_offset_and_read_whole() {
        let mut bytes = vec![0; 0x1234];
        bytes.extend_from_slice(&note(TEXT.as_bytes()));
        let (found, _) = in_memory(&memory(bytes));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].value.text, TEXT);
        assert_eq!(found[0].how, "VMCOREINFO note at physical 0x2234");
    }

    #[test]
    fn values_are_read_by_key() {
        let info = parse(TEXT.as_bytes()).unwrap();
        assert_eq!(info.symbol("_stext"), Some(Gva(0xffff_ffff_8100_0000)));
        assert_eq!(info.number("phys_base"), Some(-0x20_0000));
        assert_eq!(info.kernel_offset(), Some(0x1e60_0000));
        assert_eq!(info.symbol("stext"), None);
    }

    #[test]
    fn what_only_looks_like_a_note_is_refused() {
        let wrong_key = note(b"OSRELEASES=1\nPAGESIZE=4096\n");
        let format_string = note(b"OSRELEASE=%s\n");
        let binary = note(b"OSRELEASE=6\x01\nPAGESIZE=4096\n");
        let mut too_long = note(TEXT.as_bytes());
        too_long[4..8].copy_from_slice(&8193_u32.to_le_bytes());
        let mut cut_off = note(TEXT.as_bytes());
        cut_off.truncate(60);
        for bytes in [wrong_key, format_string, binary, too_long, cut_off] {
            assert!(in_memory(&memory(bytes)).0.is_empty());
        }
    }
}
