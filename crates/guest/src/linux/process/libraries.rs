//! The libraries of a program as its dynamic linker lists them for debuggers.
//!
//! `r_debug` and `link_map` of glibc and musl (`<link.h>`): AT_PHDR leads to the
//! program headers, PT_DYNAMIC to DT_DEBUG, that to the list. Where that page of the
//! program is not in memory, the linker's own data are searched for its `r_debug`, which
//! names the linker's address and a function of it. A program may write anything there.

use vmss2core_mem::{Gva, PAGE_SIZE};

use super::Process;
use super::fields::word;
use super::vma::{Vma, VmaFlags};

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const AT_BASE: u64 = 7;
const PT_PHDR: u64 = 6;
const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_DEBUG: u64 = 21;
/// Enough for any program.
const MAX_LIBRARIES: usize = 4096;
const MAX_HEADERS: u64 = 64;
const MAX_DYNAMIC: u64 = 256;
const MAX_NAME: usize = 4096;
/// Pages of a linker's data; it has a few.
const MAX_PAGES: u64 = 64;
/// `r_version` and `r_state` of `r_debug` are small numbers.
const LATEST_VERSION: u64 = 2;
const LAST_STATE: u64 = 2;

/// An entry of the dynamic linker's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The path that the program loaded it by, which may lead over symbolic links.
    pub name: String,
    /// Where the entry lies.
    pub entry: Gva,
    /// How far it lies from the addresses in its file.
    pub bias: u64,
    /// Where its dynamic section lies.
    pub dynamic: Gva,
}

/// The dynamic linker's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// Where the linker's `r_debug` lies, which stands for the namespace of the list.
    pub debug: Gva,
    /// Where the program's dynamic section has the address of that: `DT_DEBUG`.
    pub debug_pointer: Option<Gva>,
    /// The entry of the program itself.
    pub program: Option<Library>,
    /// The libraries that have a path.
    pub libraries: Vec<Library>,
}

/// The list of a process; `None` if it has none, or none was found.
pub(super) fn linked_libraries(process: &Process) -> Option<Libraries> {
    let reader = Reader { process, word_len: if process.is_32_bit() { 4 } else { 8 } };
    let debug = reader.debug().or_else(|| reader.debug_by_linker())?;
    // r_version comes first, r_map second.
    Some(reader.list(debug, reader.nth(debug, 1)?))
}

struct Reader<'r> {
    process: &'r Process,
    word_len: usize,
}

