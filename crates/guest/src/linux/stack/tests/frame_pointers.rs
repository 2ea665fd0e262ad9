//! Stacks of kernels that keep frame pointers.

use super::*;

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
fn frame_pointers_lead_to_where_a_thread_of_the_kernel_starts() {
    let mut machine = Machine::new();
    machine.registers(CODE + 0x10, TOP - 0x200, TOP - 0x1f0);
    machine.words(TOP - 0x1f0, &[TOP - 0xb8, CODE + 0x20]);
    machine.words(TOP - 0xb8, &[TOP - 0xa8 + 1, CODE + 0x30]);
    let found = machine.backtrace();
    assert_eq!(ips(&found), [CODE + 0x10, CODE + 0x20, CODE + 0x30]);
    assert_eq!(found.end, StackEnd::Bottom);
}

#[test]
fn frame_pointers_lead_to_a_program_whose_own_says_anything() {
    for program in [0, TOP - 0x80, TOP - 0xf7, CODE] {
        let mut machine = Machine::new();
        machine.registers(CODE + 0x10, TOP - 0x200, TOP - 0x1f0);
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
