//! Names of threads of the kernel as `/proc/PID/comm` and `ps` have them: workers with
//! what they work on, others with all of a name that `task_struct.comm` has no room for.

use vmss2core_mem::Gva;

use super::Task;
use crate::linux::{Kernel, LinuxError, Object};

/// `PF_WQ_WORKER` (include/linux/sched.h), since 2.6.36.
const WORKER: u64 = 0x20;
/// How workers begin that are kept for when memory is short, since 6.8.
const RESCUER: &str = "kworker/R-";
/// Letters that `comm` has room for.
const COMM_LEN: usize = 15;

impl Kernel {
    /// The name of a kernel thread that `ps` shows, if it is not `comm`.
    pub(super) fn long_name(&self, task: &Task, flags: u64) -> Option<String> {
        task.is_kernel_thread.then_some(())?;
        let name = if flags & WORKER != 0 {
            self.worker_name(task).ok()?
        } else {
            self.full_name(task).ok()?
        };
        name.filter(|name| *name != task.comm && !name.is_empty())
    }

    /// `struct kthread`, which a task points at (since 4.10; by a member of its own since
    /// 5.17).
    fn kthread(&self, task: &Task) -> Result<Option<Object<'_>>, LinuxError> {
        self.object(task.gva, "task_struct").follow("worker_private|set_child_tid", "kthread")
    }

    /// `kthread.full_name`, since 5.17: kept where `comm` has cut the name.
    fn full_name(&self, task: &Task) -> Result<Option<String>, LinuxError> {
        let Some(kthread) = self.kthread(task)? else { return Ok(None) };
        let name = kthread.pointer("full_name")?;
        Ok(self.text(name).filter(|name| name.starts_with(&task.comm)))
    }

    /// Text of `wq_worker_comm` (kernel/workqueue.c), on kernels that have it.
    fn worker_name(&self, task: &Task) -> Result<Option<String>, LinuxError> {
        self.symbol("wq_worker_comm")?;
        let Some(kthread) = self.kthread(task)? else { return Ok(None) };
        let Some(worker) = kthread.follow("data", "worker")? else { return Ok(None) };
        let mut name = Self::worker_id(&worker, &task.comm)?;
        if worker.pointer("pool")?.0 != 0 {
            let desc = worker.text("desc")?;
            let mark = if worker.pointer("current_work")?.0 == 0 { '-' } else { '+' };
            if !desc.is_empty() {
                name = format!("{name}{mark}{desc}");
            }
        }
        Ok(Some(name))
    }

    /// `comm`, or all of it where it has no room for the name of a rescuer's queue.
    fn worker_id(worker: &Object<'_>, comm: &str) -> Result<String, LinuxError> {
        if comm.len() < COMM_LEN || !comm.starts_with(RESCUER) {
            return Ok(comm.to_owned());
        }
        let queue = worker.follow("rescue_wq", "workqueue_struct")?;
        let name = queue.map(|queue| queue.text("name")).transpose()?.unwrap_or_default();
        let name = format!("{RESCUER}{name}");
        Ok(if name.starts_with(comm) { name } else { comm.to_owned() })
    }

    /// A short text of the kernel.
    fn text(&self, at: Gva) -> Option<String> {
        let mut bytes = [0; 64];
        (at.0 != 0).then_some(())?;
        self.read(at, &mut bytes, "a name").ok()?;
        let len = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(bytes.get(..len)?).into_owned())
    }
}
