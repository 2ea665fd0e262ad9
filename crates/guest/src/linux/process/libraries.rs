//! The libraries of a program as its dynamic linker lists them for debuggers.
//!
//! `r_debug` and `link_map` of glibc and musl (`<link.h>`): AT_PHDR leads to the
//! program headers, PT_DYNAMIC to DT_DEBUG, that to the list. A program may write
//! anything there.

use vmss2core_mem::Gva;

use super::Process;
use super::fields::word;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_PHDR: u64 = 6;
const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_DEBUG: u64 = 21;
/// Enough for any program.
const MAX_LIBRARIES: usize = 4096;
const MAX_HEADERS: u64 = 64;
const MAX_DYNAMIC: u64 = 256;
const MAX_NAME: usize = 4096;

/// An entry of the dynamic linker's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The path that the program loaded it by, which may lead over symbolic links.
    pub name: String,
    /// Where its dynamic section lies.
    pub dynamic: Gva,
}

/// The libraries that have a path.
pub(super) fn of(process: &Process<'_>) -> Vec<Library> {
    let reader = Reader { process, word_len: if process.is_32_bit() { 4 } else { 8 } };
    reader.first_link().map(|first| reader.list(first)).unwrap_or_default()
}

struct Reader<'r, 'k> {
    process: &'r Process<'k>,
    word_len: usize,
}

impl Reader<'_, '_> {
    fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = vec![0; self.word_len];
        self.process.read(Gva(at), &mut bytes).ok()?;
        word(&bytes, 0, self.word_len)
    }

    /// The word of this number in a row of them.
    fn nth(&self, at: u64, index: u64) -> Option<u64> {
        self.word(at.checked_add(index.checked_mul(self.word_len as u64)?)?)
    }

    fn first_link(&self) -> Option<u64> {
        let value = |kind| {
            self.process
                .auxv
                .pairs
                .iter()
                .find(|(found, _)| *found == kind)
                .map(|(_, value)| *value)
        };
        let headers = value(AT_PHDR)?;
        let count = value(AT_PHNUM)?.min(MAX_HEADERS);
        // p_vaddr is the third word of a 64-bit header, and of a 32-bit one.
        let header_len = if self.word_len == 8 { 56 } else { 32 };
        let address_of = |wanted| {
            (0..count).find_map(|index| {
                let at = headers.checked_add(index * header_len)?;
                let kind = self.word(at)? & 0xffff_ffff;
                (kind == wanted).then(|| self.nth(at, 2)).flatten()
            })
        };
        let dynamic = address_of(PT_DYNAMIC)?;
        // Where the program lies, if it is position independent.
        let bias = address_of(PT_PHDR).map_or(0, |own| headers.wrapping_sub(own));
        let dynamic = self.narrow(dynamic.wrapping_add(bias));
        for index in 0..MAX_DYNAMIC {
            match self.nth(dynamic, 2 * index)? {
                DT_NULL => break,
                // r_version comes first, r_map second.
                DT_DEBUG => return self.nth(self.nth(dynamic, 2 * index + 1)?, 1),
                _ => {}
            }
        }
        None
    }

    fn narrow(&self, address: u64) -> u64 {
        if self.word_len == 4 { address & 0xffff_ffff } else { address }
    }

    /// l_addr, l_name, l_ld, l_next.
    fn list(&self, first: u64) -> Vec<Library> {
        let mut libraries = Vec::new();
        let mut link = first;
        for _ in 0..MAX_LIBRARIES {
            if link == 0 {
                break;
            }
            let [Some(name), Some(dynamic), Some(next)] =
                [1, 2, 3].map(|index| self.nth(link, index))
            else {
                break;
            };
            if let Some(name) = self.text(name).filter(|name| name.starts_with('/')) {
                libraries.push(Library { name, dynamic: Gva(dynamic) });
            }
            link = next;
        }
        libraries
    }

    fn text(&self, at: u64) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_NAME {
            let start = at.checked_add(bytes.len() as u64)?;
            // Not over the end of a page, which may be that of the mapping.
            let len = usize::try_from(256 - start % 256).ok()?;
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
