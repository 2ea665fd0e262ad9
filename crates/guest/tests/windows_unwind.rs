//! The unwinder against an emulator: a PE that MinGW's gcc made, run instruction
//! by instruction by Unicorn, which knows every call that was made. At each
//! instruction, in prologs, bodies and epilogs, the stack must be the true one.
//!
//! `unwind/trace.py` says how image and trace were made.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use vmss2core_guest::windows::{
    Completeness, FrameKind, Kernel, KernelImage, StackEnd, WindowsCpu, WindowsFacts,
};
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

const IMAGE: &[u8] = include_bytes!("unwind/frames.exe");
const TRACE: &str = include_str!("unwind/frames.trace");

/// Virtual address of physical 0.
const START: u64 = 0xffff_f800_0000_0000;
const BASE: u64 = START + 0x40_0000;
const STACK: u64 = START + 0x60_0000;
const STACK_LEN: u64 = 0x4000;
/// Where the first function returns to.
const STOP: u64 = BASE + 0x1_0000;

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}

/// The image as it is in memory.
fn loaded() -> Vec<u8> {
    let pe = u32_at(IMAGE, 0x3c);
    let mut memory = vec![0; 0x8000];
    memory[..0x400].copy_from_slice(&IMAGE[..0x400]);
    let sections = pe + 24 + u16_at(IMAGE, pe + 20);
    for index in 0..u16_at(IMAGE, pe + 6) {
        let section = sections + index * 40;
        let [size, rva, raw_len, raw] = [8, 12, 16, 20].map(|at| u32_at(IMAGE, section + at));
        let len = size.min(raw_len);
        memory[rva..rva + len].copy_from_slice(&IMAGE[raw..raw + len]);
    }
    memory
}

/// Page tables that map the first GiB at [`START`].
fn tables() -> Vec<u8> {
    let mut tables = vec![0; 0x3000];
    tables[0x1000 + 0x1f0 * 8..][..8].copy_from_slice(&0x2003_u64.to_le_bytes());
    tables[0x2000..][..8].copy_from_slice(&0x83_u64.to_le_bytes());
    tables
}

fn facts() -> Arc<WindowsFacts> {
    let how = "made";
    let cpu = WindowsCpu {
        number: 0,
        kpcr: Gva(0),
        kprcb: Gva(0),
        vcpu: Some(Found::new(0, how)),
        context: None,
        embedded_context: None,
        special_registers: None,
        thread: None,
        process: None,
        kernel_root: None,
    };
    let image = KernelImage {
        base: Gva(BASE),
        size_bytes: 0x8000,
        timestamp: None,
        checksum: None,
        pdb: None,
        sections: Vec::new(),
    };
    Arc::new(WindowsFacts {
        kernel_root: Found::new((modes::FOUR_LEVEL, Root(Gpa(0x1000))), how),
        is_64_bit: true,
        image: Some(Found::new(image, how)),
        kdbg: None,
        shared: None,
        build: None,
        is_checked: false,
        lab: None,
        system_process: None,
        cpus: vec![cpu],
        foreign: Vec::new(),
        bugcheck: None,
        completeness: Completeness::KernelOnly,
        missing: Vec::new(),
    })
}

/// What the emulator saw at an instruction.
struct Moment {
    rip: u64,
    registers: [u64; 16],
    stack: HashMap<u64, u64>,
    /// Return addresses, the outermost first.
    calls: Vec<u64>,
}

impl Moment {
    fn first() -> Self {
        let stack = HashMap::from([(STACK + STACK_LEN - 0x100, STOP)]);
        Self { rip: 0, registers: [0; 16], stack, calls: vec![STOP] }
    }

    fn go_on(&mut self, line: &str) {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let mut words = line.split(' ');
        self.rip = hex(words.next().unwrap());
        for word in words {
            if let Some((register, value)) = word.split_once('=') {
                self.registers[usize::try_from(hex(register)).unwrap()] = hex(value);
            } else if let Some((at, value)) = word.split_once(':') {
                self.stack.insert(hex(at), hex(value));
            } else if let Some(back) = word.strip_prefix('c') {
                self.calls.push(hex(back));
            } else {
                assert_eq!(word, "r");
                self.calls.pop().unwrap();
            }
        }
    }

