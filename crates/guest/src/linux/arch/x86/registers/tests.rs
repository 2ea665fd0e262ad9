//! Threads by hand, in a kernel without paging: stacks and tasks as bytes.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::sync::Arc;

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::x86::{FpuState, Gpr, SegmentRegister, SegmentRegisters};
use vmss2core_machine::{Checkpoint, Privilege, Registers, Vcpu, VcpuView, x86};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::{Draft, RegisterFinder};
use crate::linux::{BetterSources, Kernel, LinuxError, Member, Symbol, Symbols, Task, Types};
use crate::{Facts, LinuxFacts};

const RAM: usize = 1 << 20;
const TASK: u64 = 0x1_0000;
const TASK_LEN: u64 = 0x800;
const STACK: u64 = 0x4_0000;

/// Offset and size of members of a `task_struct`, and of `fpstate` and `fpu`.
type Layout = &'static [(&'static str, &'static str, u64, u64)];

const TODAY: Layout = &[
    ("task_struct", "thread_info.flags", 0, 8),
    ("task_struct", "thread.fsindex", 0x100, 2),
    ("task_struct", "thread.gsindex", 0x102, 2),
    ("task_struct", "thread.ds", 0x104, 2),
    ("task_struct", "thread.fsbase", 0x108, 8),
    ("task_struct", "thread.gsbase", 0x110, 8),
    ("task_struct", "thread.tls_array", 0x118, 24),
    ("task_struct", "thread.fpu", 0x200, 0x400),
    ("task_struct", "thread.fpu.last_cpu", 0x200, 4),
    ("task_struct", "thread.fpu.fpstate", 0x210, 8),
    ("fpstate", "size", 0, 4),
    ("fpstate", "user_xfeatures", 16, 8),
    ("fpstate", "regs", 0x40, 0x1000),
];

#[derive(Debug)]
struct Known(Layout);

impl Types for Known {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let found = self.0.iter().find(|(of, name, ..)| (*of, *name) == (structure, path))?;
        Some(Member { offset_bytes: found.2, size_bytes: Some(found.3), bits: None })
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        (structure == "task_struct").then_some(TASK_LEN)
    }
}

