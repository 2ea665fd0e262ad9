#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod guests;
mod judge;
mod memory;
mod reader;

use std::fs;

use vmss2core_guest::Facts;
use vmss2core_guest::windows::Completeness;
use vmss2core_lab::windows::{Doing, fixtures};
use vmss2core_mem::{Problem, Severity};

use self::guests::Guest;
use self::reader::{Dump, Kernel};
use crate::tests::support::{Scratch, write_to};
use crate::{DumpError, Silent, Summary};

/// A dump that was written, and the directory it is in.
struct Written {
    dump: Dump,
    summary: Summary,
    _scratch: Scratch,
}

fn write(guest: &Guest, format: &str, choices: &str) -> Result<Written, DumpError> {
    let scratch = Scratch::new();
    let summary = write_to(&scratch, format, &guest.checkpoint, &guest.facts, choices, &Silent)?;
    let dump = Dump::open(&scratch.path);
    assert_eq!((dump.len, dump.required()), (summary.len_bytes, summary.len_bytes));
    Ok(Written { dump, summary, _scratch: scratch })
}

fn written(guest: &Guest, format: &str) -> Written {
    write(guest, format, "").unwrap()
}

/// Problems that are worse than a note.
fn complaints(written: &Written) -> Vec<&Problem> {
    let problems = written.summary.problems.iter();
    problems.filter(|problem| problem.severity > Severity::Note).collect()
}

/// Instruction and stack pointer of a `CONTEXT`.
fn place(context: &[u8], wide: bool) -> (u64, u64) {
    let u64_at = |at: usize| u64::from_le_bytes(context[at..at + 8].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(context[at..at + 4].try_into().unwrap());
    if wide { (u64_at(0xf8), u64_at(0x98)) } else { (u32_at(0xb8).into(), u32_at(0xc4).into()) }
}

/// Every guest once in each format: to make them takes the most time.
#[test]
fn every_guest_is_written_as_a_debugger_wants_it() {
    for fixture in fixtures() {
        let guest = Guest::of(&fixture);
        for format in ["windbg", "windbg-bitmap"] {
            let written = written(&guest, format);
            let case = Case { guest: &guest, written: &written, what: fixture.name };
            case.header_says_what_the_guest_is();
            case.processors_have_their_registers();
            case.control_registers_are_those_of_the_kernel();
            case.debugger_data_is_plain();
            case.own_look_finds_nothing_wrong();
            let is_bitmap = format == "windbg-bitmap" || guest.machine().memory.len() > 42;
            assert_eq!(written.dump.dump_type(), if is_bitmap { 5 } else { 1 }, "{}", case.what);
            memory::assert_patched(&guest, &written.dump, case.what);
        }
    }
}

/// A guest and its dump.
struct Case<'a> {
    guest: &'a Guest,
    written: &'a Written,
    what: &'a str,
}

