//! The guest: a kernel that was moved, two extensions, page tables, registers.

use std::collections::BTreeMap;

use anyhow::Result;

use super::file::{MachFile, Part};
use super::tables::Ram;
use crate::bytes::Bytes;
use crate::vmware::{Contents, Cpu, Machine, MemoryRange, ModelRegisters, TableRegister};

const BASE: u64 = 0xffff_ff80_0000_0000;
const LINKED: u64 = 0x20_0000;
const PAGE: u64 = 0x1000;
const LARGE: u64 = 0x20_0000;
const MEMORY: u64 = 128 << 20;
/// The kernel's heap.
const HEAP: u64 = BASE + 0xa000_0000;
const EXTENSIONS: u64 = 0xffff_ff7f_80a0_0000;
/// All of memory, where the kernel reads it by physical address.
const PHYSMAP: u64 = 0xffff_fe80_0000_0000;
/// What programs see of the kernel (slot 493).
const DOUBLE_MAP: u64 = 0xffff_f680_0000_0000;
const PROGRAM: u64 = 0x1000_0000;
/// Where copies of files lie: the first at a place where a kernel might.
const PAGE_CACHE: [u64; 2] = [0x60_0000, 0x50_0000];

/// Where the kernel is in a collection.
const IN_COLLECTION: u64 = 0x5000;
/// `MH_EXECUTE`.
const EXECUTE: u64 = 2;
/// `MH_KEXT_BUNDLE`.
const KEXT: u64 = 11;

/// Offsets in the kernel.
mod at {
    pub(super) const MACHINE_IDLE: u64 = 0x1100;
    pub(super) const IDLE_THREAD: u64 = 0x1200;
    pub(super) const VERSION: u64 = 0x1400;
    /// `__DATA`.
    pub(super) const KMOD: u64 = 0x2000;
    pub(super) const SUMMARIES: u64 = 0x2008;
    pub(super) const COUNTER: u64 = 0x2010;
    pub(super) const OS_VERSION: u64 = 0x2040;
    pub(super) const KDP_VERSION: u64 = 0x2100;
    pub(super) const LOW_GLOBALS: u64 = 0x3000;
}

/// Page tables that the processors are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Those of a process, which map the kernel too.
    Process,
    /// Those that a program runs on from 10.13.2: all of them in programs.
    Shadow,
}

/// How the kernel was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// By itself.
    Alone,
    /// As part of a collection, as from Darwin 20 on.
    InCollection,
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// Where the processors are.
    pub root: Root,
    /// How far the kernel was moved, a multiple of 2 MiB below 32 MiB.
    pub slide: u64,
    /// How it was loaded.
    pub loaded: Loaded,
}

impl Default for Fixture {
    fn default() -> Self {
        Self { root: Root::Process, slide: 0x140_0000, loaded: Loaded::Alone }
    }
}

/// A guest and what is in it.
#[derive(Clone, Debug)]
pub struct MiniMac {
    /// Its memory, in one range from 0, and registers.
    pub machine: Machine,
    /// Everything that was put in.
    pub truth: Truth,
}

