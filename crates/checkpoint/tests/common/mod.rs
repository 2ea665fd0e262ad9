//! Opens what the lab wrote and compares it with the machine that went in.

#![allow(dead_code, reason = "each test program uses a part")]

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use vmss2core_checkpoint::{OpenError, OpenOptions, Opened, open};
use vmss2core_lab::foreign::ForeignReader;
use vmss2core_lab::vmware::{Cpu, Known, Machine};
use vmss2core_machine::x86::{FpuState, SegmentRegister};
use vmss2core_machine::{Checkpoint, Registers, x86};
use vmss2core_mem::Gpa;

/// Opens `inputs`, temporary files allowed in `dir`.
pub(crate) fn open_in(dir: &Path, inputs: &[PathBuf]) -> Result<Opened, OpenError> {
    open(inputs, &OpenOptions { spill_dir: Some(dir.to_owned()), ..OpenOptions::default() })
}

/// The message with all its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The problems, one per line.
pub(crate) fn problems(checkpoint: &Checkpoint) -> String {
    let lines: Vec<String> = checkpoint.about.problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Every page of the machine is there with its bytes, but for `absent`, and
/// nothing else is.
pub(crate) fn assert_memory(checkpoint: &Checkpoint, machine: &Machine, absent: &[(u64, u64)]) {
    let mut expected = 0;
    // Whole megabytes where nothing is missing: a real guest has many pages.
    let step = if absent.is_empty() { 1 << 20 } else { 4096 };
    for range in &machine.memory {
        for at in (0..range.len).step_by(step) {
            let gpa = range.gpa + at;
            if absent.iter().any(|(start, len)| (*start..start + len).contains(&gpa)) {
                assert!(!checkpoint.memory.contains(Gpa(gpa), 4096), "{gpa:#x} should be absent");
                continue;
            }
            let len = usize::try_from((range.len - at).min(step as u64)).unwrap();
            let (mut got, mut want) = (vec![0; len], vec![0; len]);
            let read = checkpoint.memory.read(Gpa(gpa), &mut got);
            read.unwrap_or_else(|error| panic!("{gpa:#x}: {}", chain(&error)));
            machine.ram.read(range.offset + at, &mut want).unwrap();
            assert_same_pages(gpa, &got, &want);
            expected += len as u64;
        }
    }
    assert_eq!(checkpoint.memory.len_bytes(), expected, "{:?}", checkpoint.memory.ranges());
}

fn assert_same_pages(gpa: u64, got: &[u8], want: &[u8]) {
    for (page, (got, want)) in got.chunks(4096).zip(want.chunks(4096)).enumerate() {
        assert!(got == want, "page at {:#x} differs", gpa + page as u64 * 4096);
    }
}

/// Whatever page can be read of the machine's ranges has its bytes; returns how
/// many cannot.
pub(crate) fn wrong_or_missing_pages(checkpoint: &Checkpoint, machine: &Machine) -> (usize, usize) {
    let (mut wrong, mut missing) = (0, 0);
    for range in &machine.memory {
        for at in (0..range.len).step_by(4096) {
            let (mut page, mut want) = ([0; 4096], [0; 4096]);
            machine.ram.read(range.offset + at, &mut want).unwrap();
            match checkpoint.memory.read(Gpa(range.gpa + at), &mut page) {
                Ok(()) => wrong += usize::from(page != want),
                Err(_) => missing += 1,
            }
        }
    }
    (wrong, missing)
}

/// The registers that the source is known to hold equal the machine's, and
/// what it lacks is not made up.
pub(crate) fn assert_registers(checkpoint: &Checkpoint, machine: &Machine, known: Known) {
    if known == Known::Nothing {
        assert!(checkpoint.vcpus.is_empty(), "{:?}", checkpoint.vcpus);
        return;
    }
    assert_eq!(checkpoint.vcpus.len(), machine.cpus.len());
    for (index, (vcpu, cpu)) in checkpoint.vcpus.iter().zip(&machine.cpus).enumerate() {
        assert_eq!(vcpu.index as usize, index);
        match &vcpu.registers {
            Registers::Arm64(arm) => {
                assert_eq!(known, Known::Arm64);
                assert_eq!(arm.system.ttbr1_el1, Some(cpu.control[3]));
            }
            Registers::X86(x86) => {
                if matches!(known, Known::All | Known::Bare | Known::Year2012 | Known::Narrow) {
                    assert_eq!(vcpu.halted, Some(cpu.halted));
                }
                assert_x86(x86, cpu, known, index);
            }
            other => panic!("an unknown processor: {other:?}"),
        }
    }
}

fn assert_x86(got: &x86::Registers, cpu: &Cpu, known: Known, index: usize) {
    assert_general(got, cpu, known, index);
    assert_eq!(got.rip, Some(cpu.rip), "rip");
    assert_eq!(got.rflags, Some(u64::from(cpu.rflags)), "rflags");
    assert_control(got, cpu, known);
    assert_segments(got, cpu, known);
    assert_eq!(got.idtr.base, Some(cpu.idtr.base), "idtr");
    if known == Known::GuestDump {
        assert_eq!(got.idtr.limit, None);
        assert_eq!(got.gdtr.base, None);
    } else {
        assert_eq!(got.idtr.limit, Some(cpu.idtr.limit), "idtr limit");
        assert_eq!(got.gdtr.base, Some(cpu.gdtr.base), "gdtr");
        assert_eq!(got.gdtr.limit, Some(cpu.gdtr.limit), "gdtr limit");
    }
    assert_debug(got, cpu, known);
    assert_vectors(got, cpu, known);
    if matches!(known, Known::All | Known::Year2012) {
        assert_msrs(got, cpu);
    }
}

fn assert_msrs(got: &x86::Registers, cpu: &Cpu) {
    let (got, want) = (&got.msrs, &cpu.msrs);
    assert_eq!(got.efer, want.efer);
    assert_eq!([got.star, got.lstar], [want.star, want.lstar]);
    assert_eq!([got.cstar, got.sfmask], [want.cstar, want.sfmask]);
    assert_eq!(got.kernel_gs_base, want.kernel_gs_base);
    assert_eq!([got.sysenter_cs, got.sysenter_esp], [want.sysenter_cs, want.sysenter_esp]);
    assert_eq!(got.sysenter_eip, want.sysenter_eip);
    assert_eq!([got.pat, got.xcr0, got.tsc_aux], [want.pat, want.xcr0, want.tsc_aux]);
}

/// The FXSAVE image, and the components at the places that Intel gives them.
fn assert_vectors(got: &x86::Registers, cpu: &Cpu, known: Known) {
    let is_known = matches!(known, Known::All | Known::Year2012);
    let Some(want) = cpu.vectors.as_ref().filter(|_| is_known) else {
        assert_eq!(got.fpu, None);
        return;
    };
    let fpu = got.fpu.as_ref().expect("the state of the FPU");
    assert_eq!(fpu.fxsave(), Some(want.fxsave.as_slice()));
    if known == Known::Year2012 || want.components.is_empty() {
        assert!(matches!(fpu, FpuState::Fxsave(_)), "{fpu:?}");
        return;
    }
    let FpuState::Xsave(area) = fpu else { panic!("{fpu:?}") };
    for (number, bytes) in &want.components {
        let at = [(2, 576), (9, 2688)].iter().find(|(n, _)| n == number).unwrap().1;
        assert_eq!(&area[at..at + bytes.len()], bytes, "component {number}");
        assert_eq!(area[512 + *number as usize / 8] >> (number % 8) & 1, 1);
    }
}

fn assert_general(got: &x86::Registers, cpu: &Cpu, known: Known, index: usize) {
    for (number, (got, want)) in got.general.iter().zip(cpu.general).enumerate() {
        let twice = known == Known::WithoutFirstRbx && (index, number) == (0, 3);
        if known == Known::Narrow && number >= 8 {
            assert!(matches!(got, None | Some(0)), "general {number} of a 32-bit processor");
        } else if !twice {
            assert_eq!(*got, Some(want), "general {number} of {index}");
        }
    }
}

fn assert_control(got: &x86::Registers, cpu: &Cpu, known: Known) {
    let [cr0, _, cr2, cr3, cr4] = cpu.control;
    let control = &got.control;
    let read = [control.cr0, control.cr2, control.cr3, control.cr4];
    if known == Known::WithoutControl {
        assert_eq!(read, [None; 4]);
        return;
    }
    assert_eq!(read, [Some(cr0), Some(cr2), Some(cr3), Some(cr4)]);
    if matches!(known, Known::All | Known::Bare | Known::Year2012) {
        assert_eq!(control.cr8, Some(cpu.task_priority));
    }
}

fn assert_segments(got: &x86::Registers, cpu: &Cpu, known: Known) {
    let s = &got.segments;
    for (number, got) in [s.es, s.cs, s.ss, s.ds, s.fs, s.gs, s.ldt, s.tr].iter().enumerate() {
        let (selector, base) = cpu.segments[number];
        if known == Known::GuestDump && number > 5 {
            assert_eq!((got.selector, got.base), (None, None), "segment {number}");
            continue;
        }
        assert_eq!(got.selector, Some(selector), "selector {number}");
        match known {
            Known::Narrow => assert_eq!(got.base, None, "base {number}"),
            Known::GuestDump if !(4..6).contains(&number) => {}
            _ => assert_eq!(got.base, Some(base), "base {number}"),
        }
        assert_hidden(got, cpu, number, known);
    }
}

fn assert_hidden(got: &SegmentRegister, cpu: &Cpu, number: usize, known: Known) {
    let is_known = matches!(known, Known::All | Known::Year2012);
    let want = cpu.hidden[number].filter(|_| is_known);
    assert_eq!(got.limit, want.map(|hidden| hidden.limit), "limit {number}");
    let attributes = want.map(|hidden| hidden.rights >> 8);
    assert_eq!(got.attributes, attributes, "attributes {number}");
}

fn assert_debug(got: &x86::Registers, cpu: &Cpu, known: Known) {
    for (number, got) in got.debug.iter().enumerate() {
        match known {
            Known::GuestDump => assert_eq!(*got, None),
            _ => assert_eq!(*got, Some(cpu.debug[number]), "dr{number}"),
        }
    }
}

/// Each of these readers finds the same memory as ours in the checkpoint that
/// `file` belongs to, page by page.
pub(crate) fn assert_foreign(file: &Path, readers: &[ForeignReader]) {
    let opened = open_in(file.parent().unwrap(), &[file.to_owned()]);
    let checkpoint = opened.unwrap_or_else(|error| panic!("{}", chain(&error))).checkpoint;
    for reader in readers {
        compare(&checkpoint, *reader, file);
    }
}

fn compare(checkpoint: &Checkpoint, reader: ForeignReader, file: &Path) {
    let mut foreign = reader.open(file).unwrap();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while let Some((start, len)) = foreign.next_range().unwrap() {
        ranges.push(start..start + len);
        for at in (0..len).step_by(1 << 20) {
            let size = usize::try_from((len - at).min(1 << 20)).unwrap();
            foreign.read(&mut theirs[..size]).unwrap();
            checkpoint.memory.read(Gpa(start + at), &mut ours[..size]).unwrap();
            assert_same_pages(start + at, &theirs[..size], &ours[..size]);
        }
    }
    assert_eq!(joined(ranges), checkpoint.memory.ranges(), "{reader:?} knows other ranges");
}

/// Sorted, those that touch as one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}