impl Case<'_> {
    fn header_says_what_the_guest_is(&self) {
        let (truth, dump, what) = (self.guest.truth(), &self.written.dump, self.what);
        let plain = |at: usize| {
            let value = u64::from_le_bytes(truth.kdbg.plain[at..at + 8].try_into().unwrap());
            if dump.wide { value } else { value & 0xffff_ffff }
        };
        assert_eq!(dump.wide, truth.paging.is_64_bit(), "{what}");
        assert_eq!((dump.u32(8), dump.u32(12)), (0xf, truth.build), "{what}");
        assert_eq!(dump.word(0x10, 0x10), truth.dtb, "{what}");
        assert_eq!(dump.word(0x18, 0x14), plain(0xc0), "{what}");
        assert_eq!(dump.word(0x20, 0x18), truth.symbols["PsLoadedModuleList"], "{what}");
        assert_eq!(dump.word(0x28, 0x1c), truth.symbols["PsActiveProcessHead"], "{what}");
        let machine = if dump.wide { 0x8664 } else { 0x14c };
        assert_eq!(dump.half(0x30, 0x20), machine, "{what}");
        let processors = u32::try_from(truth.cpus.len()).unwrap();
        assert_eq!(dump.half(0x34, 0x24), processors, "{what}");
        let [code, parameters @ ..] = truth.bugcheck.unwrap_or([0x161, 0, 0, 0, 0]);
        assert_eq!(u64::from(dump.half(0x38, 0x28)), code, "{what}");
        for (index, parameter) in (0..).zip(parameters) {
            assert_eq!(dump.word(0x40 + index * 8, 0x2c + index * 4), parameter, "{what}");
        }
        assert_eq!(dump.word(0x80, 0x60), truth.kdbg.va, "{what}");
        assert_eq!(dump.half(0xf00, 0x7d0), 0x8000_0003, "{what}");
        // Non-continuable, and no version of the debugger protocol: what dumps say that
        // Windows itself wrote.
        assert_eq!(dump.half(0xf04, 0x7d4), 1, "{what}");
        assert_eq!(dump.bytes(if dump.wide { 0x104d } else { 0x5d }, 1), [0], "{what}");
        let (instruction, _) = place(&dump.context(), dump.wide);
        assert_eq!(dump.word(0xf10, 0x7dc), instruction, "{what}");
        assert_eq!(dump.u64(if dump.wide { 0xfa8 } else { 0xfc0 }), truth.system_time, "{what}");
        let up_time = dump.u64(if dump.wide { 0x1030 } else { 0xfb8 });
        assert_eq!(up_time, truth.interrupt_time, "{what}");
        assert_eq!(dump.half(0x1040, 0xf94), truth.product, "{what}");
        assert_eq!(dump.half(0x1044, 0xf98), truth.suite, "{what}");
        if !dump.wide {
            let is_pae = truth.paging == vmss2core_lab::windows::Paging::Pae;
            assert_eq!(dump.bytes(0x5c, 1)[0], u8::from(is_pae), "{what}");
        }
        assert!(dump.comment().starts_with("vmss2core 0.1.0, "), "{}", dump.comment());
    }

    fn processors_have_their_registers(&self) {
        let (truth, dump) = (self.guest.truth(), &self.written.dump);
        let kernel = Kernel::of(truth);
        let len = if dump.wide { 0x4d0 } else { 0x2cc };
        let mut all = Vec::new();
        for (cpu, machine) in truth.cpus.iter().zip(&self.guest.machine().cpus) {
            let embedded = kernel.read(dump, cpu.embedded_context, len);
            let context = cpu.context.map(|va| kernel.read(dump, va, len));
            let context = context.as_ref().unwrap_or(&embedded);
            assert_eq!(context, &embedded, "{}", self.what);
            let is_windows = matches!(cpu.doing, Doing::Kernel | Doing::User);
            let want = match cpu.saved {
                Some(saved) => saved,
                None if is_windows => (machine.rip, machine.general[4]),
                None => (0, 0),
            };
            assert_eq!(place(context, dump.wide), want, "{}", self.what);
            let selector = usize::from(context[if dump.wide { 0x38 } else { 0xbc }]);
            if cpu.saved.is_none() && is_windows {
                assert_eq!(selector, usize::from(machine.segments[1].0), "{}", self.what);
            }
            all.push(context.clone());
        }
        let is_one = all.contains(&dump.context());
        assert!(is_one, "{}: registers of no processor in the header", self.what);
    }

    fn control_registers_are_those_of_the_kernel(&self) {
        let (truth, dump) = (self.guest.truth(), &self.written.dump);
        let kernel = Kernel::of(truth);
        for (cpu, machine) in truth.cpus.iter().zip(&self.guest.machine().cpus) {
            if !matches!(cpu.doing, Doing::Kernel | Doing::User) {
                continue;
            }
            let special = kernel.read(dump, cpu.special_registers, 0x54);
            let word = |wide: usize, narrow: usize| {
                let (at, len) = if dump.wide { (wide, 8) } else { (narrow, 4) };
                let bytes = special[at..at + len].iter().rev();
                bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
            };
            assert_eq!(word(0, 0), machine.control[0], "{}", self.what);
            assert_eq!(word(0x10, 8) & !0xfff | cpu.kernel_dtb & 0xfff, cpu.kernel_dtb);
            assert_eq!(word(0x18, 12), machine.control[4], "{}", self.what);
            let rest = kernel.read(dump, cpu.special_registers, 0x74);
            let base = if dump.wide { &rest[0x68..0x70] } else { &rest[0x34..0x38] };
            let base = base.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            assert_eq!(base, cpu.idt, "{}", self.what);
            if dump.wide {
                let gs = kernel.read(dump, cpu.special_registers + 0xa8, 8);
                assert_eq!(gs, cpu.kpcr.to_le_bytes(), "{}", self.what);
            }
        }
    }

    fn debugger_data_is_plain(&self) {
        let (truth, dump) = (self.guest.truth(), &self.written.dump);
        let kernel = Kernel::of(truth);
        let block = kernel.read(dump, truth.kdbg.va, truth.kdbg.plain.len());
        assert!(block == truth.kdbg.plain, "{}", self.what);
        if let Some(keys) = truth.kdbg.keys {
            assert_eq!(kernel.read(dump, keys.flag, 1), [0], "{}", self.what);
        }
    }

    /// A guest that lacks nothing gives no reason to complain.
    fn own_look_finds_nothing_wrong(&self) {
        let lacks_header = self.what.starts_with("header-");
        let lacks_something = lacks_header || has_foreign(self.guest);
        let complaints = complaints(self.written);
        assert_eq!(complaints.is_empty(), !lacks_something, "{}: {complaints:?}", self.what);
        let says = |part| complaints.iter().any(|problem| problem.message.contains(part));
        let is_in_transition = self.what == "header-in-transition";
        assert_eq!(says("in a page in transition"), is_in_transition, "{complaints:?}");
        assert_eq!(says("header is not in memory"), lacks_header && !is_in_transition);
    }
}

