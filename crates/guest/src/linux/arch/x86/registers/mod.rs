//! The user-mode registers of threads, wherever they are at the moment.
//!
//! A thread that runs in user mode has them in its vCPU. One that is in the
//! kernel has stored them at the top of its kernel stack, with the bases of FS
//! and GS in the vCPU if it runs and in its `thread_struct` if it does not.
//! Registers that a kernel does not store for a system call, or that the checkpoint lacks,
//! is said by name: a debugger's user must know which values to distrust.

mod fpu;
mod frame;
mod raw;
#[cfg(test)]
mod tests;
mod tls;
mod xsave;

use vmss2core_machine::x86::{Gpr, SegmentRegister, SegmentRegisters};
use vmss2core_machine::{Privilege, x86};
use vmss2core_mem::{Found, Gva, Problem};

use crate::linux::arch::x86::unwind::Entered;
use crate::linux::{Kernel, LinuxError, Object, Task, ThreadRegisters};
use fpu::{Fpu, Saved};
use frame::{FramePlace, NO_SYSTEM_CALL, Stored};

pub(in crate::linux::arch::x86) use frame::left_stack_pointer;
pub(in crate::linux) use raw::{PT_REGS_32, PT_REGS_64, PtRegs};

pub use tls::TlsSegment;

/// Registers that C functions preserve (System V ABI: AMD64, 3.2.1).
const PRESERVED: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// The state of one thread.
#[derive(Debug, Default)]
struct Draft {
    cpu: x86::Registers,
    how: String,
    is_32_bit_code: bool,
    tls: Vec<TlsSegment>,
    unreliable: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl From<Draft> for ThreadRegisters {
    fn from(found: Draft) -> Self {
        let Draft { cpu, how, is_32_bit_code, tls, unreliable, problems } = found;
        Self { registers: cpu.into(), how, is_32_bit_code, tls, unreliable, problems }
    }
}

/// Finds the registers of threads. Making one looks at many threads to learn
/// where this kernel stores them.
#[derive(Debug)]
pub struct RegisterFinder {
    kernel: Kernel,
    place: Option<Found<FramePlace>>,
    fpu: Fpu,
}

impl RegisterFinder {
    /// Learns from `tasks`, best all of the guest's.
    pub fn new(kernel: &Kernel, tasks: &[Task]) -> Self {
        let place = frame::calibrate(kernel, tasks);
        Self { kernel: kernel.clone(), place, fpu: Fpu::new(kernel, tasks) }
    }

    /// How it was found where threads store their registers; `None` if it was
    /// not.
    pub fn how(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.how.as_str())
    }

    /// The registers of a thread. Fails for threads of the kernel, which have
    /// none, and if they cannot be found.
    pub fn registers(&self, task: &Task) -> Result<ThreadRegisters, LinuxError> {
        self.draft(task).map(ThreadRegisters::from)
    }

    fn draft(&self, task: &Task) -> Result<Draft, LinuxError> {
        if task.mm.is_none() {
            return Err(LinuxError::NoMemory { pid: task.tid, comm: task.comm.clone() });
        }
        let vcpu = task.on_vcpu.and_then(|index| self.vcpu(index));
        match vcpu {
            Some((vcpu, x86)) if self.kernel.privilege_of(vcpu) == Some(Privilege::User) => {
                Ok(self.running(task, vcpu, x86))
            }
            Some((vcpu, x86)) => self.in_kernel(task, vcpu, x86),
            None => self.sleeping(task),
        }
    }

    fn vcpu(&self, index: u32) -> Option<(u32, &x86::Registers)> {
        // Without an instruction pointer there are no registers in it.
        let x86 = self.kernel.registers_of(index)?.x86()?;
        x86.rip.is_some().then_some((index, x86))
    }

    /// The vCPU's registers are the user's.
    fn running(&self, task: &Task, vcpu: u32, x86: &x86::Registers) -> Draft {
        let mut thread =
            Draft { cpu: of_vcpu(x86), how: format!("vCPU {vcpu}"), ..Draft::default() };
        let missing: Vec<&'static str> =
            Gpr::ALL.iter().filter(|gpr| x86.gpr(**gpr).is_none()).map(|gpr| gpr.name()).collect();
        // A 32-bit processor has only the first eight.
        let missing = if self.kernel.linux().is_64_bit {
            missing
        } else {
            missing.into_iter().filter(|name| !name.starts_with("r8") && !is_new(name)).collect()
        };
        if !missing.is_empty() {
            thread.unreliable.clone_from(&missing);
            thread.problems.push(Problem::incomplete(format!(
                "{}: the checkpoint lacks registers of vCPU {vcpu}: {}",
                named(task),
                missing.join(", ")
            )));
        }
        self.finish(&mut thread, task, self.fpu.in_vcpu(x86));
        thread
    }

