//! `bt`.

use super::{GuestPlan, Style};
use crate::args::{BtArgs, Global};

/// Show kernel stacks.
#[derive(Debug)]
pub(crate) struct BtPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) stacks: Stacks,
    pub(crate) style: Style,
}

impl BtPlan {
    pub(super) fn new(args: BtArgs, global: &Global) -> Self {
        let stacks = match (args.cpu, args.pid) {
            (Some(cpu), _) => Stacks::Processor(cpu),
            (_, Some(pid)) => Stacks::Process(pid),
            _ if args.all => Stacks::All,
            _ => Stacks::Processors,
        };
        let style = Style::of(args.json);
        Self { guest: GuestPlan::new(args.guest, global), stacks, style }
    }
}

/// Whose stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stacks {
    Processors,
    /// As Linux numbers them.
    Processor(u32),
    Process(u32),
    All,
}
