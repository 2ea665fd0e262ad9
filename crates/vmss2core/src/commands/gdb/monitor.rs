//! Answers to `monitor`, by the printers of the commands.

use vmss2core_gdb::{Monitor, MonitorCommand, Selected};
use vmss2core_guest::linux::Kernel;

use crate::commands::source::Guest;
use crate::plan::GdbPlan;

/// Who answers.
pub(super) struct Answers<'a> {
    pub(super) guest: &'a Guest,
    pub(super) kernel: Option<&'a Kernel<'a>>,
    pub(super) plan: &'a GdbPlan,
}

impl Monitor for Answers<'_> {
    fn commands(&self) -> &[MonitorCommand] {
        &[]
    }

    fn run(&self, name: &str, _: &[&str], _: Selected<'_>) -> Result<String, String> {
        let _ = (self.guest, self.kernel, self.plan);
        Err(format!("no monitor command is called {name}\n"))
    }
}