    fn checkpoint(&self, image: &Arc<Vec<u8>>) -> Checkpoint {
        let mut stack = vec![0; 0x4000];
        for (at, value) in &self.stack {
            let at = usize::try_from(at - STACK).unwrap();
            stack[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), 0x3000, Arc::new(tables()), 0).unwrap();
        memory.map(Gpa(BASE - START), 0x8000, image.clone(), 0).unwrap();
        memory.map(Gpa(STACK - START), STACK_LEN, Arc::new(stack), 0).unwrap();
        let mut x86 = x86::Registers { rip: Some(self.rip), ..x86::Registers::default() };
        x86.general = self.registers.map(Some);
        x86.segments.cs.selector = Some(0x10);
        let vcpu = Vcpu { index: 0, halted: None, registers: Registers::X86(Box::new(x86)) };
        Checkpoint { memory, vcpus: [vcpu].into(), ..Checkpoint::default() }
    }
}

#[test]
fn at_each_instruction_the_stack_is_the_true_one() {
    let (image, facts) = (Arc::new(loaded()), facts());
    let mut now = Moment::first();
    let mut deepest = 0;
    for line in TRACE.lines() {
        now.go_on(line);
        let checkpoint = now.checkpoint(&image);
        let kernel = Kernel::open(&checkpoint, &facts);
        let found = kernel.backtrace_of_cpu(0).unwrap();
        let sure = found.frames.iter().filter(|frame| frame.kind != FrameKind::Guess);
        let ips: Vec<u64> = sure.map(|frame| frame.ip.0).collect();
        let expected: Vec<u64> =
            [now.rip].into_iter().chain(now.calls.iter().rev().copied()).collect();
        assert_eq!(ips, expected, "at {:#x}: {found:x?}", now.rip);
        assert!(matches!(&found.end, StackEnd::Lost(why) if why.contains("is in no image")));
        deepest = deepest.max(ips.len());
    }
    assert!(TRACE.lines().count() > 200);
    assert!(deepest > 7, "{deepest}");
}

#[test]
fn without_unwind_data_return_addresses_are_guessed() {
    let mut image = loaded();
    // The page of .pdata is not in memory: nothing says where functions begin.
    let pe = u32_at(&image, 0x3c);
    image[pe + 0x88 + 24..][..8].fill(0);
    let (image, facts) = (Arc::new(image), facts());
    let mut now = Moment::first();
    for line in TRACE.lines() {
        now.go_on(line);
        let checkpoint = now.checkpoint(&image);
        let found = Kernel::open(&checkpoint, &facts).backtrace_of_cpu(0).unwrap();
        let guessed: Vec<u64> = found
            .frames
            .iter()
            .filter(|frame| frame.kind == FrameKind::Guess)
            .map(|frame| frame.ip.0)
            .collect();
        // All but the last, which is outside of the image.
        for call in &now.calls[1..] {
            assert!(guessed.contains(call), "at {:#x}: {call:#x} {guessed:x?}", now.rip);
        }
    }
}

#[test]
fn an_image_s_first_address_is_no_return_address() {
    let mut image = loaded();
    // Neither the header is in memory, which knows the sections, nor the page before.
    image[..0x1000].fill(0);
    let (image, facts) = (Arc::new(image), facts());
    let mut now = Moment::first();
    let beyond = STACK + STACK_LEN - 0x80;
    now.stack.insert(beyond, BASE);
    // Code, but no call before it; a call before it, but to where no code is.
    now.stack.insert(beyond + 8, BASE + 0x1008);
    now.stack.insert(beyond + 16, BASE + 0x7005);
    let mut deepest = 0;
    for line in TRACE.lines() {
        now.go_on(line);
        let checkpoint = now.checkpoint(&image);
        let found = Kernel::open(&checkpoint, &facts).backtrace_of_cpu(0).unwrap();
        let guesses = found.frames.iter().filter(|frame| frame.kind == FrameKind::Guess);
        let guessed: Vec<u64> = guesses.map(|frame| frame.ip.0).collect();
        for wrong in [BASE, BASE + 0x1008, BASE + 0x7005] {
            assert!(!guessed.contains(&wrong), "at {:#x}: {guessed:x?}", now.rip);
        }
        assert!(now.calls[1..].iter().all(|call| guessed.contains(call)), "{guessed:x?}");
        deepest = deepest.max(guessed.len());
    }
    assert!(deepest > 5, "{deepest}");
}

