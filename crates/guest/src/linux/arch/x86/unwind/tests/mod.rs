//! Stacks in a kernel of two pages: code, and one for data and stacks.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

mod by_code;
mod frame_pointers;
mod kept;
mod left_out;
mod seeds;
mod unnamed;

use std::sync::Arc;

use vmss2core_machine::paging::{Paging, PagingMode, Root};
use vmss2core_machine::x86::modes;
use vmss2core_machine::{Checkpoint, Privilege, Registers, Vcpu, VcpuView, x86};
use vmss2core_mem::{Found, Gpa, PhysicalMemory};

use super::*;
use crate::linux::{
    BetterSources, Member, Module, ModuleState, Modules, Symbol, Symbols, Types, UnwindTables,
};
use crate::{Facts, KernelText, LinuxFacts};

const BASE: u64 = 0xffff_ffff_8000_0000;
/// Code, at the same distance from `BASE` as from physical 0; executable.
const CODE: u64 = BASE + (2 << 20);
/// What of it is the kernel's own; modules follow.
const CODE_LEN: u64 = 1 << 20;
const MODULE: u64 = CODE + CODE_LEN + 0x8_0000;
/// Data, not executable.
const DATA: u64 = BASE + (4 << 20);
const STACK: u64 = DATA + 0x10_0000;
/// Where a stack of four pages ends.
const TOP: u64 = STACK + 0x4000;
const TASK: u64 = DATA + 0x8000;
const IPS: u64 = DATA;
const ENTRIES: u64 = DATA + 0x1000;
const RAM: usize = 6 << 20;

const USER: u64 = 0x33;
const KERNEL: u64 = 0x10;

/// Numbers of an ORC entry: old and new.
#[derive(Clone, Copy)]
enum Orc {
    Old,
    New,
}

/// An entry: what its stack pointer is counted from, and so on.
#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    base: &'static str,
    sp_offset: i16,
    bp: &'static str,
    bp_offset: i16,
    kind: &'static str,
}

const fn call(at: u64, sp_offset: i16) -> Entry {
    Entry { at, base: "sp", sp_offset, bp: "", bp_offset: 0, kind: "call" }
}

fn bits(orc: Orc, entry: &Entry) -> u16 {
    let base = |name| match (orc, name) {
        (_, "") => 0,
        (Orc::Old, "previous sp") => 1,
        (_, "bp") => 4,
        (Orc::Old, "sp") => 5,
        (Orc::New, "sp") => 3,
        (Orc::Old, "bp indirect") | (Orc::New, "previous sp") => 8,
        (Orc::New, "bp indirect") => 10,
        (_, other) => panic!("{other}"),
    };
    let kind = match (orc, entry.kind) {
        (_, "undefined") | (Orc::Old, "call" | "end") => 0,
        (Orc::Old, "registers") | (Orc::New, "end") => 1,
        (Orc::Old, "partial") | (Orc::New, "call") => 2,
        (Orc::New, "registers") => 3,
        (Orc::New, "partial") => 4,
        (_, other) => panic!("{other}"),
    };
    base(entry.base) | base(entry.bp) << 4 | kind << 8
}

struct Machine {
    ram: Vec<u8>,
    symbols: Vec<(&'static str, u64)>,
    vcpu: x86::Registers,
    members: Members,
    modules: Vec<Module>,
    image_len: u64,
    paging: Option<Paging>,
}

/// Where members are, and what an enumerator is.
#[derive(Clone, Debug, Default)]
struct Members(Vec<(&'static str, &'static str, u64)>);

impl Types for Members {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let is_it = |member: &&(&str, &str, u64)| member.0 == structure && member.1 == path;
        let offset_bytes = self.0.iter().find(is_it)?.2;
        Some(Member { offset_bytes, size_bytes: None, bits: None })
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        self.member(structure, "").map(|size| size.offset_bytes)
    }

    fn enumerator(&self, name: &str) -> Option<i64> {
        self.member("", name)?.offset_bytes.try_into().ok()
    }
}

