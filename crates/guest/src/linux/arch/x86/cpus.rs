//! Which of Linux' CPUs a vCPU is.
//!
//! 64-bit Linux keeps the number of a CPU where user mode can read it without a
//! system call: as the limit of a segment that nothing uses
//! (`GDT_ENTRY_CPUNODE`), with the node's number from bit 12 on. Where that is
//! missing, the base of the CPU's own variables tells: it is an element of the
//! array `__per_cpu_offset`, and its index is the CPU's number.

use std::ops::ControlFlow;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Privilege, Registers, x86};
use vmss2core_mem::{Gva, little_endian};

use crate::linux::discovery::Image;

/// `GDT_ENTRY_CPUNODE` of a 64-bit kernel, called `GDT_ENTRY_PER_CPU` before 4.20.
const CPUNODE: u64 = 15;
const CPUNODE_CPU: u64 = 0xfff;
/// Entry of the descriptor table of a 32-bit kernel that FS selects in the kernel: the
/// CPU's own variables.
pub(in crate::linux) const GDT_ENTRY_PERCPU: u64 = 27;
/// A longer array would be looked for in vain across pieces of the image.
const MOST_CPUS: usize = 512;

/// One vCPU, and an address space in which its descriptor table is mapped.
pub(in crate::linux) struct Processor<'a> {
    pub(in crate::linux) registers: &'a Registers,
    pub(in crate::linux) privilege: Option<Privilege>,
    pub(in crate::linux) space: Option<AddressSpace>,
}

/// The number of each vCPU; `None` throughout unless all can be told apart. A vCPU that
/// executes another kernel (`None`) has the number that is left over, if it is the only
/// one.
pub(in crate::linux) fn numbers(image: &Image, all: &[Option<Processor<'_>>]) -> Vec<Option<u32>> {
    let here: Vec<&Processor<'_>> = all.iter().flatten().collect();
    let found = if all.len() == 1 {
        Some(vec![0; here.len()])
    } else {
        from_descriptors(&here).or_else(|| from_offsets(image, &here))
    };
    let Some(found) = found else { return vec![None; all.len()] };
    let left_over = left_over(&found, all.len());
    let mut found = found.into_iter();
    let number = |processor: &Option<Processor<'_>>| match processor {
        Some(_) => found.next(),
        None => left_over,
    };
    all.iter().map(number).collect()
}

/// The only number below `count` that is not among these.
fn left_over(numbers: &[u32], count: usize) -> Option<u32> {
    let count = u32::try_from(count).ok()?;
    let mut free = (0..count).filter(|number| !numbers.contains(number));
    free.next().filter(|_| free.next().is_none())
}

fn from_descriptors(processors: &[&Processor<'_>]) -> Option<Vec<u32>> {
    let number = |processor: &&Processor<'_>| {
        processor.space.as_ref().filter(|space| space.mode().is_64_bit())?;
        let limit = limit_of_cpunode(processor.descriptor(CPUNODE)?)?;
        u32::try_from(limit & CPUNODE_CPU).ok()
    };
    let numbers: Vec<u32> = processors.iter().map(number).collect::<Option<_>>()?;
    all_different(&numbers).then_some(numbers)
}

fn from_offsets(image: &Image, processors: &[&Processor<'_>]) -> Option<Vec<u32>> {
    let offsets: Vec<u64> =
        processors.iter().map(|processor| processor.percpu_offset()).collect::<Option<_>>()?;
    if offsets.len() > MOST_CPUS || offsets.contains(&0) || !all_different(&offsets) {
        return None;
    }
    let word_len = if image.space.mode().is_64_bit() { 8 } else { 4 };
    image.scan(offsets.len().saturating_mul(word_len), &mut |_, bytes| {
        let words: Vec<u64> = bytes.chunks_exact(word_len).map(little_endian).collect();
        for array in words.windows(offsets.len()) {
            if let Some(numbers) = positions(array, &offsets) {
                return ControlFlow::Break(numbers);
            }
        }
        ControlFlow::Continue(())
    })
}

/// Where each of `offsets` is in `array`, if all are.
fn positions(array: &[u64], offsets: &[u64]) -> Option<Vec<u32>> {
    let first = array.first()?;
    if !offsets.contains(first) {
        return None;
    }
    let position = |offset| array.iter().position(|word| word == offset);
    offsets.iter().map(|offset| u32::try_from(position(offset)?).ok()).collect()
}

impl Processor<'_> {
    fn descriptor(&self, entry: u64) -> Option<u64> {
        let at = self.registers.x86()?.gdtr.base?.checked_add(entry.saturating_mul(8))?;
        self.space.as_ref()?.read_u64(Gva(at)).ok()
    }

    /// Base of this CPU's variables: kernel GS for 64 bits, FS for 32.
    fn percpu_offset(&self) -> Option<u64> {
        if !self.space.as_ref()?.mode().is_64_bit() {
            return Some(x86::descriptor_base(self.descriptor(GDT_ENTRY_PERCPU)?));
        }
        match self.privilege? {
            Privilege::Kernel => self.registers.x86()?.segments.gs.base,
            _ => self.registers.x86()?.msrs.kernel_gs_base,
        }
    }
}

/// The limit of a present, expand-down, read-only data segment of privilege 3:
/// what nobody but Linux makes, for this.
fn limit_of_cpunode(descriptor: u64) -> Option<u64> {
    // Type and S in bits 40 to 44, DPL in 45 and 46, P in 47; bit 40 is set by
    // the processor at the first use.
    const MASK: u64 = 0xfe << 40;
    const WANT: u64 = 0xf4 << 40;
    let limit = descriptor & 0xffff | (descriptor >> 32) & 0xf_0000;
    (descriptor & MASK == WANT).then_some(limit)
}

fn all_different<T: Ord + Copy>(values: &[T]) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair.first() != pair.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_number_is_read_from_the_limit_only_of_the_right_segment() {
        assert_eq!(limit_of_cpunode(0x0040_f500_0000_1003), Some(0x1003));
        assert_eq!(limit_of_cpunode(0x004f_f400_0000_0001), Some(0xf_0001));
        for other in [0, 0x00cf_9a00_0000_ffff, 0x00cf_f300_0000_ffff, 0x0040_7500_0000_0001] {
            assert_eq!(limit_of_cpunode(other), None, "{other:#x}");
        }
    }

    #[test]
    fn the_base_of_a_descriptor_is_put_together_from_its_parts() {
        assert_eq!(x86::descriptor_base(0x128f_93b1_d000_ffff), 0x12b1_d000);
    }

    #[test]
    fn the_number_that_is_left_over_is_told_if_there_is_one() {
        assert_eq!(left_over(&[2, 0], 3), Some(1));
        assert_eq!(left_over(&[], 1), Some(0));
        for numbers in [&[0][..], &[0, 1, 2], &[0, 7]] {
            assert_eq!(left_over(numbers, 3), None, "{numbers:?}");
        }
    }

    #[test]
    fn positions_are_the_indices_in_the_array() {
        assert_eq!(positions(&[7, 9, 8], &[8, 7, 9]), Some(vec![2, 0, 1]));
        assert_eq!(positions(&[7, 9, 0], &[8, 7, 9]), None);
    }
}