/// What a guest holds.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Address of the kernel's header.
    pub base: u64,
    /// Its physical address.
    pub gpa: u64,
    /// The kernel's file.
    pub kernel: MachFile,
    /// What `uname -v` says.
    pub version: String,
    /// Build of the system.
    pub build: &'static str,
    /// Physical address of the kernel's own page tables.
    pub root: u64,
    /// Those of the process.
    pub process_root: u64,
    /// The extensions, the latest first; the last has no image.
    pub kexts: Vec<KextTruth>,
    /// Addresses of the kernel's symbols, as they are in memory.
    pub symbols: BTreeMap<&'static str, u64>,
    /// Value of the variable `sample_counter`; the file has another.
    pub counter: u64,
    /// Functions that vCPU 0 is in, the innermost first, and where in them.
    pub frames: [(&'static str, u64); 2],
    /// Physical pages by virtual ones, of what is not mapped at a fixed distance.
    pub pages: BTreeMap<u64, u64>,
}

/// An extension.
#[derive(Clone, Debug)]
pub struct KextTruth {
    /// Bundle identifier.
    pub name: &'static str,
    /// Version.
    pub version: &'static str,
    /// First address; 0 for one without an image.
    pub base: u64,
    /// Length.
    pub size: u64,
    /// Address of its `kmod_info`.
    pub info: u64,
    /// Its file; `None` without an image.
    pub file: Option<MachFile>,
}

struct Maker {
    ram: Ram,
    root: u64,
    base: u64,
    pages: BTreeMap<u64, u64>,
}

/// Makes a guest.
pub fn make(fixture: Fixture) -> Result<MiniMac> {
    let within = if fixture.loaded == Loaded::Alone { 0 } else { IN_COLLECTION };
    let slide = fixture.slide + within;
    let gpa = LINKED + slide;
    let base = BASE + gpa;
    let kernel = kernel();
    let image = kernel.bytes(slide);
    let root = gpa + image.len() as u64;
    let mut maker = Maker { ram: Ram::new(root), root, base, pages: BTreeMap::new() };
    maker.lay_out(&image, gpa);
    if fixture.loaded == Loaded::InCollection {
        maker.ram.put(gpa - within, &collection(BASE + gpa - within, base));
    }
    let version = "Darwin Kernel Version 19.6.0: Mon Nov  2 12:00:00 PST 2020; \
                   test:xnu-6153.141.2~1/RELEASE_X86_64";
    let kexts = maker.extensions();
    maker.variables(&kernel, version, &kexts);
    maker.page_cache(&kernel);
    let process_root = maker.process();
    let shadow = maker.shadow(process_root);
    let cpus = match fixture.root {
        Root::Process => vec![maker.idle(process_root), program(process_root)],
        Root::Shadow => vec![program(shadow), program(shadow)],
    };
    let symbols = kernel.symbols.iter().map(|(name, at)| (*name, at + slide)).collect();
    let truth = Truth {
        base,
        gpa,
        version: version.to_owned(),
        build: "19H15",
        root,
        process_root,
        kexts,
        symbols,
        counter: 0x0123_4567_89ab_cdef,
        frames: [
            ("machine_idle", base + at::MACHINE_IDLE + 5),
            ("idle_thread", base + at::IDLE_THREAD + 9),
        ],
        pages: maker.pages,
        kernel,
    };
    let mut ram = Contents::hole(MEMORY);
    for (number, page) in maker.ram.pages {
        ram.patch(number * PAGE, &page);
    }
    let memory = vec![MemoryRange { gpa: 0, len: MEMORY, offset: 0 }];
    Ok(MiniMac { machine: Machine { memory, ram, cpus }, truth })
}

/// The kernel's file.
fn kernel() -> MachFile {
    let mut text = Bytes(vec![0x90; 0x1000]);
    // push rbp; mov rbp, rsp; hlt; pop rbp; ret
    text.put(at::MACHINE_IDLE - 0x1000, &[0x55, 0x48, 0x89, 0xe5, 0xf4, 0x5d, 0xc3]);
    // push rbp; mov rbp, rsp; call machine_idle; jmp to the call
    let back = at::MACHINE_IDLE.wrapping_sub(at::IDLE_THREAD + 9);
    let [a, b, c, d, ..] = back.to_le_bytes();
    let idle = [0x55, 0x48, 0x89, 0xe5, 0xe8, a, b, c, d, 0xeb, 0xf9];
    text.put(at::IDLE_THREAD - 0x1000, &idle);
    let mut data = Bytes(vec![0; 0x2000]);
    data.u64(at::COUNTER - 0x2000, 0xbad_c0de);
    let part = |segment, section, bytes| Part { segment, section, bytes };
    let base = BASE + LINKED;
    MachFile {
        filetype: EXECUTE,
        base,
        uuid: *b"\x11kernel-of-tests",
        parts: vec![
            part("__TEXT", "__text", text.0),
            part("__DATA", "__data", data.0),
            part("__KLD", "__text", vec![0xc3; 16]),
        ],
        symbols: vec![
            ("machine_idle", base + at::MACHINE_IDLE),
            ("idle_thread", base + at::IDLE_THREAD),
            ("version", base + at::VERSION),
            ("kmod", base + at::KMOD),
            ("gLoadedKextSummaries", base + at::SUMMARIES),
            ("sample_counter", base + at::COUNTER),
            ("lowGlo", base + at::LOW_GLOBALS),
        ],
    }
}

impl Maker {
    /// The kernel's half of the address space.
    fn lay_out(&mut self, image: &[u8], gpa: u64) {
        self.ram.put(gpa, image);
        self.ram.put(self.root, &[0; 8]);
        for offset in (0..=image.len() as u64).step_by(0x1000) {
            self.ram.map(self.root, self.base + offset, gpa + offset, PAGE);
        }
        for pa in (0..MEMORY).step_by(0x20_0000) {
            self.ram.map(self.root, PHYSMAP + pa, pa, LARGE);
        }
        self.page(DOUBLE_MAP);
    }

    /// The physical page of a virtual one, which is mapped now if it was not.
    fn page(&mut self, va: u64) -> u64 {
        let page = va & !(PAGE - 1);
        if let Some(pa) = self.pages.get(&page) {
            return *pa;
        }
        let pa = self.ram.take();
        self.ram.map(self.root, page, pa, PAGE);
        self.pages.insert(page, pa);
        pa
    }

    /// Writes to the kernel's heap or to an extension.
    fn put(&mut self, va: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (va, bytes);
        while !rest.is_empty() {
            let skip = at % PAGE;
            let room = usize::try_from(PAGE - skip).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(room));
            let pa = self.page(at);
            self.ram.put(pa + skip, now);
            at += now.len() as u64;
            rest = later;
        }
    }

    /// Writes to the kernel's image.
    fn set(&mut self, offset: u64, bytes: &[u8]) {
        self.ram.put(self.base - BASE + offset, bytes);
    }

    fn extensions(&mut self) -> Vec<KextTruth> {
        let names = [("org.example.beta", "2.0.1b3"), ("org.example.alpha", "1.5")];
        let mut kexts: Vec<KextTruth> = Vec::new();
        for (number, (name, version)) in (0..).zip(names) {
            let file = extension(name, number);
            let base = EXTENSIONS + u64::from(number) * 0x10_0000;
            self.put(base, &file.bytes(base));
            let info = base + file.section("__DATA");
            kexts.push(KextTruth { name, version, base, size: file.len(), info, file: Some(file) });
        }
        let (name, version, info) = ("org.example.kpi", "19.6.0", HEAP + 0x3100);
        kexts.push(KextTruth { name, version, base: 0, size: 0, info, file: None });
        let next = kexts.iter().skip(1).map(|kext| kext.info).chain([0]).collect::<Vec<_>>();
        for (number, (kext, next)) in (1..).zip(kexts.iter().zip(next)) {
            self.put(kext.info, &kmod_info(kext, next, number));
        }
        self.summaries(&kexts);
        kexts
    }

    /// `OSKextLoadedKextSummaryHeader` and what is after it.
    fn summaries(&mut self, kexts: &[KextTruth]) {
        let with_image: Vec<&KextTruth> = kexts.iter().filter(|kext| kext.file.is_some()).collect();
        let mut out = Bytes::default();
        out.u32(0, 2).u32(4, 120).u32(8, with_image.len() as u64);
        out.u32(12, 0);
        for kext in with_image {
            let at = out.len();
            let uuid = kext.file.as_ref().map(|file| file.uuid).unwrap_or_default();
            out.put(at, kext.name.as_bytes()).put(at + 64, &uuid);
            out.u64(at + 80, kext.base).u64(at + 88, kext.size).u64(at + 96, 1);
            out.u32(at + 104, 1).u32(at + 108, 0).u64(at + 112, 0);
        }
        self.put(HEAP + 0x5000, &out.0);
    }

    fn variables(&mut self, kernel: &MachFile, version: &str, kexts: &[KextTruth]) {
        let stext = self.base;
        self.set(at::VERSION, format!("{version}\0").as_bytes());
        let uuid = uuid_text(kernel.uuid);
        let for_debuggers = format!("{version}; UUID={uuid}; stext={stext:#x}\0");
        self.set(at::KDP_VERSION, for_debuggers.as_bytes());
        self.set(at::OS_VERSION, b"19H15\0");
        self.set(at::COUNTER, &0x0123_4567_89ab_cdef_u64.to_le_bytes());
        let first = kexts.first().map_or(0, |kext| kext.info);
        self.set(at::KMOD, &first.to_le_bytes());
        self.set(at::SUMMARIES, &(HEAP + 0x5000).to_le_bytes());
        let mut low = Bytes::default();
        low.put(0, b"Catfish ").u64(0x10, stext).u64(0x30, stext + at::VERSION);
        low.u64(0x8f8, stext + at::KMOD).u64(0x920, stext + at::OS_VERSION);
        self.set(at::LOW_GLOBALS, &low.0);
    }

    /// What readers must not take for the kernel.
    fn page_cache(&mut self, kernel: &MachFile) {
        let [file, log] = PAGE_CACHE;
        self.ram.put(file, &kernel.bytes(0));
        let other = "Darwin Kernel Version 9.9.9: old; test:xnu-1~1/RELEASE_X86_64; \
                     UUID=00000000-0000-0000-0000-000000000000; stext=0xffffff8000400000\0";
        self.ram.put(log + 0x123, other.as_bytes());
    }

    /// A process: its own program and the kernel's half.
    fn process(&mut self) -> u64 {
        let (root, page) = (self.ram.take(), self.ram.take());
        self.ram.put(page, b"\xeb\xfe program");
        self.ram.map(root, PROGRAM, page, PAGE);
        self.ram.share(self.root, root, &[509, 510, 511, 493]);
        root
    }

    /// What the program of a process sees.
    fn shadow(&mut self, process: u64) -> u64 {
        let root = self.ram.take();
        self.ram.share(process, root, &[0, 493]);
        root
    }

    /// A processor in `machine_idle`, called by `idle_thread`.
    fn idle(&mut self, root: u64) -> Cpu {
        let stack = HEAP + 0x8000;
        let mut frames = Bytes::default();
        frames.u64(0, stack + 0xfc0).u64(8, self.base + at::IDLE_THREAD + 9);
        self.put(stack + 0xf80, &frames.0);
        self.put(stack + 0xfc0, &[0; 0x40]);
        let mut cpu = cpu(root, (self.base + at::MACHINE_IDLE + 5, stack + 0xf80));
        cpu.segments = [(0, 0), (8, 0), (0x10, 0), (0, 0), (0, 0), (0, HEAP), (0, 0), (0x40, 0)];
        cpu.halted = true;
        cpu
    }
}

