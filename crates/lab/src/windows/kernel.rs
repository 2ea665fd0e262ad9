//! The kernel: its image, its variables, the page it shares with programs.

use std::collections::BTreeMap;

use super::build::Build;
use super::bytes::{align, wide};
use super::cpus::Cpus;
use super::fixture::Trap;
use super::make::{Maker, NOW, UP};
use super::pe::{self, Image};
use super::space::{Access, Paging};
use super::truth::{Kdbg, Keys, Pdb};
use crate::bytes::Bytes;

/// Variables and their lengths. Known addresses come from the build, the seed
/// decides on the rest.
const VARIABLES: [(&str, u32); 45] = [
    ("KdpDebuggerDataListHead", 16),
    ("KiWaitNever", 8),
    ("KiWaitAlways", 8),
    ("KdpDataBlockEncoded", 1),
    ("PsActiveProcessHead", 16),
    ("PsLoadedModuleList", 16),
    ("PsInitialSystemProcess", 8),
    ("PspCidTable", 8),
    ("MmPfnDatabase", 8),
    ("MmUnloadedDrivers", 8),
    ("MmLastUnloadedDriver", 4),
    ("MmPhysicalMemoryBlock", 8),
    ("KiBugCheckData", 40),
    ("KiProcessorBlock", 0x200),
    ("NtBuildLab", 0x40),
    ("NtBuildNumber", 4),
    ("CmNtCSDVersion", 4),
    ("KeBootTime", 8),
    ("KeNumberProcessors", 4),
    ("KdDebuggerNotPresent", 1),
    ("InitSafeBootMode", 4),
    ("KeTimeIncrement", 4),
    ("KeBugCheckCallbackListHead", 16),
    ("IopErrorLogListHead", 16),
    ("ObpRootDirectoryObject", 8),
    ("ObpTypeObjectType", 8),
    ("MmNumberOfPagingFiles", 4),
    ("MmLowestPhysicalPage", 8),
    ("MmHighestPhysicalPage", 8),
    ("MmNumberOfPhysicalPages", 8),
    ("MmNonPagedPoolStart", 8),
    ("MmNonPagedPoolEnd", 8),
    ("MmPagedPoolStart", 8),
    ("MmPagedPoolEnd", 8),
    ("MmPagedPoolInfo", 0x40),
    ("MmSizeOfPagedPoolInBytes", 8),
    ("MmAvailablePages", 8),
    ("PoolTrackTable", 8),
    ("MmHighestUserAddress", 8),
    ("MmSystemRangeStart", 8),
    ("MmUserProbeAddress", 8),
    ("KdPrintDefaultCircularBuffer", 0x100),
    ("MmLoadedUserImageList", 16),
    ("MmVerifierData", 0x40),
    ("KiInitialPCR", 0),
];

/// Functions, in pages of their own.
const FUNCTIONS: [&str; 11] = [
    "KiSystemStartup",
    "RtlpBreakWithStatusInstruction",
    "KiCallUserMode",
    "KeUserCallbackDispatcher",
    "KeBugCheckEx",
    "KiSystemCall64",
    "KiFastCallEntry",
    "KiIdleLoop",
    "KiFreezeTargetExecution",
    "KiSwapContext",
    "PspSystemThreadStartup",
];

/// What every kernel exports, of what we have.
const EXPORTED: [&str; 7] = [
    "InitSafeBootMode",
    "KdDebuggerNotPresent",
    "KeBugCheckEx",
    "KeNumberProcessors",
    "NtBuildNumber",
    "PsInitialSystemProcess",
    "MmSystemRangeStart",
];

const DEBUG: u32 = 0x1000;
const EXPORTS: u32 = 0x9000;
const TEXT: u32 = 0x1_0000;

/// Where the kernel's code that user mode sees begins.
pub(super) fn shadow_code(build: &Build) -> u32 {
    build.data.0 - 0x6000
}

