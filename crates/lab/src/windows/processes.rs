//! Processes, their threads, and the little user space that readers look at.

use super::bytes::wide;
use super::fixture::Doing;
use super::make::{Maker, NOW, UP};
use super::pe::Image;
use super::space::SpaceId;
use super::truth::{Process, Thread};
use super::{build, kernel};
use crate::bytes::Bytes;

/// Number, parent, path; the name is its last part.
const PROCESSES: [(u64, u64, &str); 15] = [
    (4, 0, "System"),
    (92, 4, "Registry"),
    (308, 4, r"\Device\HarddiskVolume3\Windows\System32\smss.exe"),
    (412, 396, r"\Device\HarddiskVolume3\Windows\System32\csrss.exe"),
    (488, 396, r"\Device\HarddiskVolume3\Windows\System32\wininit.exe"),
    (500, 480, r"\Device\HarddiskVolume3\Windows\System32\csrss.exe"),
    (556, 480, r"\Device\HarddiskVolume3\Windows\System32\winlogon.exe"),
    (620, 488, r"\Device\HarddiskVolume3\Windows\System32\services.exe"),
    (640, 488, r"\Device\HarddiskVolume3\Windows\System32\lsass.exe"),
    (760, 620, r"\Device\HarddiskVolume3\Windows\System32\svchost.exe"),
    (884, 620, r"\Device\HarddiskVolume3\Windows\System32\svchost.exe"),
    (3120, 3096, r"\Device\HarddiskVolume3\Windows\explorer.exe"),
    (4244, 3120, r"\Device\HarddiskVolume3\Windows\System32\notepad.exe"),
    (4680, 760, r"\Device\HarddiskVolume3\Windows\System32\ApplicationFrameHost.exe"),
    (5012, 3120, r"\Device\HarddiskVolume3\Program Files\Gone\gone.exe"),
];

/// The one that has ended but is still in the list.
const ENDED: u64 = 5012;

/// A process to be made, and on which processors its threads run.
pub(super) struct Planned {
    pid: u64,
    parent: u64,
    path: &'static str,
    running: Vec<usize>,
}

impl Planned {
    fn is_kernel(&self) -> bool {
        self.parent == 4 && self.pid == 92 || self.pid == 4
    }

    fn name(&self) -> &'static str {
        self.path.rsplit('\\').next().unwrap_or(self.path)
    }
}

/// Which process's thread is on which processor: (process, thread).
pub(super) fn running(plan: &[Planned], cpu: usize) -> (usize, usize) {
    let holds = |planned: &Planned| planned.running.iter().position(|held| *held == cpu);
    let found = plan.iter().enumerate().find_map(|(at, planned)| Some((at, holds(planned)?)));
    found.unwrap_or_default()
}

/// Which processes there are, and what runs where: programs where a processor is
/// in user mode, the system elsewhere and programs in turn.
pub(super) fn plan(maker: &Maker<'_>) -> Vec<Planned> {
    let has_registry = maker.build.number >= 17134;
    let mut plan: Vec<Planned> = PROCESSES
        .iter()
        .filter(|(pid, _, _)| has_registry || *pid != 92)
        .map(|(pid, parent, path)| Planned {
            pid: *pid,
            parent: *parent,
            path,
            running: Vec::new(),
        })
        .collect();
    let programs: Vec<usize> = (0..plan.len())
        .filter(|at| plan.get(*at).is_some_and(|one| one.pid > 308 && one.pid != ENDED))
        .collect();
    for (cpu, doing) in maker.fixture.cpus.iter().enumerate() {
        let program = programs.get((cpu * 5 + 3) % programs.len()).copied().unwrap_or_default();
        let process = if *doing == Doing::User || cpu % 2 == 1 { program } else { 0 };
        if let Some(planned) = plan.get_mut(process) {
            planned.running.push(cpu);
        }
    }
    plan
}

/// Address spaces of a process: its own, and that of its user mode.
#[derive(Clone, Copy)]
pub(super) struct Spaces {
    pub(super) own: SpaceId,
    pub(super) shadow: Option<SpaceId>,
}

/// Writes all processes and their list.
pub(super) fn make(maker: &mut Maker<'_>, plan: &[Planned]) -> (Vec<Process>, Vec<Spaces>) {
    let mut made = Vec::new();
    let mut spaces = Vec::new();
    for (index, planned) in (0..).zip(plan) {
        let own = if planned.is_kernel() { 0 } else { maker.memory.process() };
        let shadow = (own != 0 && maker.shadows()).then(|| maker.memory.shadow(own));
        spaces.push(Spaces { own, shadow });
        made.push(process(maker, planned, index, Spaces { own, shadow }));
    }
    let links = |process: &Process| process.eprocess + maker.build.process.links;
    let entries: Vec<u64> = made.iter().map(links).collect();
    let head = maker.symbol("PsActiveProcessHead");
    maker.link(head, &entries);
    let initial = maker.symbol("PsInitialSystemProcess");
    maker.pointer(initial, made.first().map_or(0, |process| process.eprocess));
    (made, spaces)
}

