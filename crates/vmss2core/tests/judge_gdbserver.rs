//! gdb 13, gdb 16 and lldb 19 on a served checkpoint: registers against QEMU,
//! memory, stacks and symbols against the guest's own and against `bt`, which
//! agrees with drgn and crash.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::clients::{ask_gdb, ask_lldb, source};
use common::cores::{self, PROGRAM, Wrap};
use common::guests::{self, Ram};
use common::judges;
use common::server::Server;
use common::stacks::{self, address};
use common::text::{ensure_contains, ensure_registers};
use common::vectors;
use common::walker;
use serde_json::Value;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie};
use vmss2core_lab::vmware::{Extra, Machine, Shape, write_checkpoint};
use vmss2core_lab::{CpuRegisters, Guest};

const READS: usize = 500;

/// What QEMU has of control registers and tables.
fn system_registers(cpu: &CpuRegisters) -> BTreeMap<String, u64> {
    let [.., tr] = cpu.segments;
    let known = [
        ("cr0", cpu.cr0),
        ("cr2", cpu.cr2),
        ("cr3", cpu.cr3),
        ("cr4", cpu.cr4),
        ("idt_base", cpu.idt.base),
        ("gdt_base", cpu.gdt.base),
        ("tr_base", tr.base),
    ];
    known.map(|(name, value)| (name.to_owned(), value)).into()
}

fn registers_and_memory_in(judge: &Judge, name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let server = Server::of(&guest)?;
    let lines = ["gdb_registers.py", "gdb_vectors.py", "gdb_remote.py"].map(source);
    let said = ask_gdb(judge, &server, None, &lines.each_ref().map(String::as_str))?;
    let ram = Ram::of(&guest)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let what = format!("{name} vCPU {index}");
        ensure_registers(&what, &said, index + 1, &guests::registers(&guest, cpu))?;
        ensure_registers(&what, &said, index + 1, &system_registers(cpu))?;
        let of_qemu = vectors::of(cpu, if guest.is_64_bit { 16 } else { 8 })?;
        vectors::ensure_shown(&what, &said, index as u64 + 1, &of_qemu)?;
        let space = guests::address_space(&ram, &guest, cpu)?;
        let mut samples = walker::samples(&space, &guests::pages(&space)?, READS)?;
        samples.push(guests::banner(&guest, &space)?);
        let list = judges::samples_file(&samples)?;
        let lines = [
            format!("thread {}", index + 1),
            format!("python import os; os.environ['SAMPLES'] = '{}'", list.path().display()),
            source("gdb_reads.py"),
        ];
        let said = ask_gdb(judge, &server, None, &lines.each_ref().map(String::as_str))?;
        judges::all_right(&what, &said, samples.len())?;
    }
    Ok(())
}

fn registers_and_memory(name: &str) -> Result<()> {
    registers_and_memory_in(&gdb()?, name)
}

fn registers_and_memory_in_gdb_16(name: &str) -> Result<()> {
    registers_and_memory_in(&gdb_trixie()?, name)
}

/// What `bt` says, which other tests compare with drgn and crash.
fn bt(guest: &Guest) -> Result<Vec<Value>> {
    let checkpoint = cores::checkpoint(guest, &Wrap::split())?;
    let mut program = Command::new(PROGRAM);
    let report = judges::output(program.args(["bt", "--json"]).arg(&checkpoint))?;
    let report: Value = serde_json::from_str(&report)?;
    Ok(report["stacks"].as_array().context("no stacks")?.clone())
}

/// The words after `KEY TID` on its line, as addresses.
fn addresses(said: &str, key: &str) -> Result<Vec<u64>> {
    let line = said.lines().find_map(|line| line.strip_prefix(key));
    let line = line.with_context(|| format!("no {key:?} in {said}"))?;
    line.split_whitespace().map(|word| Ok(u64::from_str_radix(word, 16)?)).collect()
}

