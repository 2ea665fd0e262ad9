//! What is asked of a Windows kernel is answered as it was put into the guest:
//! for every fixture, by the guest's own data and by published tables alike.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::sync::Arc;

use vmss2core_guest::windows::{
    Completeness, FrameKind, Kdbg, Kernel, KernelImage, LayoutSource, PdbIdentity, Process,
    SharedData, StackEnd, WindowsCpu, WindowsFacts, bugcheck_name,
};
use vmss2core_lab::vmware::Contents;
use vmss2core_lab::windows::{
    Doing, Fixture, MiniNt, Paging, Residence, Trap, Truth, fixture, fixtures, make,
};
use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::{Gpr, modes};
use vmss2core_machine::{Checkpoint, Registers, Vcpu, x86};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, ReadAt};

fn made(name: &str) -> MiniNt {
    make(&fixture(name).unwrap()).unwrap()
}

struct Ram(Contents);

impl ReadAt for Ram {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, buf).map_err(std::io::Error::other)
    }
}

/// Memory and registers of a guest.
fn checkpoint(guest: &MiniNt) -> Checkpoint {
    let contents = &guest.machine.ram;
    let ram: Arc<dyn ReadAt> = match contents.bytes() {
        Ok(bytes) => Arc::new(bytes),
        // Memory with a large hole.
        Err(_) => Arc::new(Ram(contents.clone())),
    };
    let mut memory = PhysicalMemory::new();
    for range in &guest.machine.memory {
        memory.map(Gpa(range.gpa), range.len, ram.clone(), range.offset).unwrap();
    }
    let vcpus = (0..).zip(&guest.machine.cpus).map(|(index, cpu)| {
        let mut x86 = x86::Registers { rip: Some(cpu.rip), ..x86::Registers::default() };
        x86.general = cpu.general.map(Some);
        x86.segments.cs.selector = Some(cpu.segments[1].0);
        Vcpu { index, halted: None, registers: Registers::X86(Box::new(x86)) }
    });
    Checkpoint { vcpus: vcpus.collect(), memory, ..Checkpoint::default() }
}

fn mode(paging: Paging) -> PagingMode {
    match paging {
        Paging::TwoLevel => modes::TWO_LEVEL_PSE,
        Paging::Pae => modes::PAE,
        Paging::FourLevel => modes::FOUR_LEVEL,
        Paging::FiveLevel => modes::FIVE_LEVEL,
    }
}

/// What a finder would have found, taken from the truth.
fn facts(truth: &Truth) -> Arc<WindowsFacts> {
    let how = "the truth";
    let mode = mode(truth.paging);
    let cpus = (0..).zip(&truth.cpus).map(|(number, cpu)| WindowsCpu {
        number,
        kpcr: Gva(cpu.kpcr),
        kprcb: Gva(cpu.kprcb),
        vcpu: matches!(cpu.doing, Doing::Kernel | Doing::User).then(|| Found::new(number, how)),
        context: cpu.context.map(Gva),
        embedded_context: Some(Gva(cpu.embedded_context)),
        special_registers: Some(Gva(cpu.special_registers)),
        thread: Some(Gva(cpu.thread)),
        process: Some(Gva(truth.processes[cpu.process].eprocess)),
        kernel_root: Some(mode.root_of(cpu.kernel_dtb)),
    });
    Arc::new(WindowsFacts {
        kernel_root: Found::new((mode, mode.root_of(truth.dtb)), how),
        is_64_bit: truth.paging.is_64_bit(),
        image: Some(Found::new(
            KernelImage {
                base: Gva(truth.kernel.base),
                size_bytes: truth.kernel.size,
                timestamp: Some(truth.kernel.timestamp),
                checksum: None,
                pdb: None,
                sections: Vec::new(),
            },
            how,
        )),
        kdbg: Some(Found::new(
            Kdbg { gva: Gva(truth.kdbg.va), plain: truth.kdbg.plain.clone(), encoding: None },
            how,
        )),
        shared: Some(SharedData { system_time: truth.system_time, ..SharedData::default() }),
        build: Some(Found::new(truth.build, how)),
        is_checked: false,
        lab: Some(Found::new(truth.lab.clone(), how)),
        system_process: Some(Found::new(Gva(truth.processes[0].eprocess), how)),
        cpus: cpus.collect(),
        foreign: Vec::new(),
        bugcheck: truth.bugcheck.map(|bugcheck| Found::new(bugcheck, how)),
        completeness: Completeness::Full,
        missing: Vec::new(),
    })
}

