//! Unwind tables that no symbol names.

use super::*;

const FUNCTIONS: u64 = 1500;
const FUNCTION_LEN: u64 = 0x1d0;
const ARRAYS: u64 = DATA + 0x2_0000;
/// After places and entries, which are of ten bytes together.
const LOOKUP: u64 = ARRAYS + 10 * FUNCTIONS;

/// A function of the kernel, in some of its code.
const fn inside(function: u64) -> u64 {
    CODE + function * FUNCTION_LEN + 0x50
}

/// The arrays as the linker and the start of the kernel leave them, and a stack of three calls.
fn machine(orc: Orc) -> Machine {
    let mut entries: Vec<Entry> =
        (0..FUNCTIONS).map(|function| call(CODE + function * FUNCTION_LEN, 0x18)).collect();
    entries[7] = Entry { base: "", kind: "end", ..entries[7] };
    let mut machine = Machine::new();
    machine.image_len = DATA + (1 << 20) - CODE;
    machine.symbols.push(("unwind_module_init", inside(3)));
    machine.put_orc(orc, &entries, ARRAYS, ARRAYS + 4 * FUNCTIONS);
    for block in 0..=FUNCTIONS * FUNCTION_LEN / 256 {
        let number = (block * 256 / FUNCTION_LEN) as u32;
        machine.put(LOOKUP + 4 * block, &number.to_le_bytes());
    }
    machine.registers(inside(100), FIRST, 0);
    machine.words(FIRST + 0x10, &[inside(200)]);
    machine.words(FIRST + 0x28, &[inside(7)]);
    machine
}

#[test]
fn tables_are_found_by_their_form() {
    for orc in [Orc::Old, Orc::New] {
        let found = machine(orc).backtrace();
        assert_eq!(ips(&found), [inside(100), inside(200), inside(7)]);
        assert_eq!((found.end, found.how), (StackEnd::Bottom, "ORC unwind tables"));
    }
}

#[test]
fn what_the_kernel_looks_up_by_has_to_agree_with_them() {
    let mut machine = machine(Orc::New);
    machine.put(LOOKUP + 4 * 300, &90_u32.to_le_bytes());
    assert_ne!(machine.backtrace().how, "ORC unwind tables");
}

#[test]
fn addresses_in_order_alone_are_no_tables() {
    let mut machine = machine(Orc::New);
    for entry in 0..FUNCTIONS {
        machine.put(ARRAYS + 4 * FUNCTIONS + 6 * entry + 4, &[0x77, 0x77]);
    }
    assert_ne!(machine.backtrace().how, "ORC unwind tables");
}