/// With nothing but `target remote`: the kernel's symbols where they belong, the
/// stacks of processors, and each one's own variables.
fn symbols_and_stacks_in(judge: &Judge, name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let server = Server::of(&guest)?;
    let lines = ["p linux_banner", "p init_task.comm", &source("gdb_remote.py")];
    let said = ask_gdb(judge, &server, Some(&kernel), &lines)?;
    ensure_contains(name, &said, "<linux_banner> \"Linux version 6.1.")?;
    ensure_contains(name, &said, "\"swapper/0")?;
    let mut compared = 0;
    for stack in bt(&guest)? {
        let tid = stack["vcpu"].as_u64().context("no vCPU")? + 1;
        let task = address(&stack["task"]["address"])?;
        ensure!(addresses(&said, &format!("current {tid} "))? == [task], "{name}: {said}");
        let ours = stacks::addresses(&stack)?;
        let theirs = addresses(&said, &format!("stack {tid} "))?;
        let theirs: Vec<u64> = theirs.into_iter().filter(|ip| ip >> 63 == 1).collect();
        ensure!(ours == theirs, "{name} vCPU {tid}:\n{ours:x?}\nin gdb\n{theirs:x?}\n{said}");
        compared += ours.len();
    }
    ensure!(compared > 5, "{name}: only {compared} frames compared");
    Ok(())
}

fn symbols_and_stacks(name: &str) -> Result<()> {
    symbols_and_stacks_in(&gdb()?, name)
}

fn symbols_and_stacks_in_gdb_16(name: &str) -> Result<()> {
    symbols_and_stacks_in(&gdb_trixie()?, name)
}

#[test]
fn what_cannot_be_done_is_refused_and_gdb_stays() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let server = Server::of(&guest)?;
    for judge in [gdb()?, gdb_trixie()?] {
        let run = |line: &str| {
            format!(
                "python\ntry: gdb.execute('{line}')\nexcept gdb.error as error: print('refused:', error)\nend"
            )
        };
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("refused.gdb");
        let lines =
            ["continue", "stepi", "set var $rax = 1", "set var *(int*)$sp = 1"].map(run).join("\n");
        fs::write(&file, format!("{lines}\necho still here\\n\np $pc == $pc\n"))?;
        let said = ask_gdb(&judge, &server, None, &[&format!("source {}", file.display())])?;
        ensure_contains("refusals", &said, "this is a checkpoint: it cannot run")?;
        ensure_contains("refusals", &said, "still here\n$1 = 1")?;
        ensure!(said.matches("refused:").count() >= 2, "{said}");
    }
    Ok(())
}

#[test]
fn monitor_answers_as_the_commands_do() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let server = Server::of(&guest)?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    for (monitor, command) in [
        ("monitor ps", "ps"),
        ("monitor dmesg", "dmesg"),
        ("monitor mods", "modules"),
        ("monitor bt", "bt"),
        ("monitor vmcoreinfo", "vmcoreinfo"),
        ("monitor info", "info"),
    ] {
        let said = ask_gdb(&gdb()?, &server, None, &[monitor])?;
        let output = Command::new(PROGRAM).arg(command).arg(&checkpoint).output()?;
        let direct = String::from_utf8_lossy(&output.stdout).into_owned();
        let longest = direct.lines().max_by_key(|line| line.len()).unwrap_or_default();
        ensure!(!longest.is_empty(), "{command} printed nothing");
        ensure_contains(monitor, &said, &direct)?;
    }
    let lines = [
        "monitor help",
        "monitor help linuxoffsets",
        "monitor linuxoffsets",
        "monitor linuxoffsets 0x20614,0x80,0,0x68,0x194,0xa4,0x1b0,0x24,0x18,0x28,0x2000,0xc4,0xec,0x10",
        "monitor cr3",
        "monitor kaslr",
        "monitor find-vmlinux",
        "monitor position",
        "monitor stopat 100",
        "monitor regs",
        "monitor nonsense",
    ];
    let said = ask_gdb(&gdb()?, &server, None, &lines)?;
    for part in [
        "find-vmlinux",
        "monitor linuxoffsets <version>,<mm>",
        "task_struct.mm is at ",
        "not used, it is wrong for this guest",
        "5 levels",
        "_text ",
        "build id ",
        "apt install linux-image-",
        "the guest stands still",
        "no monitor command is called nonsense",
    ] {
        ensure_contains("monitor", &said, part)?;
    }
    let cr3 = guest.cpus.first().context("no vCPU")?.cr3;
    ensure_contains("monitor regs", &said, &format!("cr3          {cr3:#x}\n"))?;
    // The line that it prints is the one that it accepts.
    let line = said.lines().find(|line| line.starts_with("0x601")).context("no line")?;
    let said = ask_gdb(&gdb()?, &server, None, &[&format!("monitor linuxoffsets {line}")])?;
    ensure_contains("its own line", &said, "accepted: ")
}

