//! Which task each CPU runs.
//!
//! Every CPU has variables of its own: a variable lies at its symbol's value plus
//! the CPU's base. That base is in `__per_cpu_offset`, and in GS (64 bits) or FS
//! (32 bits) while the CPU is in the kernel. Up to Linux 6.14 the symbols are
//! small numbers, from 6.15 on addresses; the sum is right for both.

use vmss2core_machine::{Privilege, Vcpu};
use vmss2core_mem::{Found, Gva, PAGE_SIZE, Problem};

use super::Task;
use super::moment::Moments;
use super::record::{Fields, Record};
use crate::linux::arch;
use crate::linux::{Kernel, Learned, LinuxError};

/// Variables that hold the current task, newest first: 2.6.34 to 6.1 and 6.15 and
/// later; 6.2 to 6.14 (a structure); 2.6.30 to 2.6.33.
const CURRENT: [&str; 3] = ["current_task", "pcpu_hot", "per_cpu__current_task"];
/// No kernel stack is larger than that of a 64-bit kernel with KASAN.
const LARGEST_STACK: u64 = 32 << 10;
/// `STACK_END_MAGIC`, at the lowest address of every kernel stack, after
/// `thread_info` where that lies there.
const STACK_END: u64 = 0x57ac_6e9d;

impl Kernel {
    /// Offset from the address of a per-CPU variable to this vCPU's own.
    pub fn percpu_base(&self, vcpu: u32) -> Option<Found<u64>> {
        self.percpu_bases(vcpu).into_iter().next()
    }

    /// The `task_struct` that a vCPU of the checkpoint runs.
    pub fn current(&self, vcpu: u32) -> Result<Found<Gva>, LinuxError> {
        let fields = Fields::of(self)?;
        if let Some(found) = self.current_by_symbol(&fields, vcpu) {
            return Ok(found);
        }
        let tasks = self.tasks()?.tasks;
        let running = tasks.iter().find(|task| task.on_vcpu == Some(vcpu));
        let running = running.map(|task| Found::new(task.gva, "its kernel stack or mark"));
        running.ok_or_else(|| LinuxError::UnknownSymbol { name: "current_task".to_owned() })
    }

    /// Marks what each vCPU runs, and says where the scheduler disagrees.
    pub(super) fn mark_current(
        &self,
        fields: &Fields<'_>,
        records: &[Record],
        tasks: &mut [Task],
        problems: &mut Vec<Problem>,
    ) {
        let mut moments = Moments::default();
        for vcpu in self.checkpoint().vcpus.iter() {
            let by_symbol = self.current_by_symbol(fields, vcpu.index).map(|found| found.value);
            let named = by_symbol.and_then(|gva| tasks.iter().find(|task| task.gva == gva));
            if let Some(named) = named {
                moments.look_at(self, vcpu, named, tasks);
            }
            let current = by_symbol
                .or_else(|| self.current_by_stack(vcpu, tasks))
                .or_else(|| self.current_by_mark(vcpu, fields, records));
            let index = current.and_then(|gva| tasks.iter().position(|task| task.gva == gva));
            let Some(index) = index else { continue };
            if records.get(index).and_then(|record| fields.is_on_cpu(record)) == Some(false) {
                problems.push(disagreement(vcpu.index, tasks.get(index)));
            }
            if let Some(task) = tasks.get_mut(index) {
                task.on_vcpu = Some(vcpu.index);
            }
        }
        problems.extend(moments.problems());
    }

    pub(super) fn current_by_symbol(&self, fields: &Fields<'_>, vcpu: u32) -> Option<Found<Gva>> {
        let logical = self.logical_cpu(vcpu);
        let bases = self.percpu_bases(vcpu);
        for name in CURRENT {
            let Ok(symbol) = self.symbol(name) else { continue };
            let at = symbol.value.0.wrapping_add(self.place_in(name));
            for base in &bases {
                let Ok(gva) = self.read_pointer(Gva(at.wrapping_add(base.value)), name) else {
                    continue;
                };
                let Ok(record) = fields.read(gva) else { continue };
                let cpu = fields.cpu(&record);
                if cpu.is_none() || logical.is_none() || cpu == logical {
                    return Some(Found::new(gva, format!("{name} ({})", base.how)));
                }
            }
        }
        None
    }