/// A processor in the program.
fn program(root: u64) -> Cpu {
    let mut cpu = cpu(root, (PROGRAM, PROGRAM + 0xf00));
    cpu.segments = [0x23, 0x2b, 0x23, 0x23, 0, 0, 0, 0x40].map(|selector| (selector, 0));
    cpu
}

fn cpu(root: u64, (rip, rsp): (u64, u64)) -> Cpu {
    let mut general = std::array::from_fn(|index| 0x1111 * (index as u64 + 1));
    general[4] = rsp;
    general[5] = rsp;
    Cpu {
        general,
        rip,
        rflags: 0x246,
        control: [0x8001_003b, 0, 0, root, 0x660],
        idtr: TableRegister { base: DOUBLE_MAP, limit: 0xfff },
        gdtr: TableRegister { base: DOUBLE_MAP + 0x800, limit: 0x7f },
        msrs: ModelRegisters {
            efer: Some(0xd01),
            lstar: Some(DOUBLE_MAP + 0x100),
            ..ModelRegisters::default()
        },
        ..Cpu::default()
    }
}

/// The file of an extension, which is linked at 0.
fn extension(name: &'static str, number: u8) -> MachFile {
    let symbol = if name.ends_with("beta") { "beta_start" } else { "alpha_start" };
    let part = |segment, section, bytes| Part { segment, section, bytes };
    MachFile {
        filetype: KEXT,
        base: 0,
        uuid: [0xe0 + number; 16],
        parts: vec![
            part("__TEXT", "__text", vec![0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3]),
            part("__DATA", "__data", vec![0; 0x100]),
        ],
        symbols: vec![(symbol, 0x1000), ("kmod_info", 0x2000)],
    }
}