struct Guest {
    ram: Vec<u8>,
    layout: Layout,
    is_64_bit: bool,
    symbols: Vec<(&'static str, u64)>,
    vcpu: Option<(x86::Registers, Privilege)>,
    task: Task,
}

impl Guest {
    fn new(layout: Layout) -> Self {
        let task = Task {
            gva: Gva(TASK),
            tid: 42,
            pid: 42,
            ppid: None,
            uid: None,
            gid: None,
            comm: "test".into(),
            long_name: None,
            state: None,
            mm: Some(Gva(0x8000)),
            is_kernel_thread: false,
            stack: Some(Gva(STACK)),
            start_ns: None,
            cpu: None,
            on_vcpu: None,
        };
        let (is_64_bit, symbols) = (true, Vec::new());
        Self { ram: vec![0; RAM], layout, is_64_bit, symbols, vcpu: None, task }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.ram[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn set(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// `pt_regs` that ends here; each general register has its place's number.
    fn frame(&mut self, end: u64, (orig, cs, ss): (u64, u64, u64)) {
        let mut words: Vec<u64> = (100..115).collect();
        words.extend([orig, 0x7f00_0000_1234, cs, 0x246, 0x7ffd_0000_5678, ss]);
        for (word, at) in words.iter().zip((end - 168..).step_by(8)) {
            self.set(at, *word);
        }
    }

    fn words(&mut self, end: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(end - bytes.len() as u64, &bytes);
    }

    /// An XSAVE area whose first vector register is `mark`.
    fn state(&mut self, at: u64, mark: u8) {
        self.put(at, &0x37f_u16.to_le_bytes());
        self.put(at + 24, &0x1f80_u32.to_le_bytes());
        self.put(at + 160, &[mark; 16]);
        self.set(at + 512, 3);
    }

    fn registers(self) -> Result<Draft, LinuxError> {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM as u64, Arc::new(self.ram), 0).unwrap();
        let mut facts = Facts::default();
        let mut checkpoint = Checkpoint { memory, ..Checkpoint::default() };
        let mut task = self.task;
        if let Some((x86, privilege)) = self.vcpu {
            let registers = Registers::X86(Box::new(x86));
            checkpoint.vcpus = [Vcpu { index: 3, halted: None, registers }].into();
            let privilege = Some(privilege);
            facts.vcpus = [VcpuView { index: 3, privilege, ..VcpuView::default() }].into();
            task.on_vcpu = Some(3);
        }
        let root = (PagingMode::IDENTITY, Root(Gpa(0)));
        let linux = LinuxFacts {
            is_64_bit: self.is_64_bit,
            kernel_root: Some(Found::new(root, "test")),
            ..LinuxFacts::default()
        };
        facts.boot = Facts::of(linux, "test").boot;
        let symbols = self.symbols.into_iter();
        let symbols = Symbols::new(symbols.map(|(name, address)| Symbol {
            address: Gva(address),
            kind: 'D',
            name,
        }));
        let layout: Arc<dyn Types> = Arc::new(Known(self.layout));
        let better = BetterSources {
            types: vec![Found::new(layout, "test")],
            symbols: Some(Found::new(symbols, "test")),
            ..BetterSources::default()
        };
        let kernel = Kernel::open(&checkpoint, &facts, better).unwrap();
        RegisterFinder::new(&kernel, std::slice::from_ref(&task)).draft(&task)
    }
}

fn selectors<const N: usize>(
    thread: &Draft,
    of: impl Fn(&SegmentRegisters) -> [SegmentRegister; N],
) -> [u16; N] {
    of(&thread.cpu.segments).map(|segment| segment.selector.unwrap())
}

/// Of FS and GS.
fn bases(thread: &Draft) -> [Option<u64>; 2] {
    [thread.cpu.segments.fs.base, thread.cpu.segments.gs.base]
}

fn first_vector(thread: &Draft) -> Option<u8> {
    thread.cpu.fpu.as_ref()?.fxsave()?.get(160).copied()
}

#[test]
fn stacks_of_every_size_are_told_apart() {
    for (size, pad) in [(0x4000, 0), (0x4000, 16), (0x2000, 0), (0x8000, 16), (0x1000, 0)] {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + size - pad, (u64::MAX, 0x33, 0x2b));
        let thread = guest.registers().unwrap();
        assert_eq!((thread.cpu.rip, thread.cpu.rflags), (Some(0x7f00_0000_1234), Some(0x246)));
        let gpr = |gpr| thread.cpu.gpr(gpr).unwrap();
        assert_eq!((gpr(Gpr::R15), gpr(Gpr::Rbp), gpr(Gpr::Rbx)), (100, 104, 105));
        assert_eq!((gpr(Gpr::Rax), gpr(Gpr::Rdi)), (110, 114));
        assert_eq!(gpr(Gpr::Rsp), 0x7ffd_0000_5678);
        assert!(thread.unreliable.is_empty());
    }
}

#[test]
fn event_data_above_the_selectors_is_masked() {
    let mut guest = Guest::new(TODAY);
    guest.frame(STACK + 0x4000 - 16, (1, 0x1234_0000_0000_0033, 0xabcd_0001_0000_002b));
    let thread = guest.registers().unwrap();
    assert_eq!(selectors(&thread, |of| [of.cs, of.ss]), [0x33, 0x2b]);
}

#[test]
fn what_is_no_user_state_is_refused() {
    let missing = Guest::new(TODAY).registers().unwrap_err();
    assert!(matches!(missing, LinuxError::Corrupt { .. }), "{missing}");
    for (cs, ss) in [(0x10, 0x18), (0x33, 0), (0, 0x2b)] {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + 0x4000, (1, cs, ss));
        assert!(guest.registers().is_err(), "{cs:#x} {ss:#x}");
    }
    let mut of_the_kernel = Guest::new(TODAY);
    of_the_kernel.task.mm = None;
    assert!(matches!(of_the_kernel.registers(), Err(LinuxError::NoMemory { .. })));
    let mut wild = Guest::new(TODAY);
    wild.task.stack = Some(Gva(u64::MAX - 100));
    wild.task.gva = Gva(u64::MAX - 8);
    assert!(wild.registers().is_err());
}

#[test]
fn a_sleeping_thread_has_its_bases_in_its_task() {
    let mut guest = Guest::new(TODAY);
    guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
    guest.set(TASK + 0x108, 0x7f12_3456_7000);
    guest.set(TASK + 0x110, 0x1000);
    let thread = guest.registers().unwrap();
    assert_eq!(bases(&thread), [Some(0x7f12_3456_7000), Some(0x1000)]);
    assert_eq!(thread.cpu.system_call, Some(7));
}

#[test]
fn a_base_may_be_in_a_descriptor() {
    let mut guest = Guest::new(TODAY);
    guest.frame(STACK + 0x4000, (7, 0x23, 0x2b));
    guest.set(TASK + 0x102, 0x63);
    guest.put(TASK + 0x118, &[0xff, 0xff, 0x40, 0x27, 0xf1, 0xf3, 0xdf, 0xf7]);
    let thread = guest.registers().unwrap();
    assert!(thread.is_32_bit_code);
    assert_eq!(selectors(&thread, |of| [of.gs]), [0x63]);
    assert_eq!(bases(&thread)[1], Some(0xf7f1_2740));
    assert_eq!(thread.tls.len(), 1);
}

#[test]
fn a_thread_in_user_mode_is_in_its_vcpu() {
    let mut guest = Guest::new(TODAY);
    // An earlier entry's, to be ignored, like the state in memory.
    guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
    guest.set(TASK + 0x210, 0x2_0000);
    guest.set(0x2_0000, 832);
    guest.state(0x2_0040, 0x11);
    let mut x86 = x86::Registers { rip: Some(0x40_1000), ..x86::Registers::default() };
    for gpr in Gpr::ALL {
        x86.set_gpr(gpr, 7);
    }
    x86.segments.cs.selector = Some(0x33);
    x86.segments.fs.base = Some(0x7000);
    let without = Guest { vcpu: Some((x86.clone(), Privilege::User)), ..guest };
    let thread = without.registers().unwrap();
    // The base of GS, which the checkpoint lacks, is not 0.
    assert_eq!((thread.cpu.rip, bases(&thread)), (Some(0x40_1000), [Some(0x7000), None]));
    assert_eq!((thread.cpu.gpr(Gpr::R12), thread.cpu.system_call), (Some(7), Some(u64::MAX)));
    assert_eq!(thread.cpu.fpu, None, "what memory has is old");
    assert!(thread.problems[0].message.contains("thread 42 (test)"), "{:?}", thread.problems);

    let mut guest = Guest::new(TODAY);
    let mut image = [0; 512];
    image[160] = 0x22;
    x86.fpu = Some(FpuState::Fxsave(Box::new(image)));
    guest.vcpu = Some((x86, Privilege::User));
    assert_eq!(first_vector(&guest.registers().unwrap()), Some(0x22));
}

#[test]
fn a_thread_in_the_kernel_has_its_bases_in_the_vcpu() {
    let kernel_gs = 0xffff_8880_0000_0000;
    // Swapped as usual, and not yet.
    for (gs, other) in [(kernel_gs, 0x5000), (0x5000, kernel_gs)] {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
        // TIF_NEED_FPU_LOAD: the state is in memory.
        guest.set(TASK, 1 << 14);
        guest.set(TASK + 0x210, 0x2_0000);
        guest.set(0x2_0000, 832);
        guest.state(0x2_0040, 0x11);
        let mut x86 =
            x86::Registers { rip: Some(0xffff_ffff_8100_0000), ..x86::Registers::default() };
        x86.segments.fs.base = Some(0x7000);
        x86.segments.gs.base = Some(gs);
        x86.msrs.kernel_gs_base = Some(other);
        guest.vcpu = Some((x86, Privilege::Kernel));
        let thread = guest.registers().unwrap();
        assert_eq!(thread.cpu.rip, Some(0x7f00_0000_1234));
        assert_eq!(bases(&thread), [Some(0x7000), Some(0x5000)]);
        assert_eq!(first_vector(&thread), Some(0x11));
    }
}

#[test]
fn a_vcpu_between_the_modes_is_told() {
    let mut guest = Guest::new(TODAY);
    guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
    guest.symbols = vec![("__entry_text_start", 0x9000), ("__entry_text_end", 0xa000)];
    guest.vcpu = Some((
        x86::Registers { rip: Some(0x9800), ..x86::Registers::default() },
        Privilege::Kernel,
    ));
    let thread = guest.registers().unwrap();
    assert!(thread.problems.iter().any(|problem| problem.message.contains("entering or leaving")));
}

#[test]
fn registers_that_old_kernels_do_not_store_are_named() {
    const PRESERVED: [&str; 6] = ["rbx", "rbp", "r12", "r13", "r14", "r15"];
    // In a system call, and not in one.
    for (orig, want) in [(7, &PRESERVED[..]), (u64::MAX, &[])] {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + 0x4000, (orig, 0x33, 0x2b));
        guest.symbols = vec![("entry_SYSCALL_64_fastpath", 0x9000)];
        let thread = guest.registers().unwrap();
        assert_eq!(thread.unreliable, want);
        let named = thread.problems.iter().any(|problem| {
            problem.message.contains("thread 42 (test)") && problem.message.contains("r12, r13")
        });
        assert_eq!(named, !want.is_empty());
    }
}