fn process(maker: &mut Maker<'_>, planned: &Planned, index: u64, spaces: Spaces) -> Process {
    let ended = planned.pid == ENDED;
    let name = planned.name();
    let created = NOW - UP + index * 12_345_678;
    let body = maker.build.process.size;
    let head = maker.pick(0x30, 0x18);
    let object = maker.pool(*b"Proc", head + body);
    let eprocess = object + head;
    object_header(maker, object, planned.pid);
    let image_base = if planned.is_kernel() || ended { 0 } else { user_image(maker, index) };
    let peb = if image_base == 0 { 0 } else { user_space(maker, planned, spaces.own, image_base) };
    let mut process = Process {
        eprocess,
        pid: planned.pid,
        parent: planned.parent,
        name: name.chars().take(14).collect(),
        path: if planned.is_kernel() { String::new() } else { planned.path.to_owned() },
        dtb: maker.memory.root(spaces.own),
        user_dtb: spaces.shadow.map(|space| maker.memory.root(space)),
        peb,
        created,
        exited: if ended { NOW - 50_000_000 } else { 0 },
        image_base,
        threads: Vec::new(),
    };
    process.threads = if ended { Vec::new() } else { threads(maker, planned, &process, spaces) };
    write(maker, &process);
    process
}

fn object_header(maker: &mut Maker<'_>, at: u64, pid: u64) {
    let (mut out, width) = (Bytes::zeroed(maker.pick(0x30, 0x18)), maker.width());
    maker.set(&mut out, 0, 0x40 + pid);
    maker.set(&mut out, width, 3);
    out.u8(3 * width, 7);
    maker.put(at, &out.0);
}

/// `EPROCESS`.
fn write(maker: &mut Maker<'_>, process: &Process) {
    let at = &maker.build.process;
    let mut out = Bytes::zeroed(at.size);
    // A dispatcher object of type 3: process.
    out.u8(0, 3).u8(2, maker.build.bits.to_le_bytes()[0]);
    maker.set(&mut out, maker.pick(0x28, 0x18), process.dtb);
    maker.set(&mut out, at.pid, process.pid);
    maker.set(&mut out, at.parent, process.parent);
    out.u64(at.create, process.created).u64(at.exit, process.exited);
    maker.set(&mut out, at.peb, process.peb);
    maker.set(&mut out, at.section, process.image_base);
    out.u32(at.thread_count, process.threads.len() as u64);
    // Where the token is there are references to it in the lowest bits.
    let token = maker.pool(*b"Toke", 0x400);
    maker.set(&mut out, at.token, token | maker.pick(0xf, 7));
    if process.exited == 0 {
        let handles = maker.pool(*b"Obtb", 0x80);
        maker.set(&mut out, at.handles, handles);
    }
    out.put(at.name, process.name.as_bytes());
    let audit = audit(maker, &process.path);
    maker.set(&mut out, at.audit, audit);
    // STATUS_PENDING: it has not ended.
    out.u32(at.vads - 4, if process.exited == 0 { 0x103 } else { 0 });
    let vads = maker.pool(*b"VadS", 0x40);
    maker.set(&mut out, at.vads, vads);
    if maker.build.number == 2600 {
        // XP has the hint for the next search after it.
        maker.set(&mut out, at.vads + 4, vads);
    }
    if let Some(user_root) = at.user_root {
        // 1 says that this process sees the kernel.
        maker.set(&mut out, user_root, process.user_dtb.unwrap_or(1));
    }
    maker.put(process.eprocess, &out.0);
    let links: Vec<u64> =
        process.threads.iter().map(|thread| thread.ethread + maker.build.thread.links).collect();
    maker.link(process.eprocess + at.threads, &links);
    maker.link(process.eprocess + 8, &[]);
}

/// `OBJECT_NAME_INFORMATION` with the text after it.
fn audit(maker: &mut Maker<'_>, path: &str) -> u64 {
    let (text, head) = (wide(path), 2 * maker.width());
    let va = maker.pool(*b"SeAu", head + text.len() as u64 + 2);
    let name = if path.is_empty() {
        vec![0; usize::try_from(head).unwrap_or_default()]
    } else {
        maker.unicode_at(va + head, text.len() as u64)
    };
    maker.put(va, &name);
    maker.put(va + head, &text);
    va
}

