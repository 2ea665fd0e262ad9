//! The kernel image, found through page tables alone.
//!
//! Where it is looked for is the processor's: `arch` has it.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::Registers;
use vmss2core_machine::paging::{AddressSpace, Leaf, Limits, Root};
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE};

use super::bounds::Bounds;
use crate::KernelText;

/// Bytes of an image read at a time.
const CHUNK: usize = 128 << 10;

/// The kernel image as one vCPU maps it.
#[derive(Clone, Debug)]
pub(in crate::linux) struct Image {
    /// An address space that maps the kernel.
    pub(in crate::linux) space: AddressSpace,
    /// Mapped parts, sorted; physically they are one piece, with gaps.
    pub(in crate::linux) runs: Vec<Leaf>,
    /// Which of the mapped bytes are code and constants, from the first on; 0 if
    /// where the image begins is not known.
    pub(in crate::linux) code_len: u64,
    /// The vCPUs that execute it.
    pub(in crate::linux) vcpus: Vec<u32>,
    /// How it was found.
    pub(in crate::linux) how: String,
}

/// An image is mapped in a handful of pieces.
const LIMITS: Limits = Limits { visits_per_table: 8, tables: 1 << 12, runs: 1 << 12 };

impl Image {
    /// All that is mapped in a range, for a search.
    pub(in crate::linux) fn of_range(space: &AddressSpace, range: Range<u64>) -> Self {
        let mut runs = Vec::new();
        space.walk_range(range.clone(), &LIMITS, &mut |leaf| {
            runs.push(leaf);
            ControlFlow::Continue(())
        });
        let runs = parts(&runs, &range);
        Self { space: space.clone(), runs, code_len: 0, vcpus: Vec::new(), how: String::new() }
    }

    /// Bytes mapped.
    pub(in crate::linux) fn mapped(&self) -> u64 {
        self.runs.iter().map(Leaf::len_bytes).fold(0, u64::saturating_add)
    }

    /// Where it lies; `None` if it is not known where it begins. A 32-bit image
    /// is part of the direct map, where only its code and constants stand out.
    pub(in crate::linux) fn extent(&self) -> Option<KernelText> {
        let (first, last) = (self.runs.first()?, self.runs.last()?);
        let len = if self.space.mode().is_64_bit() {
            last.end().saturating_sub(first.gva.0)
        } else {
            self.code_len
        };
        (self.code_len > 0).then_some(KernelText { start: first.gva, gpa: first.gpa, len })
    }

    /// The image where nothing but the kernel's own bounds tells it from the rest of memory.
    pub(in crate::linux) fn within(self, bounds: &Found<Bounds>) -> Self {
        let Bounds { start, data_end, end, .. } = bounds.value;
        let runs = parts(&self.runs, &(start.0..end.0));
        let how = format!("{}, within the bounds in {}", self.how, bounds.how);
        Self { runs, code_len: data_end.0.saturating_sub(start.0), how, ..self }
    }

    /// The image without what is mapped after it.
    pub(in crate::linux) fn up_to(self, end: Gva) -> Self {
        Self { runs: parts(&self.runs, &(0..end.0)), ..self }
    }

    /// The image without what is mapped before it.
    pub(in crate::linux) fn without_front(self, bounds: &Found<Bounds>) -> Self {
        let start = bounds.value.start.0;
        if self.runs.first().is_some_and(|first| first.gva.0 == start) {
            return self;
        }
        let runs = parts(&self.runs, &(start..u64::MAX));
        let how = format!("{}, from the beginning in {}", self.how, bounds.how);
        Self { runs, how, ..self }
    }

    /// The image, of which `extent` is protected, from its code on, which is not.
    pub(in crate::linux) fn from(self, bounds: &Found<Bounds>, extent: KernelText) -> Self {
        let Bounds { start, end, .. } = bounds.value;
        let slide = |gva: Gva, gpa: Gpa| gva.0.wrapping_sub(gpa.0);
        let mut runs = Self::of_range(&self.space, start.0..end.0).runs;
        runs.retain(|run| slide(run.gva, run.gpa) == slide(extent.start, extent.gpa));
        let how = format!("{}, from the beginning in {}", self.how, bounds.how);
        let protected_end = extent.start.0.saturating_add(extent.len);
        Self { runs, code_len: protected_end.saturating_sub(start.0), how, ..self }
    }

    /// Whether a virtual address lies where the image is searched for, in one
    /// of its gaps perhaps.
    pub(in crate::linux) fn holds(&self, gva: u64) -> bool {
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else {
            return false;
        };
        (first.gva.0..last.end()).contains(&gva)
    }

