//! Stacks of kernels that keep no frame pointers and have no unwind tables.

use super::*;
use crate::linux::arch::x86::unwind::Entered;

/// The scheduler, as Debian's 2.6.32 has its switch: it saves registers, makes room, and
/// switches in its middle, where a label has a symbol.
const SCHEDULE: u64 = CODE + 0x400;
const BEFORE_SWITCH: [u8; 28] = [
    0x53, 0x55, // push %rbx; push %rbp
    0x48, 0x83, 0xec, 0x10, // sub $0x10,%rsp
    0x31, 0xdb, // xor %ebx,%ebx
    0x9c, 0x55, // pushf; push %rbp
    0x48, 0x89, 0xf5, // mov %rsi,%rbp
    0x48, 0x89, 0xa7, 0x00, 0x04, 0x00, 0x00, // mov %rsp,0x400(%rdi)
    0x48, 0x8b, 0xa6, 0x00, 0x04, 0x00, 0x00, // mov 0x400(%rsi),%rsp
    0x90,
];
/// Where every task goes on.
const RETURN: u64 = SCHEDULE + 28 + 5;
const AFTER_SWITCH: [u8; 35] = [
    0x65, 0x48, 0x8b, 0x34, 0x25, 0xc0, 0xcb, 0, 0, // mov %gs:0xcbc0,%rsi
    0x41, 0xf7, 0x40, 0x10, 0, 0, 4, 0, // testl $0x40000,0x10(%r8)
    0x0f, 0x85, 0, 0x10, 0, 0, // jne elsewhere
    0x48, 0x89, 0xee, 0x5d, 0x9d, // mov %rbp,%rsi; pop %rbp; popf
    0x48, 0x83, 0xc4, 0x10, // add $0x10,%rsp
    0x5d, 0x5b, 0xc3, // pop %rbp; pop %rbx; ret
];
const GOES_ON: u64 = RETURN + 28;
const SWITCH_TO: u64 = CODE + 0x600;

/// Saves r12 and rbx, changes both in a loop around a call of the scheduler.
const SLEEPER: u64 = CODE + 0x500;
const SLEEPER_CODE: [u8; 24] = [
    0x41, 0x54, 0x53, // push %r12; push %rbx
    0x31, 0xdb, // xor %ebx,%ebx
    0xe8, 0xf6, 0xfe, 0xff, 0xff, // call schedule
    0x45, 0x31, 0xe4, // xor %r12d,%r12d
    0x85, 0xc0, 0x75, 0xf4, // test %eax,%eax; jne to the call
    0x5b, 0x41, 0x5c, 0xc3, // pop %rbx; pop %r12; ret
    0x90, 0x90, 0x90,
];
const SLEEPS: u64 = SLEEPER + 10;

/// Starts a thread: `call *%rsi`.
const HELPER: u64 = CODE + 0x700;
/// Entry of system calls as 2.6.32 has it.
const ENTRY: u64 = CODE + 0x800;
const ENTRY_CODE: [u8; 32] = [
    0x0f, 0x01, 0xf8, // swapgs
    0x65, 0x48, 0x89, 0x24, 0x25, 0xc8, 0xcb, 0, 0, // mov %rsp,%gs:0xcbc8
    0x65, 0x48, 0x8b, 0x24, 0x25, 0xd0, 0xcb, 0, 0, // mov %gs:0xcbd0,%rsp
    0x48, 0x83, 0xec, 0x50, // sub $0x50,%rsp
    0xff, 0x14, 0xc5, 0, 0, 0, 0x81, // call *table(,%rax,8)
];
const IN_ENTRY: u64 = ENTRY + 32;

/// In the kernel of these functions, a task whose stack pointer is `sp`, and the words there.
fn switched(sp: u64, words: &[u64]) -> Machine {
    let mut machine = Machine::new();
    machine.symbols.extend([
        ("schedule", SCHEDULE),
        ("thread_return", RETURN),
        ("sleeper", SLEEPER),
        ("__switch_to", SWITCH_TO),
        ("helper", HELPER),
        ("system_call", ENTRY),
        ("end", ENTRY + 0x100),
    ]);
    // Functions without frames.
    for index in 0..16 {
        machine.put_call_of(CODE + 0x3000 + 16 * index, CODE + 0x2000 + 16 * index);
    }
    machine.put(SCHEDULE, &BEFORE_SWITCH);
    machine.put_call_of(SWITCH_TO, RETURN);
    machine.put(RETURN, &AFTER_SWITCH);
    machine.put(SLEEPER, &SLEEPER_CODE);
    machine.put(HELPER, &[0xff, 0xd6, 0xf4]);
    machine.put(ENTRY, &ENTRY_CODE);
    machine.words(TASK + 0x400, &[sp, 0x7fff_0000_1000]);
    machine.words(sp, words);
    machine.members.0.extend([("task_struct", "stack", 8), ("task_struct", "thread.sp", 0x400)]);
    machine
}

