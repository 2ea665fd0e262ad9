//! What makes a guest hard to read.

use super::fixture::Trap;
use super::make::Maker;
use super::pe::{self, Image};
use super::space::Residence;
use super::truth::Module;
use crate::bytes::Bytes;

/// Sets the traps that are left when everything else is in place.
pub(super) fn set(maker: &mut Maker<'_>, modules: &[Module], kdbg: &[u8]) {
    let base = maker.build.base;
    if maker.has(Trap::SecondImage) {
        second_image(maker);
    }
    if maker.has(Trap::StaleKdbg) {
        stale(maker, kdbg);
    }
    if maker.has(Trap::NoisyData) {
        noise(maker);
    }
    if maker.has(Trap::HeaderInTransition) {
        maker.memory.evict(0, base, Residence::Transition);
    }
    if maker.has(Trap::HeaderPagedOut) {
        lose(maker, base);
    }
    if maker.has(Trap::ExportsPagedOut) {
        lose(maker, base + 0x9000);
    }
    if maker.has(Trap::DriverInTransition)
        && let Some(driver) = modules.last()
    {
        maker.memory.evict(0, driver.base, Residence::Transition);
    }
}

/// Takes a page out of memory: nothing of it is left where it was.
fn lose(maker: &mut Maker<'_>, va: u64) {
    let pa = maker.memory.translate(0, va);
    maker.memory.ram.put(pa, &[0; 4096]);
    maker.memory.evict(0, va, Residence::PagedOut);
}

/// A sound image that is not a kernel, in a page of the kernel's own that lies
/// between its interrupt handlers and its start.
fn second_image(maker: &mut Maker<'_>) {
    let base = (maker.symbol("KiDivideErrorFault") & !0xfff) - 0x5000;
    let image = Image {
        bits: maker.build.bits,
        base,
        size: 0x9_0000,
        timestamp: 0x5d00_1122,
        entry: 0x1000,
        sections: vec![(".text", 0x1000, 0x1000, pe::CODE)],
        exports: (0x2000, 0x100),
        debug: (0x3000, 28),
    };
    maker.put(base, &image.headers());
    maker.put(base + 0x2000, &pe::exports(0x2000, "ntdll.dll", &[("NtClose", 0x1000)]));
    let record = pe::code_view("112233445566778899AABBCCDDEEFF00", 1, "ntdll.pdb");
    maker.put(base + 0x3000, &pe::debug_directory(0x3000, image.timestamp, &[(2, record)]));
}

/// Blocks that were true once, in pages that are free now: one of this boot and
/// one of the boot before, whose kernel was elsewhere.
fn stale(maker: &mut Maker<'_>, kdbg: &[u8]) {
    let mut before = Bytes(kdbg.to_vec());
    before.u64(0x18, maker.build.base - 0x120_0000);
    for (skip, block) in [(0x340, kdbg), (0x7a0, &before.0)] {
        let pa = maker.memory.ram.take();
        maker.memory.ram.put(pa + skip, block);
    }
}

/// Fills what is zero in the kernel's data with noise, but for words that mean
/// something as zero: those next to others.
fn noise(maker: &mut Maker<'_>) {
    let (start, end) = maker.build.data;
    let used: Vec<u64> = maker.symbols.values().copied().collect();
    let base = maker.build.base;
    for rva in (start..end).step_by(8) {
        let va = base + u64::from(rva);
        let near = used.iter().any(|at| va + 8 > *at && va < *at + 0x400);
        if !near {
            let word = maker.noise();
            maker.put(va, &word.to_le_bytes());
        }
    }
}
