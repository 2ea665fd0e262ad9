//! The process group and the session of a process.

use super::Task;
use crate::linux::Kernel;

/// `PIDTYPE_PGID` and `PIDTYPE_SID`, indices of `signal_struct.pids` (since 4.19).
const GROUP: u64 = 2;
const SESSION: u64 = 3;

impl Kernel {
    /// Number of the process group; `None` if it cannot be told.
    pub fn group_of(&self, task: &Task) -> Option<u32> {
        self.number_of(task, GROUP)
    }

    /// Number of the session; `None` if it cannot be told.
    pub fn session_of(&self, task: &Task) -> Option<u32> {
        self.number_of(task, SESSION)
    }

    fn number_of(&self, task: &Task, index: u64) -> Option<u32> {
        let task = self.object(task.gva, "task_struct");
        let pids = task.follow("signal", "signal_struct").ok()??.address_of("pids").ok()?;
        let at = pids.checked_add(index.saturating_mul(self.word_len()))?;
        let pid = self.object(self.read_pointer(at, "signal_struct.pids").ok()?, "pid");
        let numbers = pid.address_of("numbers").ok()?;
        // `struct upid` begins with the number.
        u32::try_from(self.read_uint(numbers, 4, "pid.numbers").ok()?).ok()
    }
}
