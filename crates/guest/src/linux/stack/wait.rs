//! The function that a sleeping task waits in.

use crate::linux::{Kernel, Place, Task};
use crate::model::{Frame, FrameKind};

impl Kernel {
    /// The function that a task which does not run waits in: the first on its stack that
    /// is not the scheduler's own, as `/proc/PID/wchan` has it. `None` where that is not
    /// sure.
    pub fn wait_channel(&self, task: &Task) -> Option<Place<'_>> {
        let address = |name| self.symbol(name).ok().map(|symbol| symbol.value);
        let scheduler = address("__sched_text_start")?..address("__sched_text_end")?;
        let stack = self.backtrace(task).ok().filter(|_| task.on_vcpu.is_none())?;
        let sure = stack.frames.iter().filter(|frame| frame.kind != FrameKind::Guess);
        let mut addresses = sure.map(Frame::code_address);
        self.symbolize(addresses.find(|address| !scheduler.contains(address))?)
    }
}
