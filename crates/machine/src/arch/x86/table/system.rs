//! Registers that only a kernel sees, in a feature of our own. gdb shows them in
//! `info registers system`, with the names of their bits.

use std::fmt::Write;

use super::{register, segment};
use crate::arch::table::{RegisterDef, Width};
use crate::arch::x86::Registers;

/// A register by name, type (empty for a plain number) and value.
type Entry = (&'static str, &'static str, fn(&Registers, usize) -> Option<u128>);

const ENTRIES: [Entry; 36] = [
    ("cr0", "x86_cr0", |of, _| wide(of.control.cr0)),
    ("cr2", "", |of, _| wide(of.control.cr2)),
    ("cr3", "", |of, _| wide(of.control.cr3)),
    ("cr4", "x86_cr4", |of, _| wide(of.control.cr4)),
    ("cr8", "", |of, _| wide(of.control.cr8)),
    ("efer", "x86_efer", |of, _| wide(of.msrs.efer)),
    ("k_gs_base", "", |of, _| wide(of.msrs.kernel_gs_base)),
    ("idt_base", "", |of, _| wide(of.idtr.base)),
    ("idt_limit", "", |of, _| of.idtr.limit.map(u128::from)),
    ("gdt_base", "", |of, _| wide(of.gdtr.base)),
    ("gdt_limit", "", |of, _| of.gdtr.limit.map(u128::from)),
    ("tr", "", |of, _| of.segments.tr.selector.map(u128::from)),
    ("tr_base", "", |of, _| wide(of.segments.tr.base)),
    ("ldt", "", |of, _| of.segments.ldt.selector.map(u128::from)),
    ("ldt_base", "", |of, _| wide(of.segments.ldt.base)),
    ("cs_base", "", |of, _| wide(of.segments.cs.base)),
    ("ss_base", "", |of, _| wide(of.segments.ss.base)),
    ("ds_base", "", |of, _| wide(of.segments.ds.base)),
    ("es_base", "", |of, _| wide(of.segments.es.base)),
    ("star", "", |of, _| wide(of.msrs.star)),
    ("lstar", "", |of, _| wide(of.msrs.lstar)),
    ("cstar", "", |of, _| wide(of.msrs.cstar)),
    ("sfmask", "", |of, _| wide(of.msrs.sfmask)),
    ("sysenter_cs", "", |of, _| wide(of.msrs.sysenter_cs)),
    ("sysenter_esp", "", |of, _| wide(of.msrs.sysenter_esp)),
    ("sysenter_eip", "", |of, _| wide(of.msrs.sysenter_eip)),
    ("tsc", "", |of, _| wide(of.msrs.tsc)),
    ("dr0", "", |of, _| debug(of, 0)),
    ("dr1", "", |of, _| debug(of, 1)),
    ("dr2", "", |of, _| debug(of, 2)),
    ("dr3", "", |of, _| debug(of, 3)),
    ("dr6", "", |of, _| debug(of, 6)),
    ("dr7", "", |of, _| debug(of, 7)),
    ("pat", "", |of, _| wide(of.msrs.pat)),
    ("xcr0", "", |of, _| wide(of.msrs.xcr0)),
    ("tsc_aux", "", |of, _| wide(of.msrs.tsc_aux)),
];

/// Limits in bytes; attributes as in the access rights of Intel's VMCS (type, S,
/// DPL and P, then AVL, L, D/B and G from bit 12 on).
const HIDDEN_PARTS: [[&str; 2]; 8] = [
    ["cs_limit", "cs_attr"],
    ["ss_limit", "ss_attr"],
    ["ds_limit", "ds_attr"],
    ["es_limit", "es_attr"],
    ["fs_limit", "fs_attr"],
    ["gs_limit", "gs_attr"],
    ["ldt_limit", "ldt_attr"],
    ["tr_limit", "tr_attr"],
];

fn wide(value: Option<u64>) -> Option<u128> {
    value.map(u128::from)
}

fn debug(of: &Registers, index: usize) -> Option<u128> {
    of.debug.get(index).copied().flatten().map(u128::from)
}

pub(super) fn registers(width: Width) -> Vec<RegisterDef> {
    let mut all: Vec<RegisterDef> = ENTRIES.iter().map(|entry| system(entry, 0)).collect();
    if width != Width::Bits64 {
        // The feature that gdb has for these is one of 64-bit code.
        let base: fn(&Registers, usize) -> Option<u128> = |of, at| wide(segment(of, at).base);
        all.extend([system(&("fs_base", "", base), 4), system(&("gs_base", "", base), 5)]);
    }
    for (index, [limit, attributes]) in HIDDEN_PARTS.into_iter().enumerate() {
        let limit: Entry = (limit, "", |of, at| segment(of, at).limit.map(u128::from));
        let attributes: Entry =
            (attributes, "", |of, at| segment(of, at).attributes.map(u128::from));
        all.extend([system(&limit, index), system(&attributes, index)]);
    }
    all
}

/// All have 64 bits: those of a 32-bit guest are zero-extended.
fn system((name, kind, value): &Entry, index: usize) -> RegisterDef {
    RegisterDef {
        kind: if kind.is_empty() { "uint64" } else { kind },
        group: Some("system"),
        index,
        ..register(name, 64, *value)
    }
}

/// Bits with names (Intel SDM volume 3, chapter 2.5; volume 4, IA32_EFER).
const CR0: [(&str, u32); 11] = [
    ("PE", 0),
    ("MP", 1),
    ("EM", 2),
    ("TS", 3),
    ("ET", 4),
    ("NE", 5),
    ("WP", 16),
    ("AM", 18),
    ("NW", 29),
    ("CD", 30),
    ("PG", 31),
];
const CR4: [(&str, u32); 24] = [
    ("VME", 0),
    ("PVI", 1),
    ("TSD", 2),
    ("DE", 3),
    ("PSE", 4),
    ("PAE", 5),
    ("MCE", 6),
    ("PGE", 7),
    ("PCE", 8),
    ("OSFXSR", 9),
    ("OSXMMEXCPT", 10),
    ("UMIP", 11),
    ("LA57", 12),
    ("VMXE", 13),
    ("SMXE", 14),
    ("FSGSBASE", 16),
    ("PCIDE", 17),
    ("OSXSAVE", 18),
    ("SMEP", 20),
    ("SMAP", 21),
    ("PKE", 22),
    ("CET", 23),
    ("PKS", 24),
    ("LAM_SUP", 28),
];
const EFER: [(&str, u32); 6] =
    [("SCE", 0), ("LME", 8), ("LMA", 10), ("NXE", 11), ("SVME", 12), ("FFXSR", 14)];

pub(super) fn types() -> String {
    let flags = [("x86_cr0", &CR0[..]), ("x86_cr4", &CR4[..]), ("x86_efer", &EFER[..])];
    let mut xml = String::new();
    for (name, bits) in flags {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "<flags id=\"{name}\" size=\"8\">");
        for (field, bit) in bits {
            let _ = writeln!(xml, "<field name=\"{field}\" start=\"{bit}\" end=\"{bit}\"/>");
        }
        xml.push_str("</flags>\n");
    }
    xml
}
