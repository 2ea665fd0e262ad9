//! `task_struct`: which members are read, and what they mean.
//!
//! Names of members are those of include/linux/sched.h over the years; the first
//! of several that the kernel has is taken.

use vmss2core_mem::Gva;

use super::state::Bits;
use super::{Task, TaskState};
use crate::linux::snapshot::{Field, Selection, Snapshot};
use crate::linux::{Kernel, Learned, LinuxError};

/// `PID_MAX_LIMIT` of 64-bit kernels.
const HIGHEST_PID: u64 = 4 << 20;
/// `PF_KTHREAD`, since 2.6.27.
const KERNEL_THREAD: u64 = 0x20_0000;
/// `sizeof(task_struct.comm)`, the same in every kernel.
const COMM_LEN: u64 = 16;
const SECOND: u64 = 1_000_000_000;

/// The members of `task_struct` that a list of tasks needs. Without those that
/// are no `Option` there is no list.
#[derive(Debug)]
pub(super) struct Fields<'k> {
    kernel: &'k Kernel,
    selection: Selection<'k>,
    pub(super) tasks: Links,
    pid: Field,
    comm: Field,
    tgid: Option<Field>,
    state: Option<Field>,
    exit_state: Option<Field>,
    bits: Bits,
    flags: Option<Field>,
    mm: Option<Field>,
    real_parent: Option<Field>,
    cred: Option<Field>,
    stack: Option<Field>,
    /// In 2.4 a task lies at the bottom of its stack (`union task_union`).
    lies_in_stack: bool,
    start: Option<Start>,
    cpu: Option<Field>,
    on_cpu: Option<Field>,
    signal: Option<Field>,
    pub(super) thread_node: Option<Field>,
    pub(super) thread_group: Option<Field>,
    cred_ids: Option<CredFields<'k>>,
    /// Effective user and group where a task has them itself (until 2.6.28).
    own_ids: Option<(Field, Option<Field>)>,
    thread_info_cpu: Option<Selected<'k>>,
}

/// How processes hang together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    /// The two pointers.
    pub(super) pointers: Field,
    /// How far into a task they lead: to those of the next one or, in 2.4, to the task.
    pub(super) target: u64,
}

/// A number in a structure of its own.
#[derive(Debug)]
struct Selected<'k> {
    selection: Selection<'k>,
    field: Field,
}

#[derive(Debug)]
struct CredFields<'k> {
    selection: Selection<'k>,
    uid: Field,
    gid: Option<Field>,
}

/// When a task started: nanoseconds (3.17 and later), a `timespec`, or ticks (2.4).
#[derive(Clone, Copy, Debug)]
enum Start {
    Nanoseconds(Field),
    Ticks { field: Field, per_second: u64 },
    Time { seconds: Field, nanoseconds: Field },
}

/// A `task_struct` that was read.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) snapshot: Snapshot,
    pub(super) tid: u32,
    pub(super) pid: u32,
}

impl<'k> Fields<'k> {
    pub(super) fn of(kernel: &'k Kernel) -> Result<Self, LinuxError> {
        let mut all = Selection::of(kernel, "task_struct");
        Ok(Self {
            kernel,
            tasks: links(&mut all)?,
            pid: all.number("pid", 4)?,
            comm: all.number("comm", COMM_LEN)?,
            tgid: all.number("tgid", 4).ok(),
            state: all.number("__state|state", 4).ok(),
            exit_state: all.number("exit_state", 4).ok(),
            bits: state_bits(kernel),
            flags: all.number("flags", 4).ok(),
            mm: all.pointer("mm").ok(),
            real_parent: all.pointer("real_parent|p_opptr|p_pptr").ok(),
            cred: all.pointer("cred").ok(),
            stack: all.pointer("stack|thread_info").ok(),
            lies_in_stack: kernel.object(Gva(0), "task_union").has("stack"),
            start: start(kernel, &mut all),
            own_ids: own_ids(&mut all),
            // `thread_info` is a member since 4.9; the number moved into it in 5.16.
            cpu: all.number("thread_info.cpu|cpu", 4).ok(),
            on_cpu: all.number("on_cpu|oncpu", 4).ok(),
            signal: all.pointer("signal").ok(),
            thread_node: all.list("thread_node").ok(),
            thread_group: all.list("thread_group").ok(),
            selection: all,
            cred_ids: cred_fields(kernel),
            thread_info_cpu: thread_info_cpu(kernel),
        })
    }

