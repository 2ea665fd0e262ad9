//! The registers of each feature. The order of the first is that of gdb's own description
//! (`gdb/features/aarch64-core.xml`).

use super::{Registers, SystemRegisters};
use crate::arch::Getter;
use crate::arch::table::{Feature, RegisterDef, Scope, Table, Width};

/// A register by name and value.
type Entry = (&'static str, fn(&SystemRegisters) -> Option<u64>);

const SYSTEM: [Entry; 8] = [
    ("SCTLR_EL1", |of| of.sctlr_el1),
    ("TCR_EL1", |of| of.tcr_el1),
    ("TTBR0_EL1", |of| of.ttbr0_el1),
    ("TTBR1_EL1", |of| of.ttbr1_el1),
    ("MAIR_EL1", |of| of.mair_el1),
    ("VBAR_EL1", |of| of.vbar_el1),
    ("TPIDR_EL1", |of| of.tpidr_el1),
    ("CONTEXTIDR_EL1", |of| of.contextidr_el1),
];

pub(super) fn table(scope: Scope) -> Table {
    let mut features = vec![
        feature("org.gnu.gdb.aarch64.core", core()),
        feature("org.gnu.gdb.aarch64.tls", vec![register("tpidr", |of, _| of.tpidr_el0)]),
    ];
    if scope == Scope::Processors {
        features.push(feature("vmss2core.aarch64.system", system()));
    }
    let system = (scope == Scope::Programs).then_some("GNU/Linux");
    Table { architecture: "aarch64", width: Width::Bits64, system, features }
}

fn feature(name: &'static str, registers: Vec<RegisterDef>) -> Feature {
    Feature { name, types: String::new(), registers }
}

fn core() -> Vec<RegisterDef> {
    let general = (0..31).map(|index| RegisterDef {
        name: format!("x{index}"),
        // The frame pointer.
        is_first: index == 29,
        slot: Some(index),
        index,
        ..register("", |of, index| of.general.get(index).copied().flatten())
    });
    let rest = [
        RegisterDef { slot: Some(31), ..first("data_ptr", register("sp", |of, _| of.sp)) },
        RegisterDef { slot: Some(32), ..first("code_ptr", register("pc", |of, _| of.pc)) },
        RegisterDef {
            kind: "int32",
            bits: 32,
            slot: Some(33),
            ..register("cpsr", |of, _| of.pstate)
        },
    ];
    general.chain(rest).collect()
}

fn first(kind: &'static str, register: RegisterDef) -> RegisterDef {
    RegisterDef { kind, is_first: true, ..register }
}

fn system() -> Vec<RegisterDef> {
    let entry = |(index, (name, _)): (usize, &Entry)| RegisterDef {
        group: Some("system"),
        index,
        ..register(name, |of, index| SYSTEM.get(index).and_then(|(_, get)| get(&of.system)))
    };
    SYSTEM.iter().enumerate().map(entry).collect()
}

fn register(name: &str, get: fn(&Registers, usize) -> Option<u64>) -> RegisterDef {
    RegisterDef {
        name: name.to_owned(),
        bits: 64,
        kind: "int64",
        group: None,
        is_first: false,
        slot: None,
        getter: Getter::Arm64(get),
        index: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    /// 31 general registers, SP, PC and a CPSR of 32 bits: 268 bytes, as gdb's own.
    #[test]
    fn the_core_feature_is_that_of_gdb() {
        let table = table(Scope::Processors);
        let core = &table.features[0].registers;
        let len: usize = core.iter().map(RegisterDef::len_bytes).sum();
        assert_eq!((core.len(), len), (34, 268));
        let names: Vec<&str> = core.iter().map(|register| register.name.as_str()).collect();
        assert_eq!((names[0], names[30], &names[31..]), ("x0", "x30", &["sp", "pc", "cpsr"][..]));
    }

    #[test]
    fn values_are_those_of_the_register_or_missing() {
        let mut arm64 = Registers { pc: Some(0xffff_8000_0801_0000), ..Registers::default() };
        arm64.general[29] = Some(0xffff_8000_0a00_3e80);
        arm64.system.ttbr1_el1 = Some(0x4120_0000);
        let registers = arch::Registers::Arm64(Box::new(arm64));
        let table = table(Scope::Processors);
        let known: Vec<(&str, u128)> = table
            .registers()
            .filter_map(|register| Some((register.name.as_str(), register.value(&registers)?)))
            .collect();
        let want = [
            ("x29", 0xffff_8000_0a00_3e80),
            ("pc", 0xffff_8000_0801_0000),
            ("TTBR1_EL1", 0x4120_0000),
        ];
        assert_eq!(known, want);
    }

    /// `struct user_pt_regs` of Linux: 31 general registers, SP, PC and PSTATE.
    #[test]
    fn the_registers_of_a_core_have_the_order_of_linux() {
        let mut arm64 = Registers { pc: Some(7), sp: Some(8), ..Registers::default() };
        arm64.general[30] = Some(9);
        let bytes = table(Scope::Programs).user_registers(&arch::Registers::Arm64(Box::new(arm64)));
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        assert_eq!((words.len(), &words[29..]), (34, &[0, 9, 8, 7, 0][..]));
    }
}