fn same_process(found: &Process, put: &vmss2core_lab::windows::Process, context: &str) {
    assert_eq!((found.gva.0, found.pid), (put.eprocess, put.pid), "{context}");
    assert_eq!(found.parent, Some(put.parent), "{context}");
    assert_eq!(found.name, put.name, "{context}");
    assert_eq!(found.path.as_deref().unwrap_or_default(), put.path, "{context}");
    assert_eq!(found.root, Some(Gpa(put.dtb)), "{context}");
    assert_eq!(found.peb.map_or(0, |peb| peb.0), put.peb, "{context}");
    assert_eq!(found.created, Some(put.created), "{context}");
    assert_eq!(found.exited, Some(put.exited), "{context}");
    assert_eq!(found.threads.len(), put.threads.len(), "{context}");
    for (thread, put) in found.threads.iter().zip(&put.threads) {
        assert_eq!(thread.gva.0, put.ethread, "{context}");
        assert_eq!(thread.tid, Some(put.tid), "{context}");
        assert_eq!(thread.state, Some(put.state), "{context}");
        assert_eq!(thread.teb.map_or(0, |teb| teb.0), put.teb, "{context}");
        assert_eq!(thread.kernel_stack.map(|at| at.0), Some(put.kernel_stack), "{context}");
        assert_eq!(thread.stack.map(|(low, end)| (low.0, end.0)), Some(put.stack), "{context}");
        assert_eq!(thread.start.map(|at| at.0), Some(put.start), "{context}");
    }
}

fn same_processes(kernel: &Kernel, truth: &Truth, context: &str) {
    let found = kernel.processes().unwrap();
    assert_eq!(found.problems, [], "{context}");
    assert_eq!(found.processes.len(), truth.processes.len(), "{context}");
    for (found, put) in found.processes.iter().zip(&truth.processes) {
        same_process(found, put, context);
    }
    for (number, cpu) in (0..).zip(&truth.cpus) {
        let thread = found.processes.iter().flat_map(|process| &process.threads);
        let on_cpu: Vec<_> = thread.filter(|thread| thread.cpu == Some(number)).collect();
        assert_eq!(on_cpu.len(), 1, "{context}");
        assert_eq!(on_cpu[0].gva.0, cpu.thread, "{context}");
    }
}

#[test]
fn processes_and_threads_are_those_that_were_put_in() {
    for fixture in fixtures() {
        let guest = make(&fixture).unwrap();
        let (checkpoint, truth) = (checkpoint(&guest), &guest.truth);
        let known = facts(truth);
        same_processes(&Kernel::open(&checkpoint, &known), truth, fixture.name);
        let by_tables = Kernel::open(&checkpoint, &known).with_layout_from(LayoutSource::Tables);
        same_processes(&by_tables, truth, &format!("{} by tables", fixture.name));
        // Of a Windows that nobody knows yet.
        for build in [None, Some(Found::new(31337, "made up"))] {
            let unknown = Arc::new(WindowsFacts { build, ..(*known).clone() });
            let context = format!("{} without a build", fixture.name);
            same_processes(&Kernel::open(&checkpoint, &unknown), truth, &context);
        }
    }
}

#[test]
fn what_the_guest_itself_shows_is_what_tables_say() {
    for fixture in fixtures() {
        let guest = make(&fixture).unwrap();
        let (checkpoint, known) = (checkpoint(&guest), facts(&guest.truth));
        let shown = Kernel::open(&checkpoint, &known).with_layout_from(LayoutSource::Guest);
        let tables = Kernel::open(&checkpoint, &known).with_layout_from(LayoutSource::Tables);
        assert_eq!(shown.layout().problems(), [], "{}", fixture.name);
        for (member, offset) in shown.layout().offsets() {
            let table = tables.layout().offset(member);
            assert_eq!(table, Some(offset.value), "{} {}", fixture.name, member.name());
        }
        // Windows XP's debugger data names no offsets.
        let least = if guest.truth.build == 2600 { 10 } else { 16 };
        let count = shown.layout().offsets().count();
        assert!(count >= least, "{}: {count} of {:?}", fixture.name, shown.layout());
    }
}

