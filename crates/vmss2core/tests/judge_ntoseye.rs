//! Crash dumps of Windows guests in ntoseye, the nearest thing to WinDbg that runs
//! here: it finds everything from the header on, as WinDbg does, and resolves
//! names by a PDB that is linked for the guest.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use anyhow::{Context, Result, ensure};
use vmss2core_lab::vmware::{Cpu, Placement};
use vmss2core_lab::windows::{CpuTruth, Doing, fixtures, ntoseye};

use common::windows::Windows;

/// What it does not open, and what it says then.
const REFUSED: [(&str, &str); 3] = [
    ("win10-19041-la57", "ntoskrnl not found"),
    // It looks for the header page.
    ("header-in-transition", "ntoskrnl not found"),
    ("header-paged-out", "ntoskrnl not found"),
];

/// It takes a processor's number of more than one digit for another one; all are
/// listed.
const SWITCHED: usize = 10;

/// 64-bit guests of every build.
#[test]
fn builds() -> Result<()> {
    all(|name| name.starts_with("win") && !name.contains("la57"))
}

/// Guests whose processors do something else than wait in the kernel.
#[test]
fn processors() -> Result<()> {
    all(|name| ["cpu", "in-", "no-"].iter().any(|part| name.contains(part)) && is_plain(name))
}

/// Guests with something in the way.
#[test]
fn traps() -> Result<()> {
    let other = |name: &str| ["cpu", "in-", "no-"].iter().any(|part| name.contains(part));
    all(|name| !name.starts_with("win") && !other(name) && is_plain(name))
}

fn is_plain(name: &str) -> bool {
    REFUSED.iter().all(|(refused, _)| *refused != name)
}

#[test]
fn what_it_refuses() -> Result<()> {
    for (name, reason) in REFUSED.into_iter().chain([("win7-pae", "bad valid-dump marker")]) {
        let guest = Windows::guest(name)?;
        let dump = guest.dump(&guest.checkpoint(Placement::Split)?, "windbg")?;
        let said = ntoseye(&dump, guest.dir(), &["lm"]).err().context("it opens it now")?;
        ensure!(said.to_string().contains(reason), "{name}: {said}");
    }
    Ok(())
}

fn all(belongs: impl Fn(&str) -> bool) -> Result<()> {
    let wide = fixtures().into_iter().filter(|fixture| fixture.paging.is_64_bit());
    let names: Vec<_> = wide.map(|fixture| fixture.name).filter(|name| belongs(name)).collect();
    ensure!(names.len() > 5, "only {names:?}");
    names.into_iter().try_for_each(|name| judged(name).context(name))
}

/// What it says of one guest, after each command.
struct Said(Vec<(String, String)>);

