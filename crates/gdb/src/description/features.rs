//! The registers of each feature. Orders are those of gdb's own descriptions
//! (`gdb/features/i386/*.xml`), which QEMU and gdbserver keep too.

use vmss2core_machine::x86::{Gpr, SegmentRegister, SegmentRegisters};

use super::{Feature, Register, Width, fpu, system};
use crate::target::Registers;

/// The name by which gdb knows a feature.
pub(super) fn name(feature: Feature) -> &'static str {
    match feature {
        Feature::Core => "org.gnu.gdb.i386.core",
        Feature::Sse => "org.gnu.gdb.i386.sse",
        Feature::Avx => "org.gnu.gdb.i386.avx",
        Feature::Segments => "org.gnu.gdb.i386.segments",
        Feature::Linux => "org.gnu.gdb.i386.linux",
        Feature::System => "vmss2core.i386.system",
    }
}

/// Types that registers of a feature need.
pub(super) fn types(feature: Feature) -> String {
    match feature {
        Feature::Core => FLAGS.to_owned(),
        Feature::Sse => SSE_TYPES.to_owned(),
        Feature::System => system::types(),
        _ => String::new(),
    }
}

pub(super) fn registers(width: Width, feature: Feature) -> Vec<Register> {
    let of_feature = |register| Register { feature, ..register };
    unmarked(width, feature).into_iter().map(of_feature).collect()
}

fn unmarked(width: Width, feature: Feature) -> Vec<Register> {
    match (feature, width) {
        (Feature::Core, Width::Bits64) => core(&GENERAL_64, 64),
        (Feature::Core, _) => core(&GENERAL_32, 32),
        (Feature::Sse, _) => sse(vectors(width)),
        (Feature::Avx, _) => numbered("ymm", "h", vectors(width))
            .map(|(index, name)| Register {
                kind: "uint128",
                ..vector(&name, index, fpu::ymm_high)
            })
            .collect(),
        // gdb knows these of 64-bit code only; else they are with the system's.
        (Feature::Segments, Width::Bits64) => vec![base("fs_base", 4), base("gs_base", 5)],
        (Feature::Segments, _) => Vec::new(),
        (Feature::Linux, Width::Bits64) => vec![system_call("orig_rax", 64)],
        (Feature::Linux, _) => vec![system_call("orig_eax", 32)],
        (Feature::System, _) => system::registers(width),
    }
}

const FLAGS: &str = "\
<flags id=\"i386_eflags\" size=\"4\">
<field name=\"\" start=\"22\" end=\"31\"/><field name=\"ID\" start=\"21\" end=\"21\"/>
<field name=\"VIP\" start=\"20\" end=\"20\"/><field name=\"VIF\" start=\"19\" end=\"19\"/>
<field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"VM\" start=\"17\" end=\"17\"/>
<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"NT\" start=\"14\" end=\"14\"/>
<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"DF\" start=\"10\" end=\"10\"/>
<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"TF\" start=\"8\" end=\"8\"/>
<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>
<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"PF\" start=\"2\" end=\"2\"/>
<field name=\"\" start=\"1\" end=\"1\"/><field name=\"CF\" start=\"0\" end=\"0\"/>
</flags>
";

const SSE_TYPES: &str = "\
<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>
<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>
<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>
<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>
<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>
<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>
<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>
<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>
<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>
<field name=\"uint128\" type=\"uint128\"/></union>
<flags id=\"i386_mxcsr\" size=\"4\">
<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>
<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>
<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>
<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>
<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>
<field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>
<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/>
</flags>
";

/// gdb's order, which is not the encoding's.
const GENERAL_64: [(&str, Gpr); 16] = [
    ("rax", Gpr::Rax),
    ("rbx", Gpr::Rbx),
    ("rcx", Gpr::Rcx),
    ("rdx", Gpr::Rdx),
    ("rsi", Gpr::Rsi),
    ("rdi", Gpr::Rdi),
    ("rbp", Gpr::Rbp),
    ("rsp", Gpr::Rsp),
    ("r8", Gpr::R8),
    ("r9", Gpr::R9),
    ("r10", Gpr::R10),
    ("r11", Gpr::R11),
    ("r12", Gpr::R12),
    ("r13", Gpr::R13),
    ("r14", Gpr::R14),
    ("r15", Gpr::R15),
];

