//! Windows guests in gdb 13, gdb 16 and lldb 19: processors, memory and images as
//! the guest was made; guests that are unknown are called nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::clients::{ask_gdb, ask_lldb, source};
use common::cores::PROGRAM;
use common::judges;
use common::server::Server;
use common::text::{ensure_contains, ensure_registers};
use common::walker::Sample;
use common::windows::Windows;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie};
use vmss2core_lab::registers::GPR_NAMES;
use vmss2core_lab::vmware::{Cpu, Placement};

/// Bytes that are mapped for the kernel, a few of each mapping.
fn samples(guest: &Windows) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for module in &guest.truth.modules {
        for (pa, len) in guest.pieces(module.base, u64::from(module.size)) {
            let mut bytes = vec![0; usize::try_from(len.min(64))?];
            ensure!(guest.memory(pa, &mut bytes)?, "no {pa:#x}");
            let va = guest.truth.mappings.iter().find(|one| one.pa <= pa && pa < one.pa + one.len);
            let va = va.map(|one| one.va + (pa - one.pa)).context("not mapped")?;
            samples.push(Sample { va, len: bytes.len(), bytes });
        }
    }
    ensure!(samples.len() > 2, "only {} samples", samples.len());
    Ok(samples)
}

/// The images as files, as far as they are in memory; returns how many.
fn write_images(guest: &Windows) -> Result<usize> {
    let mut written = 0;
    for module in &guest.truth.modules {
        let mut image = vec![0; usize::try_from(module.size)?];
        for (page, va) in image.chunks_mut(4096).zip((module.base..).step_by(4096)) {
            for (pa, len) in guest.pieces(va, page.len() as u64) {
                guest.memory(pa, &mut page[..usize::try_from(len)?])?;
            }
        }
        let has_header = image.starts_with(b"MZ");
        if !has_header {
            continue;
        }
        std::fs::write(guest.dir().join(&module.name), image)?;
        written += 1;
    }
    Ok(written)
}

/// A processor's registers by gdb's names.
fn registers(cpu: &Cpu, is_64_bit: bool) -> BTreeMap<String, u64> {
    let [es, cs, ss, ds, fs, gs, ..] = cpu.segments;
    let segments = [("es", es), ("cs", cs), ("ss", ss), ("ds", ds), ("fs", fs), ("gs", gs)];
    let bases = [("fs_base", fs.1), ("gs_base", gs.1)];
    let count = if is_64_bit { GPR_NAMES.len() } else { 8 };
    let general = GPR_NAMES.into_iter().zip(cpu.general).take(count).chain([("rip", cpu.rip)]);
    let general = general.map(|(name, value)| match name.strip_prefix('r') {
        Some(rest) if !is_64_bit => (format!("e{rest}"), value),
        _ => (name.to_owned(), value),
    });
    let others = segments.into_iter().map(|(name, (selector, _))| (name, selector.into()));
    let others = others.chain(bases).chain([("eflags", cpu.rflags.into())]);
    general.chain(others.map(|(name, value)| (name.to_owned(), value))).collect()
}

fn seen_in(judge: &Judge, name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    let checkpoint = guest.checkpoint(Placement::Split)?;
    let server = Server::start(&checkpoint, &[])?;
    let samples = samples(&guest)?;
    let list = judges::samples_file(&samples)?;
    let lines = [
        format!("python import os; os.environ['SAMPLES'] = '{}'", list.path().display()),
        source("gdb_reads.py"),
        source("gdb_registers.py"),
    ];
    let said = ask_gdb(judge, &server, None, &lines.each_ref().map(String::as_str))?;
    judges::all_right(name, &said, samples.len())?;
    for (index, cpu) in guest.machine.cpus.iter().enumerate() {
        let expected = registers(cpu, guest.truth.paging.is_64_bit());
        ensure_registers(name, &said, index + 1, &expected)?;
    }
    let images = write_images(&guest)?;
    let search = format!("set solib-search-path {}", guest.dir().display());
    let said = ask_gdb(judge, &server, None, &[&search, "sharedlibrary", "info sharedlibrary"])?;
    for module in &guest.truth.modules {
        ensure_contains(name, &said, &module.name)?;
    }
    let base = guest.truth.kernel.base;
    let near = |line: &&str| line.starts_with("0x") && line.contains("ntoskrnl.exe");
    let line =
        said.lines().find(near).with_context(|| format!("{name}: {images} images\n{said}"))?;
    let from = line.split_whitespace().next().context("no address")?;
    let from = u64::from_str_radix(from.trim_start_matches("0x"), 16)?;
    let size = u64::from(guest.truth.kernel.size);
    ensure!(from == base + 0x1000, "{name}: {from:#x} of {base:#x} + {size:#x}\n{said}");
    Ok(())
}

