//! Tables of names of which parts are lost.

use std::ops::Range;

use super::patch::Patch;
use super::{Source, holes};

/// Longest name whose beginning is looked for.
const LONGEST: u64 = 64 << 10;

/// Empties what is lost of a table of names, and the names that lead into it: half a
/// name would be another one's.
pub(super) fn repair(source: &dyn Source, table: &Range<u64>) -> Vec<Patch> {
    let mut patches = Vec::new();
    for hole in holes(source, table) {
        let start = start_of_name(source, table.start, hole.start);
        if start < hole.start {
            let len = usize::try_from(hole.start.saturating_sub(start)).unwrap_or(0);
            patches.push(Patch::given(start, vec![0; len]));
        }
        patches.push(Patch::zeroes(&hole));
    }
    patches
}

/// Where the name begins that ends at `end` or after it.
fn start_of_name(source: &dyn Source, first: u64, end: u64) -> u64 {
    let mut start = end;
    let mut byte = [0];
    while start > first && end.saturating_sub(start) < LONGEST {
        let is_there = source.read(start.saturating_sub(1), &mut byte).is_some();
        if !is_there || byte == [0] {
            break;
        }
        start = start.saturating_sub(1);
    }
    start
}