/// A thread on every processor that the process runs on, and two that wait.
fn threads(
    maker: &mut Maker<'_>,
    planned: &Planned,
    process: &Process,
    spaces: Spaces,
) -> Vec<Thread> {
    let running = planned.running.len() as u64;
    let threads = (0..running + 2).map(|index| {
        let state = if index < running { 2 } else { 5 };
        thread(maker, process, index, state, spaces)
    });
    threads.collect()
}

const STACK_LEN: u64 = 0x6000;

fn thread(
    maker: &mut Maker<'_>,
    process: &Process,
    index: u64,
    state: u8,
    spaces: Spaces,
) -> Thread {
    let at = &maker.build.thread;
    let tid = process.pid * 4 + 8 + index * 4;
    let ethread = maker.pool(*b"Thre", maker.pick(0x30, 0x18) + at.size) + maker.pick(0x30, 0x18);
    let low = maker.pick(stacks(maker.build), 0xa100_0000) + tid * 0x2000;
    let base = low + STACK_LEN;
    let kernel_stack = base - 0x5c0;
    let start = if process.image_base == 0 {
        maker.symbol("PspSystemThreadStartup")
    } else {
        process.image_base + 0x1230
    };
    let teb = if process.peb == 0 { 0 } else { process.peb + 0x1000 + index * 0x2000 };
    let thread = Thread { ethread, tid, state, teb, stack: (low, base), kernel_stack, start };
    let mut out = Bytes::zeroed(at.size);
    out.u8(0, 6);
    for (offset, value) in [
        (at.initial_stack, base),
        (at.stack_limit, low),
        (at.stack_base, base),
        (at.kernel_stack, kernel_stack),
        (at.trap_frame, 0),
        (at.apc_state + maker.pick(0x20, 0x10), process.eprocess),
        (at.teb, teb),
        (at.cid, process.pid),
        (at.cid + maker.width(), tid),
        (at.start, start),
    ] {
        maker.set(&mut out, offset, value);
    }
    if let Some(process_at) = at.process {
        maker.set(&mut out, process_at, process.eprocess);
    }
    out.u8(at.state, state);
    maker.put(ethread, &out.0);
    stack(maker, &thread);
    if teb != 0 {
        write_teb(maker, &thread, process, spaces.own);
    }
    thread
}

/// Where kernel stacks are.
fn stacks(build: &build::Build) -> u64 {
    if build.number < 10240 { 0xffff_f880_2000_0000 } else { 0xffff_f885_2000_0000 }
}

/// The upper part of a stack: return addresses of who waits, and who started it.
fn stack(maker: &mut Maker<'_>, thread: &Thread) {
    let width = maker.width();
    let (top, low) = (thread.stack.1, thread.kernel_stack);
    maker.put(low & !0xfff, &[0; 16]);
    for (at, symbol) in [
        (low + 7 * width, "KiSwapContext"),
        (low + 24 * width, "KiCallUserMode"),
        (top - 12 * width, "PspSystemThreadStartup"),
    ] {
        let target = maker.symbol(symbol) + 10;
        maker.pointer(at, target);
    }
}

/// Where images of programs are.
fn user_image(maker: &Maker<'_>, index: u64) -> u64 {
    maker.pick(0x7ff6_1230_0000 + index * 0x1000_0000, 0x40_0000 + index * 0x10_0000)
}

fn library(maker: &Maker<'_>) -> u64 {
    maker.pick(0x7ffb_4c0f_0000, 0x77e1_0000)
}

/// Where user mode is caught.
pub(super) fn user_code(maker: &Maker<'_>) -> u64 {
    library(maker) + 0x1060
}

/// Where stacks of user mode are.
pub(super) fn user_stack(maker: &Maker<'_>) -> u64 {
    maker.pick(0x8a_1c2f_e000, 0x12_f000)
}

/// Images, `PEB`, loader data and the shared page of a program; returns the
/// address of the `PEB`.
fn user_space(maker: &mut Maker<'_>, planned: &Planned, space: SpaceId, base: u64) -> u64 {
    let library = library(maker);
    for (at, size) in [(base, 0x3_8000), (library, 0x1f_5000)] {
        user_headers(maker, space, at, size);
    }
    let shared = kernel::shared_page_at(maker);
    let shared = maker.memory.translate(0, shared);
    maker.memory.map(space, 0x7ffe_0000, shared, 0x1000);
    let stack = user_stack(maker);
    maker.memory.put(space, stack, &[0x5a; 0x100]);
    let peb = maker.pick(0x8a_1c30_5000, 0x7ffd_7000);
    let heap = maker.pick(0x1d3_8a02_0000, 0x15_0000);
    let path = format!(r"C:\Windows\System32\{}", planned.name());
    let images = [
        (base, 0x3_8000, path.clone()),
        (library, 0x1f_5000, r"C:\Windows\SYSTEM32\ntdll.dll".to_owned()),
    ];
    let loader = loader_data(maker, space, heap, &images);
    let parameters = parameters(maker, space, heap + 0x1000, &path);
    let (mut out, width) = (Bytes::zeroed(0x800), maker.width());
    for (at, value) in [(2, base), (3, loader), (4, parameters)] {
        maker.set(&mut out, at * width, value);
    }
    let version = maker.pick(0x118, 0xa4);
    out.u32(version, maker.build.version.0.into()).u32(version + 4, maker.build.version.1.into());
    out.u16(version + 8, maker.build.number.into());
    maker.memory.put(space, peb, &out.0);
    peb
}