/// Entries for 32-bit programs before 4.4 stored neither EBX nor EBP.
#[test]
fn a_32_bit_program_has_no_value_where_its_entry_stored_none() {
    let today: &[&str] = &["entry_INT80_compat", "do_fast_syscall_32", "do_int80_syscall_32"];
    let cases: [(&[&str], &[&str]); 4] = [
        (&["ia32_cstar_target", "system_call_fastpath"], &["rbx", "rbp"]),
        (&["entry_INT80_compat", "entry_SYSCALL_64_fastpath"], &["rbx", "rbp"]),
        (today, &[]),
        (&[], &[]),
    ];
    for (symbols, unreliable) in cases {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + 0x4000, (7, 0x23, 0x2b));
        guest.symbols = symbols.iter().map(|name| (*name, 0x9000)).collect();
        let thread = guest.registers().unwrap();
        assert_eq!(thread.unreliable, unreliable, "{symbols:?}");
        assert_eq!(
            thread.problems.iter().any(|problem| problem.message.contains("rbx, rbp")),
            !unreliable.is_empty()
        );
    }
}

#[test]
fn a_system_call_before_4_1_has_its_stack_pointer_in_the_task() {
    const LAYOUT: Layout =
        &[("task_struct", "thread.sp0", 0x100, 8), ("task_struct", "thread.usersp", 0x108, 8)];
    let mut guest = Guest::new(LAYOUT);
    guest.frame(STACK + 0x2000, (7, 0xdead, 0xbeef));
    guest.set(STACK + 0x2000 - 168 + 6 * 8, 0x206);
    guest.set(TASK + 0x100, STACK + 0x2000);
    guest.set(TASK + 0x108, 0x7ffd_1111_2222);
    let thread = guest.registers().unwrap();
    assert_eq!(thread.cpu.gpr(Gpr::Rsp), Some(0x7ffd_1111_2222));
    assert_eq!((selectors(&thread, |of| [of.cs]), thread.cpu.rflags), ([0x33], Some(0x206)));
    assert_eq!(thread.unreliable.len(), 6);
}