#[test]
fn modules_are_those_that_were_put_in() {
    for fixture in fixtures() {
        let guest = make(&fixture).unwrap();
        let (checkpoint, truth) = (checkpoint(&guest), &guest.truth);
        let known = facts(truth);
        let kernel = Kernel::open(&checkpoint, &known);
        let found = kernel.modules();
        assert_eq!(found.problems, [], "{}", fixture.name);
        assert_eq!(found.modules.len(), truth.modules.len(), "{}", fixture.name);
        for (module, put) in found.modules.iter().zip(&truth.modules) {
            assert_eq!((&module.name, module.path.as_ref()), (&put.name, Some(&put.path)));
            assert_eq!((module.base.0, module.size_bytes), (put.base, put.size));
            assert_eq!(module.entry_point, Some(Gva(put.entry)));
            assert_eq!(module.entry.0, put.ldr);
            let lost = is_lost(truth, put.base);
            if !lost || truth.paging.is_64_bit() {
                assert_eq!(module.timestamp, Some(put.timestamp), "{} {}", fixture.name, put.name);
            }
            let has_pdb = !lost && (put.base != truth.kernel.base || has_pdb(&fixture));
            assert_eq!(module.pdb.is_some(), has_pdb, "{} {}", fixture.name, put.name);
        }
        if let Some(pdb) = &found.modules[0].pdb {
            let put = &truth.pdb;
            let expected =
                PdbIdentity { name: put.name.clone(), guid: put.guid.clone(), age: put.age };
            assert_eq!(*pdb, expected, "{}", fixture.name);
        }
        let unloaded: Vec<_> = found
            .unloaded
            .iter()
            .map(|one| (one.name.clone(), one.start.0, one.end.0, one.time))
            .collect();
        let put: Vec<_> = truth
            .unloaded
            .iter()
            .map(|one| (one.name.clone(), one.start, one.end, one.time))
            .collect();
        assert_eq!(unloaded, put, "{}", fixture.name);
    }
}

/// Whether the kernel's image names a PDB.
fn has_pdb(fixture: &Fixture) -> bool {
    !fixture.has(Trap::OtherLinker)
}

/// Whether an image's first page is nowhere.
fn is_lost(truth: &Truth, base: u64) -> bool {
    let page = truth.mappings.iter().find(|one| one.root == truth.dtb && one.va == base);
    page.is_none_or(|page| page.residence == Residence::PagedOut)
}

#[test]
fn places_are_named_by_exports_and_modules() {
    let guest = made("win10-19041-x64");
    let (checkpoint, known) = (checkpoint(&guest), facts(&guest.truth));
    let kernel = Kernel::open(&checkpoint, &known);
    let place = |at: u64| kernel.place(Gva(at)).map(|place| place.to_string());
    let stop = guest.truth.symbols["KeBugCheckEx"];
    assert_eq!(place(stop).as_deref(), Some("nt!KeBugCheckEx"));
    // The image has no table of functions that would tell where this one ends.
    let inside = format!("nt+{:#x}", stop + 0x10 - guest.truth.kernel.base);
    assert_eq!(place(stop + 0x10), Some(inside));
    let driver = guest.truth.modules.last().unwrap();
    assert_eq!(place(driver.base + 0x2034).as_deref(), Some("vmmemctl+0x2034"));
    assert_eq!(place(driver.base - 1), None);
}

#[test]
fn processors_have_stacks_that_begin_where_they_are() {
    for fixture in fixtures() {
        let guest = make(&fixture).unwrap();
        let (checkpoint, truth) = (checkpoint(&guest), &guest.truth);
        let known = facts(truth);
        let kernel = Kernel::open(&checkpoint, &known);
        for (number, cpu) in (0..).zip(&truth.cpus) {
            let context = format!("{} CPU {number}", fixture.name);
            let registers = &guest.machine.cpus[number as usize];
            let found = kernel.backtrace_of_cpu(number);
            match (cpu.saved, cpu.doing) {
                (Some((ip, sp)), _) => {
                    let frame = found.unwrap().frames[0];
                    assert_eq!((frame.ip.0, frame.sp.0), (ip, sp), "{context}");
                }
                (None, Doing::Kernel) => {
                    let frame = found.unwrap().frames[0];
                    assert_eq!(frame.kind, FrameKind::Registers);
                    let put = (registers.rip, registers.general[Gpr::Rsp as usize]);
                    assert_eq!((frame.ip.0, frame.sp.0), put, "{context}");
                }
                (None, Doing::User) => {
                    let StackEnd::User { ip, .. } = found.unwrap().end else { panic!("{context}") };
                    assert_eq!(ip.0, registers.rip, "{context}");
                }
                _ => assert!(found.is_err(), "{context}"),
            }
        }
        assert!(kernel.backtrace_of_cpu(99).is_err());
    }
}

