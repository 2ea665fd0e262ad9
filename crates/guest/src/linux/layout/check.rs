//! Whether a layout fits the kernel: whether it leads through the list of tasks.
//!
//! The list of tasks is a ring that begins in `init_task`: of list heads (`tasks`) or, in
//! 2.4, of tasks (`next_task` and `prev_task`). Under a wrong offset the pointers there lead
//! nowhere, or not back.

use vmss2core_mem::Gva;

use crate::linux::{Kernel, LinuxError, Types};

const COMM_LEN: usize = 16;

/// Whether the ring of tasks holds under a layout; why not, if it does not.
/// `Ok(false)` if it cannot be told.
pub(in crate::linux) fn lists_tasks(kernel: &Kernel, types: &dyn Types) -> Result<bool, String> {
    let link = |name| Some((name, types.member("task_struct", name)?.offset_bytes));
    let Some((name, offset)) = link("tasks").or_else(|| link("next_task")) else {
        return Ok(false);
    };
    let Ok(init_task) = kernel.init_task() else { return Ok(false) };
    let (node, link) = match name {
        "tasks" => (init_task.value.0.wrapping_add(offset), 0),
        _ => (init_task.value.0, offset),
    };
    ring(kernel, Gva(node), link).map_err(|error| {
        format!(
            "task_struct.{name} at {offset:#x} does not lead through the list of tasks ({error}); \
             it is of another kernel"
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
/// the other way round; the pointers are `link` into each node.
fn ring(kernel: &Kernel, node: Gva, link: u64) -> Result<(), LinuxError> {
    let (next, prev) = (link, link.wrapping_add(kernel.word_len()));
    let forth = neighbour(kernel, node, (next, prev));
    forth.or_else(|error| {
        let back = neighbour(kernel, node, (prev, next));
        back.map_err(|_| error)
    })
}

/// Whether the node that a pointer of `node` leads to has a pointer back to it. A list
/// without any other node is none.
fn neighbour(kernel: &Kernel, node: Gva, (there, back): (u64, u64)) -> Result<(), LinuxError> {
    let next = kernel.read_pointer(Gva(node.0.wrapping_add(there)), "a list of tasks")?;
    let back = kernel.read_pointer(Gva(next.0.wrapping_add(back)), "a list of tasks")?;
    if back == node && next != node {
        return Ok(());
    }
    let why = format!("it leads to {next}, which leads back to {back}");
    Err(LinuxError::Corrupt { what: "a list of tasks".into(), at: node, why })
}