/// The header of a collection: its `__TEXT` and an entry for the kernel
/// (`LC_FILESET_ENTRY`).
fn collection(base: u64, kernel: u64) -> Vec<u8> {
    let mut out = Bytes::default();
    out.u32(0, 0xfeed_facf).u32(4, 0x0100_0007).u32(8, 3).u32(12, 12).u32(16, 2);
    out.u32(20, 72 + 56).u32(24, 0).u32(28, 0);
    out.u32(32, 0x19).u32(36, 72).put(40, b"__TEXT").u64(56, base).u64(64, IN_COLLECTION);
    out.u32(104, 0x8000_0035).u32(108, 56).u64(112, kernel).u64(120, IN_COLLECTION);
    out.u32(128, 32).u32(132, 0).put(136, b"com.apple.kernel").put(159, &[0]);
    out.0
}

/// `kmod_info_64_v1`, packed to 4 bytes.
fn kmod_info(kext: &KextTruth, next: u64, number: u64) -> Vec<u8> {
    let mut out = Bytes::default();
    out.u64(0, next).u32(8, 1).u32(12, number).put(16, kext.name.as_bytes());
    out.put(80, kext.version.as_bytes()).u32(144, 0).u64(148, 0);
    out.u64(156, kext.base).u64(164, kext.size).u64(172, 0x1000).u64(180, 0).u64(188, 0);
    out.0
}

/// As Apple's tools show it.
fn uuid_text(uuid: [u8; 16]) -> String {
    let number = u128::from_be_bytes(uuid);
    let digits = format!("{number:032X}");
    let cut = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
}

impl KextTruth {
    /// Its identity, as Apple's tools show it; `None` without an image.
    pub fn uuid(&self) -> Option<String> {
        self.file.as_ref().map(|file| uuid_text(file.uuid))
    }
}

impl Truth {
    /// The kernel's identity, as Apple's tools show it.
    pub fn uuid(&self) -> String {
        uuid_text(self.kernel.uuid)
    }
}
