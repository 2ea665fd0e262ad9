//! Arithmetic on numbers that an input states, which may be any.

use std::ops::Range;

use crate::PAGE_SIZE;

/// Sums of offsets, lengths and counts that stay within their type: at its end there is
/// nothing to be read, and no limit is that high.
pub trait Sums: Copy {
    /// The sum, or the largest number.
    fn plus(self, more: Self) -> Self;
    /// The difference, or 0.
    fn minus(self, less: Self) -> Self;
    /// The product, or the largest number.
    fn times(self, count: Self) -> Self;
}

macro_rules! sums {
    ($($number:ty),*) => {
        $(impl Sums for $number {
            fn plus(self, more: Self) -> Self {
                self.saturating_add(more)
            }

            fn minus(self, less: Self) -> Self {
                self.saturating_sub(less)
            }

            fn times(self, count: Self) -> Self {
                self.saturating_mul(count)
            }
        })*
    };
}

sums!(u64, usize);

/// Length of a range; 0 if its end comes first.
pub fn range_len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// The lowest `count` bits; all of them from 64 on.
pub fn low_bits(count: u32) -> u64 {
    !u64::MAX.unbounded_shl(count)
}

/// Whether a bit is set, counted from the lowest; there are 64.
pub fn has_bit(word: u64, number: u64) -> bool {
    number < 64 && word >> number & 1 == 1
}

/// Bytes from an address or offset to the end of its page, which are a page where one
/// begins.
pub fn to_page_end(at: u64) -> u64 {
    PAGE_SIZE.saturating_sub(at % PAGE_SIZE)
}

/// The first boundary of pages that is not before an address or offset; the largest
/// number if there is none.
pub fn up_to_page(at: u64) -> u64 {
    at.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_type() {
        assert_eq!((u64::MAX.plus(1), 1_u64.minus(2), u64::MAX.times(2)), (u64::MAX, 0, u64::MAX));
        assert_eq!((2_usize.plus(3), 3_usize.minus(2), 2_usize.times(3)), (5, 1, 6));
    }

    #[test]
    fn edges() {
        assert_eq!((range_len(&(3..5)), range_len(&Range { start: 5, end: 3 })), (2, 0));
        assert_eq!([0, 1, 63, 64, 65].map(low_bits), [0, 1, u64::MAX >> 1, u64::MAX, u64::MAX]);
        assert_eq!(
            [0, 1, 63, 64, u64::MAX].map(|bit| has_bit(1 << 63 | 1, bit)),
            [true, false, true, false, false]
        );
        assert_eq!([0, 1, 4095, u64::MAX].map(to_page_end), [4096, 4095, 1, 1]);
        assert_eq!([0, 1, 4096, u64::MAX].map(up_to_page), [0, 4096, 4096, u64::MAX]);
    }
}