/// What gef and pwndbg ask QEMU for, in its own form (7.2): the mappings are compared with
/// those of a walk of our own, the physical words with the checkpoint.
#[test]
fn scripts_that_know_qemu_get_answers() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let server = Server::of(&guest)?;
    let lines = [
        "maint packet qqemu.sstepbits",
        "monitor info registers",
        "monitor info mem",
        "monitor gva2gpa 0x10",
        "monitor xp/4gx 0x1000",
        "monitor xp /2xw 0x1000",
    ];
    let said = ask_gdb(&gdb()?, &server, None, &lines)?;
    let cpu = guest.cpus.first().context("no vCPU")?;
    ensure_contains("sstepbits", &said, "received: \"ENABLE=1,NOIRQ=2,NOTIMER=4\"")?;
    ensure_contains("info registers", &said, &format!("CR3={:016x}\n", cpu.cr3))?;
    ensure_contains("gva2gpa", &said, "Unmapped\n")?;
    let ram = Ram::of_checkpoint(&guest, &cores::checkpoint(&guest, &Wrap::split())?)?;
    let space = guests::address_space(&ram, &guest, cpu)?;
    let banner = guests::banner(&guest, &space)?;
    let page = banner.va & !0xfff;
    let holds = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let is_in = (number(start)?..number(end)?).contains(&page);
        (is_in && rest.ends_with("-r-")).then_some(())
    };
    ensure!(said.lines().filter_map(holds).count() == 1, "{page:#x}: {said}");
    let asked = format!("monitor gva2gpa {:#x}", banner.va);
    let gpa = ask_gdb(&gdb()?, &server, None, &[&asked])?;
    let gpa = gpa.lines().find_map(|line| line.strip_prefix("gpa: 0x")).context("no gpa")?;
    let words = ask_gdb(&gdb()?, &server, None, &[&format!("monitor xp/1gx 0x{gpa}")])?;
    let want = u64::from_le_bytes(*banner.bytes.first_chunk().context("eight bytes")?);
    ensure_contains("xp", &words, &format!(": {want:#018x}"))
}

/// As the kernel's own scripts for gdb compute it (`per_cpu` in scripts/gdb/linux/cpus.py).
#[test]
fn variables_of_each_processor_are_where_the_kernels_scripts_look() -> Result<()> {
    let (guest, vmlinux) = guests::guest_with_kernel("linux-6.1")?;
    let server = Server::of(&guest)?;
    let tasks = cores::converted(&guest, &Wrap::split(), &["ps", "-T", "--json"])?.stdout;
    let tasks: Value = serde_json::from_str(&tasks)?;
    let tasks = tasks["tasks"].as_array().context("no tasks")?;
    for cpu in 0..guest.cpus.len() {
        let runs = |task: &&Value| task["running_on"].as_array().is_some_and(|on| !on.is_empty());
        let current = tasks.iter().filter(runs).find(|task| task["cpu"] == cpu);
        let current = current.with_context(|| format!("CPU {cpu} runs nothing"))?;
        let name = current["comm"].as_str().or(current["name"].as_str()).context("no name")?;
        let line = format!(
            "p (*(struct task_struct **)((unsigned long)&current_task + __per_cpu_offset[{cpu}]))->comm"
        );
        let said = ask_gdb(&gdb()?, &server, Some(&vmlinux), &[&line])?;
        ensure_contains(&line, &said, &format!("= \"{name}\\000"))?;
    }
    Ok(())
}