/// Writes little-endian numbers of 4 bytes.
fn put(image: &mut [u8], at: usize, values: &[u32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    image[at..at + bytes.len()].copy_from_slice(&bytes);
}

/// The image with these exports and this table of functions.
fn with_names(exports: &[(&str, u32)], functions: &[[u32; 3]]) -> Vec<u8> {
    const EXPORTS: u32 = 0x6000;
    const FUNCTIONS: u32 = 0x6800;
    let mut image = loaded();
    let pe = u32_at(&image, 0x3c);
    // `SizeOfImage`.
    put(&mut image, pe + 0x50, &[0x8000]);
    let directories = pe + 0x88;
    put(&mut image, directories, &[EXPORTS, 0x400]);
    put(&mut image, directories + 24, &[FUNCTIONS, u32::try_from(functions.len() * 12).unwrap()]);
    put(&mut image, FUNCTIONS as usize, functions.as_flattened());
    let count = u32::try_from(exports.len()).unwrap();
    put(&mut image, EXPORTS as usize + 0x14, &[count, count, 0x6100, 0x6200, 0x6300]);
    for (index, (name, rva)) in (0..).zip(exports) {
        let text = 0x6400 + index * 0x20;
        put(&mut image, 0x6100 + index * 4, &[*rva]);
        put(&mut image, 0x6200 + index * 4, &[u32::try_from(text).unwrap()]);
        image[0x6300 + index * 2] = u8::try_from(index).unwrap();
        image[text..text + name.len()].copy_from_slice(name.as_bytes());
    }
    image
}

fn place_in(image: Vec<u8>, rva: u64) -> String {
    let (checkpoint, facts) = (Moment::first().checkpoint(&Arc::new(image)), facts());
    Kernel::open(&checkpoint, &facts).place(Gva(BASE + rva)).unwrap().to_string()
}

/// The functions that gcc made, and a part of the second that lies elsewhere.
const FUNCTIONS: [[u32; 3]; 9] = [
    [0x1000, 0x1008, 0x4000],
    [0x1008, 0x106c, 0x4004],
    [0x106c, 0x10c0, 0x4018],
    [0x10c0, 0x110b, 0x4020],
    [0x110b, 0x116e, 0x4030],
    [0x116e, 0x11be, 0x4040],
    [0x11be, 0x11fe, 0x4048],
    [0x11fe, 0x1228, 0x4054],
    [0x7000, 0x7040, 0x7800],
];

#[test]
fn places_are_named_by_the_function_that_they_are_in() {
    let exports = [("first", 0x1008), ("label", 0x1120), ("leaf", 0x1228), ("last", 0x11fe)];
    let mut image = with_names(&exports, &FUNCTIONS);
    // Version 1 with the flag of a part, and of what.
    image[0x7800] = 4 << 3 | 1;
    put(&mut image, 0x7804, &FUNCTIONS[1]);
    for (rva, name) in [
        (0x1000, "nt+0x1000"),
        (0x1008, "nt!first"),
        (0x106b, "nt!first+0x63"),
        (0x106c, "nt+0x106c"),
        (0x1120, "nt!label"),
        (0x1121, "nt+0x1121"),
        (0x1200, "nt!last+0x2"),
        // Without an entry in the table nothing says where it ends.
        (0x1228, "nt!leaf"),
        (0x1229, "nt+0x1229"),
        (0x7010, "nt!first+0x6008"),
        (0x7040, "nt+0x7040"),
    ] {
        assert_eq!(place_in(image.clone(), rva), name);
    }
    // The names end where the functions do that the emulator entered.
    let mut now = Moment::first();
    for line in TRACE.lines() {
        now.go_on(line);
        let rva = now.rip - BASE;
        let inside = |range: [u32; 3]| (u64::from(range[0])..u64::from(range[1])).contains(&rva);
        let name = place_in(image.clone(), rva);
        let known = inside(FUNCTIONS[1]) || inside(FUNCTIONS[7]);
        assert_eq!(name.contains('!'), known || rva == 0x1120, "{name}");
    }
}

#[test]
fn without_a_table_of_functions_only_exports_themselves_are_named() {
    let image = with_names(&[("first", 0x1008)], &[]);
    assert_eq!(place_in(image.clone(), 0x1008), "nt!first");
    assert_eq!(place_in(image, 0x1009), "nt+0x1009");
}
