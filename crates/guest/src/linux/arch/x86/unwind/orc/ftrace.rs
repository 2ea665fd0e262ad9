//! Trampolines of ftrace, which the kernel copies from its own code.
//!
//! Each `struct ftrace_ops` (`include/linux/ftrace.h`) may have one: a copy of
//! `ftrace_regs_caller` if it wants registers, else of `ftrace_caller`.

use vmss2core_mem::Gva;

use crate::linux::Kernel;

/// Tracers, probes and live patches that are registered.
const MOST_OPS: usize = 1 << 12;

/// The kernel's code that is at an address of a trampoline as well.
pub(super) fn original(kernel: &Kernel, ip: Gva) -> Option<Gva> {
    let wants_registers = kernel.layout().enumerator("FTRACE_OPS_FL_SAVE_REGS")?.value;
    let end = kernel.symbol("ftrace_list_end").ok()?.value;
    let list = kernel.symbol("ftrace_ops_list").ok()?.value;
    let mut at = kernel.read_pointer(list, "ftrace_ops_list").ok()?;
    for _ in 0..MOST_OPS {
        if at == end || at.0 == 0 {
            break;
        }
        let ops = kernel.object(at, "ftrace_ops");
        let start = ops.pointer("trampoline").ok()?;
        let len = ops.pointer("trampoline_size").ok()?.0;
        if let Some(offset) = ip.0.checked_sub(start.0).filter(|offset| *offset < len) {
            let has_registers = ops.pointer("flags").ok()?.0 & wants_registers.cast_unsigned() != 0;
            let name = if has_registers { "ftrace_regs_caller" } else { "ftrace_caller" };
            return kernel.symbol(name).ok()?.value.checked_add(offset);
        }
        at = ops.pointer("next").ok()?;
    }
    None
}
