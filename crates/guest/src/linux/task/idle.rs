//! The idle tasks, which are in no ring: that of the first CPU is `init_task`,
//! those of the others are named by the variables of their CPUs, or by the stacks that
//! these are on.

use vmss2core_machine::Vcpu;
use vmss2core_mem::{Gpa, Gva, little_endian};

use super::record::{Fields, Record};
use super::rings::Rings;
use crate::linux::Kernel;
use crate::linux::arch;

/// How far a CPU's descriptor table is from any other of its variables, at most;
/// what kernels have takes some 200 KiB.
const REACH: u64 = 256 << 10;
/// Sizes of stacks that a `thread_info` or a task was at the bottom of.
const STACK_LENS: [u64; 3] = [4 << 10, 8 << 10, 16 << 10];

impl Kernel {
    /// The idle tasks of all CPUs but the first.
    pub(super) fn idle_tasks(
        &self,
        fields: &Fields<'_>,
        rings: &mut Rings<'_, '_>,
        init: Gva,
    ) -> Vec<Record> {
        let mut idle: Vec<Record> = Vec::new();
        for vcpu in self.checkpoint().vcpus.iter() {
            let found = self
                .idle_by_symbol(fields, vcpu.index)
                .or_else(|| self.idle_by_place(fields, vcpu.index, init))
                .or_else(|| self.idle_by_stack(fields, vcpu));
            let current = self.current_by_symbol(fields, vcpu.index);
            let current = current.and_then(|found| fields.read(found.value).ok());
            let is_idle = |record: &Record| record.tid == 0;
            for record in [found, current].into_iter().flatten().filter(is_idle) {
                if rings.is_new(record.snapshot.gva()) {
                    idle.push(record);
                }
            }
        }
        idle.sort_by_key(|record| fields.cpu(record));
        idle
    }

    /// The idle task that the CPU's run queue names.
    fn idle_by_symbol(&self, fields: &Fields<'_>, vcpu: u32) -> Option<Record> {
        let queue = self.symbol("runqueues").ok()?.value;
        let idle = self.layout().member("rq", "idle")?.value.offset_bytes;
        let base = self.percpu_base(vcpu)?.value;
        let at = queue.0.wrapping_add(idle).wrapping_add(base);
        fields.read(self.read_pointer(Gva(at), "rq.idle").ok()?).ok()
    }

    /// Without symbols: the variables of all CPUs lie in the same order, the
    /// descriptor table among them. Where those of the first CPU have `init_task`,
    /// those of another have its own idle task.
    fn idle_by_place(&self, fields: &Fields<'_>, vcpu: u32, init: Gva) -> Option<Record> {
        let vcpus = &self.checkpoint().vcpus;
        let first = vcpus.iter().find(|first| self.logical_cpu(first.index) == Some(0))?;
        let logical = self.logical_cpu(vcpu).filter(|logical| *logical != 0)?;
        let (first, own) = (self.descriptor_table(first.index)?, self.descriptor_table(vcpu)?);
        let before = REACH.min(first.0).min(own.0);
        let (first, own) = (self.surroundings(first, before)?, self.surroundings(own, before)?);
        let word_len = usize::try_from(self.word_len()).ok()?;
        let words = first.chunks_exact(word_len).zip(own.chunks_exact(word_len));
        let candidates =
            words.filter(|(first, _)| little_endian(first) == init.0).map(|(_, own)| own);
        candidates.map(|own| Gva(little_endian(own))).filter(|gva| *gva != init).find_map(|gva| {
            let record = fields.read(gva).ok()?;
            let is_own = fields.cpu(&record).is_none_or(|cpu| cpu == logical);
            let is_idle = record.tid == 0 && fields.comm(&record).starts_with("swapper");
            (is_own && is_idle).then_some(record)
        })
    }

    /// Until 4.8 the stack that a CPU is on, or would be on in the kernel, tells its task: the
    /// `thread_info` at its lowest address begins with a pointer to it. In 2.4 the task
    /// itself is there. Stacks lie at multiples of their size.
    fn idle_by_stack(&self, fields: &Fields<'_>, vcpu: &Vcpu) -> Option<Record> {
        self.stack_pointers(vcpu).into_iter().find_map(|at| {
            STACK_LENS.into_iter().find_map(|len| {
                let stack = Gva(at & !len.saturating_sub(1));
                let named = self.read_pointer(stack, "thread_info.task").ok();
                [named, Some(stack)].into_iter().flatten().find_map(|task| {
                    let record = fields.read(task).ok()?;
                    let is_idle = record.tid == 0 && fields.comm(&record).starts_with("swapper");
                    (is_idle && fields.stack(&record) == Some(stack)).then_some(record)
                })
            })
        })
    }

    /// Where a CPU's descriptor table lies: a page among the CPU's variables, which
    /// is mapped a second time elsewhere since 4.12.
    fn descriptor_table(&self, vcpu: u32) -> Option<Gpa> {
        let base = arch::descriptor_table(self.registers_of(vcpu)?)?;
        Some(self.space().translate(Gva(base)).ok()?.gpa.page_start())
    }

    fn surroundings(&self, gpa: Gpa, before: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(before.saturating_add(REACH)).ok()?];
        self.memory().read_or_zero(Gpa(gpa.0.saturating_sub(before)), &mut bytes).ok()?;
        Some(bytes)
    }
}