    /// The thread runs, but in the kernel.
    fn in_kernel(&self, task: &Task, vcpu: u32, x86: &x86::Registers) -> Result<Draft, LinuxError> {
        let mut thread = self.stored(task)?;
        let object = self.object(task);
        let percpu = percpu(x86);
        let (segments, own) = (&x86.segments, &mut thread.cpu.segments);
        if self.kernel.linux().is_64_bit {
            // The kernel leaves the selectors of user mode alone.
            own.ds.selector = segments.ds.selector;
            own.es.selector = segments.es.selector;
            own.fs.selector = segments.fs.selector;
            own.gs.selector = segments.gs.selector;
            own.fs.base = segments.fs.base;
            // Around the entry the two are not swapped yet; the user's is the
            // one in the user's half.
            let bases = [x86.msrs.kernel_gs_base, segments.gs.base];
            own.gs.base = bases.into_iter().flatten().find(|base| base >> 63 == 0);
        } else if own.gs.selector.is_none_or(|gs| gs == 0) {
            own.gs.selector = segments.gs.selector;
        }
        if self.is_entering(x86) {
            thread.problems.push(Problem::warning(format!(
                "{}: vCPU {vcpu} was just entering or leaving the kernel, its registers may be \
                 those of an earlier entry",
                named(task)
            )));
        }
        let saved = if fpu::is_in_memory(&self.kernel, &object, percpu) {
            self.fpu.saved(&self.kernel, &object)
        } else {
            self.fpu.in_vcpu(x86)
        };
        self.finish(&mut thread, task, saved);
        Ok(thread)
    }

    /// The thread does not run.
    fn sleeping(&self, task: &Task) -> Result<Draft, LinuxError> {
        let mut thread = self.stored(task)?;
        let object = self.object(task);
        let own = &mut thread.cpu.segments;
        if self.kernel.linux().is_64_bit {
            let selector = |path: &str| object.uint(path).ok().and_then(frame::selector);
            own.ds.selector = selector("thread.ds");
            own.es.selector = selector("thread.es");
            own.fs.selector = selector("thread.fsindex");
            own.gs.selector = selector("thread.gsindex");
            // Called fs and gs up to 4.6.
            let base = |path: &str| object.pointer(path).ok().map(|base| base.0);
            own.fs.base = base("thread.fsbase|thread.fs");
            own.gs.base = base("thread.gsbase|thread.gs");
        } else if own.gs.selector.is_none_or(|gs| gs == 0) {
            own.gs.selector = tls::lazy_gs(&self.kernel, &object).and_then(frame::selector);
        }
        let saved = self.fpu.saved(&self.kernel, &object);
        self.finish(&mut thread, task, saved);
        Ok(thread)
    }

    /// Registers that the thread stored when it entered the kernel.
    fn stored(&self, task: &Task) -> Result<Draft, LinuxError> {
        let place = self.place.as_ref().map(|place| place.value);
        let found = frame::of_task(&self.kernel, place, task)?;
        let Stored { cpu, at, is_partial } = found.value;
        let mut thread = Draft { cpu, how: found.how, ..Draft::default() };
        if self.kernel.linux().is_64_bit {
            self.complete(&mut thread, task, at, is_partial);
        }
        Ok(thread)
    }

    /// Entry code of 64-bit kernels before 4.16 did not store for a system call, nor for an
    /// interrupt, what C functions preserve; the slots hold old values. These functions did
    /// store it on the way to where the thread waits.
    fn complete(&self, thread: &mut Draft, task: &Task, at: Gva, is_partial: bool) {
        let stores_part = self.stores_part(frame::is_compat(&thread.cpu));
        if !is_partial && stores_part == Some(false) {
            return;
        }
        match self.kernel.entered(task, at) {
            Some(Entered::Whole) if thread.cpu.gpr(Gpr::Rsp).is_some() => {}
            Some(Entered::Whole) => thread.unreliable.push(Gpr::Rsp.name()),
            Some(Entered::Part(preserved)) => put_preserved(thread, task, &preserved),
            None if is_partial || stores_part == Some(true) && !is_exception(&thread.cpu) => {
                put_preserved(thread, task, &[]);
            }
            None => {}
        }
    }

    /// Whether the code that programs enter a 64-bit kernel by stores only part of the
    /// registers: that of 64-bit programs does before 4.16 (or the distribution's backport
    /// of its change), that of 32-bit ones before 4.4, whose C part
    /// (`arch/x86/entry/common.c`) came with the change. `None` without symbols.
    fn stores_part(&self, is_compat: bool) -> Option<bool> {
        let symbols = &self.kernel.symbols()?.value;
        let has = |name: &str| symbols.address(name).is_some();
        let has_any = |names: &[&str]| names.iter().any(|name| has(name));
        if is_compat {
            let is_old = has_any(&["ia32_sysenter_target", "ia32_cstar_target", "ia32_syscall"])
                || has("entry_INT80_compat")
                    && !has_any(&["do_fast_syscall_32", "do_int80_syscall_32"]);
            return Some(is_old);
        }
        let old = ["system_call", "entry_SYSCALL_64_fastpath", "system_call_fastpath"];
        Some(has_any(&old))
    }

