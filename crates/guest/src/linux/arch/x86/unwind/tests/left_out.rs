//! Functions that no table describes.

use super::*;

const FUNCTION: u64 = CODE + 0x400;
/// `push %rbp`, `push %rbx`, `sub $0x10,%rsp`, `mov %rdi,%rbx`.
const PROLOGUE: [u8; 9] = [0x55, 0x53, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xfb];

/// In the body of a function without a description that the second of `CALLS` called,
/// with a stale return address in its own part of the stack.
fn in_function(orc: Orc) -> Machine {
    let undefined = Entry { kind: "undefined", base: "", ..call(FUNCTION, 0) };
    let mut entries = CALLS.to_vec();
    entries.push(undefined);
    let mut machine = Machine::with_orc(orc, &entries);
    machine.symbols.push(("left_out", FUNCTION));
    machine.put(FUNCTION, &PROLOGUE);
    machine.registers(FUNCTION + 0x20, FIRST - 0x20, 0x1234);
    let caller = CODE + 0x150;
    machine.put(caller - 5, &[0xe8]);
    let distance = FUNCTION.wrapping_sub(caller) as u32;
    machine.put(caller - 4, &distance.to_le_bytes());
    machine.put_call(CODE + 0x2a0);
    machine.words(FIRST - 0x20, &[0, CODE + 0x2a0, 0xb, FIRST + 0x40, caller]);
    machine.words(FIRST + 0x40, &[0xb9, CODE + 0x250, CODE + 0x350]);
    machine
}

#[test]
fn their_first_instructions_lead_to_their_callers() {
    for orc in [Orc::Old, Orc::New] {
        let found = in_function(orc).backtrace_of_task();
        let all = [FUNCTION + 0x20, CODE + 0x150, CODE + 0x250, CODE + 0x350];
        assert_eq!(ips(&found), all);
        assert_eq!(found.end, StackEnd::Bottom);
        assert!(found.frames.iter().skip(1).all(|frame| frame.kind == FrameKind::Return));
    }
}

#[test]
fn what_is_not_returned_to_after_a_call_of_them_is_a_guess() {
    for orc in [Orc::Old, Orc::New] {
        let mut machine = in_function(orc);
        machine.put_call(CODE + 0x150);
        let found = machine.backtrace_of_task();
        assert!(found.frames.iter().skip(1).all(|frame| frame.kind == FrameKind::Guess));
        assert!(matches!(found.end, StackEnd::Lost(why) if why.contains("not described")));
    }
}
