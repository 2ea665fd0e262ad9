//! Processes and threads, as the kernel's lists have them.

use std::collections::HashMap;

use vmss2core_mem::{Gpa, Gva, Problem};

use super::layout::short_name;
use super::{Kernel, Member, WindowsError, list};

/// More processes than this are taken for damage.
const MAX_PROCESSES: usize = 65_536;
/// More threads of one process, and of all together, are taken for damage.
const MAX_THREADS: usize = 65_536;
const MAX_ALL_THREADS: usize = 1 << 19;

/// The list of processes.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// In the order of the list: the oldest first.
    pub processes: Vec<Process>,
    /// How the list was found.
    pub how: String,
    /// Missing or broken parts.
    pub problems: Vec<Problem>,
}

/// A process. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Address of its `EPROCESS`.
    pub gva: Gva,
    /// Number.
    pub pid: u64,
    /// Number of the process that made it, which may have ended long since.
    pub parent: Option<u64>,
    /// Short name: `ImageFileName`, at most 15 characters.
    pub name: String,
    /// Path of its image as the kernel names it; `None` also if it has none.
    pub path: Option<String>,
    /// Physical address of its page tables.
    pub root: Option<Gpa>,
    /// `PEB`; `None` also if it has none.
    pub peb: Option<Gva>,
    /// When it was made, in 100 ns since 1601.
    pub created: Option<u64>,
    /// When it ended; 0 if it has not.
    pub exited: Option<u64>,
    /// Its threads.
    pub threads: Vec<Thread>,
}

impl Process {
    /// The last part of the path, which unlike the short name is whole.
    pub fn full_name(&self) -> &str {
        let file = self.path.as_deref().and_then(|path| path.rsplit('\\').next());
        file.filter(|file| !file.is_empty()).unwrap_or(&self.name)
    }
}

/// A thread. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Address of its `ETHREAD`.
    pub gva: Gva,
    /// Number.
    pub tid: Option<u64>,
    /// `KTHREAD.State`.
    pub state: Option<u8>,
    /// `TEB`; `None` also if it has none.
    pub teb: Option<Gva>,
    /// Lowest address of its kernel stack, and the first after it.
    pub stack: Option<(Gva, Gva)>,
    /// Stack pointer of a thread that waits.
    pub kernel_stack: Option<Gva>,
    /// Where it began.
    pub start: Option<Gva>,
    /// Windows' number of the processor that runs it in this moment.
    pub cpu: Option<u32>,
}

impl Thread {
    /// The name of its state.
    pub fn state_name(&self) -> Option<&'static str> {
        const NAMES: [&str; 8] = [
            "initialized",
            "ready",
            "running",
            "standby",
            "terminated",
            "waiting",
            "transition",
            "deferred ready",
        ];
        NAMES.get(usize::from(self.state?)).copied()
    }
}

impl Kernel {
    /// All processes that the kernel lists, with their threads.
    pub fn processes(&self) -> Result<Processes, WindowsError> {
        let head = self.process_head().ok_or(WindowsError::NoList { of: "processes" })?;
        let links = self.known(Member::ActiveProcessLinks)?;
        self.known(Member::UniqueProcessId)?;
        let listed = list::walk(self.view(), head, MAX_PROCESSES);
        let mut found =
            Processes { how: format!("PsActiveProcessHead at {head}"), ..Processes::default() };
        found.problems.extend(self.layout().problems().iter().cloned());
        if let Some(torn) = listed.torn {
            found.problems.push(Problem::incomplete(format!(
                "the list of processes is torn, read from both ends: {torn}"
            )));
        }
        let running = self.running_threads();
        let (mut left, mut torn) = (MAX_ALL_THREADS, Vec::new());
        for entry in listed.entries {
            let gva = Gva(entry.0.wrapping_sub(links));
            let Some(mut process) = self.process(gva) else {
                let message = format!("the process at {gva} is not in memory");
                found.problems.push(Problem::incomplete(message));
                continue;
            };
            process.threads = self.threads(&process, &running, left, &mut torn);
            left = left.saturating_sub(process.threads.len());
            found.processes.push(process);
        }
        found.problems.extend(torn_lists(&torn));
        Ok(found)
    }

    fn known(&self, member: Member) -> Result<u64, WindowsError> {
        let member_name = member.name();
        self.layout().offset(member).ok_or(WindowsError::UnknownMember { member: member_name })
    }

    /// Which processor runs a thread.
    fn running_threads(&self) -> HashMap<Gva, u32> {
        let cpus = self.windows().cpus.iter();
        cpus.filter_map(|cpu| Some((cpu.thread?, cpu.number))).collect()
    }

