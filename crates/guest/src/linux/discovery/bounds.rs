//! The bounds of the image as the kernel itself has them.
//!
//! `init_mm` is the kernel's own memory descriptor, a variable of its image. Since before
//! 2.4, `setup_arch` puts the addresses of `_text`, `_etext`, `_edata` and `_end` (or the
//! end of what follows it) into the members that a process has for its program:
//! `start_code`, `end_code`, `start_data`, `end_data`, `start_brk`, `brk`, `start_stack`
//! (include/linux/mm_types.h, in 2.4 sched.h). Those that a kernel has no use for are 0.

use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Found, Gva, PAGE_SIZE, little_endian};

use super::image::{Content, Image};

/// Members from `start_code` to `start_stack`.
const MEMBERS: usize = 7;
/// No kernel has less code, nor an image as long.
const LEAST_CODE: u64 = 256 << 10;
const LONGEST: u64 = 256 << 20;

/// Bounds of a kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `_text`.
    pub start: Gva,
    /// `_etext`: what lies before it is code.
    pub code_end: Gva,
    /// `_edata`: code, constants and variables with a value end here.
    pub data_end: Gva,
    /// Where the image ends, with its other variables.
    pub end: Gva,
}

impl Bounds {
    /// Addresses of code.
    pub fn code(&self) -> Range<u64> {
        self.start.0..self.code_end.0
    }

    /// From the words at `start_code`, if these are bounds of something that ends in `image`.
    fn of(words: &[u64; MEMBERS], image: &Image) -> Option<Self> {
        let &[start, code_end, 0, data_end, 0, end, 0] = words else { return None };
        let is_sorted = start < code_end && code_end <= data_end && data_end <= end;
        (is_sorted
            && start.is_multiple_of(PAGE_SIZE)
            && code_end.saturating_sub(start) >= LEAST_CODE
            && end.saturating_sub(start) <= LONGEST
            && image.holds(data_end))
        .then_some(Self {
            start: Gva(start),
            code_end: Gva(code_end),
            data_end: Gva(data_end),
            end: Gva(end),
        })
    }

    fn are_in(&self, image: &Image) -> bool {
        [self.start, self.code_end].into_iter().all(|at| image.holds(at.0))
    }
}

/// Finds the bounds among the variables of an image; `None` too if more than one place
/// has some that differ.
pub(in crate::linux) fn find(image: &Image) -> Option<Found<Bounds>> {
    let mut found: Option<(Gva, Bounds)> = None;
    let differs = search(image, &mut |place, bounds| {
        match &found {
            _ if !bounds.are_in(image) => {}
            Some((_, known)) if *known != bounds => return ControlFlow::Break(()),
            Some(_) => {}
            None => found = Some((place, bounds)),
        }
        ControlFlow::Continue(())
    });
    found.filter(|_| differs.is_none()).map(told)
}

/// The first bounds among the variables of an image, of which the code may lie before.
pub(in crate::linux) fn first(image: &Image) -> Option<Found<Bounds>> {
    search(image, &mut |place, bounds| ControlFlow::Break((place, bounds))).map(told)
}

fn told((place, bounds): (Gva, Bounds)) -> Found<Bounds> {
    Found::new(bounds, format!("the kernel's own init_mm, its addresses at {place}"))
}

/// Shows `visit` all bounds in the variables of an image, and where they are.
fn search<B>(image: &Image, visit: &mut dyn FnMut(Gva, Bounds) -> ControlFlow<B>) -> Option<B> {
    let is_64_bit = image.space.mode().is_64_bit();
    let word_len = if is_64_bit { 8 } else { 4 };
    let overlap = MEMBERS.saturating_mul(word_len);
    image.scan_only(Content::Variables, overlap, &mut |gva, bytes| {
        let starts = if is_64_bit {
            starts(bytes, u64::from_le_bytes)
        } else {
            starts(bytes, |word| u32::from_le_bytes(word).into())
        };
        for at in starts {
            let words = bytes.get(at..).and_then(|bytes| words(bytes, word_len));
            if let Some(bounds) = words.and_then(|words| Bounds::of(&words, image)) {
                visit(Gva(gva.0.saturating_add(at as u64)), bounds)?;
            }
        }
        ControlFlow::Continue(())
    })
}

/// Where the address of a page may be; few words are one.
fn starts<const WORD: usize>(bytes: &[u8], value: fn([u8; WORD]) -> u64) -> Vec<usize> {
    let words = bytes.as_chunks::<WORD>().0.iter().map(|word| value(*word));
    let is_page = |word: u64| word != 0 && word & (PAGE_SIZE - 1) == 0;
    let pages = words.enumerate().filter(|(_, word)| is_page(*word));
    pages.map(|(index, _)| index.saturating_mul(WORD)).collect()
}

fn words(bytes: &[u8], word_len: usize) -> Option<[u64; MEMBERS]> {
    let mut all = [0; MEMBERS];
    let mut words = bytes.chunks_exact(word_len).map(little_endian);
    for one in &mut all {
        *one = words.next()?;
    }
    Some(all)
}