impl Said {
    fn of(guest: &Windows, format: &str) -> Result<Self> {
        let dump = guest.dump(&guest.checkpoint(Placement::Split)?, format)?;
        guest.truth.write_pdb(guest.dir())?;
        let mut commands: Vec<String> =
            ["vertarget", "~", "lm", "!process 0 0", "!analyze -v"].map(str::to_owned).into();
        for number in 0..guest.truth.cpus.len().min(SWITCHED) {
            commands.extend([
                format!("~{number}s"),
                "r".to_owned(),
                "k".to_owned(),
                "!idt".to_owned(),
            ]);
        }
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        let text = ntoseye(&dump, guest.dir(), &commands)?;
        let mut said = Vec::new();
        for line in text.lines() {
            let typed = line.split_once(": dmp> ").filter(|(cpu, _)| cpu.parse::<u32>().is_ok());
            match (typed, said.last_mut()) {
                (Some((_, command)), _) => said.push((command.to_owned(), String::new())),
                (None, Some((_, text))) => text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        Ok(Self(said))
    }

    /// The answer to a command that was given once.
    fn to(&self, command: &str) -> Result<&str> {
        let said = self.0.iter().find(|(typed, _)| typed == command);
        said.map(|(_, text)| text.as_str()).with_context(|| format!("no {command}"))
    }

    /// The answers to commands on one processor.
    fn on(&self, cpu: usize, command: &str) -> Result<&str> {
        let switch = format!("~{cpu}s");
        let after = self.0.iter().skip_while(|(typed, _)| *typed != switch);
        let said = after.take(4).find(|(typed, _)| typed == command);
        said.map(|(_, text)| text.as_str()).with_context(|| format!("no {command} on {cpu}"))
    }
}

fn judged(name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    for format in ["windbg", "windbg-bitmap"] {
        let said = Said::of(&guest, format)?;
        version(&guest, said.to("vertarget")?)?;
        modules(&guest, said.to("lm")?)?;
        processes(&guest, said.to("!process 0 0")?)?;
        let listed = said.to("~")?;
        for (number, (cpu, put)) in guest.truth.cpus.iter().zip(&guest.machine.cpus).enumerate() {
            let shown = if number < SWITCHED { Some(said.on(number, "r")?) } else { None };
            processor(number, cpu, put, listed, shown)
                .with_context(|| format!("processor {number}: {listed}\n{shown:?}"))?;
            if number < SWITCHED {
                interrupts(number, cpu, said.on(number, "!idt")?)?;
            }
        }
    }
    Ok(())
}

fn has(said: &str, parts: &[String]) -> Result<()> {
    parts.iter().try_for_each(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let found = said.lines().any(|line| {
            let line: Vec<&str> = line.split_whitespace().collect();
            line.windows(words.len()).any(|some| some == words)
        });
        ensure!(found, "no {part:?} in:\n{said}");
        Ok(())
    })
}

fn version(guest: &Windows, said: &str) -> Result<()> {
    let (truth, pdb) = (&guest.truth, &guest.truth.pdb);
    let [code, parameters @ ..] = truth.bugcheck.unwrap_or([0x161, 0, 0, 0, 0]);
    let parameters = parameters.map(|one| format!("{one:#x}")).join(" ");
    has(
        said,
        &[
            format!("build {} ({})", truth.build, truth.lab),
            format!("{} GUID {} age {}", pdb.name, pdb.guid, pdb.age),
            "symbol status loaded".to_owned(),
            format!("kernel {:016x} size {:#x}", truth.kernel.base, truth.kernel.size),
            format!("bugcheck {code:#x}"),
            format!("parameters {parameters}"),
            "build type free (0xf)".to_owned(),
            format!("build {}", truth.build),
            format!("processors {}", truth.cpus.len()),
            "machine AMD64 (0x8664)".to_owned(),
            format!("DTB {:016x}", truth.dtb),
            "exception 0x80000003".to_owned(),
            "system time 2024-01-18T00:45:45Z".to_owned(),
        ],
    )
}

fn modules(guest: &Windows, said: &str) -> Result<()> {
    let module = |base: u64, size: u32| format!("{base:016x} {:016x}", base + u64::from(size));
    let parts: Vec<_> = guest.truth.modules.iter().map(|one| module(one.base, one.size)).collect();
    has(said, &parts)?;
    let listed = said.lines().filter(|line| line.starts_with("ffff")).count();
    ensure!(listed == guest.truth.modules.len(), "{listed} modules:\n{said}");
    Ok(())
}

fn processes(guest: &Windows, said: &str) -> Result<()> {
    let rows: Vec<Vec<&str>> = said
        .lines()
        .filter(|line| line.starts_with("ffff"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    ensure!(rows.len() == guest.truth.processes.len(), "{} processes:\n{said}", rows.len());
    for (row, put) in rows.iter().zip(&guest.truth.processes) {
        let expected = [
            format!("{:016x}", put.eprocess),
            put.pid.to_string(),
            put.parent.to_string(),
            format!("{:016x}", put.dtb),
            put.name.clone(),
        ];
        let missing = expected.iter().find(|one| !row.contains(&one.as_str()));
        ensure!(missing.is_none(), "no {missing:?} of {} in {row:?}", put.name);
    }
    Ok(())
}

/// A processor of which it shows what the checkpoint says; of a crashed guest what
/// Windows had saved; nothing of one that was not in Windows.
fn processor(
    number: usize,
    truth: &CpuTruth,
    put: &Cpu,
    listed: &str,
    shown: Option<&str>,
) -> Result<()> {
    let row = listed.lines().find_map(|line| {
        let words: Vec<&str> = line.trim_start_matches(['.', ' ']).split_whitespace().collect();
        (words.first() == Some(&number.to_string().as_str())).then_some(words)
    });
    let row = row.context("not listed")?;
    if matches!(truth.doing, Doing::Hypervisor | Doing::SecureKernel) {
        ensure!(row.get(1..4) == Some(&["-", "no", "context"]), "{row:?}");
        return Ok(());
    }
    let (rip, rsp) = truth.saved.unwrap_or((put.rip, put.general[4]));
    ensure!(row.get(1) == Some(&format!("{rip:016x}").as_str()), "{row:?}, not {rip:x}");
    let Some(shown) = shown else { return Ok(()) };
    let value = |name: &str| {
        let mut words = shown.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).and_then(|word| u64::from_str_radix(word, 16).ok())
    };
    let mut expected = vec![("rip", rip), ("rsp", rsp)];
    if truth.saved.is_none() {
        let names = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
        let more = ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        expected.extend(names.into_iter().chain(more).zip(put.general));
        expected.push(("rfl", put.rflags.into()));
        let segments = ["es", "cs", "ss", "ds", "fs", "gs"].into_iter().zip(put.segments);
        expected.extend(segments.map(|(name, (selector, _))| (name, selector.into())));
    }
    for (name, expected) in expected {
        ensure!(value(name) == Some(expected), "{name} is {expected:x}, shown {:x?}", value(name));
    }
    Ok(())
}

/// By the special registers in the processor's region.
fn interrupts(number: usize, cpu: &CpuTruth, said: &str) -> Result<()> {
    has(said, &[format!("IDT for processor {number} at {:016x}, limit 0xfff", cpu.idt)])?;
    let named = said.lines().filter(|line| line.contains("nt!KiDivideErrorFault")).count();
    ensure!(named == 32, "{named} handlers have names:\n{said}");
    Ok(())
}
