//! Stacks of kernels that keep frame pointers.

use super::*;

/// Stopped in the first function, which the second called.
fn stopped(sp: u64, bp: u64) -> Machine {
    let mut machine = Machine::new();
    machine.registers(CODE + 0x10, sp, bp);
    machine.put_call(CODE + 0x20);
    machine
}

#[test]
fn without_tables_frame_pointers_are_followed() {
    let top = STACK + 0x4000;
    let mut machine = stopped(top - 0x200, top - 0x1f0);
    machine.words(top - 0x1f0, &[top - 0x100, CODE + 0x20]);
    machine.words(top - 0x100, &[top - 0xb0 + 1, CODE + 0x30]);
    machine.words(top - 0xb0, &saved(0x40_1000, USER, 0x7fff_0000));
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30]);
    assert_eq!(found.how, "frame pointers");
    assert_eq!(found.end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
}

#[test]
fn frame_pointers_lead_to_where_a_thread_of_the_kernel_starts() {
    let mut machine = stopped(TOP - 0x200, TOP - 0x1f0);
    machine.words(TOP - 0x1f0, &[TOP - 0xb8, CODE + 0x20]);
    machine.words(TOP - 0xb8, &[TOP - 0xa8 + 1, CODE + 0x30]);
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30]);
    assert_eq!(found.end, StackEnd::Bottom);
}

#[test]
fn frame_pointers_lead_to_a_program_whose_own_says_anything() {
    for program in [0, TOP - 0x80, TOP - 0xf7, CODE] {
        let mut machine = stopped(TOP - 0x200, TOP - 0x1f0);
        machine.words(TOP - 0x1f0, &[TOP - 0xb8, CODE + 0x20]);
        machine.words(TOP - 0xb8, &[program, CODE + 0x30]);
        let mut words = saved(0x40_1000, USER, 0x7fff_0000);
        words[20] = 0x2b;
        // A number of a system call that looks like a selector.
        words[15] = 0x23;
        machine.words(TOP - 0xa8, &words);
        let found = machine.backtrace();
        assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30]);
        assert_eq!(found.end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
    }
}

#[test]
fn frame_pointers_that_go_down_end_a_stack() {
    let top = STACK + 0x4000;
    let mut machine = stopped(top - 0x200, top - 0x1f0);
    machine.words(top - 0x1f0, &[top - 0x1f0, CODE + 0x20]);
    let found = machine.backtrace();
    assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("not in the stack")));
}

/// A frame pointer leads to two words; their numbers, and what follows from them.
fn called_by(words: [u64; 2]) -> Backtrace {
    let top = STACK + 0x4000;
    let mut machine = stopped(top - 0x400, top - 0x300);
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
fn a_frame_pointer_that_leads_to_a_pointer_to_a_function_is_none() {
    let mut machine = Machine::new();
    machine.registers(CODE + 0x10, TOP - 0x200, TOP - 0x1f0);
    machine.words(TOP - 0x1f0, &[TOP - 0x100, CODE + 0x20]);
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10]);
    let mut machine = stopped(TOP - 0x200, TOP + 0x9000);
    machine.words(TOP + 0x9000, &[TOP - 0x100, CODE + 0x20]);
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10]);
}

#[test]
fn frame_pointers_lead_back_from_the_stack_of_an_interrupt() {
    for interrupts in [STACK - 0x8000, TOP + 0x8000] {
        let mut machine = stopped(interrupts, interrupts + 0x20);
        machine.words(interrupts + 0x20, &[TOP - 0x1f0, CODE + 0x20]);
        machine.words(TOP - 0x1f0, &[TOP - 0xb8, CODE + 0x30]);
        machine.words(TOP - 0xb8, &[TOP - 0xa8 + 1, CODE + 0x40]);
        let found = machine.backtrace_of_task();
        assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30, CODE + 0x40]);
        assert_eq!(found.end, StackEnd::Bottom, "{interrupts:#x}");
    }
}

/// Entry code of a kernel before 4.10 was called from `TOP - 0x200` on; what it saved is
/// found there, or by its frame pointer.
fn entered_unmarked(by_frame_pointer: bool, cs: u64) -> Machine {
    let (entry, saved_at) = (TOP - 0x300, TOP - 0x2f0);
    let interrupted = TOP - 0x180;
    let mut words = saved(CODE + 0x60, cs, TOP - 0x1c0);
    words[if by_frame_pointer { 5 } else { 4 }] = interrupted;
    words[20] = if cs == USER { 0x2b } else { 0x18 };
    let mut machine = stopped(TOP - 0x400, entry);
    let next = if by_frame_pointer { saved_at + 8 * 5 } else { interrupted };
    machine.words(entry, &[next, CODE + 0x20]);
    machine.words(saved_at, &words);
    machine.words(interrupted, &[LAST_FRAME, CODE + 0x30]);
    machine.put_call(CODE + 0x30);
    machine.words(LAST_FRAME, &[LAST_FRAME + 0x11, CODE + 0x50]);
    machine
}

#[test]
fn registers_that_old_kernels_saved_without_a_mark_are_found() {
    for by_frame_pointer in [false, true] {
        let found = entered_unmarked(by_frame_pointer, KERNEL).backtrace_of_task();
        let all = [CODE + 0x10, CODE + 0x20, CODE + 0x60, CODE + 0x30, CODE + 0x50];
        assert_eq!(ips(&found), all, "{by_frame_pointer}");
        assert_eq!(found.frames[2].kind, FrameKind::Interrupted);
        assert_eq!(found.end, StackEnd::Bottom);
    }
    let found = entered_unmarked(true, USER).backtrace_of_task();
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20]);
    assert_eq!(found.end, StackEnd::User { ip: Gva(CODE + 0x60), sp: Gva(TOP - 0x1c0) });
}

