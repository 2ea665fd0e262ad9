//! The registers of each feature. Orders are those of gdb's own descriptions
//! (`gdb/features/i386/*.xml`), which QEMU and gdbserver keep too.

use super::{FpuState, Gpr, Registers, SegmentRegister, SegmentRegisters};
use crate::arch::table::{Feature, RegisterDef, Scope, Table, Width};
use crate::arch::{self, Getter};

mod fpu;
mod system;

/// A group of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// General registers, selectors and x87: every table has it.
    Core,
    /// XMM registers; gdb's `gcore` needs them.
    Sse,
    /// Upper halves of YMM registers.
    Avx,
    /// Bases of FS and GS.
    Segments,
    /// Number of the system call; what makes gdb take the target for Linux.
    Linux,
    /// Control, debug, descriptor table and model-specific registers.
    System,
}

/// The table that fits these processors or threads. SSE is there even where they lack it:
/// gdb wants it, and says "unavailable".
pub(super) fn table(width: Width, scope: Scope, examples: &[&arch::Registers]) -> Table {
    let mut groups = match scope {
        Scope::Processors => vec![Group::Core, Group::Sse, Group::Segments],
        Scope::Programs => vec![Group::Core, Group::Sse, Group::Linux, Group::Segments],
    };
    let has_avx = |of: &&arch::Registers| {
        of.x86().and_then(|x86| x86.fpu.as_ref()).is_some_and(FpuState::has_avx)
    };
    if examples.iter().any(has_avx) {
        groups.push(Group::Avx);
    }
    if scope == Scope::Processors {
        groups.push(Group::System);
    }
    of_groups(width, &groups)
}

fn of_groups(width: Width, groups: &[Group]) -> Table {
    let feature = |group: &Group| Feature {
        name: name(*group),
        types: types(*group),
        registers: with_slots(registers(width, *group), width),
    };
    // gdb refuses a feature that has none of its registers, as bases of segments have
    // none in 32-bit guests.
    let features = groups.iter().map(feature).filter(|feature| !feature.registers.is_empty());
    Table {
        architecture: match width {
            Width::Bits16 => "i8086",
            Width::Bits32 => "i386",
            Width::Bits64 => "i386:x86-64",
        },
        width,
        system: groups.contains(&Group::Linux).then_some("GNU/Linux"),
        features: features.collect(),
    }
}

/// `user_regs_struct` of Linux for 64-bit programs.
const USER_64: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs",
    "gs",
];

/// The table for 32-bit programs.
const USER_32: [&str; 17] = [
    "ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs", "gs", "orig_eax", "eip",
    "cs", "eflags", "esp", "ss",
];

fn with_slots(mut registers: Vec<RegisterDef>, width: Width) -> Vec<RegisterDef> {
    let names: &[&str] = if width == Width::Bits64 { &USER_64 } else { &USER_32 };
    for register in &mut registers {
        register.slot = names.iter().position(|name| *name == register.name);
    }
    registers
}

/// The name by which gdb knows a group.
fn name(group: Group) -> &'static str {
    match group {
        Group::Core => "org.gnu.gdb.i386.core",
        Group::Sse => "org.gnu.gdb.i386.sse",
        Group::Avx => "org.gnu.gdb.i386.avx",
        Group::Segments => "org.gnu.gdb.i386.segments",
        Group::Linux => "org.gnu.gdb.i386.linux",
        Group::System => "vmss2core.i386.system",
    }
}

/// Types that registers of a group need.
fn types(group: Group) -> String {
    match group {
        Group::Core => FLAGS.to_owned(),
        Group::Sse => SSE_TYPES.to_owned(),
        Group::System => system::types(),
        _ => String::new(),
    }
}