    /// The task at an address; what cannot be one is an error.
    pub(super) fn read(&self, gva: Gva) -> Result<Record, LinuxError> {
        let corrupt = |why: &str| LinuxError::Corrupt {
            what: "task_struct".to_owned(),
            at: gva,
            why: why.to_owned(),
        };
        if !gva.0.is_multiple_of(self.kernel.word_len()) || gva.0 == 0 {
            return Err(corrupt("a structure does not lie there"));
        }
        let snapshot = self.selection.read(gva)?;
        let tid = snapshot.number_32(self.pid);
        // Threads of a kernel of 2.4 may have that of the idle task.
        let tgid = self.tgid.map(|tgid| snapshot.number_32(tgid)).filter(|tgid| *tgid != 0);
        let pid = tgid.unwrap_or(tid);
        if u64::from(tid.max(pid)) > HIGHEST_PID {
            return Err(corrupt("its number is too high"));
        }
        if !snapshot.bytes(self.comm).contains(&0) {
            return Err(corrupt("its name has no end"));
        }
        Ok(Record { snapshot, tid, pid })
    }

    /// The parent's `task_struct`.
    pub(super) fn parent(&self, record: &Record) -> Option<Gva> {
        record.snapshot.target(self.real_parent?)
    }

    /// The `signal_struct` that the threads of a process share.
    pub(super) fn signal(&self, record: &Record) -> Option<Gva> {
        record.snapshot.target(self.signal?)
    }

    /// Lowest address of its kernel stack.
    pub(super) fn stack(&self, record: &Record) -> Option<Gva> {
        match self.stack {
            Some(stack) => record.snapshot.target(stack),
            None => self.lies_in_stack.then(|| record.snapshot.gva()),
        }
    }

    /// Whether a CPU runs it in this moment, as the scheduler has it.
    pub(super) fn is_on_cpu(&self, record: &Record) -> Option<bool> {
        Some(record.snapshot.number(self.on_cpu?) != 0)
    }

    /// All but the parent's number and the vCPU, which are not in the structure.
    pub(super) fn task(&self, record: &Record) -> Task {
        let at = &record.snapshot;
        let credentials = self.credentials(at);
        let mm = self.mm.and_then(|mm| at.target(mm));
        let stack = self.stack(record);
        let state = self.state(at, mm);
        Task {
            gva: at.gva(),
            tid: record.tid,
            pid: record.pid,
            ppid: None,
            uid: credentials.map(|(uid, _)| uid),
            gid: credentials.and_then(|(_, gid)| gid),
            comm: self.comm(record),
            long_name: None,
            is_kernel_thread: self.is_kernel_thread(at, mm, state),
            state,
            mm,
            stack,
            start_ns: self.start.map(|start| start.nanoseconds(at)),
            cpu: self.cpu(record),
            on_vcpu: None,
        }
    }

    /// `task_struct.flags`; 0 if they are not known.
    pub(super) fn flags(&self, record: &Record) -> u64 {
        self.flags.map_or(0, |flags| record.snapshot.number(flags))
    }

    pub(super) fn comm(&self, record: &Record) -> String {
        let bytes = record.snapshot.bytes(self.comm);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    }

    /// The CPU it ran on last.
    pub(super) fn cpu(&self, record: &Record) -> Option<u32> {
        if let Some(cpu) = self.cpu {
            return Some(record.snapshot.number_32(cpu));
        }
        let is_only = self.kernel.learned_already().is_some_and(Learned::has_one_cpu);
        // Before 4.9 `thread_info` was at the bottom of the stack.
        let Some(info) = self.thread_info_cpu.as_ref() else { return is_only.then_some(0) };
        let found = info.selection.read(record.snapshot.target(self.stack?)?).ok()?;
        Some(found.number_32(info.field))
    }

    fn state(&self, at: &Snapshot, mm: Option<Gva>) -> Option<TaskState> {
        let exit = self.exit_state.map(|exit| at.number(exit));
        let state = at.number(self.state?);
        if exit.is_none() && self.mm.is_some() {
            return Some(TaskState::without_exit(state, mm.is_some(), self.bits));
        }
        Some(TaskState::new(state, exit, self.bits))
    }