/// Decides where everything in the image is.
pub(super) fn lay_out(maker: &mut Maker<'_>) {
    let build = maker.build;
    let mut taken: Vec<(u32, u32)> = Vec::new();
    for (name, rva) in build.known {
        let len = VARIABLES.iter().find(|(known, _)| known == name).map_or(0, |(_, len)| *len);
        place(maker, &mut taken, name, *rva, len.max(8));
    }
    let block = match maker.symbols.get("KdDebuggerDataBlock") {
        Some(va) => u32::try_from(va - build.base).unwrap_or_default(),
        None => build.data.0 + 0x1_0b20,
    };
    place(maker, &mut taken, "KdDebuggerDataBlock", block, build.kdbg_len);
    // Readers look for it near the block.
    place(maker, &mut taken, "KdVersionBlock", block + 0x3c0, 0x28);
    for (name, len) in VARIABLES {
        if !maker.symbols.contains_key(name) {
            let (len, step, skip) = match name {
                "KiInitialPCR" => initial_pcr(build),
                _ => (len, 16, 0),
            };
            let rva = free(maker, &taken, len, step) + skip;
            place(maker, &mut taken, name, rva, len);
        }
    }
    for (index, name) in (0..).zip(FUNCTIONS) {
        let rva = TEXT + 0x1000 + index * 0x2000 + index * 0x30;
        place(maker, &mut taken, name, rva, 0x40);
    }
    let text_len = shadow_code(build) - TEXT;
    place(maker, &mut taken, "KiDivideErrorFault", (TEXT + text_len / 4 * 3) & !0xfff, 0x1000);
    place(maker, &mut taken, "KiSystemCall64Shadow", shadow_code(build) + 0x1180, 0x40);
    place(maker, &mut taken, "KiDivideErrorFaultShadow", shadow_code(build), 0x1000);
}

/// Length and position of the first processor's region in images that hold it:
/// it does not begin with a page in Windows 7.
fn initial_pcr(build: &Build) -> (u32, u32, u32) {
    let len = u32::try_from(align(super::kdbg::pcr_len(build), 0x1000)).unwrap_or_default();
    let skip = match (build.number, build.bits) {
        (7601, 64) => 0xd00,
        (7601, _) => 0xc00,
        _ => 0,
    };
    (len, 0x1000, skip)
}

fn place(
    maker: &mut Maker<'_>,
    taken: &mut Vec<(u32, u32)>,
    name: &'static str,
    rva: u32,
    len: u32,
) {
    taken.push((rva, len));
    maker.symbols.insert(name, maker.build.base + u64::from(rva));
}

/// Where `len` bytes of data are free.
fn free(maker: &mut Maker<'_>, taken: &[(u32, u32)], len: u32, step: u32) -> u32 {
    let (start, end) = maker.build.data;
    let slots = usize::try_from((end - start - len - step) / step).unwrap_or_default();
    for _ in 0..10_000 {
        let slot = u32::try_from(maker.random.below(slots)).unwrap_or_default();
        let rva = (start + slot * step) & !(step - 1);
        if taken.iter().all(|(at, used)| rva + len + step <= *at || at + used <= rva) {
            return rva;
        }
    }
    start
}

/// The PDB of the kernel.
pub(super) fn pdb(build: &Build) -> Pdb {
    let (name, guid, age) = build.pdb;
    Pdb { name: name.to_owned(), guid: guid.to_owned(), age }
}

/// Headers of the kernel's image.
pub(super) fn image(maker: &Maker<'_>) -> Image {
    let build = maker.build;
    let (start, end) = build.data;
    let rest = build.size - 0x2_2000 - end;
    let is_other = maker.has(Trap::OtherLinker);
    let [shadow, pool, data, paged] = if is_other {
        [(".text1", pe::CODE), (".text2", pe::CODE), (".bss", pe::MIXED), (".text3", pe::CODE)]
    } else {
        [("KVASCODE", pe::CODE), ("POOLCODE", pe::CODE), (".data", pe::DATA), ("PAGE", pe::CODE)]
    };
    Image {
        bits: build.bits,
        base: build.base,
        size: build.size,
        timestamp: build.timestamp,
        entry: TEXT + 0x1000,
        sections: vec![
            (".rdata", 0x1000, 0x8000, pe::CONSTANT),
            (".edata", EXPORTS, 0x4000, pe::CONSTANT),
            (".text", TEXT, shadow_code(build) - TEXT, pe::CODE),
            (shadow.0, shadow_code(build), 0x2000, shadow.1),
            (pool.0, start - 0x4000, 0x4000, pool.1),
            (data.0, start, end - start, data.1),
            (paged.0, end, rest, paged.1),
            ("INIT", build.size - 0x2_2000, 0x2_0000, pe::DISCARDABLE),
            (".rsrc", build.size - 0x2000, 0x2000, pe::CONSTANT),
        ],
        exports: (EXPORTS, 0x400),
        debug: if is_other { (0, 0) } else { (DEBUG, 28 * 4) },
    }
}

