//! Kernel memory for guesses: every page is read once, and there is an end to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, Sums, little_endian, to_page_end};

use crate::linux::Kernel;

/// No member lies as far after the beginning of its structure; the sum of a pointer and
/// an offset does not wrap.
const FARTHEST: u64 = 0x1_0000;
/// Most pages looked at, which bounds time and memory: 64 MiB.
const MOST_PAGES: u32 = 1 << 14;

type Page = Rc<[u8]>;

/// The kernel's memory.
#[derive(Debug)]
pub(in crate::linux) struct Memory<'k> {
    space: &'k AddressSpace,
    word_len: u64,
    /// First address of the kernel's half.
    lowest: u64,
    /// The kernel's code; empty if it is not known.
    code: std::ops::Range<u64>,
    /// Where the direct map lies, if it can be read without page tables.
    direct: Option<(u64, u64)>,
    pages: RefCell<HashMap<u64, Option<Page>>>,
    left: Cell<u32>,
}

impl<'k> Memory<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Self {
        let (space, word_len) = (kernel.space(), kernel.word_len());
        let map = kernel.linux().direct_map.as_ref().map(|map| map.value.0);
        let is_64_bit = space.mode().is_64_bit();
        // A 32-bit kernel maps its lowest memory only.
        let direct = map.filter(|_| is_64_bit).map(|map| (map, kernel.memory().end().0));
        let lowest = match map {
            // The direct map of x86-64 before 2.6.11 is below the kernel's half.
            Some(map) if is_64_bit => map.min(0xff00 << 48),
            None if is_64_bit => 0xff00 << 48,
            map => map.unwrap_or(1 << 30),
        };
        let code = kernel.linux().text.as_ref().map_or(0..0, |text| {
            let start = text.value.start.0;
            start..start.saturating_add(text.value.len)
        });
        let (pages, left) = (RefCell::default(), Cell::new(MOST_PAGES));
        Self { space, word_len, lowest, code, direct, pages, left }
    }

    /// Bytes of a pointer.
    pub(in crate::linux) fn word_len(&self) -> u64 {
        self.word_len
    }

    /// The page tables below.
    pub(super) fn space(&self) -> &'k AddressSpace {
        self.space
    }

    /// First address of the kernel's half; all below is the processes'.
    pub(super) fn lowest(&self) -> u64 {
        self.lowest
    }

    /// Whether a word may be a pointer to a structure of the kernel.
    pub(super) fn is_pointer(&self, word: u64) -> bool {
        let end = (if self.word_len == 8 { u64::MAX } else { u64::from(u32::MAX) }).minus(FARTHEST);
        word.is_multiple_of(4) && (self.lowest..end).contains(&word)
    }

    /// Whether a word may be a pointer to code, or of 64-bit kernels to a variable.
    pub(super) fn is_code(&self, word: u64) -> bool {
        self.code.contains(&word)
    }

    /// Whether the limit was met: what was not found may be there.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    /// The bytes from an address on, as many as can be read up to `len`.
    pub(super) fn bytes(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        let (mut at, mut left) = (at, len);
        while left > 0 {
            let in_page = left.min(to_page_end(at));
            let Some(piece) = self.with_page(at, in_page, <[u8]>::to_vec) else { break };
            bytes.extend(piece);
            let Some(next) = at.checked_add(in_page) else { break };
            (at, left) = (next, left.minus(in_page));
        }
        bytes
    }

    /// Fills all of `buf`; false if a byte cannot be read.
    pub(super) fn fill(&self, at: u64, buf: &mut [u8]) -> bool {
        let bytes = self.bytes(at, buf.len() as u64);
        let is_whole = bytes.len() == buf.len();
        if is_whole {
            buf.copy_from_slice(&bytes);
        }
        is_whole
    }

    /// The word at an address.
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.number(at, self.word_len)
    }

    /// The 4 bytes at an address.
    pub(super) fn u32(&self, at: u64) -> Option<u64> {
        self.number(at, 4)
    }

    /// The number of this many bytes at an address, which lie in one page.
    pub(super) fn number(&self, at: u64, len: u64) -> Option<u64> {
        self.with_page(at, len, little_endian)
    }

    /// The characters at an address up to a NUL, if all can be printed and there are
    /// some, and at most `most`.
    pub(super) fn text(&self, at: u64, most: u64) -> Option<String> {
        printable(&self.bytes(at, most))
    }

    fn with_page<T>(&self, at: u64, len: u64, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let start = usize::try_from(at % PAGE_SIZE).ok()?;
        let end = start.plus(usize::try_from(len).ok()?);
        let page = self.page(at & !(PAGE_SIZE - 1))?;
        page.get(start..end).map(take)
    }

    fn page(&self, at: u64) -> Option<Page> {
        if let Some(known) = self.pages.borrow().get(&at) {
            return known.clone();
        }
        self.left.set(self.left.get().checked_sub(1)?);
        let page = self.read(at);
        self.pages.borrow_mut().insert(at, page.clone());
        page
    }

    fn read(&self, at: u64) -> Option<Page> {
        let mut page = vec![0; usize::try_from(PAGE_SIZE).ok()?];
        match self.direct {
            Some((start, len)) if at >= start && at.minus(start) < len => {
                self.space.memory().read(Gpa(at.minus(start)), &mut page).ok()?;
            }
            _ => self.space.read(Gva(at), &mut page).ok()?,
        }
        Some(page.into())
    }
}

