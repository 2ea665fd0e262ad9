//! The order of `rsp` and `rbp` in a `gpregs` block.
//!
//! crash's reader, kept by the format's authors, takes slot 4 for `rbp` and slot
//! 5 for `rsp`; the hardware's numbering would have them the other way round.
//! crash is followed unless the file itself proves it wrong.

use vmss2core_mem::Gpr;

/// What a `gpregs` block calls its slots 4 and 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// `rbp` then `rsp`.
    BaseFirst,
    /// `rsp` then `rbp`, as the hardware numbers them.
    StackFirst,
}

/// Why an order was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Individual `rsp` or `rbp` tags agree with it.
    Tags,
    /// The other order gives impossible stack pointers.
    Plausibility,
    /// Nothing speaks against the usual one.
    Usual,
}

/// What one processor says about the order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Witness {
    /// Slots 4 and 5.
    pub(super) slots: [u64; 2],
    /// Values of individual tags.
    pub(super) rsp: Option<u64>,
    pub(super) rbp: Option<u64>,
    pub(super) rip: Option<u64>,
    pub(super) cs: Option<u64>,
}

/// The hardware numbers of the block's slots.
pub(super) fn slot_register(slot: u8, order: Order) -> u8 {
    match (slot, order) {
        (4, Order::BaseFirst) => Gpr::Rbp as u8,
        (5, Order::BaseFirst) => Gpr::Rsp as u8,
        (slot, _) => slot,
    }
}

/// What one processor says by one way of judging.
type Rule = fn(&Witness) -> Option<Order>;

/// Decides for all processors of a file: one product wrote them all.
pub(super) fn judge(witnesses: &[Witness]) -> (Order, Reason) {
    let rules: [(Reason, Rule); 2] =
        [(Reason::Tags, by_tags), (Reason::Plausibility, by_plausibility)];
    for (reason, rule) in rules {
        let votes = |order| witnesses.iter().filter(|w| rule(w) == Some(order)).count();
        match (votes(Order::BaseFirst), votes(Order::StackFirst)) {
            (0, 0) => {}
            (0, _) => return (Order::StackFirst, reason),
            _ => return (Order::BaseFirst, reason),
        }
    }
    (Order::BaseFirst, Reason::Usual)
}

fn by_tags(witness: &Witness) -> Option<Order> {
    let [first, second] = witness.slots;
    if first == second {
        return None;
    }
    let fits = |rbp, rsp| {
        (witness.rsp.is_some() || witness.rbp.is_some())
            && witness.rsp.is_none_or(|value| value == rsp)
            && witness.rbp.is_none_or(|value| value == rbp)
    };
    match (fits(first, second), fits(second, first)) {
        (true, false) => Some(Order::BaseFirst),
        (false, true) => Some(Order::StackFirst),
        _ => None,
    }
}

fn by_plausibility(witness: &Witness) -> Option<Order> {
    let [first, second] = witness.slots;
    let rip = witness.rip?;
    let in_kernel = rip >> 63 == 1 && witness.cs.is_none_or(|cs| cs % 4 == 0);
    match (can_be_stack(first, rip, in_kernel), can_be_stack(second, rip, in_kernel)) {
        (false, true) => Some(Order::BaseFirst),
        (true, false) => Some(Order::StackFirst),
        _ => None,
    }
}

/// Whether code at `rip` can have this stack pointer.
fn can_be_stack(value: u64, rip: u64, in_kernel: bool) -> bool {
    // Canonical with 5-level paging, which allows what 4-level does.
    const UPPER_HALF: u64 = 0xff00_0000_0000_0000;
    const LOWER_END: u64 = 0x0100_0000_0000_0000;
    let low_code = rip >> 32 == 0;
    match value {
        0 => false,
        _ if in_kernel => value >= UPPER_HALF && value.is_multiple_of(8),
        _ if low_code => !(LOWER_END..UPPER_HALF).contains(&value),
        _ => value < LOWER_END,
    }
}
