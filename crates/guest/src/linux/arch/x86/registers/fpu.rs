//! Where the kernel saved the x87, SSE and later state of a thread.
//!
//! `struct task_struct` has it in ever new places: `thread.i387` (up to 2.6.25),
//! through the pointer `thread.xstate` (to 2.6.34) or `thread.fpu.state` (to 4.1),
//! inside as `thread.fpu.state` (to 5.15), through the pointer
//! `thread.fpu.fpstate` (to 6.15), and through that of a `struct fpu` that
//! follows the `task_struct` (since 6.16). Which it is shows in the members. If
//! they are not known, it is looked for: a saved state looks like nothing else.

use std::collections::BTreeMap;

use vmss2core_machine::x86;
use vmss2core_machine::x86::FpuState;
use vmss2core_mem::{Gva, little_endian};

use super::xsave::{self, COMPONENTS_START, FXSAVE_BYTES, MAX_AREA_BYTES, Places};
use crate::linux::{Kernel, Object, Task};

/// All up to PKRU: what is read where the kernel does not say how much there is.
const USUAL_AREA_BYTES: usize = 2696;
const SMALLEST_AREA_BYTES: u64 = 512;
/// `struct fpstate`: sizes and features come first, the area is aligned to 64.
const REGS_IN_FPSTATE: u64 = 0x40;
const FEATURES_IN_FPSTATE: u64 = 8;
const X87_AND_SSE: u64 = 3;
/// Bytes of a `task_struct` that are looked through, and how many tasks.
const SEARCHED_BYTES: usize = 24 << 10;
const SEARCHED_TASKS: usize = 32;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXSAVE: u64 = 1 << 18;
/// Bit of `thread_info.flags` from 5.2 on, while the FPU state was part of
/// `task_struct`: the registers are in memory and not in the processor.
const TIF_NEED_FPU_LOAD: u32 = 14;
const MAX_FEATURES: usize = 20;

/// A saved state in memory.
#[derive(Clone, Copy, Debug)]
struct Area {
    at: Gva,
    len_bytes: Option<u64>,
    features: Option<u64>,
}

/// Where states lie in this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As the structures' members say.
    Members,
    /// `task_struct` has a pointer to the `struct fpstate` here.
    PointerAt(u64),
    /// The state lies here in `task_struct`.
    StateAt(u64),
    /// Not known.
    Nowhere,
}

/// The machine's and the kernel's way of saving state, as far as known.
#[derive(Debug)]
pub(super) struct Fpu {
    place: Place,
    places: Places,
    has_fxsave: bool,
    has_xsave: bool,
    features: Option<u64>,
}

/// A thread's state, and which components the machine has (XCR0).
#[derive(Clone, Debug, Default)]
pub(super) struct Saved {
    pub(super) state: Option<FpuState>,
    pub(super) features: Option<u64>,
}

impl Fpu {
    pub(super) fn new(kernel: &Kernel, tasks: &[Task]) -> Self {
        let x86s = || kernel.checkpoint().vcpus.iter().filter_map(|vcpu| vcpu.x86());
        let cr4 = || x86s().filter_map(|x86| x86.control.cr4);
        let has = |bit| cr4().next().is_none() || cr4().any(|cr4| cr4 & bit != 0);
        let (has_fxsave, has_xsave) = (has(CR4_OSFXSR), has(CR4_OSXSAVE));
        Self {
            place: place(kernel, tasks),
            places: measured_places(kernel).unwrap_or_default(),
            has_fxsave,
            has_xsave: has_fxsave && has_xsave,
            features: x86s().find_map(|x86| x86.msrs.xcr0),
        }
    }

    /// The state of a thread that does not run, or whose state was saved since
    /// it entered the kernel.
    pub(super) fn saved(&self, kernel: &Kernel, task: &Object<'_>) -> Saved {
        let area = if self.has_fxsave { self.area(kernel, task) } else { None };
        let Some(area) = area else { return Saved::default() };
        let state = self.read(kernel, area);
        Saved { state, features: self.features.or(area.features) }
    }

    /// The state of a thread that runs on a vCPU, as the vCPU has it.
    pub(super) fn in_vcpu(&self, vcpu: &x86::Registers) -> Saved {
        Saved { state: vcpu.fpu.clone(), features: vcpu.msrs.xcr0.or(self.features) }
    }