/// Writes the image and the variables; returns the runs of memory that the
/// kernel knows, in pages.
pub(super) fn fill(maker: &mut Maker<'_>) -> Vec<(u64, u64)> {
    write_image(maker);
    variables(maker);
    shared_page(maker);
    other_regions(maker);
    memory_block(maker)
}

fn write_image(maker: &mut Maker<'_>) {
    let build = maker.build;
    let image = image(maker);
    maker.memory.region(build.base, 0x1_0000, Access::Constant);
    for (_, at, len, flags) in &image.sections {
        let access = match *flags {
            pe::CODE | pe::DISCARDABLE => Access::Code,
            pe::DATA | pe::MIXED => Access::Data,
            _ => Access::Constant,
        };
        maker.memory.region(build.base + u64::from(*at), (*len).into(), access);
    }
    code(maker);
    maker.put(build.base, &image.headers());
    if image.debug.1 != 0 {
        debug_directory(maker);
    }
    let mut names = EXPORTED.to_vec();
    if maker.is_64_bit() {
        names.push("PsLoadedModuleList");
    }
    let rva = |name: &&'static str| u32::try_from(maker.symbol(name) - build.base);
    let symbols: Vec<_> = names.iter().map(|name| (*name, rva(name).unwrap_or_default())).collect();
    let exports = pe::exports(EXPORTS, "ntoskrnl.exe", &symbols);
    maker.put(build.base + u64::from(EXPORTS), &exports);
}

fn debug_directory(maker: &mut Maker<'_>) {
    let build = maker.build;
    let (name, guid, age) = build.pdb;
    let mut entries = vec![
        (2, pe::code_view(guid, age, name)),
        (13, b"PGU\0\0\x10\0\0\0\x10\0\0.text\0\0\0".to_vec()),
        (16, vec![0x20; 36]),
        (20, vec![1, 0, 0, 0]),
    ];
    if maker.has(Trap::CodeViewLast) {
        entries.rotate_left(1);
    }
    let bytes = pe::debug_directory(DEBUG, build.timestamp, &entries);
    maker.put(build.base + u64::from(DEBUG), &bytes);
}

/// Code as far as it is there: pages with functions, and one in every 2 MiB, as
/// not all of a kernel stays in memory.
fn code(maker: &mut Maker<'_>) {
    let build = maker.build;
    if maker.has(Trap::LargePages) {
        let len = if maker.fixture.paging == Paging::TwoLevel { 4 << 20 } else { 2 << 20 };
        let va = align(build.base + u64::from(TEXT), len);
        maker.memory.map(0, va, super::ram::LARGE, len);
    }
    let mut pages: Vec<u64> = (0..u64::from(build.size / 0x20_0000))
        .map(|index| build.base + index * 0x20_0000 + 0x10_000)
        .collect();
    let functions = ["KiDivideErrorFault", "KiDivideErrorFaultShadow", "KiSystemCall64Shadow"];
    pages.extend(FUNCTIONS.iter().chain(&functions).map(|name| maker.symbol(name)));
    pages.push(build.base + u64::from(build.data.0 - 0x4000));
    for page in pages {
        // sub rsp, 28h; nop; add rsp, 28h; ret, and breakpoints up to the next.
        let code = b"\x48\x83\xec\x28\x90\x48\x83\xc4\x28\xc3\xcc\xcc\xcc\xcc\xcc\xcc".repeat(256);
        maker.put(page & !0xfff, &code);
    }
}