impl Machine {
    /// Four levels of tables that map code and data.
    fn new() -> Self {
        let mut machine = Self {
            ram: vec![0; RAM],
            symbols: vec![("_text", CODE)],
            vcpu: x86::Registers::default(),
            members: Members::default(),
            modules: Vec::new(),
            image_len: CODE_LEN,
            paging: None,
        };
        machine.ram[0x1ff8..0x2000].copy_from_slice(&0x2003_u64.to_le_bytes());
        machine.ram[0x2ff0..0x2ff8].copy_from_slice(&0x3003_u64.to_le_bytes());
        machine.ram[0x3008..0x3010].copy_from_slice(&0x20_0083_u64.to_le_bytes());
        let data: u64 = 1 << 63 | 0x40_0083;
        machine.ram[0x3010..0x3018].copy_from_slice(&data.to_le_bytes());
        machine
    }

    fn with_orc(orc: Orc, entries: &[Entry]) -> Self {
        let mut machine = Self::new();
        machine.put_orc(orc, entries, IPS, ENTRIES);
        let end = IPS + 4 * entries.len() as u64;
        machine.symbols.extend([
            ("__start_orc_unwind_ip", IPS),
            ("__stop_orc_unwind_ip", end),
            ("__start_orc_unwind", ENTRIES),
        ]);
        machine
    }

    fn put_orc(&mut self, orc: Orc, list: &[Entry], ips: u64, entries: u64) {
        for (index, entry) in (0..).zip(list) {
            let ip = ips + 4 * index;
            let distance = entry.at.wrapping_sub(ip) as u32;
            self.put(ip, &distance.to_le_bytes());
            let at = entries + 6 * index;
            self.put(at, &entry.sp_offset.to_le_bytes());
            self.put(at + 2, &entry.bp_offset.to_le_bytes());
            self.put(at + 4, &bits(orc, entry).to_le_bytes());
        }
    }

    /// A module, with unwind tables or without.
    fn add_module(&mut self, unwind: Option<UnwindTables>) {
        self.modules.push(Module {
            gva: Gva(DATA + 0x7000),
            name: "mod".into(),
            state: ModuleState::Live,
            base: Gva(MODULE),
            parts: std::iter::once(MODULE..MODULE + 0x1000).collect(),
            users: None,
            used_by: None,
            is_permanent: false,
            taint: None,
            version: None,
            text: None,
            symbols: Symbols::default(),
            unwind,
        });
    }

    /// A call that ends at an address.
    fn put_call(&mut self, end: u64) {
        self.put_call_of(CODE, end);
    }

    /// A call of a function.
    fn put_call_of(&mut self, function: u64, end: u64) {
        self.put(end - 5, &[0xe8]);
        self.put(end - 4, &(function.wrapping_sub(end) as u32).to_le_bytes());
    }

