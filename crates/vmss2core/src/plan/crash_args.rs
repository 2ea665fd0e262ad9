//! `crash-args`.

use super::{GuestPlan, Style};
use crate::args::{CrashArgsArgs, Global};

/// Print command lines for debuggers.
#[derive(Debug)]
pub(crate) struct CrashArgsPlan {
    pub(crate) guest: GuestPlan,
    pub(crate) style: Style,
}

impl CrashArgsPlan {
    pub(super) fn new(args: CrashArgsArgs, global: &Global) -> Self {
        let style = Style::of(args.json);
        Self { guest: GuestPlan::new(args.guest, global), style }
    }
}
