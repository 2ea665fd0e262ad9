//! The order of `rsp` and `rbp` in a `gpregs` block.
//!
//! The block has the hardware's order, as processors of two products (2016 and
//! 2022) show. crash's reader has the two the other way round; a block is read
//! like that only where tags of the same processor say so.

/// Whether slots 4 and 5 are `rbp` and `rsp`, by the processor's own tags.
pub(super) fn is_swapped(slots: [u64; 2], rsp: Option<u64>, rbp: Option<u64>) -> bool {
    let [fourth, fifth] = slots;
    let fits = |own_rsp: u64, own_rbp: u64| {
        rsp.is_none_or(|value| value == own_rsp) && rbp.is_none_or(|value| value == own_rbp)
    };
    (rsp.is_some() || rbp.is_some()) && !fits(fourth, fifth) && fits(fifth, fourth)
}

/// Positions in the block, which are the hardware's numbers.
pub(super) const RSP: u8 = 4;
pub(super) const RBP: u8 = 5;

/// Content of a slot of a swapped block.
pub(super) fn swapped(slot: u8) -> u8 {
    match slot {
        RSP => RBP,
        RBP => RSP,
        other => other,
    }
}
