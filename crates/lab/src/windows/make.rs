//! What the parts of a guest are made with, and the order in which they are.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::build::{BUILDS, Build};
use super::bytes::{align, wide};
use super::fixture::{Fixture, Trap};
use super::ram::Ram;
use super::space::{Memory, Paging};
use super::truth::Truth;
use super::{cpus, kdbg, kernel, modules, processes, traps};
use crate::bytes::Bytes;
use crate::vmware::{Machine, Random};

/// A guest and what is in it.
#[derive(Clone, Debug)]
pub struct MiniNt {
    /// Its memory and registers.
    pub machine: Machine,
    /// Everything that was put in.
    pub truth: Truth,
}

/// What makes the parts of a guest.
pub(super) struct Maker<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) build: &'static Build,
    pub(super) memory: Memory,
    pub(super) random: Random,
    /// Addresses of the kernel's variables and functions.
    pub(super) symbols: BTreeMap<&'static str, u64>,
    pool: u64,
}

/// Time of the checkpoint, in 100 ns since 1601: a day in 2024.
pub(super) const NOW: u64 = 133_500_123_456_789_012;
/// 100 ns since the start.
pub(super) const UP: u64 = 36_123_456_789;

/// Makes the guest that `fixture` describes.
pub fn make(fixture: &Fixture) -> Result<MiniNt> {
    let mut maker = Maker::new(fixture)?;
    kernel::lay_out(&mut maker);
    let plan = processes::plan(&maker);
    let (mut processes, spaces) = processes::make(&mut maker, &plan);
    let modules = modules::make(&mut maker);
    let unloaded = modules::unloaded(&mut maker);
    let physical_memory = kernel::fill(&mut maker);
    let made = cpus::make(&mut maker, &plan, &mut processes, &spaces);
    let bugcheck = cpus::crash(&mut maker, &modules);
    let kdbg = kernel::debugger_data(&mut maker, &made);
    let low_stub = kernel::low_stub(&mut maker);
    traps::set(&mut maker, &modules, &kdbg.plain);
    let root = maker.memory.root(0);
    let mappings = maker.memory.finish();
    let (memory, ram) = maker.memory.ram.contents(&fixture.ranges())?;
    let first = modules.first().cloned().context("no kernel among the modules")?;
    let truth = Truth {
        build: maker.build.number,
        version: maker.build.version,
        lab: maker.build.lab.to_owned(),
        product: product(maker.build),
        suite: 0x110,
        service_pack: maker.build.service_pack,
        system_time: NOW,
        interrupt_time: UP,
        boot_id: 7,
        paging: fixture.paging,
        dtb: root,
        self_map: maker.memory.self_map,
        kernel: first,
        pdb: kernel::pdb(maker.build),
        kdbg,
        bugcheck,
        symbols: maker.symbols,
        cpus: made.truth,
        processes,
        modules,
        unloaded,
        physical_memory,
        low_stub,
        mappings,
        layout: layout(maker.build),
    };
    Ok(MiniNt { machine: Machine { memory, ram, cpus: made.registers }, truth })
}

impl<'a> Maker<'a> {
    fn new(fixture: &'a Fixture) -> Result<Self> {
        let bits = if fixture.paging.is_64_bit() { 64 } else { 32 };
        let mut builds = BUILDS.iter();
        let build = builds.find(|build| build.number == fixture.build && build.bits == bits);
        let build = build.with_context(|| format!("no build {} of {bits} bits", fixture.build))?;
        let mut random = Random::new(fixture.seed ^ u64::from(build.number) << 8);
        let ram = Ram::new(&fixture.ranges(), &mut random);
        // The last entry of five levels holds all of the kernel.
        let self_map = if fixture.paging == Paging::FiveLevel { 0x1a3 } else { build.self_map };
        let memory = Memory::new(ram, fixture.paging, self_map, build.dtb);
        Ok(Self { fixture, build, memory, random, symbols: BTreeMap::new(), pool: build.pool })
    }

    pub(super) fn has(&self, trap: Trap) -> bool {
        self.fixture.has(trap)
    }

    /// Whether the kernel hides itself from user mode.
    pub(super) fn shadows(&self) -> bool {
        self.has(Trap::Shadow) && self.build.shadow.is_some()
    }

    pub(super) fn is_64_bit(&self) -> bool {
        self.build.bits == 64
    }

    /// Bytes of a pointer.
    pub(super) fn width(&self) -> u64 {
        u64::from(self.build.bits / 8)
    }

    /// One of two numbers, by the width of a pointer.
    pub(super) fn pick(&self, wide: u64, narrow: u64) -> u64 {
        if self.is_64_bit() { wide } else { narrow }
    }

    /// Any number.
    pub(super) fn noise(&mut self) -> u64 {
        let mut byte = || self.random.below(256) as u64;
        (0..8).fold(0, |value, _| value << 8 | byte())
    }

    pub(super) fn symbol(&self, name: &str) -> u64 {
        self.symbols.get(name).copied().unwrap_or_default()
    }

    /// Writes to the kernel's half.
    pub(super) fn put(&mut self, va: u64, bytes: &[u8]) {
        self.memory.put(0, va, bytes);
    }

