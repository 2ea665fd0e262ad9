//! Stacks as fuzzing walks them: in a kernel of a little code and data.

use std::sync::Arc;

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::x86::modes;
use vmss2core_machine::{Checkpoint, x86};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::context::Stack;
use super::walk::walk;
use super::{Backtrace, FrameKind, start};
use crate::linux::{
    BetterSources, Kernel, Member, Module, ModuleState, Modules, Symbol, Symbols, Types,
    UnwindTables,
};
use crate::{Facts, KernelText, LinuxFacts};

/// Bytes in front: what kind of kernel, then the instruction pointer and the general
/// registers.
pub(super) const FRONT_LEN: usize = 1 + 17 * 8;
/// A 32-bit kernel.
pub(super) const IS_32_BIT: u8 = 1;
/// It has no unwind tables.
pub(super) const NO_TABLES: u8 = 2;
/// The tracer of functions keeps words.
pub(super) const GRAPH_OF_WORDS: u8 = 4;
/// The registers are those of a sleeping task, not of a vCPU.
pub(super) const IS_SLEEPING: u8 = 8;

/// Bytes of code; from the middle on a module's.
pub(super) const CODE_LEN: u64 = 0x400;
const MODULE_AT: u64 = 0x200;
/// Where the code lies, with 64 bits and with 32.
pub(super) const CODE: [u64; 2] = [0xffff_ffff_8020_0000, 0xc020_0000];
/// From the code to the data.
pub(super) const TO_DATA: u64 = 0x20_0000;
/// At the start of the data.
const STACK_LEN: u64 = 0x1000;
/// Places in the data.
pub(super) mod at {
    pub(in super::super) const TASK: u64 = 0x1000;
    pub(in super::super) const OPS: u64 = 0x1300;
    pub(in super::super) const IPS: u64 = 0x1400;
    pub(in super::super) const ENTRIES: u64 = 0x1480;
    pub(in super::super) const MODULE_IPS: u64 = 0x1600;
    pub(in super::super) const MODULE_ENTRIES: u64 = 0x1680;
}
/// Entries of each table.
pub(super) const ENTRIES: u64 = 8;

/// By distance from the code.
const FUNCTIONS: [(&str, u64); 7] = [
    ("_text", 0),
    ("_etext", MODULE_AT),
    ("function", 0x80),
    ("arch_rethook_trampoline", 0x100),
    ("return_to_handler", 0x120),
    ("ftrace_caller", 0x140),
    ("ftrace_regs_caller", 0x160),
];
/// By distance from the data.
const VARIABLES: [(&str, u64); 2] =
    [("ftrace_ops_list", at::OPS), ("ftrace_list_end", at::OPS + 8)];
const TABLES: [(&str, u64); 3] = [
    ("__start_orc_unwind_ip", at::IPS),
    ("__stop_orc_unwind_ip", at::IPS + 4 * ENTRIES),
    ("__start_orc_unwind", at::ENTRIES),
];

/// Offsets of members, sizes of structures, and an enumerator.
#[derive(Debug)]
struct Layout;

const LAYOUT: [(&str, &str, u64); 19] = [
    ("task_struct", "rethooks.first", 0),
    ("task_struct", "ret_stack", 8),
    ("task_struct", "curr_ret_stack", 16),
    ("task_struct", "stack", 24),
    ("rethook_node", "llist", 0),
    ("rethook_node", "llist.next", 0),
    ("rethook_node", "ret_addr", 8),
    ("rethook_node", "frame", 16),
    ("ftrace_ret_stack", "ret", 0),
    ("ftrace_ret_stack", "func", 8),
    ("ftrace_ret_stack", "retp", 16),
    ("ftrace_ret_stack", "", 24),
    ("ftrace_ops", "next", 0),
    ("ftrace_ops", "flags", 8),
    ("ftrace_ops", "trampoline", 16),
    ("ftrace_ops", "trampoline_size", 24),
    ("thread_union", "", STACK_LEN),
    ("mm_struct", "", 8),
    ("", "FTRACE_OPS_FL_SAVE_REGS", 4),
];

impl Types for Layout {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let is_it = |member: &&(&str, &str, u64)| member.0 == structure && member.1 == path;
        let offset_bytes = LAYOUT.iter().find(is_it)?.2;
        Some(Member { offset_bytes, size_bytes: None, bits: None })
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        self.member(structure, "").map(|size| size.offset_bytes)
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        self.member("", name)?.offset_bytes.try_into().ok()
    }
}