#[test]
fn physical_memory_in_both_ways() -> Result<()> {
    let guest = guests::guest("linux-6.1-6g")?;
    let server = Server::of(&guest)?;
    let samples = Ram::of_checkpoint(&guest, &cores::checkpoint(&guest, &Wrap::split())?)?;
    let samples = samples.samples(300)?;
    ensure!(samples.iter().any(|sample| sample.va >= 1 << 32), "nothing above 4 GiB");
    let list = judges::samples_file(&samples)?;
    for switch in ["monitor phys on", "maint packet Qqemu.PhyMemMode:1"] {
        let lines = [
            switch,
            "maint flush dcache",
            &format!("python import os; os.environ['SAMPLES'] = '{}'", list.path().display()),
            &source("gdb_reads.py"),
        ];
        let said = ask_gdb(&gdb()?, &server, None, &lines)?;
        judges::all_right(switch, &said, samples.len())?;
    }
    Ok(())
}

fn in_lldb(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let server = Server::of(&guest)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let select = format!("thread select {}", index + 1);
        let lines = [
            select.as_str(),
            "register read --all",
            "continue",
            "process plugin packet monitor kaslr",
            "thread list",
        ];
        let said = ask_lldb(&server, None, &lines)?;
        let what = format!("{name} vCPU {index} in lldb");
        for (register, value) in guests::registers(&guest, cpu) {
            let width = if guest.is_64_bit && !is_32_bit(&register) { 16 } else { 8 };
            ensure_contains(&what, &said, &format!(" {register} = 0x{value:0width$x}"))?;
        }
        for (register, value) in system_registers(cpu) {
            ensure_contains(&what, &said, &format!(" {register} = 0x{value:016x}"))?;
        }
        ensure_contains(&what, &said, "this is a checkpoint: it cannot run")?;
        // It is still connected.
        ensure_contains(&what, &said, "name = 'vCPU 0'")?;
    }
    Ok(())
}

fn is_32_bit(register: &str) -> bool {
    ["eflags", "cs", "ss", "ds", "es", "fs", "gs"].contains(&register)
}

#[test]
fn stacks_in_lldb_have_symbols() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1")?;
    let server = Server::of(&guest)?;
    let is_idle = |cpu: &CpuRegisters| cpu.halted && guests::privilege(cpu) == 0;
    let idle = guest.cpus.iter().position(is_idle).context("no processor was idle")?;
    let select = format!("thread select {}", idle + 1);
    let lines = [select.as_str(), "bt", "print (const char *)linux_banner", "print init_task.comm"];
    let said = ask_lldb(&server, Some(&kernel), &lines)?;
    for part in ["`do_idle", "`cpu_startup_entry", "\"Linux version 6.1.", "\"swapper/0"] {
        ensure_contains("lldb", &said, part)?;
    }
    Ok(())
}

