//! Code that the kernel has made or keeps the names of while it runs, as
//! `/proc/kallsyms` lists it after the modules: programs for BPF, trampolines of the
//! function tracer, pages of kprobes, and functions of modules' starts that were traced
//! and are gone.

use std::collections::HashSet;

use vmss2core_mem::{Gva, PAGE_SIZE};

use super::shape;
use crate::linux::{Kernel, LinuxError, Object};

/// More than this in one list is damage.
const MOST: usize = 1 << 16;
/// No program or trampoline is longer.
const LONGEST_CODE: u64 = 64 << 20;

/// A piece of code with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedCode {
    /// Where it lies.
    pub address: Gva,
    /// Its length; 0 for what is gone and has only left its name.
    pub len_bytes: u64,
    /// The letter that `/proc/kallsyms` has.
    pub kind: char,
    /// Its name.
    pub name: String,
    /// Its module's name in `/proc/kallsyms`: `bpf`, `__builtin__ftrace`.
    pub module: String,
}

impl Kernel {
    /// Code that the kernel has made while it runs. Empty where its lists are not known.
    pub fn generated_code(&self) -> &[GeneratedCode] {
        self.moment.generated.get_or_init(|| find(self))
    }
}

/// Adds the code of one kind to a list.
type Kind = fn(&Kernel, &mut Vec<GeneratedCode>) -> Result<(), LinuxError>;

fn find(kernel: &Kernel) -> Vec<GeneratedCode> {
    let mut found = Vec::new();
    let kinds: [Kind; 5] = [
        traced_starts,
        trampolines,
        bpf,
        |kernel, found| kprobes(kernel, "kprobe_insn_slots", found),
        |kernel, found| kprobes(kernel, "kprobe_optinsn_slots", found),
    ];
    for kind in kinds {
        // A kernel that does not have the list has nothing to name.
        let _ = kind(kernel, &mut found);
    }
    found
}

/// The nodes of a list, up to its end or to where it breaks.
fn nodes(kernel: &Kernel, head: Gva) -> impl Iterator<Item = Gva> {
    let (mut at, mut seen) = (head, HashSet::new());
    std::iter::from_fn(move || {
        at = kernel.read_pointer(at, "list").ok().filter(|next| *next != head && next.0 != 0)?;
        (seen.len() < MOST && seen.insert(at)).then_some(at)
    })
}

/// The structures in the list at a variable.
fn listed<'k>(
    kernel: &'k Kernel,
    head: Gva,
    structure: &'static str,
    node: &str,
) -> Result<impl Iterator<Item = Object<'k>>, LinuxError> {
    let inside = kernel.object(Gva(0), structure).member(node)?.offset_bytes;
    let object = move |node: Gva| kernel.object(Gva(node.0.wrapping_sub(inside)), structure);
    Ok(nodes(kernel, head).map(object))
}

/// `bpf_kallsyms` (kernel/bpf/core.c), since 5.7 of `struct bpf_ksym`.
fn bpf(kernel: &Kernel, found: &mut Vec<GeneratedCode>) -> Result<(), LinuxError> {
    let head = kernel.symbol("bpf_kallsyms")?.value;
    for program in listed(kernel, head, "bpf_ksym", "lnode")? {
        let (start, end) = (program.pointer("start")?, program.pointer("end")?);
        push(found, start, end.0.wrapping_sub(start.0), program.text("name")?, "bpf");
    }
    Ok(())
}

/// `ftrace_ops_trampoline_list` (kernel/trace/ftrace.c).
fn trampolines(kernel: &Kernel, found: &mut Vec<GeneratedCode>) -> Result<(), LinuxError> {
    let head = kernel.symbol("ftrace_ops_trampoline_list")?.value;
    for ops in listed(kernel, head, "ftrace_ops", "list")? {
        let (start, len) = (ops.pointer("trampoline")?, ops.pointer("trampoline_size")?);
        push(found, start, len.0, "ftrace_trampoline".to_owned(), "__builtin__ftrace");
    }
    Ok(())
}

/// The pages of a `struct kprobe_insn_cache` (kernel/kprobes.c).
fn kprobes(kernel: &Kernel, cache: &str, found: &mut Vec<GeneratedCode>) -> Result<(), LinuxError> {
    let cache = kernel.object(kernel.symbol(cache)?.value, "kprobe_insn_cache");
    let name = shape::text_at(kernel, cache.pointer("sym")?).unwrap_or_default();
    for page in listed(kernel, cache.address_of("pages")?, "kprobe_insn_page", "list")? {
        push(found, page.pointer("insns")?, PAGE_SIZE, name.clone(), "__builtin__kprobes");
    }
    Ok(())
}

/// `ftrace_mod_maps` (kernel/trace/ftrace.c): while something is traced, the names of
/// functions that only ran when a module was loaded are kept for the trace. Of each map
/// `/proc/kallsyms` shows the first one twice, and not the last.
fn traced_starts(kernel: &Kernel, found: &mut Vec<GeneratedCode>) -> Result<(), LinuxError> {
    let head = kernel.symbol("ftrace_mod_maps")?.value;
    for map in listed(kernel, head, "ftrace_mod_map", "list")? {
        let Some(module) = map.follow("mod", "module")? else { continue };
        let module = module.text("name")?;
        for function in listed(kernel, map.address_of("funcs")?, "ftrace_mod_func", "list")? {
            let address = function.pointer("ip")?;
            let Some(name) = shape::name_at(kernel, function.pointer("name")?) else { continue };
            let module = module.clone();
            found.push(GeneratedCode { address, len_bytes: 0, kind: 'T', name, module });
        }
    }
    Ok(())
}

fn push(found: &mut Vec<GeneratedCode>, address: Gva, len: u64, name: String, module: &str) {
    if (1..LONGEST_CODE).contains(&len) && !name.is_empty() {
        let module = module.to_owned();
        found.push(GeneratedCode { address, len_bytes: len, kind: 't', name, module });
    }
}