    fn put(&mut self, gva: u64, bytes: &[u8]) {
        self.ram[(gva - BASE) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn words(&mut self, gva: u64, words: &[u64]) {
        for (index, word) in (0..).zip(words) {
            self.put(gva + 8 * index, &word.to_le_bytes());
        }
    }

    fn registers(&mut self, ip: u64, sp: u64, bp: u64) {
        self.vcpu.rip = Some(ip);
        self.vcpu.set_gpr(Gpr::Rsp, sp);
        self.vcpu.set_gpr(Gpr::Rbp, bp);
    }

    fn backtrace(self) -> Backtrace {
        self.ask(|kernel| kernel.backtrace_of_vcpu(0).unwrap())
    }

    /// On the stack that ends at `TOP`, in `TASK`.
    fn backtrace_of_task(self) -> Backtrace {
        let registers = start::of_vcpu(&self.vcpu).unwrap();
        self.ask(|kernel| {
            let stack = Stack::new(kernel, Some(Gva(TASK)), Some(Gva(STACK)));
            walk(&stack, &registers, FrameKind::Registers, "test")
        })
    }

    fn ask<T>(self, question: impl FnOnce(&Kernel) -> T) -> T {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM as u64, Arc::new(self.ram), 0).unwrap();
        let vcpu = Vcpu { index: 0, halted: None, registers: Registers::X86(Box::new(self.vcpu)) };
        let checkpoint = Checkpoint { memory, vcpus: [vcpu].into(), ..Checkpoint::default() };
        let root = (modes::FOUR_LEVEL, Root(Gpa(0x1000)));
        let text = KernelText { start: Gva(CODE), gpa: Gpa(2 << 20), len: self.image_len };
        let linux = LinuxFacts {
            is_64_bit: true,
            kernel_root: Some(Found::new(root, "test")),
            text: Some(Found::new(text, "test")),
            ..LinuxFacts::default()
        };
        let (privilege, paging) = (Some(Privilege::Kernel), self.paging);
        let vcpus = vec![VcpuView { privilege, paging, ..VcpuView::default() }];
        let facts = Facts { vcpus: vcpus.into(), ..Facts::of(linux, "made") };
        let symbols = self.symbols.iter().map(|(name, address)| Symbol {
            address: Gva(*address),
            kind: 'D',
            name,
        });
        let better = BetterSources {
            symbols: Some(Found::new(Symbols::new(symbols), "test")),
            types: vec![Found::new(Arc::new(self.members) as Arc<dyn Types>, "test")],
            ..BetterSources::default()
        };
        let kernel = Kernel::open(&checkpoint, &facts, better).unwrap();
        let modules = Modules { modules: self.modules, ..Modules::default() };
        kernel.moment.modules.set(modules).unwrap();
        question(&kernel)
    }
}

fn ips(backtrace: &Backtrace) -> Vec<u64> {
    backtrace.frames.iter().map(|frame| frame.ip.0).collect()
}

/// Three functions: of the stack pointer, of a frame pointer, and the last.
const CALLS: [Entry; 4] = [
    call(CODE, 0x18),
    Entry {
        at: CODE + 0x100,
        base: "bp",
        sp_offset: 16,
        bp: "previous sp",
        bp_offset: -16,
        kind: "call",
    },
    call(CODE + 0x200, 8),
    Entry { at: CODE + 0x300, base: "", sp_offset: 0, bp: "", bp_offset: 0, kind: "end" },
];

/// The stack of `CALLS` from `sp` on, entered in the first function.
fn called_at(orc: Orc, sp: u64) -> Machine {
    let mut machine = Machine::with_orc(orc, &CALLS);
    machine.registers(CODE + 0x10, sp, sp + 0x40);
    machine.words(sp + 0x10, &[CODE + 0x150]);
    machine.words(sp + 0x40, &[0xb9, CODE + 0x250, CODE + 0x350]);
    machine
}

/// Where the stack of `CALLS` leaves room for the registers of user mode.
const FIRST: u64 = TOP - 0x100;

fn called(orc: Orc) -> Machine {
    called_at(orc, FIRST)
}

#[test]
fn calls_are_followed_in_both_numberings() {
    for orc in [Orc::Old, Orc::New] {
        let found = called(orc).backtrace();
        let all = [CODE + 0x10, CODE + 0x150, CODE + 0x250, CODE + 0x350];
        assert_eq!(ips(&found), all);
        assert_eq!((found.end, found.how), (StackEnd::Bottom, "ORC unwind tables"));
        let sps: Vec<u64> = found.frames.iter().map(|frame| frame.sp.0 - FIRST).collect();
        assert_eq!(sps, [0, 0x18, 0x50, 0x58]);
    }
}

#[test]
fn a_processor_whose_paging_is_off_is_not_in_the_kernel() {
    let mut machine = called(Orc::New);
    let mode = Found::new(PagingMode::IDENTITY, "test");
    machine.paging = Some(Paging { mode, root: Root(Gpa(0)), no_execute: None });
    let error = machine.ask(|kernel| kernel.backtrace_of_vcpu(0).unwrap_err());
    assert!(matches!(error, LinuxError::NotStarted { vcpu: 0 }), "{error}");
}

/// `struct pt_regs` with nothing but what matters here.
fn saved(ip: u64, cs: u64, sp: u64) -> [u64; 21] {
    let mut words = [0; 21];
    (words[16], words[17], words[18], words[19]) = (ip, cs, 2, sp);
    words
}

#[test]
fn interrupts_lead_to_what_they_interrupted() {
    for orc in [Orc::Old, Orc::New] {
        let entry = Entry { kind: "registers", ..call(CODE + 0x400, 0) };
        let mut entries = CALLS.to_vec();
        entries.push(entry);
        let mut machine = Machine::with_orc(orc, &entries);
        machine.registers(CODE + 0x400, STACK + 0x800, 0);
        machine.words(STACK + 0x800, &saved(CODE + 0x200, KERNEL, STACK));
        machine.words(STACK, &[CODE + 0x404]);
        machine.words(STACK + 8, &saved(0x40_1000, USER, 0x7fff_0000));
        let found = machine.backtrace();
        assert_eq!(ips(&found), [CODE + 0x400, CODE + 0x200, CODE + 0x404]);
        assert_eq!(found.frames[1].kind, FrameKind::Interrupted);
        assert_eq!(found.end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
    }
}

#[test]
fn entry_code_that_saves_registers_in_a_function_is_understood() {
    let partial = Entry { kind: "partial", ..call(CODE + 0x400, 8) };
    let mut entries = CALLS.to_vec();
    entries.push(partial);
    let mut machine = Machine::with_orc(Orc::New, &entries);
    machine.registers(CODE + 0x200, STACK, 0);
    machine.words(STACK, &[CODE + 0x405]);
    machine.words(STACK + 8, &saved(0x40_1000, USER, 0x7fff_0000));
    let end = machine.backtrace().end;
    assert_eq!(end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
}

#[test]
fn an_end_in_the_middle_of_a_stack_is_none() {
    for orc in [Orc::Old, Orc::New] {
        let found = called_at(orc, STACK + 0x800).backtrace();
        assert_eq!(found.frames.len(), 4);
        // Old tables write the same for code that they do not describe.
        let why = if matches!(orc, Orc::Old) { "not described" } else { "not where" };
        assert!(matches!(found.end, StackEnd::Lost(said) if said.contains(why)));
    }
}

#[test]
fn guesses_lie_behind_calls_within_functions() {
    let mut machine = called(Orc::Old);
    machine.put_call(CODE + 0x350);
    machine.put_call(CODE + 0x380);
    machine.symbols.push(("function", CODE + 0x380));
    // No code, a place after a call, one that is not, the start of a function.
    machine.words(FIRST + 0x48, &[DATA, CODE + 0x350, CODE + 0x250, CODE + 0x380]);
    let found = machine.backtrace();
    assert!(matches!(found.end, StackEnd::Lost(_)), "{:?}", found.end);
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x150, CODE + 0x350]);
    assert_eq!(found.frames[2].kind, FrameKind::Guess);
    assert_eq!(found.frames[2].sp.0, FIRST + 0x50);
}

/// From the kernel through a module and back.
fn through_module(unwind: Option<UnwindTables>) -> Machine {
    let mut machine = Machine::with_orc(Orc::New, &[CALLS[0], CALLS[3]]);
    let entries = [call(MODULE, 0x20), call(MODULE + 0x80, 0x10)];
    machine.put_orc(Orc::New, &entries, IPS + 0x800, ENTRIES + 0x800);
    machine.add_module(unwind);
    machine.registers(CODE + 0x10, TOP - 0xf0, 0);
    machine.words(TOP - 0xe0, &[MODULE + 0x90, 0, MODULE + 0x10]);
    machine.words(TOP - 0xb0, &[CODE + 0x310]);
    machine
}

#[test]
fn modules_have_tables_of_their_own() {
    let tables = UnwindTables { count: 2, ips: Gva(IPS + 0x800), entries: Gva(ENTRIES + 0x800) };
    let found = through_module(Some(tables)).backtrace();
    assert_eq!(ips(&found), [CODE + 0x10, MODULE + 0x90, MODULE + 0x10, CODE + 0x310]);
    assert_eq!(found.end, StackEnd::Bottom);
}

#[test]
fn a_module_without_tables_is_no_bottom() {
    let found = through_module(None).backtrace();
    assert_eq!(ips(&found)[..2], [CODE + 0x10, MODULE + 0x90]);
    assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("of a module")));
}