/// A structure's bytes as they were read once.
#[derive(Clone, Debug)]
pub(in crate::linux) struct Shot {
    /// Where the structure begins.
    pub(super) gva: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` it begins.
    zero: u64,
    word_len: u64,
}

impl Shot {
    /// A structure, with bytes before it whose place in it is to be found yet.
    pub(super) fn take(memory: &Memory<'_>, gva: u64, before: u64, len: u64) -> Self {
        let start = gva.saturating_sub(before);
        let mut bytes = memory.bytes(start, before.plus(len));
        let mut zero = gva.minus(start);
        if (bytes.len() as u64) < before {
            (bytes, zero) = (memory.bytes(gva, len), 0);
        }
        Self { gva, bytes, zero, word_len: memory.word_len() }
    }

    /// Moves the beginning of the structure to a lower address.
    pub(super) fn rebase(&mut self, less: u64) -> Option<()> {
        self.zero = self.zero.checked_sub(less)?;
        self.gva = self.gva.checked_sub(less)?;
        Some(())
    }

    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.number(at, self.word_len)
    }

    pub(super) fn u32(&self, at: u64) -> Option<u64> {
        self.number(at, 4)
    }

    pub(in crate::linux) fn u64(&self, at: u64) -> Option<u64> {
        self.number(at, 8)
    }

    pub(super) fn number(&self, at: u64, len: u64) -> Option<u64> {
        let start = usize::try_from(self.zero.checked_add(at)?).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(start..end).map(little_endian)
    }

    /// The 16 characters of a name.
    pub(super) fn comm(&self, at: u64) -> Option<String> {
        let start = usize::try_from(self.zero.checked_add(at)?).ok()?;
        printable(self.bytes.get(start..start.checked_add(16)?)?)
    }

    /// How many bytes of the structure, and of what follows it, there are.
    pub(super) fn len(&self) -> u64 {
        (self.bytes.len() as u64).saturating_sub(self.zero)
    }
}

/// Text that ends in a NUL and holds nothing odd.
pub(super) fn printable(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = bytes.get(..end).filter(|text| !text.is_empty())?;
    let is_fine = |byte: &u8| (b' '..=b'~').contains(byte) || *byte >= 0x80;
    text.iter().all(is_fine).then(|| String::from_utf8_lossy(text).into_owned())
}