#[test]
fn all_forms_of_32_bit_registers_are_read() {
    // bx cx dx si di bp ax ds es [fs [gs]] orig ip cs flags sp ss
    let head = [1, 2, 3, 4, 5, 6, 7, 0x7b, 0x7b];
    let tail = [u32::MAX, 0x0804_8000, 0x73, 0x202, 0xbfff_0000, 0x7b];
    for (segments, pad, want) in [
        (&[0, 0x33][..], 8, [Some(0), Some(0x33)]),
        (&[0x3b][..], 0, [Some(0x3b), None]),
        (&[][..], 16, [None, None]),
    ] {
        let mut guest = Guest::new(&[]);
        guest.is_64_bit = false;
        guest.words(STACK + 0x2000 - pad, &[&head[..], segments, &tail[..]].concat());
        let thread = guest.registers().unwrap();
        let cpu = &thread.cpu;
        assert!(thread.is_32_bit_code);
        assert_eq!([cpu.segments.fs.selector, cpu.segments.gs.selector], want);
        assert_eq!((cpu.gpr(Gpr::Rbx), cpu.gpr(Gpr::Rax)), (Some(1), Some(7)));
        assert_eq!((cpu.rip, cpu.system_call), (Some(0x0804_8000), Some(u64::MAX)));
    }
}