    fn area(&self, kernel: &Kernel, task: &Object<'_>) -> Option<Area> {
        match self.place {
            Place::Nowhere => None,
            Place::Members => by_members(kernel, task),
            Place::StateAt(offset) => {
                let at = Gva(task.gva().0.wrapping_add(offset));
                Some(Area { at, len_bytes: None, features: None })
            }
            Place::PointerAt(offset) => {
                let at = Gva(task.gva().0.wrapping_add(offset));
                fpstate(kernel, kernel.read_pointer(at, "fpstate").ok()?)
            }
        }
    }

    fn read(&self, kernel: &Kernel, area: Area) -> Option<FpuState> {
        let said = area.len_bytes.and_then(|len| usize::try_from(len).ok());
        let wanted = match said {
            _ if !self.has_xsave => FXSAVE_BYTES,
            Some(len) => len.clamp(FXSAVE_BYTES, MAX_AREA_BYTES),
            None => USUAL_AREA_BYTES,
        };
        // A shorter area may end right before what cannot be read.
        for len in [wanted, COMPONENTS_START.min(wanted), FXSAVE_BYTES] {
            let mut bytes = vec![0; len];
            if kernel.read(area.at, &mut bytes, "saved floating point state").is_ok() {
                return xsave::standard(&bytes, &self.places);
            }
        }
        None
    }
}

/// Whether the state of a thread in the kernel is in memory and not (only) in
/// its vCPU. `percpu` is where that CPU's own variables are.
pub(super) fn is_in_memory(kernel: &Kernel, task: &Object<'_>, percpu: Option<Gva>) -> bool {
    needs_load(task) || !owns_registers(kernel, task, percpu).unwrap_or(true)
}

fn place(kernel: &Kernel, tasks: &[Task]) -> Place {
    let users = || tasks.iter().filter(|task| task.mm.is_some()).take(SEARCHED_TASKS);
    let known = users()
        .next()
        .is_some_and(|task| by_members(kernel, &kernel.object(task.gva, "task_struct")).is_some());
    if known {
        return Place::Members;
    }
    let mut votes: BTreeMap<(u8, usize), usize> = BTreeMap::new();
    for task in users() {
        for key in candidates(kernel, task.gva) {
            let votes_of = votes.entry(key).or_default();
            *votes_of = votes_of.saturating_add(1);
        }
    }
    // The most votes; among equals the pointer before the state, and what is
    // nearer to the start, for after a task there may be another one.
    let best = votes.iter().max_by_key(|((kind, offset), count)| {
        (**count, u8::MAX.saturating_sub(*kind), usize::MAX.saturating_sub(*offset))
    });
    match best {
        Some(((0, offset), _)) => Place::PointerAt(*offset as u64),
        Some(((_, offset), _)) => Place::StateAt(*offset as u64),
        None => Place::Nowhere,
    }
}

/// Offsets in a task where a pointer to a state (0) or a state itself (1) seems
/// to be.
fn candidates(kernel: &Kernel, task: Gva) -> Vec<(u8, usize)> {
    let bytes = readable(kernel, task);
    let word_len = usize::try_from(kernel.word_len()).unwrap_or(8);
    let mut found = Vec::new();
    for (index, word) in bytes.chunks_exact(word_len).enumerate() {
        let inside =
            little_endian(word).checked_sub(task.0).and_then(|at| usize::try_from(at).ok());
        if inside.is_some_and(|at| is_fpstate(bytes.get(at..).unwrap_or_default())) {
            found.push((0, index.saturating_mul(word_len)));
        }
    }
    // Aligned in memory, not in the task.
    let first = usize::try_from(task.0.wrapping_neg() % 64).unwrap_or(0);
    for at in (first..bytes.len()).step_by(64) {
        if bytes.get(at..at.saturating_add(COMPONENTS_START)).is_some_and(xsave::looks_saved) {
            found.push((1, at));
        }
    }
    found
}

/// As much as there is after a task's start.
fn readable(kernel: &Kernel, task: Gva) -> Vec<u8> {
    let mut len = SEARCHED_BYTES;
    while len >= 4096 {
        let mut bytes = vec![0; len];
        if kernel.read(task, &mut bytes, "task_struct").is_ok() {
            return bytes;
        }
        len = len.saturating_sub(4096);
    }
    Vec::new()
}

