//! Processes and their threads.

use vmss2core_mem::{Gpa, Gva, Problem};

/// The processes of a guest and their threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// How they were found.
    pub how: String,
    /// When the guest booted, if its clock is known: nanoseconds since 1970.
    pub boot_unix_ns: Option<u64>,
    /// In the order of the guest's own lists.
    pub tasks: Vec<Task>,
    /// Missing, odd or broken parts.
    pub problems: Vec<Problem>,
}

/// Kind of a [`Task`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskKind {
    /// A process that is no thread itself, as on Windows.
    #[default]
    Process,
    /// The first thread of a process, which stands for all of it, as on Linux.
    FirstThread,
    /// A thread.
    Thread,
}

/// A process or a thread. What is not known, or not available from the guest's system, is
/// `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its kind.
    pub kind: TaskKind,
    /// Number of the process.
    pub pid: u64,
    /// Number of the thread.
    pub tid: Option<u64>,
    /// Number of the process that made the process, or cares for it.
    pub parent: Option<u64>,
    /// Effective user.
    pub uid: Option<u32>,
    /// Effective group.
    pub gid: Option<u32>,
    /// State: the letter of `ps`, or the system's word for it.
    pub state: Option<String>,
    /// Its name as the guest's own tools show it.
    pub name: String,
    /// The name in its structure, where that is another one.
    pub short_name: Option<String>,
    /// Its command line.
    pub command_line: Option<Vec<String>>,
    /// Path of its image.
    pub path: Option<String>,
    /// A thread of the kernel.
    pub is_kernel_thread: Option<bool>,
    /// When it started.
    pub started: Started,
    /// When it ended, in seconds since 1970.
    pub ended_unix: Option<u64>,
    /// The processor that it runs on or, if the guest keeps that, ran on last, as the guest
    /// numbers them.
    pub cpu: Option<u32>,
    /// The vCPU that runs it in this moment.
    pub on_vcpu: Option<u32>,
    /// Address of its structure: `task_struct`, `EPROCESS` or `ETHREAD`.
    pub address: Gva,
    /// Physical address of its page tables.
    pub page_tables: Option<Gpa>,
    /// Address of its environment block: `PEB` or `TEB`.
    pub environment: Option<Gva>,
    /// Where the thread began.
    pub entry: Option<Gva>,
}

/// When a task started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Nanoseconds after boot.
    pub since_boot_ns: Option<u64>,
    /// Seconds since 1970.
    pub unix: Option<u64>,
}

impl Task {
    /// Whether it stands for a process.
    pub fn is_process(&self) -> bool {
        self.kind != TaskKind::Thread
    }

    /// Whether it is a thread.
    pub fn is_thread(&self) -> bool {
        self.kind != TaskKind::Process
    }
}