fn variables(maker: &mut Maker<'_>) {
    let build = maker.build;
    let lab = maker.symbol("NtBuildLab");
    maker.put(lab, build.lab.as_bytes());
    let cpus = u32::try_from(maker.fixture.cpus.len()).unwrap_or_default();
    let numbers = [
        // Free builds have F in the highest digit.
        ("NtBuildNumber", build.number | 0xf000_0000),
        ("CmNtCSDVersion", build.service_pack),
        ("KeNumberProcessors", cpus),
        ("KdDebuggerNotPresent", 1),
        ("KeTimeIncrement", 156_250),
        ("MmNumberOfPagingFiles", 1),
    ];
    for (name, value) in numbers {
        let va = maker.symbol(name);
        maker.u32(va, value);
    }
    let boot = maker.symbol("KeBootTime");
    maker.put(boot, &(NOW - UP).to_le_bytes());
    let pointers = [
        ("MmPfnDatabase", maker.pick(0xffff_fa80_0000_0000, 0x83a0_0000)),
        ("MmSystemRangeStart", maker.pick(0xffff_8000_0000_0000, 0x8000_0000)),
        ("MmHighestUserAddress", maker.pick(0x7fff_fffe_ffff, 0x7ffe_ffff)),
        ("MmUserProbeAddress", maker.pick(0x7fff_ffff_0000, 0x7fff_0000)),
        ("MmLowestPhysicalPage", 1),
        ("MmNonPagedPoolStart", build.pool),
        ("MmNonPagedPoolEnd", build.pool + 0x100_0000),
    ];
    for (name, value) in pointers {
        let va = maker.symbol(name);
        maker.pointer(va, value);
    }
    for name in ["KeBugCheckCallbackListHead", "IopErrorLogListHead", "MmLoadedUserImageList"] {
        let head = maker.symbol(name);
        maker.link(head, &[]);
    }
    version_block(maker);
}

/// What `KdVersionBlock` says: `DBGKD_GET_VERSION64`.
fn version_block(maker: &mut Maker<'_>) {
    let build = maker.build;
    let sign = |va: u64| if build.bits == 64 { va } else { va | 0xffff_ffff_0000_0000 };
    let mut out = Bytes::zeroed(0x28);
    out.u16(0, 0xf).u16(2, build.number.into()).u8(4, 6).u8(5, u8::from(build.bits == 64) * 2);
    out.u16(6, maker.pick(0x47, 3)).u16(8, maker.pick(0x8664, 0x14c)).u8(0xa, 0xc).u8(0xb, 3);
    out.u64(0x10, sign(build.base)).u64(0x18, sign(maker.symbol("PsLoadedModuleList")));
    out.u64(0x20, sign(maker.symbol("KdpDebuggerDataListHead")));
    let va = maker.symbol("KdVersionBlock");
    maker.put(va, &out.0);
}

/// `KUSER_SHARED_DATA`, which the kernel shares with all programs.
fn shared_page(maker: &mut Maker<'_>) {
    let build = maker.build;
    let mut out = Bytes::zeroed(0x1000);
    out.u32(0, 0).u32(4, 0x0fa0_0000);
    for (at, time) in [(8, UP), (0x14, NOW)] {
        out.u32(at, time & 0xffff_ffff).u32(at + 4, time >> 32).u32(at + 8, time >> 32);
    }
    out.u16(0x2c, maker.pick(0x8664, 0x14c)).u16(0x2e, maker.pick(0x8664, 0x14c));
    out.put(0x30, &wide(r"C:\Windows"));
    if build.number >= 10240 {
        out.u32(0x260, build.number.into());
    }
    out.u32(0x264, super::make::product(build).into())
        .u8(0x268, 1)
        .u32(0x26c, build.version.0.into());
    out.u32(0x270, build.version.1.into()).u32(0x2d0, 0x110).u32(0x2e8, 0x2000);
    if build.number >= 10240 {
        out.u32(0x2c4, 7);
    }
    let ticks = UP / 156_250;
    out.u32(0x320, ticks & 0xffff_ffff).u32(0x324, ticks >> 32).u32(0x328, ticks >> 32);
    if build.number >= 7600 {
        out.u32(0x3c0, maker.fixture.cpus.len() as u64);
    }
    let va = shared_page_at(maker);
    maker.put(va, &out.0);
}

pub(super) fn shared_page_at(maker: &Maker<'_>) -> u64 {
    maker.pick(0xffff_f780_0000_0000, 0xffdf_0000)
}

/// Pages in the other regions of the kernel's half, so that its root has the
/// entries that readers count.
fn other_regions(maker: &mut Maker<'_>) {
    let regions: Vec<u64> = if maker.is_64_bit() {
        let tops = [0xffff_8000, 0xffff_8880, 0xffff_9680, 0xffff_f900, 0xffff_f980, 0xffff_fe00];
        tops.iter().map(|top| (top << 32) + 0x12_3000).collect()
    } else {
        (0..20).map(|index| 0x9800_0000 + index * 0x40_0000 + 0x5000).collect()
    };
    if maker.fixture.paging == Paging::TwoLevel {
        // The System process has a user page, too.
        maker.put(0x1_0000, &[0; 16]);
    }
    for va in regions {
        let noise = maker.noise();
        maker.put(va, &noise.to_le_bytes());
    }
}

