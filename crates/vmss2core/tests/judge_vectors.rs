//! Known values in x87 and vector registers: a program that held them on a
//! processor when the guest was stopped, in gdb 13, gdb 16 and lldb 19, served and
//! as a core; QEMU's own notes against ours.

#[macro_use]
mod common;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use common::clients::{ask_gdb, ask_lldb, source};
use common::cores::{self, Wrap};
use common::elf::Core;
use common::server::Server;
use common::text::ensure_contains;
use common::{guests, judges, vectors};
use vmss2core_lab::judges::{gdb, gdb_trixie};
use vmss2core_lab::{CpuRegisters, Guest};

const GUEST: &str = "linux-6.1-vectors";

/// What `vectors.c` puts into the registers: byte j of ymm i is 16 * i + j.
fn values_of_the_program() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for index in 0..16_u8 {
        let bytes: Vec<u8> = (0..32_u8).map(|j| (index << 4).wrapping_add(j)).collect();
        let (low, _) = bytes.split_at(16);
        all.insert(format!("ymm{index}"), vectors::hex(&bytes));
        all.insert(format!("xmm{index}"), vectors::hex(low));
    }
    for (name, value) in [
        ("mxcsr", "9fa1"),
        ("fctrl", "27f"),
        // pi, 1 and log2(e)
        ("st0", "4000c90fdaa22168c235"),
        ("st1", "3fff8000000000000000"),
        ("st2", "3fffb8aa3b295c17f0bc"),
    ] {
        all.insert(name.to_owned(), value.to_owned());
    }
    all
}

/// The processor that ran the program, by what is in its registers.
fn its_processor(guest: &Guest) -> Result<(usize, &CpuRegisters)> {
    let marked = |cpu: &&CpuRegisters| {
        let upper = cpu.ymm_high.as_deref().unwrap_or_default();
        upper
            .iter()
            .copied()
            .eq((0..16_u8).flat_map(|i| (16..32).map(move |j| (i << 4).wrapping_add(j))))
    };
    let found = guest.cpus.iter().enumerate().find(|(_, cpu)| marked(cpu));
    found.context("the program was on no processor when the guest was stopped")
}

#[test]
fn a_served_checkpoint_shows_what_qemu_has_and_the_program_put_there() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let (running, _) = its_processor(&guest)?;
    let server = Server::of(&guest)?;
    for judge in [gdb()?, gdb_trixie()?] {
        let said = ask_gdb(&judge, &server, None, &[&source("gdb_vectors.py")])?;
        for (index, cpu) in guest.cpus.iter().enumerate() {
            let what = format!("vCPU {index}");
            vectors::ensure_shown(&what, &said, index as u64 + 1, &vectors::of(cpu, 16)?)?;
        }
        let of_program = values_of_the_program();
        vectors::ensure_shown("the program", &said, running as u64 + 1, &of_program)?;
    }
    Ok(())
}

#[test]
fn segments_have_limits_and_attributes() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let server = Server::of(&guest)?;
    let names = ["es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr"];
    let asked = names.map(|name| format!(" {name}_limit {name}_attr")).concat();
    let line = format!("thread apply all info registers{asked}");
    let said = ask_gdb(&gdb()?, &server, None, &[&line])?;
    let parts: Vec<&str> = said.split("Thread ").collect();
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let number = format!("1.{} ", index + 1);
        let part = parts.iter().find(|part| part.starts_with(&number)).context(said.clone())?;
        let value = |name: &str| {
            let mut lines = part.lines().map(str::split_whitespace);
            let value = lines
                .find_map(|mut words| words.next().filter(|word| *word == name).and(words.next()));
            u32::from_str_radix(value?.strip_prefix("0x")?, 16).ok()
        };
        for (name, segment) in names.into_iter().zip(&cpu.segments) {
            ensure!(value(&format!("{name}_limit")) == Some(segment.limit), "{name}: {part}");
            ensure!(value(&format!("{name}_attr")) == Some(segment.attributes()), "{name}: {part}");
        }
    }
    Ok(())
}

fn pid(guest: &Guest) -> Result<u32> {
    guest.truth()?.programs()?.get("vectors").copied().context("no such program")
}

/// `{0x30 0x31 ...}`, the lowest byte first.
fn in_lldb(digits: &str, bytes: usize) -> Result<String> {
    let digits = format!("{digits:0>width$}", width = bytes * 2);
    let mut shown = Vec::new();
    for at in (0..bytes).rev() {
        let byte = digits.get(at * 2..at * 2 + 2).context("an odd number of digits")?;
        shown.push(format!("0x{byte}"));
    }
    Ok(format!("{{{}}}", shown.join(" ")))
}

/// Vector registers of this kind and width have the program's values.
fn ensure_in_lldb(what: &str, said: &str, kind: &str, bytes: usize) -> Result<()> {
    let values = values_of_the_program();
    for index in [0, 3, 15] {
        let name = format!("{kind}{index}");
        let shown = in_lldb(values.get(&name).context("no value")?, bytes)?;
        ensure_contains(what, said, &format!("{name} = {shown}"))?;
    }
    ensure_contains(what, said, "mxcsr = 0x00009fa1")
}

#[test]
fn the_core_of_the_program_has_its_values_in_gdb_and_lldb() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let pid = pid(&guest)?;
    let run = cores::converted(&guest, &Wrap::split(), &["core", "--pid", &pid.to_string()])?;
    let core = run.path(&format!("core.{pid}"));
    for judge in [gdb()?, gdb_trixie()?] {
        let mut gdb = judge.command();
        gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-c"]).arg(&core);
        let said = judges::output(gdb.args(["-ex", &source("gdb_vectors.py")]))?;
        vectors::ensure_shown("the core", &said, pid.into(), &values_of_the_program())?;
    }
    // Of a core lldb 19 shows no YMM registers.
    let line = format!("lldb --core {}", core.display());
    let read = "register read xmm0 xmm3 xmm15 mxcsr";
    let said = judges::output(&mut judges::lldb_line(&run.dir, &line, &[read])?)?;
    ensure_in_lldb("the core in lldb", &said, "xmm", 16)
}

#[test]
fn lldb_shows_the_values_of_a_served_checkpoint() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let (running, _) = its_processor(&guest)?;
    let server = Server::of(&guest)?;
    let select = format!("thread select {}", running + 1);
    let read = "register read ymm0 ymm3 ymm15 mxcsr";
    let said = ask_lldb(&server, None, &[&select, read])?;
    ensure_in_lldb("served, in lldb", &said, "ymm", 32)
}

/// Every byte of both, as `dump-guest-memory` writes them.
#[test]
fn our_notes_equal_those_of_qemu() -> Result<()> {
    let guest = guests::guest(GUEST)?;
    let theirs = Core::open(&guest.qemu_dump())?;
    let ours = cores::physical(&guest)?.core("vmss.core")?;
    let (theirs, ours) = (theirs.notes_of("QEMU"), ours.notes_of("QEMU"));
    ensure!(theirs.len() == guest.cpus.len(), "QEMU wrote {} notes", theirs.len());
    ensure!(ours.len() == theirs.len(), "{} notes, not {}", ours.len(), theirs.len());
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let differ = |at: &usize| ours.desc.get(*at) != theirs.desc.get(*at);
        let different: Vec<usize> = (0..theirs.desc.len()).filter(differ).collect();
        ensure!(
            different.is_empty() && ours.desc.len() == theirs.desc.len(),
            "vCPU {index}: bytes {different:?} differ:\n{:x?}\n{:x?}",
            ours.desc,
            theirs.desc
        );
    }
    Ok(())
}