const FUNCTION: u64 = CODE + 0x100;
const OTHER: u64 = CODE + 0x180;
const BEGIN: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];
/// Where the callers of the function that was stopped keep their frames.
const FRAME: u64 = TOP - 0x200;
const LAST_FRAME: u64 = TOP - 0xb8;

/// Stopped in a function of these bytes after some of them; what is at its stack pointer.
/// Calls end in the first function at 0x20, in the other one at 0x20 and 0x40, by which
/// names itself.
fn stopped_after(bytes: &[u8], done: u64, words: &[u64]) -> Machine {
    let sp = TOP - 0x300;
    let mut machine = Machine::new();
    machine.symbols.extend([("function", FUNCTION), ("other", OTHER), ("last", CODE + 0x300)]);
    machine.put(FUNCTION, bytes);
    machine.put(OTHER, &BEGIN);
    machine.registers(FUNCTION + done, sp, FRAME);
    machine.put_call(CODE + 0x20);
    machine.put_call(OTHER + 0x20);
    machine.put_call_of(FUNCTION, OTHER + 0x40);
    machine.put_call_of(OTHER, CODE + 0x320);
    machine.words(sp, words);
    machine.words(FRAME, &[LAST_FRAME, CODE + 0x320]);
    machine.words(LAST_FRAME, &[LAST_FRAME + 0x11, CODE + 0x350]);
    machine
}

#[test]
fn the_caller_of_a_function_without_a_frame_is_at_the_stack_pointer() {
    let back = OTHER + 0x20;
    let cases: [(&[u8], u64, &[u64]); 9] = [
        // Nothing done, with endbr64 and room for a tracer, with a call of one; pushed.
        (&BEGIN, 0, &[back]),
        (&BEGIN, 1, &[FRAME, back]),
        (&[0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x55], 9, &[back]),
        (&[0xe8, 1, 0, 0, 0, 0x55, 0x48, 0x89, 0xe5], 6, &[FRAME, back]),
        // push %rbp; mov %rsp,%rbp; leave; ret
        (&[0x55, 0x48, 0x89, 0xe5, 0xc9, 0xc3], 5, &[back]),
        // No frame at all: what called is the function whose frame it is.
        (&[0xf3, 0xa4, 0x90], 2, &[OTHER + 0x40]),
        (&[0xf3, 0xa4, 0x90], 2, &[back]),
        (&[0x53, 0x41, 0x54, 0x90], 3, &[7, CODE + 0x20, OTHER + 0x1f, back]),
        (&[0x90; 40], 30, &[back]),
    ];
    for (bytes, done, words) in cases {
        let found = stopped_after(bytes, done, words).backtrace_of_task();
        let caller = words[words.len() - 1];
        let all = [FUNCTION + done, caller, CODE + 0x320, CODE + 0x350];
        assert_eq!(ips(&found), all, "{bytes:x?} {done}");
        assert_eq!(found.end, StackEnd::Bottom);
    }
}

#[test]
fn the_owner_of_a_frame_that_was_called_by_a_pointer_is_not_known() {
    let without = [CODE + 0x320, CODE + 0x350];
    let with = [OTHER + 0x20, CODE + 0x320, CODE + 0x350];
    let cases: [(&[u8], &[u64], &[u64]); 3] = [
        (&[0xf3, 0xa4, 0x90], &[OTHER + 0x20], &with),
        (&[0xf3, 0xa4, 0x90], &[0, OTHER + 0x20], &without),
        (&[0x31, 0xc0, 0x55, 0x48, 0x89, 0xe5, 0x90], &[OTHER + 0x20], &without),
    ];
    for (bytes, words, callers) in cases {
        let done = bytes.len() as u64 - 1;
        let mut machine = stopped_after(bytes, done, words);
        machine.put(CODE + 0x31b, &[0x90, 0x90, 0x90, 0xff, 0xd0]);
        let found = machine.backtrace_of_task();
        assert_eq!(ips(&found)[1..], *callers, "{bytes:x?}");
    }
}

#[test]
fn a_function_with_a_frame_is_returned_from_by_its_frame() {
    // What is left of another call is not taken for this one's, in no part of it.
    for left in [OTHER + 0x20, OTHER + 0x40, FUNCTION + 0x40] {
        for name in ["function.cold", "function"] {
            let mut machine = stopped_after(&[0x90; 8], 4, &[left]);
            let part = if name == "function" { FUNCTION } else { CODE + 0x280 };
            machine.symbols.push(("function.cold", CODE + 0x280));
            machine.put(FUNCTION, &BEGIN);
            machine.put_call(FUNCTION + 0x40);
            machine.registers(part + 4, TOP - 0x300, FRAME);
            machine.words(FRAME + 8, &[OTHER + 0x40]);
            let found = machine.backtrace_of_task();
            assert_eq!(ips(&found), [part + 4, OTHER + 0x40, CODE + 0x350], "{name}, {left:#x}");
        }
    }
}

#[test]
fn a_function_that_jumps_to_another_is_called_in_its_place() {
    for (jump, len) in [(&[0xe9, 0x7b, 0, 0, 0][..], 0x80), (&[0xeb, 0x7e], 0x80)] {
        let mut machine = stopped_after(&BEGIN, 4, &[OTHER + 0x20]);
        let jumping = FUNCTION - len;
        machine.symbols.push(("jumping", jumping));
        machine.put(jumping, jump);
        machine.put_call_of(jumping, OTHER + 0x40);
        machine.words(FRAME + 8, &[OTHER + 0x40]);
        let found = machine.backtrace_of_task();
        assert_eq!(ips(&found), [FUNCTION + 4, OTHER + 0x40, CODE + 0x350]);
    }
}
