//! Objects of zsmalloc, the allocator that keeps compressed pages.
//!
//! A handle leads to a word that has the frame in which an object begins and its number
//! among those of its group of pages (`mm/zsmalloc.c`). How the bits of that word are
//! divided is in no type information; what proves a division is that the frame belongs to
//! such a group, and that the object begins with its own handle.

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, Pfn, low_bits, to_page_end};

use super::codec::Page;
use super::types::{ModuleTypes, read};
use crate::linux::process::frames::Frames;
use crate::linux::{Kernel, Member};

/// `ZSPAGE_MAGIC`.
const MAGIC: u64 = 0x58;
/// Bits of a frame's number (`_PFN_BITS`): with five levels of page tables, with four.
const FRAME_BITS: [u32; 2] = [40, 34];
/// `OBJ_TAG_BITS`: 1, and none since 6.7.
const TAG_BITS: [u32; 2] = [1, 0];
/// The lowest bit of a stored handle says that the object is in use.
const IN_USE: u64 = 1;
/// `ZS_HANDLE_SIZE`: what precedes the bytes of an object.
const HANDLE_LEN: usize = 8;
/// Classes of sizes: 255 with pages of 4 KiB.
const MOST_CLASSES: u64 = 512;

/// A pool of objects, and where members lie.
#[derive(Debug)]
pub(super) struct Pool {
    start: Gva,
    classes: Member,
    class_size: Member,
    objects: Member,
    pages: Member,
    magic: Member,
    class: Member,
    huge: Option<Member>,
    group: Member,
    next: Member,
    frames: Frames,
}

impl Pool {
    /// `None` if a member is not known.
    pub(super) fn of(kernel: &Kernel, types: &ModuleTypes, pool: Gva) -> Option<Self> {
        (kernel.word_len() == 8).then_some(())?;
        Some(Self {
            start: pool,
            classes: types.member("zs_pool", "size_class")?,
            class_size: types.member("size_class", "size")?,
            objects: types.member("size_class", "objs_per_zspage")?,
            pages: types.member("size_class", "pages_per_zspage")?,
            magic: types.member("zspage", "magic")?,
            class: types.member("zspage", "class")?,
            huge: types.member("zspage", "huge"),
            group: types.member("page", "private").or_else(|| types.member("zpdesc", "zspage"))?,
            next: types
                .member("page", "index|__folio_index")
                .or_else(|| types.member("zpdesc", "next"))?,
            frames: Frames::of(kernel)?,
        })
    }

    /// The first `len` bytes of the object that a handle is of.
    pub(super) fn read(&self, kernel: &Kernel, handle: u64, len: usize) -> Option<Vec<u8>> {
        let word = kernel.read_uint(Gva(handle), 8, "zsmalloc handle").ok()?;
        FRAME_BITS.into_iter().find_map(|frame_bits| {
            TAG_BITS.into_iter().find_map(|tag_bits| {
                let index_bits = 64_u32.saturating_sub(frame_bits);
                let index = (word & low_bits(index_bits)) >> tag_bits;
                self.object(kernel, handle, (word >> index_bits, index), len)
            })
        })
    }

    fn object(
        &self,
        kernel: &Kernel,
        handle: u64,
        (frame, index): (u64, u64),
        len: usize,
    ) -> Option<Vec<u8>> {
        let page = self.frames.page_at(frame)?;
        let group = read(kernel, page, &self.group)?;
        (read(kernel, group, &self.magic)? == MAGIC).then_some(())?;
        let class = read(kernel, group, &self.class).filter(|class| *class < MOST_CLASSES)?;
        let classes = self.start.0.checked_add(self.classes.offset_bytes)?;
        let class_at = classes.checked_add(class.saturating_mul(8))?;
        let class = kernel.read_pointer(Gva(class_at), "zs_pool.size_class").ok()?.0;
        let size = read(kernel, class, &self.class_size)?;
        let size = usize::try_from(size).ok().filter(|size| (16..=PAGE_LEN).contains(size))?;
        let bytes = self.bytes(kernel, (page, frame), index, size)?;
        if self.is_huge(kernel, group, class)? {
            // The handle is in the page's structure, as the object takes all of the page.
            let stored = read(kernel, page, &self.next)?;
            (stored & !IN_USE == handle).then_some(())?;
            return bytes.get(..len).map(<[u8]>::to_vec);
        }
        let (stored, rest) = bytes.split_first_chunk::<HANDLE_LEN>()?;
        (u64::from_le_bytes(*stored) == handle | IN_USE).then_some(())?;
        rest.get(..len).map(<[u8]>::to_vec)
    }

    /// Whether an object of this class is alone in a page of its own.
    fn is_huge(&self, kernel: &Kernel, group: u64, class: u64) -> Option<bool> {
        if let Some(huge) = &self.huge {
            return Some(read(kernel, group, huge)? != 0);
        }
        let objects = read(kernel, class, &self.objects)?;
        Some((objects, read(kernel, class, &self.pages)?) == (1, 1))
    }

    /// An object's bytes, which may go on in the next page of its group.
    fn bytes(
        &self,
        kernel: &Kernel,
        (page, frame): (u64, u64),
        index: u64,
        size: usize,
    ) -> Option<Vec<u8>> {
        let start = (size as u64).checked_mul(index)? % PAGE_SIZE;
        let in_first = usize::try_from(to_page_end(start)).ok()?.min(size);
        let mut bytes = vec![0; size];
        let (first, second) = bytes.split_at_mut(in_first);
        let at = |frame: u64| Pfn(frame).gpa();
        kernel.memory().read(Gpa(at(frame)?.0.checked_add(start)?), first).ok()?;
        if !second.is_empty() {
            let next = self.frames.frame(read(kernel, page, &self.next)?)?;
            kernel.memory().read(at(next)?, second).ok()?;
        }
        Some(bytes)
    }
}

const PAGE_LEN: usize = size_of::<Page>();
