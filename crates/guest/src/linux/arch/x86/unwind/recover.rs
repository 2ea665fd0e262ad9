//! Return addresses that the kernel keeps elsewhere.
//!
//! A return probe, and the tracer of the graph of functions, put the address of
//! a trampoline in the place of a return address and keep that one in a record
//! of the task, together with the place: `struct rethook_node` since 5.18
//! (`include/linux/rethook.h`), `struct kretprobe_instance` since 5.11
//! (`include/linux/kprobes.h`), `struct ftrace_ret_stack`
//! (`include/linux/ftrace.h`). Who unwinds a stack has to put them back.

use vmss2core_mem::Gva;

use super::context::Stack;
use crate::linux::{Kernel, Object};

/// No task is in more calls with a probe.
const MOST_RECORDS: usize = 1 << 12;
/// Trampolines of return probes, latest first.
const PROBES: [&str; 3] =
    ["arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"];
const GRAPH: &str = "return_to_handler";

const PROBE_UNKNOWN: &str = "a return probe keeps the return address, and where is not known \
                             without the kernel's type information";
const PROBE_LOST: &str =
    "a return probe keeps the return address, but has no record of this place on the stack";
const GRAPH_UNKNOWN: &str = "the tracer of functions keeps the return address, and where is not \
                             known without the kernel's type information";
const GRAPH_LOST: &str = "the tracer of functions keeps the return address, but has no record of this place on the stack";
const NO_TASK: &str = "a tracer or probe keeps the return address for the task, which is not known";

/// Code that calls return to in place of their callers.
pub(super) struct Trampolines {
    probes: [Option<u64>; PROBES.len()],
    graph: Option<u64>,
}

impl Trampolines {
    pub(super) fn of(kernel: &Kernel) -> Self {
        let address = |name| kernel.symbol(name).ok().map(|symbol| symbol.value.0);
        Self { probes: PROBES.map(address), graph: address(GRAPH) }
    }

    /// The address that a call really returns to, of the one that lies at `slot`
    /// on the stack; why it is not known, if a trampoline hides it.
    pub(super) fn recover(
        &self,
        stack: &Stack<'_>,
        mut ip: u64,
        slot: u64,
    ) -> Result<u64, &'static str> {
        if self.graph == Some(ip) {
            ip = from_graph(stack, slot)?;
        }
        if self.probes.contains(&Some(ip)) {
            ip = from_probe(stack, slot, ip)?;
        }
        Ok(ip)
    }
}

/// A form of records of return probes.
struct Records {
    /// The list in `task_struct`, newest first.
    list: &'static str,
    structure: &'static str,
    /// Where the return address was on the stack.
    place: &'static str,
}

const RECORDS: [Records; 2] = [
    Records { list: "rethooks.first", structure: "rethook_node", place: "frame" },
    Records { list: "kretprobe_instances.first", structure: "kretprobe_instance", place: "fp" },
];

fn from_probe(stack: &Stack<'_>, slot: u64, trampoline: u64) -> Result<u64, &'static str> {
    let task = stack.kernel.object(stack.task.ok_or(NO_TASK)?, "task_struct");
    let known = |records: &&Records| {
        let record = stack.kernel.object(Gva(0), records.structure);
        task.has(records.list) && record.has(records.place) && record.has("llist.next")
    };
    let mut known = RECORDS.iter().filter(known).peekable();
    known.peek().ok_or(PROBE_UNKNOWN)?;
    let mut found = known.filter_map(|records| records.find(stack, &task, slot, trampoline));
    found.next().ok_or(PROBE_LOST)
}

impl Records {
    /// The return address that was at `slot`. Several probes on one function have
    /// a record each, and all but the oldest keep the address of the trampoline.
    fn find(
        &self,
        stack: &Stack<'_>,
        task: &Object<'_>,
        slot: u64,
        trampoline: u64,
    ) -> Option<u64> {
        let mut node = task.pointer(self.list).ok()?;
        let offset = stack.kernel.object(Gva(0), self.structure).address_of("llist").ok()?.0;
        for _ in 0..MOST_RECORDS {
            let record = stack.kernel.object(Gva(node.0.wrapping_sub(offset)), self.structure);
            let address = record.pointer("ret_addr").ok()?.0;
            if address != trampoline && record.pointer(self.place).ok()?.0 == slot {
                return Some(address);
            }
            node = record.pointer("llist.next").ok().filter(|next| next.0 != 0)?;
        }
        None
    }
}

/// `task_struct.ret_stack`, of which the entry `curr_ret_stack` is the latest.
fn from_graph(stack: &Stack<'_>, slot: u64) -> Result<u64, &'static str> {
    let kernel = stack.kernel;
    let task = kernel.object(stack.task.ok_or(NO_TASK)?, "task_struct");
    let entry = kernel.object(Gva(0), "ftrace_ret_stack");
    let (Ok(array), Ok(current), true, Some(len)) = (
        task.pointer("ret_stack"),
        task.uint("curr_ret_stack"),
        entry.has("retp"),
        kernel.layout().size_of("ftrace_ret_stack"),
    ) else {
        return Err(GRAPH_UNKNOWN);
    };
    let current = i64::from(u32::try_from(current).unwrap_or(u32::MAX).cast_signed());
    let entries = Entries { kernel, array, len: len.value };
    // Since 6.11 entries are of any length.
    let found = if kernel.symbol("fgraph_reserve_data").is_ok() {
        entries.find_in_words(current, slot)
    } else {
        entries.find(current, slot)
    };
    found.ok_or(GRAPH_LOST)
}

/// Return addresses that the tracer of functions keeps for a task.
struct Entries<'k> {
    kernel: &'k Kernel,
    array: Gva,
    /// Bytes of an entry.
    len: u64,
}

impl Entries<'_> {
    /// In an array of entries; without any, `current` is -1.
    fn find(&self, current: i64, slot: u64) -> Option<u64> {
        let indices = (0..=u64::try_from(current).ok()?).rev().take(MOST_RECORDS);
        indices.into_iter().find_map(|index| {
            let at = self.array.checked_add(index.checked_mul(self.len)?)?;
            self.address(at, slot)
        })
    }

    /// In an array of words, of which `current` are in use. The word after an
    /// entry says in its lowest 10 bits how many words before it the entry starts.
    fn find_in_words(&self, current: i64, slot: u64) -> Option<u64> {
        const LEN: u64 = (1 << 10) - 1;
        let word_len = self.kernel.word_len();
        let at = |index: u64| self.array.checked_add(index.checked_mul(word_len)?);
        let mut end = u64::try_from(current).ok()?;
        for _ in 0..MOST_RECORDS {
            let last = end.checked_sub(1)?;
            let word = self.kernel.read_pointer(at(last)?, "ret_stack").ok()?.0;
            let words = Some(word & LEN).filter(|words| *words != 0)?;
            end = last.checked_sub(words)?;
            if let Some(address) = self.address(at(end)?, slot) {
                return Some(address);
            }
        }
        None
    }

    /// The return address in an entry, if it was at `slot`.
    fn address(&self, at: Gva, slot: u64) -> Option<u64> {
        let entry = self.kernel.object(at, "ftrace_ret_stack");
        let is_it = entry.pointer("retp").ok()?.0 == slot;
        is_it.then(|| entry.pointer("ret").ok()).flatten().map(|address| address.0)
    }
}