fn user_headers(maker: &mut Maker<'_>, space: SpaceId, base: u64, size: u32) {
    let image = Image {
        bits: maker.build.bits,
        base,
        size,
        timestamp: 0x5f00_0000 ^ size,
        entry: 0x1230,
        sections: vec![(".text", 0x1000, size - 0x1000, super::pe::CODE)],
        exports: (0, 0),
        debug: (0, 0),
    };
    maker.memory.put(space, base, &image.headers());
    maker.memory.put(space, base + 0x1000, &[0xc3; 0x1000]);
}

/// `PEB_LDR_DATA` and its entries in three lists.
fn loader_data(
    maker: &mut Maker<'_>,
    space: SpaceId,
    va: u64,
    images: &[(u64, u32, String)],
) -> u64 {
    let width = maker.width();
    let lists = maker.pick(0x10, 0xc);
    let mut head = Bytes::zeroed(lists + 6 * width);
    head.u32(0, lists + 6 * width + 8).u8(4, 1);
    let entries: Vec<u64> = (0..).zip(images).map(|(at, _)| va + 0x100 + at * 0x200).collect();
    maker.memory.put(space, va, &head.0);
    for (entry, (base, size, path)) in entries.iter().zip(images) {
        let out = loader_entry(maker, space, *entry, (*base, *size, path));
        maker.memory.put(space, *entry, &out.0);
    }
    for list in 0..3 {
        let ring: Vec<u64> = [va + lists + list * 2 * width]
            .into_iter()
            .chain(entries.iter().map(|entry| entry + list * 2 * width))
            .collect();
        for (at, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let (forward, back) = (maker.pointer_bytes(*next), maker.pointer_bytes(*at));
            maker.memory.put(space, *at, &forward);
            maker.memory.put(space, next + width, &back);
        }
    }
    va
}

fn loader_entry(
    maker: &mut Maker<'_>,
    space: SpaceId,
    va: u64,
    (base, size, path): (u64, u32, &str),
) -> Bytes {
    let name_at = path.rfind('\\').map_or(0, |at| at + 1);
    let text = wide(path);
    maker.memory.put(space, va + 0x100, &text);
    let full = maker.unicode_at(va + 0x100, text.len() as u64);
    let name = maker.unicode_at(va + 0x100 + name_at as u64 * 2, (text.len() - name_at * 2) as u64);
    let mut out = Bytes::zeroed(0x90);
    let at = |wide, narrow| maker.pick(wide, narrow);
    maker.set(&mut out, at(0x30, 0x18), base);
    maker.set(&mut out, at(0x38, 0x1c), base + 0x1230);
    out.u32(at(0x40, 0x20), size.into());
    out.put(at(0x48, 0x24), &full).put(at(0x58, 0x2c), &name);
    out
}

/// `RTL_USER_PROCESS_PARAMETERS`.
fn parameters(maker: &mut Maker<'_>, space: SpaceId, va: u64, path: &str) -> u64 {
    let text = wide(path);
    maker.memory.put(space, va + 0x400, &text);
    let name = maker.unicode_at(va + 0x400, text.len() as u64);
    let mut out = Bytes::zeroed(0x400);
    out.u32(0, 0x800).u32(4, 0x800).u32(8, 1);
    out.put(maker.pick(0x60, 0x38), &name).put(maker.pick(0x70, 0x40), &name);
    maker.memory.put(space, va, &out.0);
    va
}

/// `TEB`.
fn write_teb(maker: &mut Maker<'_>, thread: &Thread, process: &Process, space: SpaceId) {
    let (mut out, width) = (Bytes::zeroed(0x100), maker.width());
    let stack = user_stack(maker);
    for (at, value) in [
        (1, stack + 0x1000),
        (2, stack - 0xf000),
        (6, thread.teb),
        (8, process.pid),
        (9, thread.tid),
        (12, process.peb),
    ] {
        maker.set(&mut out, at * width, value);
    }
    maker.memory.put(space, thread.teb, &out.0);
}
