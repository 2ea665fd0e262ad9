//! Dumps in the two readers of them that there are without Windows: kdmp-parser,
//! the crate and the package of that name for Python, which share no code.
//!
//! Both know 64-bit dumps only, and translate through four levels.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use kdmp_parser::gxa::{Gpa, Gva};
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::phys;
use kdmp_parser::structs::Context;
use vmss2core_lab::judges;
use vmss2core_lab::windows::{Paging, Residence, fixtures};

use super::guests::Guest;
use super::memory::{assert_pages, patched};
use super::reader::{Dump, Kernel};
use super::{Written, place, written};

/// Every 64-bit guest in both forms, each compared page by page.
#[test]
fn judge_kdmp_parser_reads_every_64_bit_dump() {
    let mut all: Vec<(String, Guest, Written)> = Vec::new();
    let mut lines = String::new();
    for fixture in fixtures().iter().filter(|fixture| fixture.paging.is_64_bit()) {
        for format in ["windbg", "windbg-bitmap"] {
            let guest = Guest::of(fixture);
            let written = written(&guest, format);
            let what = format!("{} as {format}", fixture.name);
            in_the_crate(&guest, &written, &what);
            writeln!(lines, "{}", request(&guest, &written)).unwrap();
            all.push((what, guest, written));
        }
    }
    let seen = in_python(&lines);
    assert_eq!(seen.len(), all.len(), "{seen:?}");
    for ((what, guest, written), seen) in all.iter().zip(&seen) {
        agrees(guest, &written.dump, seen, what);
    }
}

fn in_the_crate(guest: &Guest, written: &Written, what: &str) {
    let (truth, dump) = (guest.truth(), &written.dump);
    let parser = KernelDumpParser::new(&written.summary.path)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let header = parser.headers();
    assert_eq!(header.directory_table_base, truth.dtb, "{what}");
    let [code, parameters @ ..] = truth.bugcheck.unwrap_or([0x161, 0, 0, 0, 0]);
    assert_eq!(u64::from(header.bug_check_code), code, "{what}");
    assert_eq!(header.bug_check_code_parameters, parameters, "{what}");
    assert_eq!(header.number_processors as usize, truth.cpus.len(), "{what}");
    assert_eq!(header.kd_debugger_data_block, truth.kdbg.va, "{what}");
    let context = parser.context_record();
    assert_eq!((context.rip, context.rsp), place(&dump.context(), true), "{what}");
    has_the_registers_of_its_processor(guest, context, what);
    let reader = phys::Reader::new(&parser);
    assert_pages(guest, &patched(guest), what, |gpa, page| {
        reader.read_exact(Gpa::new(gpa), page).unwrap_or_else(|error| panic!("{what}: {error}"));
    });
    assert_eq!(parser.physmem().len() as u64, guest.machine().len_bytes() / 4096, "{what}");
    if truth.paging == Paging::FourLevel {
        modules_are_found(guest, &parser, what);
    }
}

/// All of them, vectors too, if the context is that of a processor as it was.
fn has_the_registers_of_its_processor(guest: &Guest, context: &Context, what: &str) {
    let mut cpus = guest.machine().cpus.iter();
    let place = (context.rip, context.rsp);
    let Some(cpu) = cpus.find(|cpu| (cpu.rip, cpu.general[4]) == place) else { return };
    let general = [context.rax, context.rcx, context.rdx, context.rbx, context.rsp, context.rbp];
    assert_eq!(general, cpu.general[..6], "{what}");
    let selectors = cpu.segments.map(|(selector, _)| selector);
    let shown = [context.seg_es, context.seg_cs, context.seg_ss, context.seg_ds];
    assert_eq!(shown, selectors[..4], "{what}");
    let image = &cpu.vectors.as_ref().unwrap().fxsave;
    let number = |at: usize| u128::from_le_bytes(image[at..at + 16].try_into().unwrap());
    assert_eq!((context.mxcsr, context.control_word), (0x1f80, 0x37f), "{what}");
    let (stack, xmm) = (context.float_registers, context.xmm_registers);
    assert_eq!(stack, std::array::from_fn(|index| number(32 + 16 * index)), "{what}");
    assert_eq!(xmm, std::array::from_fn(|index| number(160 + 16 * index)), "{what}");
    // Control, integers, segments, floating point.
    assert_eq!(context.context_flags & 0xf, 0xf, "{what}");
}

