//! Images in the kernel, and the memory of those that are gone.

use super::bytes::align;
use super::kernel;
use super::make::{Maker, NOW};
use super::pe::{self, Image};
use super::space::Access;
use super::truth::{Module, Unloaded};
use crate::bytes::Bytes;

/// Name, folder, length of the image, time stamp.
const DRIVERS: [(&str, &str, u32, u32); 5] = [
    ("hal.dll", r"\SystemRoot\system32\", 0x6_3000, 0x4a5b_df08),
    ("kdcom.dll", r"\SystemRoot\system32\", 0xa000, 0x5f3a_0001),
    ("tcpip.sys", r"\SystemRoot\System32\drivers\", 0x1f_e000, 0x5c11_2233),
    ("win32k.sys", r"\SystemRoot\System32\", 0x9_b000, 0x6011_3344),
    ("vmmemctl.sys", r"\SystemRoot\system32\DRIVERS\", 0x9000, 0x5d55_4433),
];

/// Writes all modules; the kernel is the first.
pub(super) fn make(maker: &mut Maker<'_>) -> Vec<Module> {
    let build = maker.build;
    let mut modules = vec![Module {
        name: "ntoskrnl.exe".to_owned(),
        path: r"\SystemRoot\system32\ntoskrnl.exe".to_owned(),
        base: build.base,
        size: build.size,
        entry: build.base + u64::from(kernel::image(maker).entry),
        timestamp: build.timestamp,
        ldr: 0,
    }];
    let mut base = first_driver(maker);
    for (name, folder, size, timestamp) in DRIVERS {
        let entry = driver(maker, name, base, size, timestamp);
        let (name, path) = (name.to_owned(), format!("{folder}{name}"));
        modules.push(Module { name, path, base, size, entry, timestamp, ldr: 0 });
        base = align(base + u64::from(size), 0x1_0000) + 0x3_0000;
    }
    for module in &mut modules {
        module.ldr = entry(maker, module);
    }
    let entries: Vec<u64> = modules.iter().map(|module| module.ldr).collect();
    let head = maker.symbol("PsLoadedModuleList");
    maker.link(head, &entries);
    modules
}

fn first_driver(maker: &Maker<'_>) -> u64 {
    let build = maker.build;
    match (build.bits, build.number) {
        (64, 7601) => 0xffff_f880_0100_0000,
        (64, _) => build.base + 0x2c0_0000,
        (_, 2600 | 3790) => 0xf800_0000,
        _ => 0x8be0_0000,
    }
}

/// Writes a driver's headers and its first pages; returns its entry point.
fn driver(maker: &mut Maker<'_>, name: &str, base: u64, size: u32, timestamp: u32) -> u64 {
    let stem = name.split('.').next().unwrap_or(name);
    let image = Image {
        bits: maker.build.bits,
        base,
        size,
        timestamp,
        entry: 0x2010,
        sections: vec![
            (".rdata", 0x1000, 0x1000, pe::CONSTANT),
            (".text", 0x2000, size - 0x5000, pe::CODE),
            (".data", size - 0x3000, 0x1000, pe::DATA),
            ("INIT", size - 0x2000, 0x2000, pe::DISCARDABLE),
        ],
        exports: (0, 0),
        debug: (0x1000, 28),
    };
    maker.memory.region(base, 0x2000, Access::Constant);
    maker.memory.region(base + 0x2000, u64::from(size) - 0x5000, Access::Code);
    maker.put(base, &image.headers());
    let guid = format!("{:032X}", u128::from(timestamp) << 64 | u128::from(size));
    let record = pe::code_view(&guid, 1, &format!("{stem}.pdb"));
    maker.put(base + 0x1000, &pe::debug_directory(0x1000, timestamp, &[(2, record)]));
    maker.put(base + 0x2000, &[0xcc; 0x1000]);
    base + 0x2010
}

/// `KLDR_DATA_TABLE_ENTRY`.
fn entry(maker: &mut Maker<'_>, module: &Module) -> u64 {
    let full = maker.unicode(&module.path);
    let name = maker.unicode(&module.name);
    let width = maker.width();
    let at = |wide, narrow| if width == 8 { wide } else { narrow };
    let mut out = Bytes::zeroed(at(0xa0, 0x58));
    maker.set(&mut out, at(0x30, 0x18), module.base);
    maker.set(&mut out, at(0x38, 0x1c), module.entry);
    out.u32(at(0x40, 0x20), module.size.into());
    out.put(at(0x48, 0x24), &full).put(at(0x58, 0x2c), &name);
    out.u32(at(0x68, 0x34), 0x0908_4000).u16(at(0x6c, 0x38), 1);
    if width == 8 {
        out.u32(0x9c, module.timestamp.into());
    }
    let va = maker.pool(*b"MmLd", out.0.len() as u64);
    maker.put(va, &out.0);
    va
}

/// Writes what is kept of drivers that were unloaded.
pub(super) fn unloaded(maker: &mut Maker<'_>) -> Vec<Unloaded> {
    let base = maker.pick(0xffff_f880_0444_0000, 0x8b44_0000);
    let all = [
        ("dump_storport.sys", base, 30_000_000_000),
        ("crashdmp.sys", base + 0x2_0000, 29_000_000_000),
        ("hwpolicy.sys", base + 0x5_0000, 1_000_000_000),
    ]
    .map(|(name, start, ago)| Unloaded {
        name: name.to_owned(),
        start,
        end: start + 0x1_2000,
        time: NOW - ago,
    });
    let len = maker.pick(0x28, 0x18);
    let array = maker.pool(*b"MmDT", 50 * len);
    for (index, driver) in (0..).zip(&all) {
        let name = maker.unicode(&driver.name);
        let (mut out, width) = (Bytes::zeroed(len), maker.width());
        out.put(0, &name);
        maker.set(&mut out, 2 * width, driver.start);
        maker.set(&mut out, 3 * width, driver.end);
        out.u64(4 * width, driver.time);
        maker.put(array + index * len, &out.0);
    }
    let (pointer, last) = (maker.symbol("MmUnloadedDrivers"), maker.symbol("MmLastUnloadedDriver"));
    maker.pointer(pointer, array);
    maker.u32(last, 3);
    all.to_vec()
}