/// Code that belongs to nothing, entered with a frame pointer.
fn through_made_code(is_call: bool) -> Backtrace {
    let mut machine = Machine::with_orc(Orc::New, &[CALLS[0], CALLS[3]]);
    machine.registers(CODE + 0x10, TOP - 0xf0, TOP - 0xc0);
    machine.words(TOP - 0xe0, &[MODULE + 0x90]);
    machine.words(TOP - 0xc0, &[0, CODE + 0x310]);
    if is_call {
        machine.put_call(CODE + 0x310);
    }
    machine.backtrace()
}

#[test]
fn code_without_tables_is_left_by_its_frame_pointer_to_a_call() {
    let found = through_made_code(true);
    assert_eq!(ips(&found), [CODE + 0x10, MODULE + 0x90, CODE + 0x310]);
    assert_eq!(found.end, StackEnd::Bottom);
    let found = through_made_code(false);
    assert_eq!(ips(&found), [CODE + 0x10, MODULE + 0x90]);
    assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("outside of the kernel")));
}

#[test]
fn a_trampoline_of_ftrace_is_like_the_code_it_is_a_copy_of() {
    const OPS: u64 = DATA + 0x9000;
    for (flags, caller) in [(4, "ftrace_regs_caller"), (0, "ftrace_caller")] {
        let mut machine =
            Machine::with_orc(Orc::New, &[CALLS[0], call(CODE + 0x200, 0x28), CALLS[3]]);
        let other = if flags == 4 { "ftrace_caller" } else { "ftrace_regs_caller" };
        machine.symbols.extend([
            (caller, CODE + 0x200),
            (other, CODE + 0x20),
            ("ftrace_list_end", OPS),
            ("ftrace_ops_list", OPS + 0x100),
        ]);
        machine.members.0.extend([
            ("", "FTRACE_OPS_FL_SAVE_REGS", 4),
            ("ftrace_ops", "next", 0),
            ("ftrace_ops", "flags", 8),
            ("ftrace_ops", "trampoline", 16),
            ("ftrace_ops", "trampoline_size", 24),
        ]);
        machine.words(OPS + 0x100, &[OPS + 0x40]);
        machine.words(OPS + 0x40, &[OPS, flags, MODULE + 0x80, 0x40]);
        machine.registers(CODE + 0x10, TOP - 0xf0, 0);
        machine.words(TOP - 0xe0, &[MODULE + 0x90]);
        machine.words(TOP - 0xb8, &[CODE + 0x310]);
        let found = machine.backtrace();
        assert_eq!(ips(&found), [CODE + 0x10, MODULE + 0x90, CODE + 0x310]);
        assert_eq!(found.end, StackEnd::Bottom);
    }
}