/// Whether this begins like a `struct fpstate` with a saved state in it.
fn is_fpstate(bytes: &[u8]) -> bool {
    let number =
        |at: usize, len: usize| bytes.get(at..at.saturating_add(len)).map_or(0, little_endian);
    let (size, user_size) = (number(0, 4), number(4, 4));
    let sizes_are_sane = [size, user_size]
        .iter()
        .all(|size| (SMALLEST_AREA_BYTES..=MAX_AREA_BYTES as u64).contains(size));
    let features = number(8, 8);
    let at = usize::try_from(REGS_IN_FPSTATE).unwrap_or(0);
    sizes_are_sane
        && features & X87_AND_SSE == X87_AND_SSE
        && bytes.get(at..at.saturating_add(COMPONENTS_START)).is_some_and(xsave::looks_saved)
}

fn by_members(kernel: &Kernel, task: &Object<'_>) -> Option<Area> {
    if let Ok(pointer) = task.pointer("thread.fpu.fpstate") {
        return fpstate(kernel, pointer);
    }
    if let Some(fpu) = behind_the_task(kernel, task) {
        return fpstate(kernel, kernel.object(fpu, "fpu").pointer("fpstate").ok()?);
    }
    if let Ok(member) = task.member("thread.fpu.state") {
        let at = task.address_of("thread.fpu.state").ok()?;
        let is_pointer = member.size_bytes == Some(kernel.word_len());
        let at = if is_pointer { kernel.read_pointer(at, "thread.fpu.state").ok()? } else { at };
        return Some(Area { at, len_bytes: None, features: None });
    }
    let pointer = task.pointer("thread.xstate").ok();
    let at = pointer.or_else(|| task.address_of("thread.i387").ok())?;
    Some(Area { at, len_bytes: Some(SMALLEST_AREA_BYTES), features: None })
}

/// The `struct fpu` that follows its task (since 6.16).
fn behind_the_task(kernel: &Kernel, task: &Object<'_>) -> Option<Gva> {
    kernel.layout().member("fpu", "fpstate")?;
    let len = kernel.layout().size_of("task_struct")?;
    (!task.has("thread.fpu")).then_some(Gva(task.gva().0.wrapping_add(len.value)))
}

fn fpstate(kernel: &Kernel, at: Gva) -> Option<Area> {
    let state = kernel.object(at, "fpstate");
    let size = state.uint("size").or_else(|_| kernel.read_uint(at, 4, "fpstate.size")).ok()?;
    let features = state.uint("user_xfeatures").or_else(|_| {
        kernel.read_uint(Gva(at.0.wrapping_add(FEATURES_IN_FPSTATE + 8)), 8, "fpstate features")
    });
    let regs = state.address_of("regs").unwrap_or(Gva(at.0.wrapping_add(REGS_IN_FPSTATE)));
    let is_sane = (SMALLEST_AREA_BYTES..=MAX_AREA_BYTES as u64).contains(&size);
    is_sane.then_some(Area { at: regs, len_bytes: Some(size), features: features.ok() })
}

/// TIF_NEED_FPU_LOAD. Its number is known for the kernels from 5.2 on (when
/// `initialized` went) that have the state within the task; later ones have
/// numbered the flags anew.
fn needs_load(task: &Object<'_>) -> bool {
    let is_of_that_time = task.has("thread.fpu.last_cpu")
        && !["initialized", "fpstate_active", "fpregs_active"]
            .iter()
            .any(|old| task.has(&format!("thread.fpu.{old}")));
    is_of_that_time
        && task.uint("thread_info.flags").is_ok_and(|flags| flags >> TIF_NEED_FPU_LOAD & 1 == 1)
}

/// Whether the processor has this thread's registers: `fpregs_state_valid`.
fn owns_registers(kernel: &Kernel, task: &Object<'_>, percpu: Option<Gva>) -> Option<bool> {
    let variable = kernel.symbol("fpu_fpregs_owner_ctx").ok()?.value;
    let owner = Gva(variable.0.wrapping_add(percpu?.0));
    let owner = kernel.read_pointer(owner, "fpu_fpregs_owner_ctx").ok()?;
    let own = task.address_of("thread.fpu").ok().or_else(|| behind_the_task(kernel, task))?;
    Some(owner == own)
}

fn measured_places(kernel: &Kernel) -> Option<Places> {
    let table = |name| {
        let at = kernel.symbol(name).ok()?.value;
        let mut bytes = [0; MAX_FEATURES * 4];
        kernel.read(at, &mut bytes, name).ok()?;
        let number = |word: &[u8]| u32::try_from(little_endian(word)).unwrap_or(0);
        Some(bytes.chunks_exact(4).map(number).collect::<Vec<_>>())
    };
    Some(Places::measured(&table("xstate_offsets")?, &table("xstate_sizes")?))
}