fn registers(width: Width, group: Group) -> Vec<RegisterDef> {
    match (group, width) {
        (Group::Core, Width::Bits64) => core(&GENERAL_64, 64),
        (Group::Core, _) => core(&GENERAL_32, 32),
        (Group::Sse, _) => sse(vectors(width)),
        (Group::Avx, _) => numbered("ymm", "h", vectors(width))
            .map(|(index, name)| RegisterDef {
                kind: "uint128",
                ..vector(&name, index, fpu::ymm_high)
            })
            .collect(),
        // gdb knows these of 64-bit code only; else they are with the system's.
        (Group::Segments, Width::Bits64) => vec![base("fs_base", 4), base("gs_base", 5)],
        (Group::Segments, _) => Vec::new(),
        (Group::Linux, Width::Bits64) => vec![system_call("orig_rax", 64)],
        (Group::Linux, _) => vec![system_call("orig_eax", 32)],
        (Group::System, _) => system::registers(width),
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

fn core(general: &[(&str, Gpr)], bits: u32) -> Vec<RegisterDef> {
    let kind = |name: &str| match (name.ends_with("sp") || name.ends_with("bp"), bits) {
        (true, _) => "data_ptr",
        (_, 64) => "int64",
        _ => "int32",
    };
    let mut all: Vec<RegisterDef> = general
        .iter()
        .map(|(name, gpr)| RegisterDef {
            kind: kind(name),
            index: *gpr as usize,
            is_first: kind(name) == "data_ptr",
            ..register(name, bits, |of, index| of.general.get(index).copied()?.map(u128::from))
        })
        .collect();
    let ip = if bits == 64 { "rip" } else { "eip" };
    all.push(RegisterDef {
        kind: "code_ptr",
        is_first: true,
        ..register(ip, bits, |of, _| of.rip.map(u128::from))
    });
    all.push(RegisterDef {
        kind: "i386_eflags",
        ..register("eflags", 32, |of, _| of.rflags.map(u128::from))
    });
    for (name, index) in [("cs", 0), ("ss", 1), ("ds", 2), ("es", 3), ("fs", 4), ("gs", 5)] {
        all.push(RegisterDef {
            kind: "int32",
            index,
            ..register(name, 32, |of, index| segment(of, index).selector.map(u128::from))
        });
    }
    all.extend(numbered("st", "", 8).map(|(index, name)| RegisterDef {
        kind: "i387_ext",
        index,
        ..register(&name, 80, fpu::stack)
    }));
    all.extend(fpu::CONTROLS.iter().enumerate().map(|(index, name)| RegisterDef {
        kind: "int",
        group: Some("float"),
        index,
        ..register(name, 32, fpu::control)
    }));
    all
}

fn sse(count: usize) -> Vec<RegisterDef> {
    let mut all: Vec<RegisterDef> =
        numbered("xmm", "", count).map(|(index, name)| vector(&name, index, fpu::xmm)).collect();
    all.push(RegisterDef {
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
fn register(name: &str, bits: u32, value: fn(&Registers, usize) -> Option<u128>) -> RegisterDef {
    RegisterDef {
        name: name.to_owned(),
        bits,
        kind: if bits == 64 { "int64" } else { "int32" },
        group: None,
        is_first: false,
        slot: None,
        getter: Getter::X86(value),
        index: 0,
    }
}

fn vector(name: &str, index: usize, value: fn(&Registers, usize) -> Option<u128>) -> RegisterDef {
    RegisterDef { kind: "vec128", index, ..register(name, 128, value) }
}

fn base(name: &str, index: usize) -> RegisterDef {
    RegisterDef { index, ..register(name, 64, |of, index| segment(of, index).base.map(u128::from)) }
}

fn system_call(name: &str, bits: u32) -> RegisterDef {
    RegisterDef {
        group: Some("system"),
        ..register(name, bits, |of, _| of.system_call.map(u128::from))
    }
}

/// Segment registers in gdb's order, then the tables'.
fn segment(of: &Registers, index: usize) -> SegmentRegister {
    let SegmentRegisters { es, cs, ss, ds, fs, gs, ldt, tr } = of.segments;
    [cs, ss, ds, es, fs, gs, ldt, tr].get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Group; 6] =
        [Group::Core, Group::Sse, Group::Linux, Group::Segments, Group::Avx, Group::System];

    fn number_of(table: &Table, name: &str) -> Option<usize> {
        table.registers().position(|register| register.name == name)
    }

    #[test]
    fn numbers_are_those_of_gdb() {
        let wide = of_groups(Width::Bits64, &ALL);
        for (name, number) in
            [("rax", 0), ("rsp", 7), ("rip", 16), ("gs", 23), ("st0", 24), ("xmm0", 40)]
        {
            assert_eq!(number_of(&wide, name), Some(number), "{name}");
        }
        let narrow = of_groups(Width::Bits32, &[Group::Core, Group::Sse]);
        for (name, number) in [("eax", 0), ("esp", 4), ("eip", 8), ("xmm0", 32), ("mxcsr", 40)] {
            assert_eq!(number_of(&narrow, name), Some(number), "{name}");
        }
    }

    #[test]
    fn no_feature_is_empty() {
        let has_segments = |width| {
            let table = of_groups(width, &ALL);
            table.features.iter().any(|feature| feature.name == "org.gnu.gdb.i386.segments")
        };
        assert!(!has_segments(Width::Bits32));
        assert!(has_segments(Width::Bits64));
    }

    #[test]
    fn values_are_little_endian_or_missing() {
        let wide = of_groups(Width::Bits64, &ALL);
        let mut x86 = Registers { rflags: Some(0x246), ..Registers::default() };
        x86.set_gpr(Gpr::Rbx, 0x1122);
        let registers = arch::Registers::X86(Box::new(x86));
        let bytes = |name: &str| {
            let register = wide.registers().find(|register| register.name == name).unwrap();
            register.bytes(&registers)
        };
        assert_eq!(bytes("rbx"), Some(vec![0x22, 0x11, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes("eflags"), Some(vec![0x46, 2, 0, 0]));
        assert_eq!(bytes("xmm3"), None);
        assert_eq!(bytes("cr3"), None);
        let other = arch::Registers::Arm64(Box::default());
        assert!(wide.registers().all(|register| register.value(&other).is_none()));
    }

    #[test]
    fn names_differ_and_sizes_are_whole_bytes() {
        for width in [Width::Bits16, Width::Bits32, Width::Bits64] {
            let table = of_groups(width, &ALL);
            let mut names: Vec<_> = table.registers().map(|register| &register.name).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(table.registers().all(|r| r.bits % 8 == 0 && r.bits <= 128));
            let first: Vec<_> = table.registers().filter(|r| r.is_first).collect();
            assert_eq!(first.len(), 3, "program counter, stack and frame pointer");
        }
    }

    #[test]
    fn upper_halves_are_there_where_a_thread_has_room_for_them() {
        let number = |state: Option<FpuState>| {
            let x86 = Registers { fpu: state, ..Registers::default() };
            let table = table(Width::Bits64, Scope::Programs, &[&x86.into()]);
            number_of(&table, "ymm0h")
        };
        assert_eq!(number(None), None);
        assert_eq!(number(Some(FpuState::Xsave(vec![0; 576]))), None);
        assert!(number(Some(FpuState::Xsave(vec![0; 832]))).is_some());
        let narrow = table(Width::Bits32, Scope::Programs, &[]);
        assert_eq!(number_of(&narrow, "orig_eax"), Some(41));
    }

    #[test]
    fn what_is_forgotten_is_missing_and_not_zero() {
        let mut x86 = Registers::default();
        x86.set_gpr(Gpr::Rbx, 7);
        x86.set_gpr(Gpr::Rbp, 8);
        let registers = arch::Registers::from(x86).without(&["rbx"]);
        let x86 = registers.x86().unwrap();
        assert_eq!((x86.gpr(Gpr::Rbx), x86.gpr(Gpr::Rbp)), (None, Some(8)));
    }

    /// Every word has a register, and none has two.
    #[test]
    fn the_registers_of_a_core_fill_their_structure() {
        for (width, want) in [(Width::Bits64, 27), (Width::Bits32, 17)] {
            let table = table(width, Scope::Programs, &[]);
            let mut slots: Vec<usize> = table.registers().filter_map(|def| def.slot).collect();
            slots.sort_unstable();
            assert!(slots.into_iter().eq(0..want), "{width:?}");
        }
        let x86 = Registers { rip: Some(7), system_call: Some(u64::MAX), ..Registers::default() };
        let bytes = table(Width::Bits32, Scope::Programs, &[]).user_registers(&x86.into());
        assert_eq!(&bytes[44..52], [0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0], "orig_eax, eip");
    }
}