fn seen(name: &str) -> Result<()> {
    seen_in(&gdb()?, name)
}

fn seen_in_gdb_16(name: &str) -> Result<()> {
    seen_in(&gdb_trixie()?, name)
}

/// The same answers as those of the commands; those about Linux say why not.
fn monitor(name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    let checkpoint = guest.checkpoint(Placement::Split)?;
    let server = Server::start(&checkpoint, &[])?;
    for (monitor, command) in [
        ("ps", "ps"),
        ("mods", "modules"),
        ("bt", "bt"),
        ("info", "info"),
        ("ps -T", "ps --threads"),
    ] {
        let said = ask_gdb(&gdb()?, &server, None, &[&format!("monitor {monitor}")])?;
        let words = command.split(' ');
        let output = Command::new(PROGRAM).args(words).arg(&checkpoint).output()?;
        let direct = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(!direct.is_empty(), "{command} printed nothing");
        ensure_contains(monitor, &said, &direct)?;
    }
    let lines = ["monitor dmesg", "monitor ps 4", "monitor kaslr"];
    let said = ask_gdb(&gdb()?, &server, None, &lines)?;
    ensure_contains(name, &said, &format!("nt         {:#x}  (", guest.truth.kernel.base))?;
    ensure_contains(name, &said, "this is a Windows guest, and the command is about Linux")?;
    let base = guest.truth.kernel.base;
    let pieces = guest.pieces(base, 1);
    let (at, _) = pieces.first().context("the kernel is not mapped")?;
    let lines = ["monitor cr3 4".to_owned(), format!("monitor vtop {base:#x} System")];
    let said = ask_gdb(&gdb()?, &server, None, &lines.each_ref().map(String::as_str))?;
    ensure_contains(name, &said, &format!("{:#x}  (", guest.truth.dtb))?;
    ensure_contains(name, &said, &format!("{base:#x} -> {at:#x}  page of"))?;
    let mut client = server.connect()?;
    ensure!(client.ask("qOffsets")?.is_empty(), "a slide is told of Windows");
    let said = ask_lldb(&server, None, &["thread list", "register read pc"])?;
    let pc = guest.machine.cpus.first().context("no vCPU")?.rip;
    let digits = if guest.truth.paging.is_64_bit() { 16 } else { 8 };
    for part in ["name = 'vCPU 0'", &format!(" = 0x{pc:0digits$x}")] {
        ensure_contains(name, &said, part)?;
    }
    let output =
        Command::new(PROGRAM).args(["gdb", "--tasks", "--stdio"]).arg(&checkpoint).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{said}");
    ensure_contains("no Linux", &said, "--tasks is for Linux guests")
}

/// Processes of Windows are listed, not attached to; gdb stays connected.
fn attaching_is_refused(name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    let server = Server::start(&guest.checkpoint(Placement::Split)?, &[])?;
    let attach = "python\ntry: gdb.execute('attach 4')\nexcept gdb.error as error: \
                  print('refused:', error)\nend";
    let connect = format!("target extended-remote {}", server.socket().display());
    let file = guest.dir().join("attach.gdb");
    // Beside the processors: gdb would end looking at these to attach.
    let beside = ["add-inferior", "inferior 2", attach, "monitor problems", "inferior 1"];
    let lines = [&[connect.as_str()], &beside[..], &["info threads", "p/x $pc"]].concat();
    std::fs::write(&file, lines.join("\n"))?;
    for judge in [gdb()?, gdb_trixie()?] {
        let mut gdb = judge.command();
        gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-x"]).arg(&file);
        let said = judges::output(&mut gdb)?;
        let pc = guest.machine.cpus.first().context("no vCPU")?.rip;
        let why = "only processes of Linux guests can be attached to";
        for part in ["refused: Att", why, "vCPU 0", &format!("= {pc:#x}\n")] {
            ensure_contains(name, &said, part)?;
        }
    }
    Ok(())
}

guest_tests! {
    (seen, monitor, attaching_is_refused)
    win10: "win10-19041-x64",
    win7: "win7-x64",
    win7_two_level: "win7-x86",
}

mod in_gdb_16 {
    guest_tests! {
        (seen_in_gdb_16)
        win10: "win10-19041-x64",
    }

    use super::seen_in_gdb_16;
}