    /// Programs that have ended have no memory either.
    fn is_kernel_thread(&self, at: &Snapshot, mm: Option<Gva>, state: Option<TaskState>) -> bool {
        match self.flags {
            Some(flags) => at.number(flags) & KERNEL_THREAD != 0,
            None => mm.is_none() && !state.is_some_and(|state| "ZX".contains(state.letter)),
        }
    }

    fn credentials(&self, at: &Snapshot) -> Option<(u32, Option<u32>)> {
        if let Some((uid, gid)) = self.own_ids {
            return Some((at.number_32(uid), gid.map(|gid| at.number_32(gid))));
        }
        let fields = self.cred_ids.as_ref()?;
        let cred = fields.selection.read(at.target(self.cred?)?).ok()?;
        Some((cred.number_32(fields.uid), fields.gid.map(|gid| cred.number_32(gid))))
    }
}

impl Start {
    fn nanoseconds(self, at: &Snapshot) -> u64 {
        match self {
            Self::Nanoseconds(field) => at.number(field),
            Self::Ticks { field, per_second } => {
                let nanoseconds = at.number(field).saturating_mul(SECOND);
                nanoseconds.checked_div(per_second).unwrap_or(0)
            }
            Self::Time { seconds, nanoseconds } => {
                at.number(seconds).saturating_mul(SECOND).saturating_add(at.number(nanoseconds))
            }
        }
    }
}

/// `tasks`, or `next_task` with `prev_task` after it in 2.4.
fn links(all: &mut Selection<'_>) -> Result<Links, LinuxError> {
    match all.list("tasks") {
        Ok(pointers) => Ok(Links { pointers, target: pointers.offset() }),
        Err(error) => {
            let pointers = all.list("next_task").map_err(|_| error)?;
            Ok(Links { pointers, target: 0 })
        }
    }
}

/// Whether all tasks are in one ring, as in 2.4.
fn is_of_2_4(kernel: &Kernel) -> bool {
    let task = kernel.object(Gva(0), "task_struct");
    task.has("next_task") && !task.has("tasks")
}

/// Time asleep is counted in `start_boottime` (5.5 and later), which was
/// `real_start_time` before.
fn start(kernel: &Kernel, all: &mut Selection<'_>) -> Option<Start> {
    if is_of_2_4(kernel) {
        let field = all.number("start_time", kernel.word_len()).ok()?;
        let per_second = kernel.ticks_per_second()?;
        return Some(Start::Ticks { field, per_second });
    }
    for name in ["start_boottime", "real_start_time", "start_time"] {
        let word = 8;
        let seconds = all.number(&format!("{name}.tv_sec"), word);
        let nanoseconds = all.number(&format!("{name}.tv_nsec"), word);
        if let (Ok(seconds), Ok(nanoseconds)) = (seconds, nanoseconds) {
            return Some(Start::Time { seconds, nanoseconds });
        }
        if let Ok(field) = all.number(name, 8) {
            return Some(Start::Nanoseconds(field));
        }
    }
    None
}

fn state_bits(kernel: &Kernel) -> Bits {
    let task = kernel.object(Gva(0), "task_struct");
    if is_of_2_4(kernel) {
        return Bits::Oldest;
    }
    // Members of 5.14 and of 4.15.
    if task.has("__state") || task.has("recent_used_cpu") {
        return Bits::Latest;
    }
    if task.has("thread_node") {
        return Bits::Current;
    }
    // Until 3.16. What was learned, which knows no sizes, may lack anything.
    let is_complete = kernel.layout().size_of("task_struct").is_some();
    if is_complete && task.has("start_time.tv_sec") { Bits::Old } else { Bits::Unknown }
}

/// Effective user and group, as `ps` shows them.
fn cred_fields(kernel: &Kernel) -> Option<CredFields<'_>> {
    let mut selection = Selection::of(kernel, "cred");
    let uid = selection.number("euid", 4).ok()?;
    let gid = selection.number("egid", 4).ok();
    Some(CredFields { selection, uid, gid })
}

fn own_ids(all: &mut Selection<'_>) -> Option<(Field, Option<Field>)> {
    let uid = all.number("euid", 4).ok()?;
    Some((uid, all.number("egid", 4).ok()))
}

fn thread_info_cpu(kernel: &Kernel) -> Option<Selected<'_>> {
    let mut selection = Selection::of(kernel, "thread_info");
    let field = selection.number("cpu", 4).ok()?;
    Some(Selected { selection, field })
}