    /// Registers that are the same wherever the others were.
    fn finish(&self, thread: &mut Draft, task: &Task, saved: Saved) {
        let is_64_bit = self.kernel.linux().is_64_bit;
        thread.is_32_bit_code = !is_64_bit || frame::is_compat(&thread.cpu);
        thread.tls = tls::segments(&self.kernel, &self.object(task));
        let segments = &mut thread.cpu.segments;
        for segment in [&mut segments.fs, &mut segments.gs] {
            // No base, or one of 0, with a selector: the descriptor has the base.
            if segment.base.is_none_or(|base| base == 0) {
                let is_its = |tls: &&TlsSegment| segment.selector == Some(tls.selector());
                let base = thread.tls.iter().find(is_its).map(|tls| u64::from(tls.base));
                segment.base = base.or(segment.base);
            }
        }
        if saved.state.is_none() {
            thread.problems.push(Problem::note(format!(
                "{}: its floating point and vector registers are not known: {}",
                named(task),
                match task.on_vcpu {
                    Some(vcpu) if self.kernel.linux().has_left(vcpu) => {
                        "they were in the processor, which executes a second kernel since"
                    }
                    Some(_) => {
                        "they were in the processor, and the checkpoint does not have that part"
                    }
                    None => "where the kernel saved them was not found",
                }
            )));
        }
        (thread.cpu.fpu, thread.cpu.msrs.xcr0) = (saved.state, saved.features);
    }

    /// Whether a vCPU in kernel mode is in the code between the two modes.
    fn is_entering(&self, x86: &x86::Registers) -> bool {
        let symbol = |name| self.kernel.symbol(name).ok().map(|found| found.value.0);
        let bounds = symbol("__entry_text_start").zip(symbol("__entry_text_end"));
        let rip = x86.rip.unwrap_or(0);
        bounds.is_some_and(|(start, end)| (start..end).contains(&rip))
    }

    fn object(&self, task: &Task) -> Object<'_> {
        self.kernel.object(task.gva, "task_struct")
    }
}

/// Takes these values for registers that functions preserve; those that are not among
/// them are not known.
fn put_preserved(thread: &mut Draft, task: &Task, values: &[(Gpr, u64)]) {
    // 32-bit programs have the first two only.
    let is_compat = frame::is_compat(&thread.cpu);
    let registers = if is_compat { PRESERVED.split_at(2).0 } else { &PRESERVED };
    let mut unknown: Vec<&'static str> =
        thread.cpu.gpr(Gpr::Rsp).is_none().then(|| Gpr::Rsp.name()).into_iter().collect();
    for register in registers {
        let value = values.iter().find(|(known, _)| known == register).map(|(_, value)| *value);
        let value = value.filter(|value| !is_compat || u32::try_from(*value).is_ok());
        if let Some(slot) = thread.cpu.general.get_mut(*register as usize) {
            *slot = value;
        }
        if value.is_none() {
            unknown.push(register.name());
        }
    }
    if !unknown.is_empty() {
        thread.problems.push(Problem::warning(format!(
            "{}: this kernel does not store all registers for a system call, do not rely on \
             {}",
            named(task),
            unknown.join(", ")
        )));
        thread.unreliable.extend(unknown);
    }
}

/// Whether the kernel was entered by an exception: no system call, whose number would be
/// there, and no interrupt, of which the number is there as well, complemented.
fn is_exception(cpu: &x86::Registers) -> bool {
    cpu.system_call == Some(NO_SYSTEM_CALL)
}

/// Registers that a 32-bit processor does not have.
fn is_new(name: &str) -> bool {
    matches!(name, "r9" | "r10" | "r11" | "r12" | "r13" | "r14" | "r15")
}

fn named(task: &Task) -> String {
    format!("thread {} ({})", task.tid, task.comm)
}

/// Where the variables of a 64-bit CPU in kernel mode are: of the two bases of
/// GS the one in the kernel's half.
fn percpu(x86: &x86::Registers) -> Option<Gva> {
    let bases = [x86.segments.gs.base, x86.msrs.kernel_gs_base];
    bases.into_iter().flatten().find(|base| base >> 63 == 1).map(Gva)
}

/// The part of a processor's registers that user mode sees.
fn of_vcpu(vcpu: &x86::Registers) -> x86::Registers {
    let of = &vcpu.segments;
    let selector = |segment: SegmentRegister| SegmentRegister {
        selector: segment.selector,
        ..SegmentRegister::default()
    };
    let with_base = |segment: SegmentRegister| SegmentRegister {
        selector: segment.selector,
        base: segment.base,
        ..SegmentRegister::default()
    };
    x86::Registers {
        general: vcpu.general,
        rip: vcpu.rip,
        rflags: vcpu.rflags,
        system_call: Some(NO_SYSTEM_CALL),
        segments: SegmentRegisters {
            cs: selector(of.cs),
            ss: selector(of.ss),
            ds: selector(of.ds),
            es: selector(of.es),
            fs: with_base(of.fs),
            gs: with_base(of.gs),
            ..SegmentRegisters::default()
        },
        ..x86::Registers::default()
    }
}
