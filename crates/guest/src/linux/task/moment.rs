//! Whether a vCPU's registers are of the moment at which the kernel's lists were taken.
//!
//! Registers of an earlier or later moment of the same run often lead through page tables that
//! are still there. They show themselves by the task: in the kernel a processor is on the stack
//! of the task that it runs, and in a program on that task's page tables.

use vmss2core_machine::{Privilege, Vcpu};
use vmss2core_mem::{Gva, PAGE_SIZE, Problem, Severity};

use super::Task;
use crate::linux::Kernel;

/// Evidence of all vCPUs, put together.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// vCPUs that run the task that they should, idle ones apart: those always do.
    agreeing: usize,
    contradictions: Vec<String>,
}

impl Moments {
    /// Adds what a vCPU shows whose own variable names `task` as running.
    pub(super) fn look_at(&mut self, kernel: &Kernel, vcpu: &Vcpu, task: &Task, all: &[Task]) {
        // A second kernel's registers say nothing of this one's tasks.
        if kernel.linux().has_left(vcpu.index) {
            return;
        }
        let shown = match kernel.privilege_of(vcpu.index) {
            Some(Privilege::Kernel) => kernel.on_stack_of(vcpu, task, all),
            Some(Privilege::User) => kernel.on_tables_of(vcpu, task),
            _ => None,
        };
        match shown {
            Some(Ok(())) if task.tid != 0 => self.agreeing = self.agreeing.saturating_add(1),
            Some(Err(contradiction)) => self.contradictions.push(contradiction),
            Some(Ok(())) | None => {}
        }
    }

    /// The problem to report. If no vCPU agrees, part of the guest is lost.
    pub(super) fn problems(self) -> impl Iterator<Item = Problem> {
        let is_alone = self.agreeing == 0;
        let severity = if is_alone { Severity::Incomplete } else { Severity::Warning };
        self.contradictions.into_iter().map(move |message| Problem { severity, message })
    }
}

impl Kernel {
    fn on_stack_of(&self, vcpu: &Vcpu, task: &Task, all: &[Task]) -> Option<Result<(), String>> {
        let stack = Gva(vcpu.registers.sp()?);
        if self.is_elsewhere(vcpu, stack) {
            return None;
        }
        let owner = self.owner_of_stack(stack.0, all)?;
        if owner == task.gva {
            return Some(Ok(()));
        }
        let other = all.iter().find(|other| other.gva == owner)?;
        Some(Err(format!(
            "vCPU {} is on the kernel stack of task {} ({}), and by its own variable it runs task \
             {} ({}): its registers are of another moment than the memory, or it was stopped while \
             it switched tasks",
            vcpu.index, other.tid, other.comm, task.tid, task.comm
        )))
    }

    /// Whether the vCPU's page tables map an address to another place than the kernel's do: it
    /// runs another kernel, as after a crash.
    fn is_elsewhere(&self, vcpu: &Vcpu, gva: Gva) -> bool {
        let space = self.vcpu(vcpu.index).and_then(|view| view.space(self.memory()));
        let seen = space.and_then(|space| space.translate(gva).ok());
        let own = self.space().translate(gva).ok();
        seen.is_some_and(|seen| own.is_none_or(|own| own.gpa != seen.gpa))
    }

    fn on_tables_of(&self, vcpu: &Vcpu, task: &Task) -> Option<Result<(), String>> {
        let root = self.vcpu(vcpu.index)?.root()?;
        let own = self.space_of(task).ok()??.root();
        // With page-table isolation a program's tables lie one page after the kernel's.
        if own == root || own.0.0 == root.0.0 & !PAGE_SIZE {
            return Some(Ok(()));
        }
        Some(Err(format!(
            "vCPU {} executes a program on page tables at {root}, and task {} ({}), which it runs \
             by its own variable, has its own at {own}: its registers are of another moment than \
             the memory, or it ran a guest of this guest",
            vcpu.index, task.tid, task.comm
        )))
    }
}
