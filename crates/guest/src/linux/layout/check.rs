//! Whether a layout fits the kernel: whether it leads through the list of tasks.
//!
//! The list of tasks is a ring that begins in `init_task`. Under a wrong offset
//! the pointers there lead nowhere, or not back.

use vmss2core_mem::Gva;

use crate::linux::{Kernel, LinuxError, Types};

const COMM_LEN: usize = 16;

/// Whether the ring of tasks holds under a layout; why not, if it does not.
/// `Ok(false)` if it cannot be told.
pub(in crate::linux) fn lists_tasks(kernel: &Kernel, types: &dyn Types) -> Result<bool, String> {
    let Some(tasks) = types.member("task_struct", "tasks") else { return Ok(false) };
    let Ok(init_task) = kernel.init_task() else { return Ok(false) };
    let head = Gva(init_task.value.0.wrapping_add(tasks.offset_bytes));
    ring(kernel, head).map_err(|error| {
        format!(
            "task_struct.tasks at {:#x} does not lead through the list of tasks ({error}); it is \
             of another kernel",
            tasks.offset_bytes
        )
    })?;
    let Some(comm) = types.member("task_struct", "comm") else { return Ok(true) };
    let mut name = [0; COMM_LEN];
    let at = Gva(init_task.value.0.wrapping_add(comm.offset_bytes));
    let read = kernel.read(at, &mut name, "task_struct.comm");
    if read.is_err() || !name.starts_with(b"swapper") {
        return Err(format!(
            "task_struct.comm at {:#x} is not the name of the first task; it is of another kernel",
            comm.offset_bytes
        ));
    }
    Ok(true)
}

/// One step of the list forth and back again, or, since a list may be torn, one
/// the other way round.
fn ring(kernel: &Kernel, head: Gva) -> Result<(), LinuxError> {
    let forth = neighbour(kernel, head, (0, kernel.word_len()));
    forth.or_else(|error| {
        let back = neighbour(kernel, head, (kernel.word_len(), 0));
        back.map_err(|_| error)
    })
}

/// Whether the node that a link of `head` leads to has a link back to it. A list
/// without any other node is none.
fn neighbour(kernel: &Kernel, head: Gva, (there, back): (u64, u64)) -> Result<(), LinuxError> {
    let next = kernel.read_pointer(Gva(head.0.wrapping_add(there)), "list_head")?;
    let back = kernel.read_pointer(Gva(next.0.wrapping_add(back)), "list_head")?;
    if back == head && next != head {
        return Ok(());
    }
    let why = format!("it leads to {next}, which leads back to {back}");
    Err(LinuxError::Corrupt { what: "list_head".into(), at: head, why })
}