/// The line that is printed is the one that works.
#[test]
fn the_lines_that_are_proposed_work() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1")?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let vmlinux = kernel.display().to_string();
    let options = ["--port", "0", "--vmlinux", &vmlinux, "--write-gdbinit", "vm.gdb"];
    let server = Server::start(&checkpoint, &options)?;
    let line = |beginning: &str| {
        let found = server.said.lines().map(str::trim).find(|line| line.starts_with(beginning));
        found.map(str::to_owned).with_context(|| format!("no {beginning:?}: {}", server.said))
    };
    let said = judges::output(&mut judges::gdb_line(server.dir(), &line("gdb")?, &["bt 1"])?)?;
    ensure_contains("gdb", &said, "\n#0 ")?;
    let said = judges::output(&mut judges::lldb_line(server.dir(), &line("lldb")?, &["bt"])?)?;
    ensure_contains("lldb", &said, "frame #0")?;
    let script = "gdb -x vm.gdb";
    let said = judges::output(&mut judges::gdb_line(server.dir(), script, &["info threads"])?)?;
    ensure_contains("script", &said, "\"vCPU 1\"")?;
    let line = format!(
        "gdb -ex 'target remote | {PROGRAM} gdb --stdio {} 2>/dev/null'",
        checkpoint.display()
    );
    let said = judges::output(&mut judges::gdb_line(server.dir(), &line, &["info threads"])?)?;
    ensure_contains("stdio", &said, "\"vCPU 1\"")
}

fn count(dir: &str) -> Result<usize> {
    Ok(fs::read_dir(dir)?.count())
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}

/// One after the other and many at a time; then Ctrl-C.
#[test]
fn fifty_clients_leave_nothing_behind() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let server = Server::of(&guest)?;
    let session = || -> Result<()> {
        let mut client = server.connect()?;
        for packet in
            ["qSupported:multiprocess+;swbreak+", "?", "qXfer:libraries:read::0,7000", "g"]
        {
            ensure!(!client.ask(packet)?.is_empty(), "{packet}");
        }
        client.ask("qRcmd,7073")?;
        Ok(())
    };
    session()?;
    let used = || -> Result<(usize, usize, u64)> {
        let pid = server.pid();
        let (fds, threads) = (format!("/proc/{pid}/fd"), format!("/proc/{pid}/task"));
        for _ in 0..100 {
            // A thread ends soon after its client has gone.
            if count(&threads)? <= 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok((count(&fds)?, count(&threads)?, resident_kib(pid)?))
    };
    let before = used()?;
    for _ in 0..50 {
        session()?;
    }
    let all_at_once: Vec<_> = (0..20).map(|_| server.connect()).collect::<Result<_>>()?;
    for mut client in all_at_once {
        ensure!(client.ask("qC")? == "QC1", "one of many");
    }
    let after = used()?;
    ensure!((before.0, before.1) == (after.0, after.1), "{before:?} became {after:?}");
    ensure!(after.2 < before.2 + 8 * 1024, "{before:?} became {after:?}");
    let socket = server.socket();
    ensure!(server.interrupt()? == Some(0) && !socket.exists(), "the end was not clean");
    Ok(())
}

/// Of a memory file alone, memory can be read as the kernel sees it.
#[test]
fn without_registers_there_is_still_memory() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let memory = cores::checkpoint(&guest, &Wrap::split())?.with_extension("vmem");
    let dir = tempfile::tempdir()?;
    let alone = dir.path().join("alone.vmem");
    std::os::unix::fs::symlink(memory, &alone)?;
    let server = Server::start(&alone, &[])?;
    let banner = guest.truth()?.symbol("linux_banner")?;
    let lines = ["info threads", "p $rsp", &format!("x/s {banner:#x}")];
    let said = ask_gdb(&gdb()?, &server, None, &lines)?;
    for part in ["\"no registers\"", "<unavailable>", "\"Linux version 6.1."] {
        ensure_contains("a memory file alone", &said, part)?;
    }
    Ok(())
}

fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|have| have == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The file of a module of Debian's 6.1 kernel.
fn module_file(name: &str) -> Result<PathBuf> {
    let kernels = vmss2core_lab::cache::dir()?.join("kernels");
    for entry in fs::read_dir(&kernels)? {
        let path = entry?.path();
        let is_6_1 =
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("linux-6.1-cloud"));
        if is_6_1 && let Some(found) = find(&path, name)? {
            return Ok(found);
        }
    }
    anyhow::bail!("no {name} below {}", kernels.display())
}