    /// Writes a pointer.
    pub(super) fn pointer(&mut self, va: u64, value: u64) {
        let bytes = self.pointer_bytes(value);
        self.put(va, &bytes);
    }

    pub(super) fn u32(&mut self, va: u64, value: u32) {
        self.put(va, &value.to_le_bytes());
    }

    pub(super) fn pointer_bytes(&self, value: u64) -> Vec<u8> {
        let len = usize::try_from(self.width()).unwrap_or_default();
        value.to_le_bytes().get(..len).unwrap_or_default().to_vec()
    }

    /// Puts a pointer into a structure.
    pub(super) fn set(&self, out: &mut Bytes, at: u64, value: u64) {
        out.put(at, &self.pointer_bytes(value));
    }

    /// Memory of the pool, after a header with this tag.
    pub(super) fn pool(&mut self, tag: [u8; 4], len: u64) -> u64 {
        let head = self.pick(16, 8);
        let at = self.pool;
        self.pool = align(at + head + len, 16);
        let mut header = Bytes::zeroed(head);
        header.u8(self.pick(2, 2), 3).put(4, &tag);
        self.put(at, &header.0);
        self.put(at + head, &Bytes::zeroed(len).0);
        at + head
    }

    /// A text in the pool, and the bytes of a `UNICODE_STRING` for it.
    pub(super) fn unicode(&mut self, text: &str) -> Vec<u8> {
        let text = wide(text);
        let len = text.len() as u64;
        let buffer = self.pool(*b"Strg", len + 2);
        self.put(buffer, &text);
        self.unicode_at(buffer, len)
    }

    /// The bytes of a `UNICODE_STRING` of `len` bytes at `buffer`.
    pub(super) fn unicode_at(&self, buffer: u64, len: u64) -> Vec<u8> {
        let mut out = Bytes::zeroed(2 * self.width());
        out.u16(0, len).u16(2, len + 2);
        self.set(&mut out, self.width(), buffer);
        out.0
    }

    /// Links entries in a ring that begins and ends at `head`.
    pub(super) fn link(&mut self, head: u64, entries: &[u64]) {
        let ring: Vec<u64> = [head].into_iter().chain(entries.iter().copied()).collect();
        let next = ring.iter().cycle().skip(1);
        for (entry, next) in ring.iter().zip(next) {
            self.pointer(*entry, *next);
            self.pointer(next + self.width(), *entry);
        }
    }
}

/// 1 workstation, 3 server.
pub(super) fn product(build: &Build) -> u32 {
    if build.number == 3790 { 3 } else { 1 }
}

/// The layouts that a reader may want to compare with its own.
fn layout(build: &Build) -> BTreeMap<(&'static str, &'static str), u64> {
    let (process, thread, prcb) = (&build.process, &build.thread, &build.prcb);
    let wide = build.bits == 64;
    let all = [
        (("_EPROCESS", ""), process.size),
        (("_EPROCESS", "DirectoryTableBase"), if wide { 0x28 } else { 0x18 }),
        (("_EPROCESS", "UniqueProcessId"), process.pid),
        (("_EPROCESS", "ActiveProcessLinks"), process.links),
        (("_EPROCESS", "ImageFileName"), process.name),
        (("_EPROCESS", "InheritedFromUniqueProcessId"), process.parent),
        (("_EPROCESS", "CreateTime"), process.create),
        (("_EPROCESS", "ExitTime"), process.exit),
        (("_EPROCESS", "Peb"), process.peb),
        (("_EPROCESS", "ObjectTable"), process.handles),
        (("_EPROCESS", "ThreadListHead"), process.threads),
        (("_EPROCESS", "ActiveThreads"), process.thread_count),
        (("_EPROCESS", "Token"), process.token),
        (("_EPROCESS", "SectionBaseAddress"), process.section),
        (("_EPROCESS", "SeAuditProcessCreationInfo"), process.audit),
        (("_EPROCESS", "VadRoot"), process.vads),
        (("_ETHREAD", ""), thread.size),
        (("_ETHREAD", "InitialStack"), thread.initial_stack),
        (("_ETHREAD", "StackLimit"), thread.stack_limit),
        (("_ETHREAD", "StackBase"), thread.stack_base),
        (("_ETHREAD", "KernelStack"), thread.kernel_stack),
        (("_ETHREAD", "TrapFrame"), thread.trap_frame),
        (("_ETHREAD", "ApcState"), thread.apc_state),
        (("_ETHREAD", "State"), thread.state),
        (("_ETHREAD", "Teb"), thread.teb),
        (("_ETHREAD", "Cid"), thread.cid),
        (("_ETHREAD", "StartAddress"), thread.start),
        (("_ETHREAD", "ThreadListEntry"), thread.links),
        (("_KPRCB", ""), prcb.size),
        (("_KPRCB", "Number"), prcb.number),
        (("_KPRCB", "MHz"), prcb.mhz),
        (("_KPRCB", "ProcessorState"), prcb.state),
        (("_KPRCB", "Context"), prcb.context),
        (("_KPCR", "Prcb"), kdbg::pcr_head(build)),
    ];
    let shadow = process.user_root.map(|at| (("_EPROCESS", "UserDirectoryTableBase"), at));
    all.into_iter().chain(shadow).collect()
}