#[test]
fn torn_lists_are_read_from_both_ends() {
    let guest = made("win10-19041-x64");
    let truth = &guest.truth;
    let links = truth.layout[&("_EPROCESS", "ActiveProcessLinks")];
    let victim = &truth.processes[6];
    for target in [0, 0xdead_0000, truth.processes[2].eprocess + links, victim.eprocess + links] {
        let mut torn = guest.clone();
        write(&mut torn, victim.eprocess + links, target);
        let (checkpoint, known) = (checkpoint(&torn), facts(truth));
        let found = Kernel::open(&checkpoint, &known).processes().unwrap();
        let mut pids: Vec<u64> = found.processes.iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        let put: Vec<u64> = truth.processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, put, "{target:#x}");
        assert!(found.problems.iter().any(|problem| problem.message.contains("torn")));
    }
}

/// Writes a word of the kernel's memory.
fn write(guest: &mut MiniNt, va: u64, value: u64) {
    let page = va & !0xfff;
    let truth = &guest.truth;
    let found = truth.mappings.iter().find(|one| one.root == truth.dtb && one.va == page).unwrap();
    let pa = found.pa + va % 4096;
    let range = guest.machine.memory.iter().find(|one| (one.gpa..one.gpa + one.len).contains(&pa));
    let range = range.unwrap();
    let at = usize::try_from(range.offset + pa - range.gpa).unwrap();
    let mut ram = guest.machine.ram.bytes().unwrap().clone();
    ram[at..at + 8].copy_from_slice(&value.to_le_bytes());
    guest.machine.ram = ram.into();
}

/// A pseudorandom sequence (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn damaged_memory_neither_stops_nor_floods_the_answers() {
    let guest = made("win10-19041-x64");
    let mut noise = Noise(42);
    let kernel_pages: Vec<_> =
        guest.truth.mappings.iter().filter(|one| one.root == guest.truth.dtb).collect();
    let clean = guest.machine.ram.bytes().unwrap().clone();
    for _ in 0..24 {
        let mut ram = clean.clone();
        for _ in 0..200 {
            let page = kernel_pages[usize::try_from(noise.next()).unwrap() % kernel_pages.len()];
            let at = usize::try_from(page.pa + noise.next() % 512 * 8).unwrap();
            if let Some(word) = ram.get_mut(at..at + 8) {
                let value = match noise.next() % 4 {
                    0 => u64::MAX,
                    1 => 0xffff_fff0,
                    2 => guest.truth.processes[3].eprocess + noise.next() % 0x800,
                    _ => noise.next(),
                };
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        let mut damaged = guest.clone();
        damaged.machine.ram = ram.into();
        let (checkpoint, known) = (checkpoint(&damaged), facts(&guest.truth));
        let kernel = Kernel::open(&checkpoint, &known);
        if let Ok(found) = kernel.processes() {
            assert!(found.processes.len() < 100);
        }
        assert!(kernel.modules().modules.len() < 100);
        for cpu in 0..4 {
            if let Ok(found) = kernel.backtrace_of_cpu(cpu) {
                assert!(found.frames.len() <= 1025);
            }
        }
    }
}

#[test]
fn names_of_stop_codes_are_those_of_windows_sys() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(metadata.stdout).unwrap();
    let end = "/windows-sys-0.61.2/Cargo.toml";
    let path = text.split('"').find(|word| word.ends_with(end)).unwrap();
    let source = path.replace("Cargo.toml", "src/Windows/Win32/System/Diagnostics/Debug/mod.rs");
    let mut count = 0;
    for line in std::fs::read_to_string(source).unwrap().lines() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let Some((name, value)) = rest.split_once(": BUGCHECK_ERROR = ") else { continue };
        let code: u64 = value.trim_end_matches("u32;").parse().unwrap();
        assert_eq!(bugcheck_name(code), Some(name));
        count += 1;
    }
    assert_eq!(count, 530);
}