/// By way of the header, the list of modules and the page tables.
fn modules_are_found(guest: &Guest, parser: &KernelDumpParser, what: &str) {
    let truth = guest.truth();
    let seen: Vec<(u64, u64)> = parser
        .kernel_modules()
        .map(|(range, _)| (u64::from(range.start), u64::from(range.end)))
        .collect();
    for module in &truth.modules {
        let range = (module.base, module.base + u64::from(module.size));
        assert!(seen.contains(&range), "{what}: no {} among {seen:x?}", module.name);
    }
    let base = Gva::new(truth.kernel.base);
    let mut magic = [0; 2];
    let is_there = truth.mappings.iter().any(|mapping| {
        (mapping.root, mapping.va) == (truth.dtb, truth.kernel.base)
            && matches!(mapping.residence, Residence::Present | Residence::Transition)
    });
    let read = kdmp_parser::virt::Reader::new(parser).read_exact(base, &mut magic);
    assert_eq!(read.is_ok() && magic == *b"MZ", is_there, "{what}");
}

/// The questions to Python.
fn request(guest: &Guest, written: &Written) -> String {
    let ranges = guest.machine().memory.iter();
    let ranges: Vec<String> =
        ranges.map(|range| format!("[{},{},{}]", range.gpa, range.len, range.offset)).collect();
    let changed = patched(guest);
    let changed: Vec<String> =
        changed.iter().map(|range| format!("[{},{}]", range.start, range.end)).collect();
    format!(
        "[{:?},{:?},[{}],[{}],{}]",
        written.summary.path,
        guest.ram.path(),
        ranges.join(","),
        changed.join(","),
        guest.truth().kdbg.va
    )
}

fn in_python(lines: &str) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/windbg/tests/kdmp_pages.py");
    let mut command = judges::python().unwrap().command();
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{seen}");
    // It also says when it cannot translate.
    seen.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

/// The first bytes of the debugger data, as far as they lie in its first page.
fn probe(guest: &Guest, dump: &Dump) -> String {
    let va = guest.truth().kdbg.va;
    let len = usize::try_from(4096 - va % 4096).unwrap().min(64);
    let bytes = dump.physical(Kernel::of(guest.truth()).physical(va), len);
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Compares what Python saw with the truth.
fn agrees(guest: &Guest, dump: &Dump, seen: &str, what: &str) {
    let truth = guest.truth();
    let (rip, rsp) = place(&dump.context(), true);
    let code = truth.bugcheck.map_or(0x161, |bugcheck| bugcheck[0]);
    let hex = probe(guest, dump);
    let mut wanted = vec![
        format!("\"type\": {}", dump.dump_type()),
        format!("\"dtb\": {}", truth.dtb),
        format!("\"rip\": {rip}"),
        format!("\"rsp\": {rsp}"),
        format!("\"bugcheck\": {code}"),
        "\"missing\": 0".to_owned(),
        "\"extra\": 0".to_owned(),
        "\"differ\": []".to_owned(),
    ];
    if truth.paging == Paging::FourLevel {
        wanted.push(format!("\"probe\": \"{hex}\""));
    }
    for wanted in wanted {
        assert!(seen.contains(&wanted), "{what}: {wanted} not in {seen}");
    }
    let compared = seen.split("\"compared\": ").nth(1).and_then(|rest| rest.split(',').next());
    assert!(compared.unwrap().parse::<u64>().unwrap() > 1000, "{what}: {seen}");
}
