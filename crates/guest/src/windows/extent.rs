//! Whether the checkpoint holds all of the memory that the kernel counts.

use std::ops::Range;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gpa, PhysicalMemory, Piece, Problem};

use super::{WindowsFacts, physical_runs};
use crate::system::CUT_OFF;

pub(super) fn missing(memory: &PhysicalMemory, windows: &WindowsFacts) -> Option<Problem> {
    let (mode, root) = windows.kernel_root.value;
    let runs = physical_runs(&AddressSpace::new(memory, mode, root), windows)?;
    let len = |part: &Range<u64>| part.end.saturating_sub(part.start);
    let total: u64 = runs.iter().map(len).fold(0, u64::saturating_add);
    let absent: Vec<Range<u64>> = runs.iter().flat_map(|run| absent(memory, run)).collect();
    let first = absent.first()?.start;
    let lost: u64 = absent.iter().map(len).fold(0, u64::saturating_add);
    Some(Problem::incomplete(format!(
        "memory is missing: of {total:#x} bytes that Windows has (MmPhysicalMemoryBlock) the \
         checkpoint lacks {lost:#x}, the first at {}; {CUT_OFF}",
        Gpa(first)
    )))
}

/// The parts of a range that no segment holds.
fn absent(memory: &PhysicalMemory, range: &Range<u64>) -> Vec<Range<u64>> {
    let pieces = memory.pieces(Gpa(range.start), range.end.saturating_sub(range.start));
    let absent = pieces.filter_map(|piece| match piece {
        Piece::Absent { gpa, len } => Some(gpa.0..gpa.0.saturating_add(len)),
        Piece::Present { .. } => None,
    });
    absent.collect()
}