#[test]
fn the_state_is_found_behind_the_task() {
    const LAYOUT: Layout = &[
        ("fpu", "fpstate", 0x10, 8),
        ("fpstate", "size", 0, 4),
        ("fpstate", "user_xfeatures", 16, 8),
        ("fpstate", "regs", 0x40, 0x1000),
    ];
    let mut guest = Guest::new(LAYOUT);
    guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
    guest.set(TASK + TASK_LEN + 0x10, 0x2_0000);
    guest.set(0x2_0000, 832);
    guest.set(0x2_0010, 7);
    guest.state(0x2_0040, 0x33);
    let thread = guest.registers().unwrap();
    assert_eq!((first_vector(&thread), thread.cpu.msrs.xcr0), (Some(0x33), Some(7)));
}

#[test]
fn a_state_inside_or_behind_a_pointer_is_told_by_the_members_size() {
    const INSIDE: Layout = &[("task_struct", "thread.fpu.state", 0x200, 0x1000)];
    const BEHIND: Layout = &[("task_struct", "thread.fpu.state", 0x200, 8)];
    for (layout, at) in [(INSIDE, TASK + 0x200), (BEHIND, 0x2_0000)] {
        let mut guest = Guest::new(layout);
        guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
        if at != TASK + 0x200 {
            guest.set(TASK + 0x200, at);
        }
        guest.state(at, 0x44);
        assert_eq!(first_vector(&guest.registers().unwrap()), Some(0x44));
    }
}

#[test]
fn without_members_the_state_is_looked_for() {
    for pointer in [true, false] {
        let mut guest = Guest::new(&[]);
        guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
        if pointer {
            guest.set(TASK + 0x300, TASK + 0x340);
            guest.put(TASK + 0x340, &832_u32.to_le_bytes());
            guest.put(TASK + 0x344, &832_u32.to_le_bytes());
            guest.set(TASK + 0x348, 7);
        }
        guest.state(TASK + 0x380, 0x55);
        assert_eq!(first_vector(&guest.registers().unwrap()), Some(0x55), "{pointer}");
    }
}

#[test]
fn a_state_that_leads_nowhere_leaves_the_thread_without() {
    for size in [0, u64::from(u32::MAX), 832] {
        let mut guest = Guest::new(TODAY);
        guest.frame(STACK + 0x4000, (7, 0x33, 0x2b));
        // The last one ends before its size does.
        let at = if size == 832 { RAM as u64 - 0x80 } else { 0x2_0000 };
        guest.set(TASK + 0x210, at);
        guest.put(at, &(size as u32).to_le_bytes());
        let thread = guest.registers().unwrap();
        assert_eq!(thread.cpu.fpu, None, "{size:#x}");
        assert!(!thread.problems.is_empty());
    }
}
