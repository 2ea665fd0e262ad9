//! The tables of a kernel whose symbols do not say where they are, found by their form.
//!
//! The linker puts three arrays one after the other (`ORC_UNWIND_TABLE`,
//! `include/asm-generic/vmlinux.lds.h`): where the code of each entry begins, sorted; the
//! entries; and `orc_lookup`, which the kernel fills in when it starts: for each 256 bytes of
//! its code the number of the entry that they begin with (`unwind_init`,
//! `arch/x86/kernel/unwind_orc.c`). So the third proves the first two.

use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gva, Sums};

use super::table::{ENTRY_LEN, IP_LEN, MOST_ENTRIES, Table};
use crate::linux::Kernel;
use crate::linux::discovery::{Content, Image};

/// A kernel with less code than others has, 256 KiB, has more entries.
const FEWEST_ENTRIES: u64 = 1024;
/// More sorted arrays than an image has.
const MOST_ARRAYS: usize = 64;
/// Between the first array and code lies more than this: the entries, or the variables. Zeros and
/// small numbers lead less far.
const NEAREST: u32 = 4096;
/// Words after the end of the first array that can pass for more of it.
const MOST_TOO_MANY: u64 = 2;
/// Bytes between the arrays, which `ALIGN` leaves free.
const GAPS: [u64; 4] = [0, 2, 4, 6];
/// Bytes of code that `orc_lookup` has a number for.
const BLOCK: u64 = 256;
const LOOKUP_LEN: u64 = 4;
/// Blocks that are looked at, in all of the code.
const SAMPLE: u64 = 2048;
/// The blocks begin with `_stext`, this close to `_text`.
const LONGEST_HEAD: u64 = 2 << 20;

/// The tables, if they are there and right.
pub(in crate::linux::arch::x86::unwind) fn find(kernel: &Kernel) -> Option<Table> {
    let text = kernel.linux().text.as_ref()?.value;
    let range = text.start.0..text.start.0.checked_add(text.len)?;
    let bounds = kernel.bounds().map(|bounds| bounds.value.code());
    // The least that a kernel has, if it does not say.
    let least = range.start..range.start.plus(FEWEST_ENTRIES.times(BLOCK));
    let code = bounds.unwrap_or(least);
    let arrays = sorted_arrays(kernel, &range);
    arrays.into_iter().find_map(|array| {
        let fewer = (0..=MOST_TOO_MANY).map(|less| array.count.minus(less));
        let mut tables = fewer.flat_map(|count| {
            let end = array.start.plus(count.times(IP_LEN));
            let entries = GAPS.into_iter().map(move |gap| Gva(end.plus(gap)));
            entries.map(move |entries| Table { ips: Gva(array.start), entries, count })
        });
        tables.find(|table| table.makes_sense(kernel) && fits_lookup(kernel, table, &code))
    })
}

/// Distances one after the other that lead to places in order.
#[derive(Clone, Copy, Default)]
struct Array {
    start: u64,
    count: u64,
    /// The last of the places.
    last: u64,
}

impl Array {
    fn end(&self) -> u64 {
        self.start.plus(self.count.times(IP_LEN))
    }
}

/// The long ones of an image, which lead to places in it.
fn sorted_arrays(kernel: &Kernel, range: &Range<u64>) -> Vec<Array> {
    let image = Image::of_range(kernel.space(), range.clone());
    let mut found = Vec::new();
    let mut array = Array::default();
    for content in [Content::Constants, Content::Variables] {
        let _: Option<()> = image.scan_only(content, 0, &mut |gva, bytes| {
            for (at, word) in (gva.0..).step_by(4).zip(bytes.as_chunks::<4>().0) {
                let distance = i32::from_le_bytes(*word);
                let to = at.wrapping_add_signed(distance.into());
                let is_place = distance.unsigned_abs() >= NEAREST && range.contains(&to);
                if is_place && at == array.end() && to >= array.last {
                    array = Array { count: array.count.plus(1), last: to, ..array };
                    continue;
                }
                found.extend(is_long(&array).then_some(array));
                array = Array { start: at, count: u64::from(is_place), last: to };
            }
            if found.len() < MOST_ARRAYS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
    found.extend(is_long(&array).then_some(array));
    found
}

fn is_long(array: &Array) -> bool {
    (FEWEST_ENTRIES..=MOST_ENTRIES).contains(&array.count)
}

/// Whether the numbers after the entries are those of the blocks of the kernel's code.
fn fits_lookup(kernel: &Kernel, table: &Table, code: &Range<u64>) -> bool {
    let numbers = table.entries.0.plus(table.count.times(ENTRY_LEN));
    let Some(numbers) = numbers.checked_next_multiple_of(LOOKUP_LEN) else { return false };
    let blocks = code.end.minus(code.start) / BLOCK;
    // Where the first block begins.
    let (mut least, mut most) = (code.start, code.start.plus(LONGEST_HEAD));
    let count = blocks.min(SAMPLE);
    for sample in 0..count {
        let block = sample.times(blocks).checked_div(count).unwrap_or(0);
        let into = block.times(BLOCK);
        if least.plus(into) >= code.end {
            break;
        }
        let Some((first, next)) = entry_of_block(kernel, table, numbers, block) else {
            return false;
        };
        least = least.max(first.minus(into));
        most = most.min(next.minus(into));
    }
    count > 0 && least < most
}

/// Where the code begins of the entry that a block begins with, and of the next entry.
fn entry_of_block(kernel: &Kernel, table: &Table, numbers: u64, block: u64) -> Option<(u64, u64)> {
    let at = Gva(numbers.plus(block.times(LOOKUP_LEN)));
    let index = kernel.read_uint(at, LOOKUP_LEN, "orc_lookup").ok()?;
    let next = index.checked_add(1).filter(|next| *next < table.count)?;
    Some((table.ip(kernel, index)?, table.ip(kernel, next)?))
}