const GENERAL_32: [(&str, Gpr); 8] = [
    ("eax", Gpr::Rax),
    ("ecx", Gpr::Rcx),
    ("edx", Gpr::Rdx),
    ("ebx", Gpr::Rbx),
    ("esp", Gpr::Rsp),
    ("ebp", Gpr::Rbp),
    ("esi", Gpr::Rsi),
    ("edi", Gpr::Rdi),
];

fn core(general: &[(&str, Gpr)], bits: u32) -> Vec<Register> {
    let kind = |name: &str| match (name.ends_with("sp") || name.ends_with("bp"), bits) {
        (true, _) => "data_ptr",
        (_, 64) => "int64",
        _ => "int32",
    };
    let mut all: Vec<Register> = general
        .iter()
        .map(|(name, gpr)| Register {
            kind: kind(name),
            index: *gpr as usize,
            ..register(name, bits, |of, index| of.cpu.general.get(index).copied()?.map(u128::from))
        })
        .collect();
    let ip = if bits == 64 { "rip" } else { "eip" };
    all.push(Register {
        kind: "code_ptr",
        ..register(ip, bits, |of, _| of.cpu.rip.map(u128::from))
    });
    all.push(Register {
        kind: "i386_eflags",
        ..register("eflags", 32, |of, _| of.cpu.rflags.map(u128::from))
    });
    for (name, index) in [("cs", 0), ("ss", 1), ("ds", 2), ("es", 3), ("fs", 4), ("gs", 5)] {
        all.push(Register {
            kind: "int32",
            index,
            ..register(name, 32, |of, index| segment(of, index).selector.map(u128::from))
        });
    }
    all.extend(numbered("st", "", 8).map(|(index, name)| Register {
        kind: "i387_ext",
        index,
        ..register(&name, 80, fpu::stack)
    }));
    all.extend(fpu::CONTROLS.iter().enumerate().map(|(index, name)| Register {
        kind: "int",
        group: Some("float"),
        index,
        ..register(name, 32, fpu::control)
    }));
    all
}

fn sse(count: usize) -> Vec<Register> {
    let mut all: Vec<Register> =
        numbered("xmm", "", count).map(|(index, name)| vector(&name, index, fpu::xmm)).collect();
    all.push(Register {
        kind: "i386_mxcsr",
        group: Some("vector"),
        ..register("mxcsr", 32, fpu::mxcsr)
    });
    all
}

/// How many vector registers there are.
fn vectors(width: Width) -> usize {
    if width == Width::Bits64 { 16 } else { 8 }
}

fn numbered(
    before: &'static str,
    behind: &'static str,
    count: usize,
) -> impl Iterator<Item = (usize, String)> {
    (0..count).map(move |index| (index, format!("{before}{index}{behind}")))
}

/// A register; the caller says to which feature it belongs.
pub(super) fn register(
    name: &str,
    bits: u32,
    value: fn(&Registers, usize) -> Option<u128>,
) -> Register {
    Register {
        name: name.to_owned(),
        bits,
        kind: if bits == 64 { "int64" } else { "int32" },
        group: None,
        feature: Feature::Core,
        value,
        index: 0,
    }
}

fn vector(name: &str, index: usize, value: fn(&Registers, usize) -> Option<u128>) -> Register {
    Register { kind: "vec128", index, ..register(name, 128, value) }
}

fn base(name: &str, index: usize) -> Register {
    Register { index, ..register(name, 64, |of, index| segment(of, index).base.map(u128::from)) }
}

fn system_call(name: &str, bits: u32) -> Register {
    Register {
        group: Some("system"),
        ..register(name, bits, |of, _| of.system_call.map(u128::from))
    }
}

/// Segment registers in gdb's order, then the tables'.
pub(super) fn segment(of: &Registers, index: usize) -> SegmentRegister {
    let SegmentRegisters { es, cs, ss, ds, fs, gs, ldt, tr } = of.cpu.segments;
    [cs, ss, ds, es, fs, gs, ldt, tr].get(index).copied().unwrap_or_default()
}