    /// One process, without its threads; `None` if not even its number can be read.
    pub fn process(&self, gva: Gva) -> Option<Process> {
        let pointer = |member| self.word(gva, member).filter(|value| *value != 0).map(Gva);
        Some(Process {
            gva,
            pid: self.word(gva, Member::UniqueProcessId)?,
            parent: self.word(gva, Member::InheritedFromUniqueProcessId),
            name: self.short_name(gva).unwrap_or_default(),
            path: self.image_path(gva),
            root: self.process_root(gva),
            peb: pointer(Member::Peb),
            created: self.member(gva, Member::CreateTime, 8),
            exited: self.member(gva, Member::ExitTime, 8),
            threads: Vec::new(),
        })
    }

    fn short_name(&self, process: Gva) -> Option<String> {
        let offset = self.layout().offset(Member::ImageFileName)?;
        let bytes = self.view().bytes(Gva(process.0.checked_add(offset)?), 15)?;
        Some(short_name(&bytes, 0))
    }

    /// `SeAuditProcessCreationInfo` leads to an `OBJECT_NAME_INFORMATION`, which
    /// is a string.
    fn image_path(&self, process: Gva) -> Option<String> {
        let name = Gva(self.word(process, Member::AuditName)?);
        if !self.view().is_kernel(name) {
            return None;
        }
        self.view().unicode(name).filter(|path| !path.is_empty())
    }

    fn threads(
        &self,
        process: &Process,
        running: &HashMap<Gva, u32>,
        left: usize,
        torn: &mut Vec<(u64, String)>,
    ) -> Vec<Thread> {
        let layout = self.layout();
        let offsets =
            layout.offset(Member::ThreadListHead).zip(layout.offset(Member::ThreadListEntry));
        let Some((head, links)) = offsets else { return Vec::new() };
        let Some(head) = process.gva.0.checked_add(head).map(Gva) else { return Vec::new() };
        let listed = list::walk(self.view(), head, MAX_THREADS.min(left));
        torn.extend(listed.torn.map(|why| (process.pid, why)));
        let entries = listed.entries.into_iter();
        let starts = entries.map(|entry| Gva(entry.0.wrapping_sub(links)));
        starts.map(|gva| self.thread(gva, running.get(&gva).copied())).collect()
    }

    /// One thread, and the processor that runs it as the caller knows.
    pub fn thread(&self, gva: Gva, cpu: Option<u32>) -> Thread {
        let pointer = |member| self.word(gva, member).filter(|value| *value != 0).map(Gva);
        let word = self.view().word_len();
        let tid = || {
            let cid = self.layout().offset(Member::Cid)?;
            self.view().uint(Gva(gva.0.checked_add(cid)?.checked_add(word)?), word)
        };
        let state = self.member(gva, Member::State, 1);
        Thread {
            gva,
            tid: tid(),
            state: state.and_then(|state| u8::try_from(state).ok()),
            teb: pointer(Member::Teb),
            stack: self.stack_of(gva),
            kernel_stack: pointer(Member::KernelStack),
            start: pointer(Member::StartAddress),
            cpu,
        }
    }

    /// Where a thread's kernel stack lies. Without `StackBase` it is the page
    /// after `InitialStack`.
    fn stack_of(&self, thread: Gva) -> Option<(Gva, Gva)> {
        const LONGEST: u64 = 1 << 20;
        let limit = self.word(thread, Member::StackLimit)?;
        let initial = || self.word(thread, Member::InitialStack)?.checked_next_multiple_of(4096);
        let base = self.word(thread, Member::StackBase).or_else(initial)?;
        let len = base.checked_sub(limit)?;
        (limit != 0 && len <= LONGEST).then_some((Gva(limit), Gva(base)))
    }
}

/// Problem: threads of these processes are missing. A guest has hundreds of processes, so
/// it is one.
fn torn_lists(torn: &[(u64, String)]) -> Option<Problem> {
    const NAMED: usize = 8;
    let (first, why) = torn.first()?;
    let message = match torn.len() {
        1 => format!("the list of threads of process {first} is torn: {why}"),
        count => {
            let named: Vec<String> =
                torn.iter().take(NAMED).map(|(pid, _)| pid.to_string()).collect();
            let more = if count > NAMED { ", ..." } else { "" };
            format!(
                "the lists of threads of {count} processes are torn ({}{more}); of process \
                 {first}: {why}",
                named.join(", ")
            )
        }
    };
    Some(Problem::incomplete(message))
}