/// `MmPhysicalMemoryBlock`: what firmware gave to the system.
fn memory_block(maker: &mut Maker<'_>) -> Vec<(u64, u64)> {
    let mut runs = vec![(1, 0x9e)];
    for (at, len) in maker.fixture.ranges() {
        let start = at.max(0x10_0000);
        runs.push((start / 4096, (at + len - start) / 4096));
    }
    let pages: u64 = runs.iter().map(|(_, count)| count).sum();
    let width = maker.width();
    let mut out = Bytes::zeroed(2 * width + runs.len() as u64 * 2 * width);
    out.u32(0, runs.len() as u64);
    maker.set(&mut out, width, pages);
    for (index, (start, count)) in (0..).zip(&runs) {
        let at = (2 + index * 2) * width;
        maker.set(&mut out, at, *start);
        maker.set(&mut out, at + width, *count);
    }
    let block = maker.pool(*b"MmPh", out.0.len() as u64);
    maker.put(block, &out.0);
    let (pointer, count) =
        (maker.symbol("MmPhysicalMemoryBlock"), maker.symbol("MmNumberOfPhysicalPages"));
    maker.pointer(pointer, block);
    maker.pointer(count, pages);
    let highest = runs.last().map_or(0, |(start, count)| start + count - 1);
    let va = maker.symbol("MmHighestPhysicalPage");
    maker.pointer(va, highest);
    runs
}

/// Writes the debugger data block, encoded if the build does that.
pub(super) fn debugger_data(maker: &mut Maker<'_>, cpus: &Cpus) -> Kdbg {
    let (build, flag) = (maker.build, maker.symbol("KdpDataBlockEncoded"));
    let values = super::kdbg::Values {
        saved_context: cpus.crashed.unwrap_or_default(),
        pae: maker.fixture.paging == Paging::Pae,
        pte_base: pte_base(maker),
    };
    let symbols: BTreeMap<_, _> = maker.symbols.clone();
    let plain = super::kdbg::plain(build, &symbols, &values);
    let va = maker.symbol("KdDebuggerDataBlock");
    let head = maker.symbol("KdpDebuggerDataListHead");
    maker.link(head, &[va]);
    let encoded = build.encodes && !maker.has(Trap::PlainKdbg) && !maker.has(Trap::Crashed);
    let keys = Keys { never: maker.noise(), always: maker.noise(), flag };
    if build.encodes {
        for (name, key) in [("KiWaitNever", keys.never), ("KiWaitAlways", keys.always)] {
            let va = maker.symbol(name);
            maker.put(va, &key.to_le_bytes());
        }
        maker.put(flag, &[encoded.into()]);
    }
    let keys = encoded.then_some(keys);
    let stored = keys.map_or_else(|| plain.clone(), |keys| super::kdbg::encode(&plain, keys));
    maker.put(va, &stored);
    Kdbg { va, plain, stored, keys }
}

fn pte_base(maker: &Maker<'_>) -> u64 {
    match maker.fixture.paging {
        Paging::FourLevel => 0xffff_0000_0000_0000 | maker.memory.self_map << 39,
        Paging::FiveLevel => 0xfe00_0000_0000_0000 | maker.memory.self_map << 48,
        Paging::Pae | Paging::TwoLevel => 0xffff_ffff_c000_0000,
    }
}

/// `PROCESSOR_START_BLOCK`, by which processors were woken.
pub(super) fn low_stub(maker: &mut Maker<'_>) -> Option<u64> {
    if !maker.is_64_bit() || maker.has(Trap::NoLowStub) {
        return None;
    }
    let mut out = Bytes::zeroed(0x200);
    out.u64(0, 0x0000_0001_0006_00e9 | 0x4d << 8).u64(0x70, maker.symbol("KiSystemStartup"));
    out.u64(0x90, 0x8005_0033).u64(0xa0, maker.memory.root(0));
    out.u64(0xa8, super::cpus::cr4(maker, false));
    maker.memory.ram.put(0x1_3000, &out.0);
    Some(0x1_3000)
}
