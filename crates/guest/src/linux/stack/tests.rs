//! Stacks in a kernel of two pages: code, and one for data and stacks.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::sync::Arc;

use vmss2core_mem::{Checkpoint, Gpa, PhysicalMemory, Vcpu, VcpuState, X86Vcpu};

use super::*;
use crate::linux::{BetterSources, Symbol, Symbols};
use crate::paging::{PagingMode, Root};
use crate::{Facts, Found, KernelText, LinuxFacts, VcpuFacts};

const BASE: u64 = 0xffff_ffff_8000_0000;
/// Code, at the same distance from `BASE` as from physical 0; executable.
const CODE: u64 = BASE + (2 << 20);
/// Data, not executable.
const DATA: u64 = BASE + (4 << 20);
const STACK: u64 = DATA + 0x10_0000;
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
        (Orc::Old, "call" | "end") => 0,
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
    vcpu: X86Vcpu,
}

impl Machine {
    /// Four levels of tables that map code and data.
    fn new() -> Self {
        let mut machine =
            Self { ram: vec![0; RAM], symbols: vec![("_text", CODE)], vcpu: X86Vcpu::default() };
        machine.ram[0x1ff8..0x2000].copy_from_slice(&0x2003_u64.to_le_bytes());
        machine.ram[0x2ff0..0x2ff8].copy_from_slice(&0x3003_u64.to_le_bytes());
        machine.ram[0x3008..0x3010].copy_from_slice(&0x20_0083_u64.to_le_bytes());
        let data: u64 = 1 << 63 | 0x40_0083;
        machine.ram[0x3010..0x3018].copy_from_slice(&data.to_le_bytes());
        machine
    }

    fn with_orc(orc: Orc, entries: &[Entry]) -> Self {
        let mut machine = Self::new();
        for (index, entry) in (0..).zip(entries) {
            let ip = IPS + 4 * index;
            let distance = entry.at.wrapping_sub(ip) as u32;
            machine.put(ip, &distance.to_le_bytes());
            let at = ENTRIES + 6 * index;
            machine.put(at, &entry.sp_offset.to_le_bytes());
            machine.put(at + 2, &entry.bp_offset.to_le_bytes());
            machine.put(at + 4, &bits(orc, entry).to_le_bytes());
        }
        let end = IPS + 4 * entries.len() as u64;
        machine.symbols.extend([
            ("__start_orc_unwind_ip", IPS),
            ("__stop_orc_unwind_ip", end),
            ("__start_orc_unwind", ENTRIES),
        ]);
        machine
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
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM as u64, Arc::new(self.ram), 0).unwrap();
        let vcpu = Vcpu { index: 0, halted: None, state: VcpuState::X86(Box::new(self.vcpu)) };
        let checkpoint = Checkpoint { memory, vcpus: vec![vcpu], ..Checkpoint::default() };
        let root = (PagingMode::FourLevel, Root(Gpa(0x1000)));
        let text = KernelText { start: Gva(CODE), gpa: Gpa(2 << 20), len: 2 << 20 };
        let linux = LinuxFacts {
            is_64_bit: true,
            kernel_root: Some(Found::new(root, "test")),
            text: Some(Found::new(text, "test")),
            ..LinuxFacts::default()
        };
        let vcpus = vec![VcpuFacts { privilege: Some(0), ..VcpuFacts::default() }];
        let facts = Facts { vcpus, linux: Some(linux), ..Facts::default() };
        let symbols = self.symbols.iter().map(|(name, address)| Symbol {
            address: Gva(*address),
            kind: 'D',
            name,
        });
        let better = BetterSources {
            symbols: Some(Found::new(Symbols::new(symbols), "test")),
            ..BetterSources::default()
        };
        let kernel = Kernel::open(&checkpoint, &facts, better).unwrap();
        kernel.backtrace_of_vcpu(0).unwrap()
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

/// The stack of `CALLS`, entered in the first function.
fn called(orc: Orc) -> Machine {
    let mut machine = Machine::with_orc(orc, &CALLS);
    machine.registers(CODE + 0x10, STACK, STACK + 0x40);
    machine.words(STACK + 0x10, &[CODE + 0x150]);
    machine.words(STACK + 0x40, &[0xb9, CODE + 0x250, CODE + 0x350]);
    machine
}

#[test]
fn calls_are_followed_in_both_numberings() {
    for orc in [Orc::Old, Orc::New] {
        let found = called(orc).backtrace();
        let all = [CODE + 0x10, CODE + 0x150, CODE + 0x250, CODE + 0x350];
        assert_eq!(ips(&found), all);
        assert_eq!((found.end, found.how), (StackEnd::Bottom, "ORC unwind tables"));
        let sps: Vec<u64> = found.frames.iter().map(|frame| frame.sp.0 - STACK).collect();
        assert_eq!(sps, [0, 0x18, 0x50, 0x58]);
    }
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
fn a_return_address_outside_of_code_ends_a_stack_in_guesses() {
    let mut machine = called(Orc::Old);
    machine.words(STACK + 0x48, &[DATA]);
    let found = machine.backtrace();
    assert!(matches!(found.end, StackEnd::Lost(_)), "{:?}", found.end);
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x150, CODE + 0x350]);
    assert_eq!(found.frames[2].kind, FrameKind::Guess);
    assert_eq!(found.frames[2].sp.0, STACK + 0x50);
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
        let mut machine = called(Orc::Old);
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
fn without_tables_frame_pointers_are_followed() {
    let mut machine = Machine::new();
    let top = STACK + 0x4000;
    machine.registers(CODE + 0x10, top - 0x200, top - 0x1f0);
    machine.words(top - 0x1f0, &[top - 0x100, CODE + 0x20]);
    machine.words(top - 0x100, &[top - 0xb0 + 1, CODE + 0x30]);
    machine.words(top - 0xb0, &saved(0x40_1000, USER, 0x7fff_0000));
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30]);
    assert_eq!(found.how, "frame pointers");
    assert_eq!(found.end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
}

#[test]
fn frame_pointers_that_go_down_end_a_stack() {
    let mut machine = Machine::new();
    let top = STACK + 0x4000;
    machine.registers(CODE + 0x10, top - 0x200, top - 0x1f0);
    machine.words(top - 0x1f0, &[top - 0x1f0, CODE + 0x20]);
    let found = machine.backtrace();
    assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("not in the stack")));
}

/// A frame pointer leads to two words; their numbers, and what follows from them.
fn called_by(words: [u64; 2]) -> Backtrace {
    let mut machine = Machine::new();
    let top = STACK + 0x4000;
    machine.registers(CODE + 0x10, top - 0x400, top - 0x300);
    machine.words(top - 0x300, &[top - 0x200, CODE + 0x20]);
    machine.words(top - 0x200, &words);
    machine.backtrace()
}

#[test]
fn frame_pointers_that_are_none_end_a_stack() {
    for none in [0, 1, 3, u64::MAX, u64::MAX - 6, u64::MAX - 7] {
        let found = called_by([none, CODE + 0x30]);
        assert_eq!(ips(&found)[..3], [CODE + 0x10, CODE + 0x20, CODE + 0x30], "{none:#x}");
        assert!(matches!(found.end, StackEnd::Lost(_)), "{none:#x}: {:?}", found.end);
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
