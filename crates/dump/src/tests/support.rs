//! Guests of a few pages, and a place to write them to.

use std::path::PathBuf;
use std::sync::Arc;

use vmss2core_guest::Facts;
use vmss2core_machine::x86::Gpr;
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Gpa, PAGE_SIZE, PhysicalMemory};

use crate::{
    ChoiceError, Chosen, DumpError, DumpFormat, Existing, Job, Observer, Silent, Summary, choices,
};

/// Memory that says where it is: each page begins with its own address, and one
/// page in eight is zero.
pub(crate) fn marked(start: u64, pages: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(pages * PAGE_SIZE).unwrap()];
    for (page, gpa) in bytes.chunks_mut(4096).zip((start..).step_by(4096)) {
        if (gpa / PAGE_SIZE) % 8 != 7 {
            page[..8].copy_from_slice(&(gpa | 1).to_le_bytes());
            page[4095] = 0xa5;
        }
    }
    bytes
}

pub(crate) fn map_marked(memory: &mut PhysicalMemory, start: u64, pages: u64) {
    let bytes = marked(start, pages);
    memory.map(Gpa(start), pages * PAGE_SIZE, Arc::new(bytes), 0).unwrap();
}

/// A guest with memory at the given places.
pub(crate) fn guest(parts: &[(u64, u64)]) -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    for (start, pages) in parts {
        map_marked(&mut checkpoint.memory, *start, *pages);
    }
    checkpoint
}

/// A vCPU whose every register has a value of its own.
pub(crate) fn vcpu(index: u32, efer: u64) -> Vcpu {
    let mut x86 = x86::Registers::default();
    for (number, gpr) in (1..).zip(Gpr::ALL) {
        let value = 0x1111_1111_1111_1111_u64.wrapping_mul(number);
        x86.set_gpr(gpr, value.wrapping_add(index.into()));
    }
    x86.rip = Some(0xffff_ffff_8100_0000 + u64::from(index));
    x86.rflags = Some(0x246);
    x86.segments.cs.selector = Some(0x10);
    x86.segments.cs.attributes = Some(0xa09b);
    x86.segments.cs.limit = Some(u32::MAX);
    x86.segments.ss.selector = Some(0x18);
    x86.segments.fs.base = Some(0x7f00_0000_1000);
    x86.segments.gs.base = Some(0xffff_8880_0000_2000);
    x86.control.cr0 = Some(0x8005_0033);
    x86.control.cr3 = Some(0x1000);
    x86.control.cr4 = Some(if efer == 0 { 0 } else { 0x20 });
    x86.msrs.efer = Some(efer);
    x86.msrs.kernel_gs_base = Some(0xffff_8880_0000_3000);
    Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
}

pub(crate) const LONG_MODE: u64 = 0xd01;

pub(crate) fn x86_of(vcpu: &mut Vcpu) -> &mut x86::Registers {
    match &mut vcpu.registers {
        Registers::X86(x86) => x86,
        _ => panic!("not an x86 processor"),
    }
}

/// A directory that goes away, with the path of an output in it.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.core");
        Self { dir, path }
    }

    pub(crate) fn file_count(&self) -> usize {
        self.dir.path().read_dir().unwrap().count()
    }
}

/// The choices of a text among those of `format`, such as `vcpu=1 all-threads`.
pub(crate) fn chosen(format: &dyn DumpFormat, text: &str) -> Result<Chosen, ChoiceError> {
    let values = text.split_whitespace().map(|word| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let choice = choices().into_iter().find(|choice| choice.name == name).unwrap();
        (choice.name, choice.parse(value).unwrap())
    });
    Chosen::of(format, values)
}

/// Writes `checkpoint` and returns the file's bytes.
pub(crate) fn write(
    format: &str,
    checkpoint: &Checkpoint,
    facts: &Facts,
    choices: &str,
) -> Result<(Vec<u8>, Summary), DumpError> {
    let scratch = Scratch::new();
    let summary = write_to(&scratch, format, checkpoint, facts, choices, &Silent)?;
    Ok((std::fs::read(&scratch.path).unwrap(), summary))
}

pub(crate) fn write_to(
    scratch: &Scratch,
    format: &str,
    checkpoint: &Checkpoint,
    facts: &Facts,
    choices: &str,
    observer: &dyn Observer,
) -> Result<Summary, DumpError> {
    let format = crate::format(format).unwrap();
    let chosen = &chosen(format, choices)?;
    let job = Job { chosen, observer, ..job(scratch, checkpoint, &facts) };
    format.write(&job)
}

/// To write a file with nothing chosen.
pub(crate) fn job<'a>(
    scratch: &'a Scratch,
    checkpoint: &'a Checkpoint,
    facts: &'a &Facts,
) -> Job<'a> {
    Job {
        checkpoint,
        facts,
        path: &scratch.path,
        existing: Existing::Stays,
        chosen: Chosen::NOTHING,
        observer: &Silent,
    }
}