/// Walks a stack made of `data`; `None` if there is not enough.
pub(crate) fn stacks(data: &[u8]) -> Option<Backtrace> {
    let (front, memory) = data.split_at_checked(FRONT_LEN)?;
    let (form, registers) = front.split_first()?;
    let is_64_bit = form & IS_32_BIT == 0;
    let [code, other] = CODE;
    let code = if is_64_bit { code } else { other };
    let checkpoint = Checkpoint { memory: physical(memory, is_64_bit)?, ..Checkpoint::default() };
    let facts = facts(is_64_bit, code);
    let better = BetterSources {
        symbols: Some(Found::new(symbols(*form, code), "the data")),
        types: vec![Found::new(Arc::new(Layout) as Arc<dyn Types>, "the data")],
        ..BetterSources::default()
    };
    let kernel = Kernel::open(&checkpoint, &facts, better).ok()?;
    let modules = Modules { modules: vec![module(code)], ..Modules::default() };
    kernel.moment.modules.set(modules).ok()?;
    let data = code.wrapping_add(TO_DATA);
    let stack = Stack::new(&kernel, Some(Gva(data.wrapping_add(at::TASK))), Some(Gva(data)));
    let kind = if form & IS_SLEEPING == 0 { FrameKind::Registers } else { FrameKind::Return };
    let found = walk(&stack, &start::of_vcpu(&vcpu(registers))?, kind, "the data");
    for frame in &found.frames {
        let _ = kernel.symbolize(frame.code_address());
    }
    Some(found)
}

/// The code, then the data, after page tables that map both.
fn physical(bytes: &[u8], is_64_bit: bool) -> Option<PhysicalMemory> {
    let mut memory = PhysicalMemory::new();
    let base = if is_64_bit { 0 } else { 0xc000_0000 };
    let (code, data) = bytes.split_at_checked(usize::try_from(CODE_LEN).ok()?)?;
    let mut map = |at: u64, bytes: Vec<u8>| {
        let len = bytes.len() as u64;
        memory.map(Gpa(at), len, Arc::new(bytes), 0).ok()
    };
    map(base | 0x20_0000, code.to_vec())?;
    map(base | 0x40_0000, data.to_vec())?;
    if is_64_bit {
        let mut tables = vec![0; 0x3000];
        let entries: [(usize, u64); 4] = [
            (0xff8, 0x2003),
            (0x1ff0, 0x3003),
            (0x2008, 0x20_0083),
            (0x2010, (1 << 63) | 0x40_0083),
        ];
        for (at, entry) in entries {
            let place = tables.get_mut(at..)?.first_chunk_mut()?;
            *place = entry.to_le_bytes();
        }
        map(0x1000, tables)?;
    }
    Some(memory)
}

fn facts(is_64_bit: bool, code: u64) -> Facts {
    let root = if is_64_bit {
        (modes::FOUR_LEVEL, Root(Gpa(0x1000)))
    } else {
        (PagingMode::IDENTITY, Root(Gpa(0)))
    };
    let text = KernelText { start: Gva(code), gpa: Gpa(0x20_0000), len: MODULE_AT };
    let linux = LinuxFacts {
        is_64_bit,
        kernel_root: Some(Found::new(root, "the data")),
        text: Some(Found::new(text, "the data")),
        ..LinuxFacts::default()
    };
    Facts::of(linux, "made")
}

fn symbols(form: u8, code: u64) -> Symbols {
    let data = code.wrapping_add(TO_DATA);
    let tables = if form & NO_TABLES == 0 { &TABLES[..] } else { &[] };
    let graph = (form & GRAPH_OF_WORDS != 0).then_some(("fgraph_reserve_data", 0x180));
    let functions = FUNCTIONS.into_iter().chain(graph).map(|(name, at)| (name, code, at));
    let variables = VARIABLES.iter().chain(tables).map(|(name, at)| (*name, data, *at));
    Symbols::new(functions.chain(variables).map(|(name, base, at)| Symbol {
        address: Gva(base.wrapping_add(at)),
        kind: 'T',
        name,
    }))
}

fn module(code: u64) -> Module {
    let place = |at: u64| code.wrapping_add(at);
    let data = place(TO_DATA);
    Module {
        gva: Gva(data),
        name: "module".to_owned(),
        state: ModuleState::Live,
        base: Gva(place(MODULE_AT)),
        // Code that nobody knows follows.
        parts: std::iter::once(place(MODULE_AT)..place(MODULE_AT | 0x100)).collect(),
        users: None,
        used_by: None,
        is_permanent: false,
        taint: None,
        version: None,
        text: None,
        symbols: Symbols::default(),
        unwind: Some(UnwindTables {
            count: ENTRIES,
            ips: Gva(data.wrapping_add(at::MODULE_IPS)),
            entries: Gva(data.wrapping_add(at::MODULE_ENTRIES)),
        }),
    }
}

fn vcpu(registers: &[u8]) -> x86::Registers {
    let mut words = registers.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
    let mut vcpu = x86::Registers { rip: words.next(), ..x86::Registers::default() };
    vcpu.general.iter_mut().zip(words).for_each(|(slot, word)| *slot = Some(word));
    vcpu
}