fn has_foreign(guest: &Guest) -> bool {
    let foreign = |doing| matches!(doing, Doing::Hypervisor | Doing::SecureKernel);
    guest.truth().cpus.iter().any(|cpu| foreign(cpu.doing))
}

#[test]
fn a_crashed_guest_keeps_what_windows_saved_unless_told_otherwise() {
    for name in ["crashed", "crashed-win7-pae", "crashed-winxp", "crashed-win2003"] {
        let guest = Guest::named(name);
        let saved = guest.truth().cpus[1].saved.unwrap();
        let dump = written(&guest, "windbg").dump;
        // The processor that crashed.
        assert_eq!(place(&dump.context(), dump.wide), saved, "{name}");
        let dump = write(&guest, "windbg", "live-context").unwrap().dump;
        let first = &guest.machine().cpus[0];
        assert_eq!(place(&dump.context(), dump.wide), (first.rip, first.general[4]), "{name}");
        assert_eq!(dump.half(0x38, 0x28), 0xd1, "{name}");
    }
}

#[test]
fn a_debugger_begins_in_the_kernel() {
    let guest = Guest::named("win7-pae-user");
    let dump = written(&guest, "windbg").dump;
    let kernel = &guest.machine().cpus[1];
    assert_eq!(place(&dump.context(), dump.wide), (kernel.rip, kernel.general[4]));
}

#[test]
fn what_is_asked_for_goes_into_the_header() {
    let guest = Guest::named("win10-19041-x64");
    let choices = "build=2600 bugcheck=dead";
    let dump = write(&guest, "windbg", choices).unwrap().dump;
    assert_eq!((dump.u32(12), dump.u32(0x38)), (2600, 0xdead));
    let crashed = write(&Guest::named("crashed"), "windbg", choices).unwrap().dump;
    assert_eq!(crashed.u32(0x38), 0xd1);
}

#[test]
fn an_unknown_build_is_the_originals_and_said() {
    for (name, build) in [("win10-19041-x64", 6000), ("winxp-x86", 2195)] {
        let mut guest = Guest::named(name);
        guest.change(|windows| windows.build = None);
        let written = written(&guest, "windbg");
        assert_eq!(written.dump.u32(12), build, "{name}");
        let said = &complaints(&written)[0].message;
        assert!(said.contains(&format!("the dump says {build}")), "{said}");
    }
}

#[test]
fn without_debugger_data_there_is_still_a_dump() {
    let mut guest = Guest::named("win10-19041-x64");
    guest.change(|windows| {
        (windows.kdbg, windows.completeness) = (None, Completeness::KernelOnly);
        windows.missing = vec!["no debugger data".to_owned()];
    });
    let written = written(&guest, "windbg");
    assert_eq!(written.dump.u64(0x80), 0);
    let complaints = complaints(&written);
    assert_eq!(complaints.len(), 1);
    assert_eq!(complaints[0].severity, Severity::Incomplete);
}

#[test]
fn what_is_no_windows_is_refused_with_the_reason() {
    let mut guest = Guest::named("win10-19041-x64");
    guest.change(|windows| windows.completeness = Completeness::PageTablesOnly);
    let text = refusal(&guest);
    assert!(text.starts_with("page tables of Windows were found, but not its kernel"), "{text}");
    guest.facts = Facts::default();
    let text = refusal(&guest);
    assert!(text.starts_with("no Windows kernel was found in the guest"), "{text}");
}

fn refusal(guest: &Guest) -> String {
    let scratch = Scratch::new();
    let facts = &guest.facts;
    let refused = write_to(&scratch, "windbg", &guest.checkpoint, facts, "", &Silent);
    assert_eq!(scratch.file_count(), 0);
    refused.unwrap_err().to_string()
}

#[test]
fn hints_name_the_symbols() {
    let guest = Guest::named("win10-19041-x64");
    let hints = written(&guest, "windbg").summary.hints;
    assert!(hints[0].starts_with("windbg -y srv*"), "{hints:?}");
    assert!(hints[1].contains(&guest.truth().pdb.guid), "{hints:?}");
}

#[test]
fn the_input_stays_as_it_is() {
    let guest = Guest::named("win10-19041-x64");
    let before = fs::read(guest.ram.path()).unwrap();
    written(&guest, "windbg");
    assert!(fs::read(guest.ram.path()).unwrap() == before);
}
