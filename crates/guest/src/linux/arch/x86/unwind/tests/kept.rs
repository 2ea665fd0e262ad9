//! Return addresses that the kernel keeps elsewhere.

use super::*;

const TRAMPOLINE: u64 = CODE + 0x500;
const RECORDS: u64 = DATA + 0xa000;

/// A stack whose second return address is that of a trampoline.
fn through_trampoline(
    symbol: &'static str,
    members: &[(&'static str, &'static str, u64)],
) -> Machine {
    let mut machine = called(Orc::New);
    machine.symbols.extend([("before", TRAMPOLINE - 0x20), (symbol, TRAMPOLINE)]);
    machine.members.0.extend(members);
    machine.words(FIRST + 0x48, &[TRAMPOLINE]);
    machine
}

#[test]
fn return_addresses_that_probes_keep_are_put_back() {
    let forms = [
        ("arch_rethook_trampoline", "rethooks.first", "rethook_node", "frame"),
        ("kretprobe_trampoline", "kretprobe_instances.first", "kretprobe_instance", "fp"),
    ];
    for (symbol, list, structure, place) in forms {
        let members = [
            ("task_struct", list, 0x10),
            (structure, "llist", 0x10),
            (structure, "llist.next", 0x10),
            (structure, "ret_addr", 0x20),
            (structure, place, 0x28),
        ];
        let mut machine = through_trampoline(symbol, &members);
        machine.words(TASK + 0x10, &[RECORDS + 0x10]);
        // One of another call, and two of this: probes on the same function.
        let slot = FIRST + 0x48;
        machine.words(RECORDS + 0x10, &[RECORDS + 0x50, 0, CODE + 0x2a0, slot - 0x30]);
        machine.words(RECORDS + 0x50, &[RECORDS + 0x90, 0, TRAMPOLINE, slot]);
        machine.words(RECORDS + 0x90, &[0, 0, CODE + 0x250, slot]);
        let found = machine.backtrace_of_task();
        let all = [CODE + 0x10, CODE + 0x150, CODE + 0x250, CODE + 0x350];
        assert_eq!(ips(&found), all, "{symbol}");
        assert_eq!(found.end, StackEnd::Bottom);
    }
}

/// Where the tracer of functions keeps return addresses.
const GRAPH: [(&str, &str, u64); 5] = [
    ("task_struct", "ret_stack", 0x20),
    ("task_struct", "curr_ret_stack", 0x28),
    ("ftrace_ret_stack", "ret", 0),
    ("ftrace_ret_stack", "retp", 0x10),
    ("ftrace_ret_stack", "", 0x18),
];

#[test]
fn return_addresses_that_the_tracer_of_functions_keeps_are_put_back() {
    let slot = FIRST + 0x48;
    let entries =
        [[CODE + 0x250, 0, slot], [CODE + 0x2a0, 0, slot - 0x30], [CODE + 0x2b0, 0, slot]];
    for in_words in [false, true] {
        let mut machine = through_trampoline("return_to_handler", &GRAPH);
        // The third is left over from a call that has ended.
        machine.words(TASK + 0x20, &[RECORDS, if in_words { 8 } else { 1 }]);
        for (index, entry) in (0..).zip(entries) {
            let words = [entry[0], entry[1], entry[2], 0xa5 << 10 | 3];
            let len = if in_words { 4 } else { 3 };
            machine.words(RECORDS + 8 * len as u64 * index, &words[..len]);
        }
        if in_words {
            machine.symbols.push(("fgraph_reserve_data", CODE + 0x600));
        }
        let found = machine.backtrace_of_task();
        assert_eq!(ips(&found)[2..], [CODE + 0x250, CODE + 0x350], "{in_words}");
        assert_eq!(found.end, StackEnd::Bottom);
    }
}

#[test]
fn a_trampoline_that_keeps_its_secret_is_named_by_itself() {
    for symbol in ["arch_rethook_trampoline", "kretprobe_trampoline", "return_to_handler"] {
        for (members, why) in [(&[][..], "type information"), (&GRAPH, "return address")] {
            let machine = through_trampoline(symbol, members);
            let found = machine.backtrace_of_task();
            let last = found.frames[2];
            assert_eq!((last.ip.0, last.code_address().0), (TRAMPOLINE, TRAMPOLINE));
            assert!(matches!(found.end, StackEnd::Lost(text) if text.contains(why)));
        }
    }
}