    /// Where the current task is in a variable.
    fn place_in(&self, variable: &str) -> u64 {
        match self.layout().member(variable, "current_task") {
            Some(member) => member.value.offset_bytes,
            None => 0,
        }
    }

    /// The guest's own number of a vCPU.
    pub fn logical_cpu(&self, vcpu: u32) -> Option<u32> {
        self.vcpu(vcpu)?.number
    }

    /// Most trustworthy first.
    fn percpu_bases(&self, vcpu: u32) -> Vec<Found<u64>> {
        let mut bases = Vec::new();
        if let Some(offset) = self.percpu_offset(vcpu) {
            bases.push(Found::new(offset, "__per_cpu_offset"));
        }
        if let Some(registers) = self.registers_of(vcpu) {
            bases.extend(arch::percpu_bases(self, registers, self.privilege_of(vcpu)));
        }
        bases
    }

    fn percpu_offset(&self, vcpu: u32) -> Option<u64> {
        self.percpu_offset_of(self.logical_cpu(vcpu)?)
    }

    /// Offset from the address of a per-CPU variable to that of a CPU.
    pub(in crate::linux) fn percpu_offset_of(&self, cpu: u32) -> Option<u64> {
        let array = self.symbol("__per_cpu_offset").ok()?.value;
        let at = array.0.wrapping_add(u64::from(cpu).saturating_mul(self.word_len()));
        self.read_pointer(Gva(at), "__per_cpu_offset").ok().map(|offset| offset.0)
    }

    /// The task whose kernel stack the vCPU is on, or would be if it entered the
    /// kernel now.
    fn current_by_stack(&self, vcpu: &Vcpu, tasks: &[Task]) -> Option<Gva> {
        self.stack_pointers(vcpu).into_iter().find_map(|at| self.owner_of_stack(at, tasks))
    }

    /// The only task that the scheduler has marked as running on the vCPU. While it switches
    /// tasks, two are.
    fn current_by_mark(&self, vcpu: &Vcpu, fields: &Fields<'_>, records: &[Record]) -> Option<Gva> {
        let number = self.logical_cpu(vcpu.index)?;
        let mut marked = records.iter().filter(|record| {
            fields.is_on_cpu(record) == Some(true) && fields.cpu(record) == Some(number)
        });
        let only = marked.next()?;
        marked.next().is_none().then_some(only.snapshot.gva())
    }

    /// Addresses on the kernel stacks that the vCPU is on, and would be on if it entered the
    /// kernel now.
    pub(super) fn stack_pointers(&self, vcpu: &Vcpu) -> Vec<u64> {
        let Some(registers) = self.registers_of(vcpu.index) else { return Vec::new() };
        let in_kernel = self.privilege_of(vcpu.index) == Some(Privilege::Kernel);
        let pointer = registers.sp().filter(|_| in_kernel);
        let word = |at| Some(self.read_pointer(Gva(at), "task state segment").ok()?.0);
        let waiting = arch::entry_stacks(registers, word);
        pointer.into_iter().chain(waiting).collect()
    }

    pub(super) fn owner_of_stack(&self, at: u64, tasks: &[Task]) -> Option<Gva> {
        let below = |task: &&Task| task.stack.is_some_and(|stack| stack.0 <= at);
        let owner = tasks.iter().filter(below).max_by_key(|task| task.stack)?;
        let stack = owner.stack?;
        let len = self.learned_already().and_then(Learned::thread_size).unwrap_or(LARGEST_STACK);
        let is_near = at.saturating_sub(stack.0) < len;
        (is_near && self.is_stack_between(stack, at)).then_some(owner.gva)
    }

    /// The magic number marks the end of a stack, so that of this one is the
    /// first that is met on the way down.
    fn is_stack_between(&self, stack: Gva, at: u64) -> bool {
        let mut page = at & !(PAGE_SIZE - 1);
        while page > stack.0 {
            if self.read_uint(Gva(page), 4, "stack").is_ok_and(|word| word == STACK_END) {
                return false;
            }
            page = page.saturating_sub(PAGE_SIZE);
        }
        true
    }
}

fn disagreement(vcpu: u32, task: Option<&Task>) -> Problem {
    let (tid, comm) = task.map_or((0, ""), |task| (task.tid, &task.comm));
    Problem::warning(format!(
        "vCPU {vcpu} runs task {tid} ({comm}) by its own variable, but the task is not marked as \
         running: the guest was stopped while switching tasks"
    ))
}