impl Reader<'_> {
    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = vec![0; self.word_len];
        self.process.read(Gva(at), &mut bytes).ok()?;
        word(&bytes, 0, self.word_len)
    }

    /// The word of this number in a row of them.
    fn nth(&self, at: u64, index: u64) -> Option<u64> {
        self.word(at.checked_add(index.checked_mul(self.word_len as u64)?)?)
    }

    fn debug(&self) -> Option<u64> {
        let headers = self.process.auxv.value(AT_PHDR)?;
        let count = self.process.auxv.value(AT_PHNUM)?.min(MAX_HEADERS);
        // p_vaddr is the third word of a 64-bit header, and of a 32-bit one.
        let header_len = if self.word_len == 8 { 56 } else { 32 };
        let address_of = |wanted| {
            (0..count).find_map(|index| {
                let at = headers.checked_add(index.saturating_mul(header_len))?;
                let kind = self.word(at)? & 0xffff_ffff;
                (kind == wanted).then(|| self.nth(at, 2)).flatten()
            })
        };
        let dynamic = address_of(PT_DYNAMIC)?;
        // Where the program lies, if it is position independent.
        let bias = address_of(PT_PHDR).map_or(0, |own| headers.wrapping_sub(own));
        let dynamic = self.narrow(dynamic.wrapping_add(bias));
        self.word(self.debug_pointer(dynamic)?).filter(|debug| *debug != 0)
    }

    /// Where the address of `r_debug` lies in a dynamic section.
    fn debug_pointer(&self, dynamic: u64) -> Option<u64> {
        let word_len = self.word_len as u64;
        let entry_len = word_len.checked_mul(2)?;
        for index in 0..MAX_DYNAMIC {
            let entry = dynamic.checked_add(index.checked_mul(entry_len)?)?;
            match self.word(entry)? {
                DT_NULL => break,
                DT_DEBUG => return entry.checked_add(word_len),
                _ => {}
            }
        }
        None
    }

    /// The linker's `r_debug`, found in its data: r_version, r_map, r_brk, r_state,
    /// r_ldbase. The first two words before the linker is told of a debugger are set too.
    fn debug_by_linker(&self) -> Option<u64> {
        let base = self.process.auxv.value(AT_BASE).filter(|base| *base != 0)?;
        let linker = self.process.vma_at(Gva(base))?.file.clone()?;
        let is_linkers =
            |vma: &&Vma| vma.file.as_ref().is_some_and(|file| file.mapping == linker.mapping);
        let own: Vec<&Vma> = self.process.vmas().iter().filter(is_linkers).collect();
        let is_code = |gva: u64| {
            let vma = own.iter().find(|vma| vma.contains(Gva(gva)));
            vma.is_some_and(|vma| vma.flags.contains(VmaFlags::EXECUTE))
        };
        let end = own.last()?.end;
        // What is not in the file of its data follows.
        let rest = self.process.vma_at(end).filter(|vma| vma.file.is_none());
        let data = own.iter().copied().chain(rest);
        let data = data.filter(|vma| vma.flags.contains(VmaFlags::WRITE));
        data.into_iter().find_map(|vma| self.debug_in(vma, base, &is_code))
    }

    fn debug_in(&self, vma: &Vma, base: u64, is_code: &dyn Fn(u64) -> bool) -> Option<u64> {
        let pages = (vma.len_bytes() / PAGE_SIZE).min(MAX_PAGES);
        let step = self.word_len;
        let mut bytes = vec![0; usize::try_from(pages.saturating_mul(PAGE_SIZE)).ok()?];
        for (page, part) in (0_u64..).zip(bytes.chunks_mut(4096)) {
            // What is missing stays zero.
            let at = vma.start.0.checked_add(page.saturating_mul(PAGE_SIZE))?;
            let _ = self.process.read(Gva(at), part);
        }
        (0..bytes.len()).step_by(step).find_map(|at| {
            let nth =
                |index: usize| word(&bytes, at.checked_add(index.saturating_mul(step))?, step);
            let small = |index: usize| Some(nth(index)? & 0xffff_ffff);
            let is_it = (1..=LATEST_VERSION).contains(&small(0)?)
                && nth(4)? == base
                && small(3)? <= LAST_STATE
                && is_code(nth(2)?);
            let map = nth(1).filter(|map| is_it && *map != 0)?;
            // The first entry has none before it.
            (self.nth(map, 4)? == 0).then(|| vma.start.0.checked_add(at as u64)).flatten()
        })
    }

    fn narrow(&self, address: u64) -> u64 {
        if self.word_len == 4 { address & 0xffff_ffff } else { address }
    }

    /// l_addr, l_name, l_ld, l_next. The first is of the program, and has no name.
    fn list(&self, debug: u64, first: u64) -> Libraries {
        let mut found = Libraries { debug: Gva(debug), ..Libraries::default() };
        let mut link = first;
        for index in 0..MAX_LIBRARIES {
            if link == 0 {
                break;
            }
            let [Some(bias), Some(name), Some(dynamic), Some(next)] =
                [0, 1, 2, 3].map(|index| self.nth(link, index))
            else {
                break;
            };
            let name = self.text(name).unwrap_or_default();
            let library = Library { name, entry: Gva(link), bias, dynamic: Gva(dynamic) };
            if index == 0 && !library.name.starts_with('/') {
                found.program = Some(library);
            } else if library.name.starts_with('/') {
                found.libraries.push(library);
            }
            link = next;
        }
        let pointer = found.program.as_ref().and_then(|own| self.debug_pointer(own.dynamic.0));
        found.debug_pointer = pointer.filter(|pointer| self.word(*pointer) == Some(debug)).map(Gva);
        found
    }

    fn text(&self, at: u64) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_NAME {
            let start = at.checked_add(bytes.len() as u64)?;
            // Not over the end of a page, which may be that of the mapping.
            let len = usize::try_from(256_u64.saturating_sub(start % 256)).ok()?;
            let mut piece = vec![0; len];
            self.process.read(Gva(start), &mut piece).ok()?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                bytes.extend(piece.into_iter().take(end));
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            bytes.extend(piece);
        }
        None
    }
}