#[test]
fn a_function_that_has_not_begun_is_not_named_by_what_lies_before_it() {
    let mut machine = called(Orc::New);
    machine.symbols.extend([("before", CODE + 0x300), ("start", CODE + 0x350)]);
    let found = machine.backtrace();
    assert_eq!(found.frames[3].code_address().0, CODE + 0x350);
    let mut machine = called(Orc::New);
    machine.symbols.extend([("before", CODE + 0x300), ("start", CODE + 0x350)]);
    machine.put_call(CODE + 0x350);
    let found = machine.backtrace();
    assert_eq!(found.frames[3].code_address().0, CODE + 0x34f);
}

#[test]
fn a_stack_that_calls_itself_ends() {
    let mut machine = Machine::with_orc(
        Orc::Old,
        &[call(CODE, 8), call(CODE + 0x80, 8), Entry { base: "bp", ..call(CODE + 0x100, 16) }],
    );
    machine.registers(CODE + 0x110, STACK, STACK + 0x40);
    machine.words(STACK + 0x48, &[CODE + 0x110]);
    let found = machine.backtrace();
    assert_eq!(found.frames.len(), MOST_FRAMES);
    assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("more than")));
}

#[test]
fn absurd_tables_are_not_used() {
    for end in [IPS, IPS - 4, u64::MAX] {
        let mut machine = called_at(Orc::Old, STACK + 0x800);
        for symbol in &mut machine.symbols {
            if symbol.0 == "__stop_orc_unwind_ip" {
                symbol.1 = end;
            }
        }
        let found = machine.backtrace();
        assert_ne!(found.how, "ORC unwind tables");
        assert!(matches!(found.end, StackEnd::Lost(_)), "{:?}", found.end);
    }
}

#[test]
fn registers_of_any_value_are_survived() {
    for extreme in [0, 1, 7, 8, BASE, u64::MAX, u64::MAX - 6, u64::MAX - 7, 1 << 63] {
        for tables in [false, true] {
            for (sp, bp) in [(extreme, extreme), (STACK, extreme), (extreme, STACK)] {
                let mut machine = if tables { called(Orc::New) } else { Machine::new() };
                machine.registers(CODE + 0x110, sp, bp);
                assert!(matches!(machine.backtrace().end, StackEnd::Lost(_)), "{sp:#x} {bp:#x}");
            }
        }
    }
}

#[test]
fn a_stack_that_is_not_there_has_one_frame() {
    let mut machine = called(Orc::New);
    machine.registers(CODE + 0x10, 0xdead_0000_0000, 0);
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10]);
    assert!(matches!(found.end, StackEnd::Lost(_)));
}