fn task() -> Task {
    Task {
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
    }
}

/// What the switch, the scheduler and the sleeper keep on a stack, up to where the last
/// returns to.
fn kept(back: u64) -> [u64; 10] {
    let (flags, of_schedule) = (0x246, 0xb9);
    [of_schedule, flags, 1, 2, 0xb1, 0xb0, SLEEPS, 0xb3, 0xb2, back]
}

#[test]
fn a_switched_task_is_unwound_by_the_code_of_its_functions() {
    let sp = TOP - 0xb0 - 9 * 8;
    let machine = switched(sp, &kept(HELPER + 2));
    let (found, registers) = machine.ask(|kernel| {
        let registers = kernel.sleeping_registers(&task()).unwrap();
        (kernel.backtrace(&task()).unwrap(), registers.value)
    });
    assert_eq!(ips(&found), [GOES_ON, SLEEPS, HELPER + 2]);
    assert!(found.frames.iter().all(|frame| frame.kind == FrameKind::Return));
    assert_eq!((found.end, found.how), (StackEnd::Bottom, "the code of functions"));
    let x86 = registers.x86().unwrap();
    let first = (x86.rip, x86.gpr(Gpr::Rsp), x86.gpr(Gpr::Rbp), x86.gpr(Gpr::Rbx));
    assert_eq!(first, (Some(GOES_ON), Some(sp + 16), Some(0xb9), None));
}

/// As `kernel_thread_helper` leaves them, which pushed a return address of 0.
#[test]
fn a_thread_ends_where_the_registers_say_that_it_began() {
    let registers = TOP - 168;
    let mut machine = switched(registers - 16 - 9 * 8, &kept(HELPER + 2));
    let mut words = saved(HELPER, KERNEL, registers);
    // What it was told to do, and what calls return to.
    (words[13], words[3]) = (SLEEPER, SLEEPS);
    machine.words(registers, &words);
    let found = machine.ask(|kernel| kernel.backtrace(&task()).unwrap());
    assert_eq!(ips(&found), [GOES_ON, SLEEPS, HELPER + 2]);
    assert_eq!(found.end, StackEnd::Bottom);
}

/// Where 2.6.32 returns to in entry code: below what it has stored.
fn in_system_call() -> Machine {
    let registers = TOP - 168;
    let mut machine = switched(registers + 40 - 9 * 8, &kept(IN_ENTRY));
    // What is left of another entry: its stack pointer, and rbx to r15 of nobody.
    let mut words = saved(0x40_1000, USER, 0x7fff_dead_0000);
    (words[15], words[18], words[20], words[6]) = (35, 0x246, 0x2b, 0x246);
    machine.words(registers + 48, &words[6..]);
    machine
}

#[test]
fn a_system_call_that_stored_a_part_ends_in_user_mode_with_the_stack_that_it_had() {
    let found = in_system_call().ask(|kernel| kernel.backtrace(&task()).unwrap());
    assert_eq!(ips(&found), [GOES_ON, SLEEPS, IN_ENTRY]);
    let end = StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000_1000) };
    assert_eq!(found.end, end);
}

#[test]
fn registers_that_entry_code_did_not_store_are_those_that_functions_stored() {
    let entered = in_system_call().ask(|kernel| kernel.entered(&task(), Gva(TOP - 168)));
    let known = vec![(Gpr::Rbx, 0xb3), (Gpr::Rbp, 0xb1), (Gpr::R12, 0xb2)];
    assert_eq!(entered, Some(Entered::Part(known)));
}

#[test]
fn a_stack_that_returns_to_no_call_of_a_function_is_guessed() {
    for back in [SCHEDULE + 2, HELPER, DATA, 0] {
        let mut words = kept(HELPER + 2);
        words[6] = back;
        let sp = TOP - 0xb0 - 9 * 8;
        let found = switched(sp, &words).ask(|kernel| {
            assert_eq!(kernel.entered(&task(), Gva(TOP - 168)), None);
            kernel.backtrace(&task()).unwrap()
        });
        assert!(found.frames.iter().all(|frame| frame.kind == FrameKind::Guess), "{back:#x}");
        assert!(matches!(found.end, StackEnd::Lost(_)));
    }
}