    /// Whether one of its bytes lies at a physical address.
    pub(in crate::linux) fn holds_physical(&self, gpa: Gpa) -> bool {
        let holds =
            |run: &Leaf| gpa.0.checked_sub(run.gpa.0).is_some_and(|into| into < run.len_bytes());
        self.runs.iter().any(holds)
    }

    /// All mapped bytes in pieces: constants first, then code, then variables;
    /// each piece with some bytes of the next so that what crosses the border is
    /// seen.
    pub(in crate::linux) fn scan<B>(
        &self,
        overlap: usize,
        visit: &mut dyn FnMut(Gva, &[u8]) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut kinds = [Content::Constants, Content::Code, Content::Variables].into_iter();
        kinds.find_map(|content| self.scan_only(content, overlap, visit))
    }

    /// The mapped bytes of one kind, in pieces like those of [`Self::scan`].
    pub(in crate::linux) fn scan_only<B>(
        &self,
        content: Content,
        overlap: usize,
        visit: &mut dyn FnMut(Gva, &[u8]) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut buf = vec![0; CHUNK.saturating_add(overlap)];
        for run in self.runs.iter().filter(|run| Content::of(run) == content) {
            let mut at = 0;
            while at < run.len_bytes() {
                let left =
                    usize::try_from(run.len_bytes().saturating_sub(at)).unwrap_or(usize::MAX);
                let piece = buf.split_at_mut(left.min(CHUNK.saturating_add(overlap))).0;
                let gpa = Gpa(run.gpa.0.saturating_add(at));
                if self.space.memory().read(gpa, piece).is_ok()
                    && let ControlFlow::Break(found) =
                        visit(Gva(run.gva.0.saturating_add(at)), piece)
                {
                    return Some(found);
                }
                at = at.saturating_add(CHUNK as u64);
            }
        }
        None
    }
}

/// The runs within a range, cut where they leave it.
pub(in crate::linux) fn parts(all: &[Leaf], range: &Range<u64>) -> Vec<Leaf> {
    let mut parts = Vec::new();
    for run in all {
        let start = run.gva.0.max(range.start);
        let len = run.end().min(range.end).saturating_sub(start);
        if len > 0 {
            parts.push(Leaf {
                gva: Gva(start),
                gpa: Gpa(run.gpa.0.saturating_add(start.saturating_sub(run.gva.0))),
                pages: u32::try_from(len / PAGE_SIZE).unwrap_or(u32::MAX),
                permissions: run.permissions,
            });
        }
    }
    parts
}

/// Content of a part of the image, judged by its permissions alone. A kernel that
/// does not protect its parts has variables only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) enum Content {
    Constants,
    Code,
    Variables,
}

impl Content {
    fn of(run: &Leaf) -> Self {
        match (run.permissions.write, run.permissions.execute) {
            (true, _) => Self::Variables,
            (false, true) => Self::Code,
            (false, false) => Self::Constants,
        }
    }
}

/// Candidates for the image, as the vCPUs see it, and whose page tables hold it.
pub(in crate::linux) struct FoundImage {
    /// Likeliest first.
    pub(in crate::linux) images: Vec<Image>,
    /// How many of them can be kernels: others are other parts of the same memory.
    pub(in crate::linux) most: usize,
    /// By vCPU index, the root that maps the kernel where it is not its own.
    pub(in crate::linux) kernel_roots: Vec<(u32, Found<Root>)>,
}

/// The address space of a vCPU.
pub(in crate::linux) struct View<'a> {
    pub(in crate::linux) index: u32,
    pub(in crate::linux) space: AddressSpace,
    pub(in crate::linux) registers: &'a Registers,
}

/// More different images than this are not searched: each costs time.
const MOST_IMAGES: usize = 8;

impl FoundImage {
    /// The vCPUs of one guest show the same image as a rule; once is enough.
    pub(in crate::linux) fn new(
        all: Vec<Image>,
        most: usize,
        kernel_roots: Vec<(u32, Found<Root>)>,
    ) -> Option<Self> {
        let place = |image: &Image| image.runs.first().map(|run| (run.gva, run.gpa));
        let mut images: Vec<Image> = Vec::new();
        for image in all {
            let known = images.iter().position(|known| place(known) == place(&image));
            if let Some(known) = known.and_then(|index| images.get_mut(index)) {
                known.vcpus.extend(image.vcpus);
            } else if images.len() < MOST_IMAGES {
                images.push(image);
            }
        }
        (!images.is_empty()).then_some(Self { images, most, kernel_roots })
    }
}