/// A module's symbols lie where the guest said.
#[test]
fn symbols_of_modules_are_those_of_the_guest() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let file = module_file("loop.ko")?;
    let folder = file.parent().context("no folder")?.display().to_string();
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let server = Server::start(&checkpoint, &["--modules", &folder])?;
    let symbols = guest.truth()?.symbols()?;
    let of_loop = |kind: &str| {
        let fits = |symbol: &&vmss2core_lab::truth::Symbol| {
            symbol.module.as_deref() == Some("loop") && kind.contains(symbol.kind)
        };
        symbols.iter().filter(fits).collect::<Vec<_>>()
    };
    let all: Vec<_> = ["tT", "dDbB", "rR"].into_iter().flat_map(of_loop).collect();
    let plain = || all.iter().filter(|symbol| !symbol.name.contains('.'));
    let lines: Vec<String> =
        plain().map(|symbol| format!("info address {}", symbol.name)).collect();
    // gdb reads symbols of libraries when it is told to if it has no program; what it
    // does last decides how it ends.
    let lines = std::iter::once("sharedlibrary").chain(lines.iter().map(String::as_str));
    let lines: Vec<&str> = lines.chain(["info threads"]).collect();
    // Without the kernel's own symbols, so that names it has too are not in the way.
    let said = ask_gdb(&gdb()?, &server, None, &lines)?;
    let mut compared = BTreeMap::<char, usize>::new();
    for symbol in plain() {
        let line = format!("Symbol \"{}\" is at ", symbol.name);
        let mut lines = said.lines().filter_map(|said| said.strip_prefix(&line));
        // gdb has no symbols of sections that its file does not call by them.
        let Some(at) = lines.next().and_then(|rest| rest.split(' ').next()) else { continue };
        ensure!(at == format!("{:#x}", symbol.address), "{}: {at}\n{said}", symbol.name);
        *compared.entry(symbol.kind.to_ascii_lowercase()).or_default() += 1;
    }
    ensure!(compared.get(&'t').is_some_and(|count| *count > 10), "{compared:?}\n{said}");
    ensure!(compared.contains_key(&'d') && compared.contains_key(&'b'), "{compared:?}");
    Ok(())
}

/// The architecture is the one that the processors are in.
#[test]
fn real_mode_is_announced() -> Result<()> {
    let mut machine = Machine::synthetic_32_bit(256, 1);
    for cpu in &mut machine.cpus {
        cpu.control = [0x10, 0, 0, 0, 0];
        cpu.msrs.efer = Some(0);
        cpu.rip = 0x7c00;
    }
    let dir = tempfile::tempdir()?;
    let shape = Shape { extras: vec![Extra::Msrs], ..Shape::default() };
    let state = write_checkpoint(&machine, &shape, dir.path(), "real")?.state;
    let server = Server::start(&state, &[])?;
    let said = ask_gdb(&gdb()?, &server, None, &["show architecture", "p/x $eip"])?;
    ensure_contains("real mode", &said, "i8086")?;
    ensure_contains("real mode", &said, "$1 = 0x7c00")
}

guest_tests! {
    (registers_and_memory, in_lldb)
    five_level: "linux-6.1",
    around_the_hole: "linux-6.1-6g",
    panicked: "linux-6.1-panic",
    newest: "linux-sid",
    two_level: "linux-6.1-i386",
    pae: "linux-6.1-i386-pae",
}

mod in_gdb_16 {
    guest_tests! {
        (registers_and_memory_in_gdb_16)
        five_level: "linux-6.1",
        newest: "linux-sid",
        two_level: "linux-6.1-i386",
    }

    use super::registers_and_memory_in_gdb_16;
}

mod with_vmlinux {
    guest_tests! {
        (symbols_and_stacks, symbols_and_stacks_in_gdb_16)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        around_the_hole: "linux-6.1-6g",
        panicked: "linux-6.1-panic",
    }

    use super::{symbols_and_stacks, symbols_and_stacks_in_gdb_16};
}
