//! Instructions as GNU as assembles them.

use super::*;

fn effect(code: &[u8], is_64_bit: bool) -> Effect {
    let mut padded = code.to_vec();
    padded.resize(code.len() + LONGEST, 0x90);
    let found = decode(&padded, 0x1000, is_64_bit).unwrap();
    assert_eq!(found.len, code.len(), "{code:x?}");
    found.effect
}

/// As GNU as assembles them.
#[test]
fn what_moves_the_stack_is_known() {
    use Effect::{Leave, LoadStackPointer, Nothing, Pop, Push, Set, Store, Write};
    use Gpr::{R12, Rbp, Rbx, Rdi, Rsi, Rsp};
    let cases: [(&[u8], Effect); 20] = [
        (&[0x55], Push(Some(Rbp))),
        (&[0x41, 0x54], Push(Some(R12))),
        (&[0x6a, 0x01], Push(None)),
        (&[0x68, 1, 2, 3, 4], Push(None)),
        (&[0x9c], Push(None)),
        (&[0xff, 0x75, 0x08], Push(None)),
        (&[0x41, 0x5c], Pop(Some(R12))),
        (&[0x9d], Pop(None)),
        (&[0x8f, 0x45, 0xf8], Pop(None)),
        (&[0x48, 0x83, 0xec, 0x18], Set { to: Rsp, from: Rsp, plus: -0x18 }),
        (&[0x48, 0x81, 0xc4, 0, 1, 0, 0], Set { to: Rsp, from: Rsp, plus: 0x100 }),
        (&[0x48, 0x83, 0xe4, 0xf0], Write(Rsp)),
        (&[0x48, 0x89, 0xe5], Set { to: Rbp, from: Rsp, plus: 0 }),
        (&[0x48, 0x8d, 0x65, 0xd8], Set { to: Rsp, from: Rbp, plus: -0x28 }),
        (&[0xc9], Leave),
        (&[0x48, 0x89, 0x5c, 0x24, 0x10], Store { from: Rbx, base: Rsp, plus: 0x10 }),
        (&[0x48, 0x89, 0xa7, 0, 4, 0, 0], Store { from: Rsp, base: Rdi, plus: 0x400 }),
        (&[0x48, 0x8b, 0xa6, 0, 4, 0, 0], LoadStackPointer { base: Some(Rsi), plus: 0x400 }),
        (
            &[0x65, 0x48, 0x8b, 0x24, 0x25, 0xd0, 0xcb, 0, 0],
            LoadStackPointer { base: None, plus: 0xcbd0 },
        ),
        (&[0x65, 0x48, 0x89, 0x24, 0x25, 0xc8, 0xcb, 0, 0], Nothing),
    ];
    for (code, want) in cases {
        assert_eq!(effect(code, true), want, "{code:x?}");
    }
}

#[test]
fn what_changes_registers_is_known() {
    use Effect::{Exchange, Nothing, Write};
    let cases: [(&[u8], bool, Effect); 16] = [
        (&[0xb4, 0x01], true, Write(Gpr::Rax)),       // mov $1,%ah
        (&[0x40, 0xb4, 0x01], true, Write(Gpr::Rsp)), // mov $1,%spl
        (&[0x49, 0xbc, 1, 2, 3, 4, 5, 6, 7, 8], true, Write(Gpr::R12)),
        (&[0x66, 0xbb, 1, 2], true, Write(Gpr::Rbx)),
        (&[0x81, 0x3d, 1, 2, 3, 4, 5, 6, 7, 8], true, Nothing), // cmpl
        (&[0x66, 0x81, 0x3d, 1, 2, 3, 4, 5, 6], true, Nothing), // cmpw
        (&[0xf6, 0x43, 0x10, 0x01], true, Nothing),             // testb
        (&[0xf7, 0xd3], true, Write(Gpr::Rbx)),                 // not %ebx
        (&[0xf7, 0xf3], true, Nothing),                         // div %ebx
        (&[0x87, 0xdc], false, Exchange(Gpr::Rbx, Gpr::Rsp)),
        (&[0x46], false, Write(Gpr::Rsi)), // inc %esi
        (&[0x0f, 0xb6, 0x5c, 0x24, 0x0f], true, Write(Gpr::Rbx)),
        (&[0xf0, 0x0f, 0xb1, 0x1d, 1, 2, 3, 4], true, Nothing),
        (&[0x0f, 0x94, 0xc3], true, Write(Gpr::Rbx)), // sete %bl
        (&[0x0f, 0xa2], true, Write(Gpr::Rbx)),       // cpuid
        (&[0xa1, 1, 2, 3, 4], false, Nothing),        // mov ...,%eax
    ];
    for (code, is_64_bit, want) in cases {
        assert_eq!(effect(code, is_64_bit), want, "{code:x?}");
    }
}

#[test]
fn ways_that_code_takes_are_known() {
    use Effect::{Branch, Call, End, Jump, JumpTable, Nothing, Push, StoreNumber};
    let cases: [(&[u8], bool, Effect); 14] = [
        (&[0xe8, 0xfb, 0, 0, 0], true, Call(Some(0x1100))),
        (&[0xe8, 0, 0, 0, 0], true, Push(None)),
        (&[0xff, 0x14, 0xc5, 0, 0, 0, 0x81], true, Call(None)),
        (&[0x41, 0xff, 0xd4], true, Call(None)),
        (&[0xeb, 0xfe], true, Jump(0x1000)),
        (&[0xe9, 0xfb, 0xff, 0xff, 0xff], false, Jump(0x1000)),
        (&[0x74, 0x0e], true, Branch(0x1010)),
        (&[0x0f, 0x85, 0xfa, 0, 0, 0], true, Branch(0x1100)),
        (&[0xff, 0x24, 0xc5, 0, 0, 0, 0x81], true, JumpTable(0xffff_ffff_8100_0000)),
        (&[0xff, 0xe0], true, End),
        (&[0xc2, 4, 0], false, End),
        (&[0x0f, 0x0b], true, End),
        (&[0xf4], true, Nothing),
        (
            &[0xc7, 0x83, 0x94, 2, 0, 0, 0xb5, 0x40, 0x11, 0xc0],
            false,
            StoreNumber { base: Some(Gpr::Rbx), plus: 0x294, number: 0xc011_40b5 },
        ),
    ];
    for (code, is_64_bit, want) in cases {
        assert_eq!(effect(code, is_64_bit), want, "{code:x?}");
    }
}

#[test]
fn half_an_instruction_is_none() {
    let whole: [&[u8]; 5] = [
        &[0x48, 0x81, 0xec, 0, 1, 0, 0],
        &[0x65, 0x48, 0x8b, 0x24, 0x25, 0xd0, 0xcb, 0, 0],
        &[0xc4, 0xe2, 0x79, 0x18, 0x05, 1, 2, 3, 4],
        &[0x0f, 0x3a, 0x0f, 0xc1, 0x08],
        &[0xe8, 1, 0, 0, 0],
    ];
    for code in whole {
        for len in 0..code.len() {
            assert_eq!(decode(&code[..len], 0, true), None, "{code:x?}");
        }
        assert_eq!(decode(code, 0, true).unwrap().len, code.len());
    }
    assert_eq!(decode(&[0x66; 20], 0, true), None);
}
