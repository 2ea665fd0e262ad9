//! Crash dumps of Windows guests, read by everyone who can: kdmp-parser, LeechCore,
//! volatility 3 and MemProcFS, and a walker of page tables written for the tests.
//!
//! A judge that refuses a dump is asserted too: when it learns to read it, the
//! lists here must be corrected.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_lab::vmware::Placement;
use vmss2core_lab::windows::{Doing, MemProcFs, dump_of_memprocfs, fixtures, memprocfs};

use common::dmp::Dmp;
use common::windows::{self, Seen, Windows};

const PLUGINS: [&str; 3] =
    ["windows.pslist.PsList", "windows.modules.Modules", "windows.crashinfo.Crashinfo"];

/// What MemProcFS cannot open as a dump, and why as far as it is known.
const MEMPROCFS_REFUSES: [&str; 11] = [
    // It finds the kernel by its header page and the name in its exports.
    "header-in-transition",
    "header-paged-out",
    "header-paged-out-pae",
    "exports-paged-out",
    // Not known: it reads the same guests with PAE.
    "winxp-x86",
    "win2003-x86",
    "win7-x86",
    "crashed-winxp",
    "crashed-win2003",
    "no-version-block",
    "other-linker",
];

/// What volatility 3 cannot list processes of.
const VOLATILITY_REFUSES: [&str; 4] = [
    "win10-19041-la57",
    "header-paged-out",
    "header-paged-out-pae",
    // It knows a kernel by its PDB.
    "other-linker",
];

macro_rules! judged {
    ($($test:ident: $name:literal,)*) => {
        const JUDGED: &[&str] = &[$($name),*];

        mod of {
            $(#[test]
            fn $test() -> anyhow::Result<()> {
                super::judged($name)
            })*
        }
    };
}

judged! {
    win7: "win7-x64",
    win8: "win8-x64",
    win81: "win81-x64",
    build_10240: "win10-10240-x64",
    build_14393: "win10-14393-x64",
    build_17763: "win10-17763-x64",
    build_19041: "win10-19041-x64",
    build_22621: "win11-22621-x64",
    build_26100: "win11-26100-x64",
    five_levels: "win10-19041-la57",
    xp: "winxp-x86",
    xp_pae: "winxp-pae",
    win2003: "win2003-x86",
    win2003_pae: "win2003-pae",
    win7_x86: "win7-x86",
    win7_pae: "win7-pae",
    build_19041_pae: "win10-19041-pae",
    one_cpu: "one-cpu",
    sixteen_cpus: "sixteen-cpus",
    one_in_user_mode: "one-in-user-mode",
    one_in_user_mode_shadowed: "one-in-user-mode-shadowed",
    all_in_user_mode_shadowed: "all-in-user-mode-shadowed",
    all_in_user_mode_no_low_stub: "all-in-user-mode-no-low-stub",
    all_in_user_mode: "all-in-user-mode",
    one_in_the_hypervisor: "one-in-the-hypervisor",
    all_in_the_hypervisor: "all-in-the-hypervisor",
    no_msrs: "no-msrs",
    no_bases: "no-bases",
    win7_pae_user: "win7-pae-user",
    plain_kdbg: "plain-kdbg",
    second_image: "second-image",
    stale_kdbg: "stale-kdbg",
    header_in_transition: "header-in-transition",
    header_paged_out: "header-paged-out",
    exports_paged_out: "exports-paged-out",
    driver_in_transition: "driver-in-transition",
    no_low_stub: "no-low-stub",
    large_pages: "large-pages",
    noisy_data: "noisy-data",
    crashed: "crashed",
    crashed_win7_pae: "crashed-win7-pae",
    crashed_xp: "crashed-winxp",
    crashed_win2003: "crashed-win2003",
    no_version_block: "no-version-block",
    no_version_block_pae: "no-version-block-pae",
    other_linker: "other-linker",
    header_paged_out_pae: "header-paged-out-pae",
    hole: "hole",
    many_ranges: "many-ranges",
}

#[test]
fn every_guest_is_judged() {
    let all: Vec<_> = fixtures().iter().map(|fixture| fixture.name).collect();
    assert_eq!(all, JUDGED);
}

/// All judges of one guest, on dumps of both kinds of both kinds of checkpoints.
fn judged(name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    let split = guest.checkpoint(Placement::Split)?;
    let full = guest.dump(&split, "windbg")?;
    let dump = Dmp::open(&full)?;
    windows::same_memory(&guest, &dump)?;
    windows::mapped_as_put(&guest, &dump)?;
    debugger_data(&guest, &dump)?;
    let expected = windows::checksums(&dump)?;
    // It looks for seconds where it will find nothing.
    let plugins = if VOLATILITY_REFUSES.contains(&name) { &PLUGINS[..1] } else { &PLUGINS };
    let seen = guest.read_by_others(&full, plugins)?;
    same_pages(&guest, &dump, &seen, &expected)?;
    volatility(&guest, name, &seen)?;
    let answers = Answers::of(&split)?;
    if !VOLATILITY_REFUSES.contains(&name) {
        answers.same_as_volatility(&guest, &seen)?;
    }
    let opened = memprocfs(&full, &[]);
    if guest.has_five_levels() || MEMPROCFS_REFUSES.contains(&name) {
        let refused = opened.err().context("MemProcFS reads it now")?.to_string();
        ensure!(refused.contains("Initialization of vmm failed"), "{refused}");
    } else {
        let opened = opened?;
        opened.agrees(&guest.truth)?;
        answers.same_as_memprocfs(&guest, &opened)?;
    }
    let bitmap = guest.dump(&split, "windbg-bitmap")?;
    let sparse = Dmp::open(&bitmap)?;
    ensure!(sparse.kind() == 5, "type {}", sparse.kind());
    ensure!(windows::checksums(&sparse)? == expected, "the bitmap dump holds other memory");
    same_pages(&guest, &sparse, &guest.read_by_others(&bitmap, &[])?, &expected)?;
    let monolithic = guest.checkpoint(Placement::Monolithic)?;
    let other = Dmp::open(&guest.dump(&monolithic, "windbg")?)?;
    ensure!(windows::checksums(&other)? == expected, "one file and two give different memory");
    Ok(())
}

/// The block lies where the header says, as it was before it was encoded.
fn debugger_data(guest: &Windows, dump: &Dmp) -> Result<()> {
    let kdbg = &guest.truth.kdbg;
    ensure!(dump.pointer(0x80, 0x60) == kdbg.va, "KdDebuggerDataBlock");
    let found = windows::kernel_bytes(guest, dump, kdbg.va, kdbg.plain.len())?;
    ensure!(found == kdbg.plain, "the debugger data is not what was encoded");
    if let Some(keys) = kdbg.keys {
        ensure!(
            windows::kernel_bytes(guest, dump, keys.flag, 1)? == [0],
            "still said to be encoded"
        );
    }
    Ok(())
}

/// Each reader finds the pages that our own opinion of the file does.
fn same_pages(guest: &Windows, dump: &Dmp, seen: &Seen, expected: &Value) -> Result<()> {
    let pages: u64 = dump.runs.iter().map(|run| run.len / 4096).sum();
    for (reader, found) in &seen.pages {
        let reads = match reader.as_str() {
            // It would take minutes for those of the guest with 3 GiB.
            "kdmp_parser" => dump.is_64_bit && pages <= 1 << 18,
            // Of 32-bit dumps it reads full ones only.
            "leechcore" => dump.is_64_bit || dump.kind() == 1,
            _ => true,
        };
        ensure!((found == expected) == reads, "{reader}: {found} instead of {expected}");
    }
    if dump.is_64_bit {
        let context = |name: &str| seen.context[name].as_u64().unwrap_or_default();
        let pointers = (context("rip"), context("rsp"));
        let cpus = guest.machine.cpus.iter().map(|cpu| (cpu.rip, cpu.general[4]));
        let saved = guest.truth.cpus.iter().filter_map(|cpu| cpu.saved);
        let known = cpus.chain(saved).any(|one| one == pointers);
        let nobody = guest.truth.cpus.iter().all(|cpu| is_elsewhere(cpu.doing));
        ensure!(known || nobody, "kdmp-parser: {pointers:x?} are no processor's");
    }
    Ok(())
}

/// Whether a processor's registers are not Windows' own.
fn is_elsewhere(doing: Doing) -> bool {
    matches!(doing, Doing::Hypervisor | Doing::SecureKernel)
}

/// What volatility 3 says of header, processes and modules.
fn volatility(guest: &Windows, name: &str, seen: &Seen) -> Result<()> {
    if VOLATILITY_REFUSES.contains(&name) {
        let refused = &seen.plugins[PLUGINS[0]];
        ensure!(refused.as_str().is_some_and(|said| said.contains("Unsatisfied")), "{refused}");
        return Ok(());
    }
    let truth = &guest.truth;
    let rows = |plugin: &str| {
        let found = &seen.plugins[plugin];
        found.as_array().cloned().with_context(|| format!("{plugin}: {found}"))
    };
    let number = |row: &Value, column: &str| row[column].as_u64().unwrap_or_default();
    let processes: Vec<_> = rows(PLUGINS[0])?
        .iter()
        .map(|row| (number(row, "PID"), number(row, "PPID"), number(row, "Offset(V)")))
        .collect();
    let put: Vec<_> = truth
        .processes
        .iter()
        .map(|one| (one.pid, one.parent, guest.shortened(one.eprocess)))
        .collect();
    ensure!(processes == put, "processes: {processes:x?} instead of {put:x?}");
    let modules: Vec<_> = rows(PLUGINS[1])?
        .iter()
        .map(|row| (number(row, "Base"), number(row, "Size"), row["Name"].to_string()))
        .collect();
    let put: Vec<_> = truth
        .modules
        .iter()
        .map(|one| (guest.shortened(one.base), one.size.into(), format!("{:?}", one.name)))
        .collect();
    ensure!(modules == put, "modules: {modules:x?} instead of {put:x?}");
    let header = rows(PLUGINS[2])?.first().cloned().context("no header")?;
    let expected = [
        ("MinorVersion", truth.build.into()),
        ("DirectoryTableBase", truth.dtb),
        ("NumberProcessors", truth.cpus.len() as u64),
        ("KdDebuggerDataBlock", truth.kdbg.va),
        ("PsLoadedModuleList", truth.symbols["PsLoadedModuleList"]),
        ("PsActiveProcessHead", truth.symbols["PsActiveProcessHead"]),
    ];
    for (name, value) in expected {
        ensure!(number(&header, name) == value, "{name} of {header}");
    }
    Ok(())
}

/// What the program itself says of a checkpoint.
struct Answers {
    processes: Vec<Value>,
    modules: Vec<Value>,
}

impl Answers {
    fn of(state: &Path) -> Result<Self> {
        let list = |command: &str, name: &str| -> Result<Vec<Value>> {
            let said = Windows::json(command, state)?;
            said[name].as_array().cloned().with_context(|| format!("{command}: {said}"))
        };
        let (processes, modules) = (list("ps", "tasks")?, list("modules", "modules")?);
        Ok(Self { processes, modules })
    }

    /// Number, parent and address of each process, name and place of each module.
    fn same_as_volatility(&self, guest: &Windows, seen: &Seen) -> Result<()> {
        let rows = |plugin: &str| seen.plugins[plugin].as_array().cloned().unwrap_or_default();
        let plain = |row: &Value, column: &str| row[column].as_u64().unwrap_or_default();
        let ours = self.processes.iter().map(|one| {
            let address = guest.shortened(hex(&one["address"]));
            (plain(one, "pid"), plain(one, "ppid"), address)
        });
        let theirs = rows(PLUGINS[0]).into_iter();
        let theirs =
            theirs.map(|row| (plain(&row, "PID"), plain(&row, "PPID"), plain(&row, "Offset(V)")));
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
        ensure!(ours == theirs, "ps: {ours:x?}, volatility 3: {theirs:x?}");
        let ours = self.modules.iter().map(|one| {
            (one["name"].clone(), guest.shortened(hex(&one["address"])), plain(one, "size"))
        });
        let theirs = rows(PLUGINS[1]).into_iter();
        let theirs =
            theirs.map(|row| (row["Name"].clone(), plain(&row, "Base"), plain(&row, "Size")));
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
        ensure!(ours == theirs, "modules: {ours:x?}, volatility 3: {theirs:x?}");
        Ok(())
    }

    /// The same, with names and page tables of processes.
    fn same_as_memprocfs(&self, guest: &Windows, seen: &MemProcFs) -> Result<()> {
        let text = |one: &Value| one.as_str().unwrap_or_default().to_owned();
        // It does not take the longer name from the path.
        let short = |name: &str| name.chars().take(14).collect::<String>();
        let mut ours: Vec<_> = self
            .processes
            .iter()
            .map(|one| {
                let numbers = (one["pid"].as_u64(), one["ppid"].as_u64());
                (
                    numbers,
                    short(&text(&one["name"])),
                    hex(&one["address"]),
                    hex(&one["page_tables"]),
                )
            })
            .collect();
        let mut theirs: Vec<_> = seen
            .processes
            .iter()
            .map(|one| ((Some(one.pid), Some(one.parent)), one.name.clone(), one.address, one.root))
            .collect();
        ours.sort();
        theirs.sort();
        ensure!(ours == theirs, "ps: {ours:x?}, MemProcFS: {theirs:x?}");
        let mut theirs: Vec<_> =
            seen.modules.iter().map(|one| (one.base, one.size, one.name.clone())).collect();
        theirs.sort();
        let mut ours: Vec<_> = self
            .modules
            .iter()
            .map(|one| {
                (hex(&one["address"]), one["size"].as_u64().unwrap_or(0), text(&one["name"]))
            })
            .collect();
        ours.sort();
        // Of 32-bit guests it lists none.
        let listed = guest.truth.paging.is_64_bit();
        ensure!(!listed || ours == theirs, "modules: {ours:x?}, MemProcFS: {theirs:x?}");
        Ok(())
    }
}

fn hex(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// MemProcFS makes a dump of the plain image, by its own decoder. Where the two
/// headers differ, it does not know better.
#[test]
fn headers_are_those_that_memprocfs_writes() -> Result<()> {
    for name in ["win7-x64", "win81-x64", "win10-14393-x64", "win10-19041-x64", "win11-26100-x64"] {
        headers_agree(name).context(name)?;
    }
    Ok(())
}

fn headers_agree(name: &str) -> Result<()> {
    let guest = Windows::guest(name)?;
    let (raw, theirs) = (guest.dir().join("guest.raw"), guest.dir().join("theirs.dmp"));
    guest.machine.write_raw(&raw)?;
    dump_of_memprocfs(&raw, &theirs)?;
    let ours = guest.dump(&guest.checkpoint(Placement::Split)?, "windbg")?;
    let [ours, theirs] = [ours, theirs].map(std::fs::read);
    let (ours, theirs) = (ours?, theirs?);
    // Signature to DirectoryTableBase; lists and machine; KdDebuggerDataBlock, runs;
    // DumpType; sizes and time; ProductType.
    let same = [
        (0, 0x18),
        (0x20, 0x14),
        (0x80, 8),
        (0x88, 4),
        (0x90, 0x18),
        (0xf98, 4),
        (0xfa0, 8),
        (0xfa8, 8),
        (0x1040, 4),
    ];
    for (at, len) in same {
        let (ours, theirs) = (&ours[at..at + len], &theirs[at..at + len]);
        ensure!(ours == theirs, "{at:#x}: {ours:x?} against {theirs:x?}");
    }
    let number = |header: &[u8], at: usize, len: usize| {
        header[at..at + len].iter().rev().fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
    };
    let both = |at, len| (number(&ours, at, len), number(&theirs, at, len));
    let truth = &guest.truth;
    // We state where the variable is, as real dumps do, it states its value.
    let pages = truth.symbols["MmPfnDatabase"];
    ensure!(both(0x18, 8) == (pages, 0xffff_fa80_0000_0000), "PfnDataBase");
    ensure!(both(0x1044, 4) == (truth.suite.into(), 0), "SuiteMask");
    // It knows of one processor and no registers, and makes up a code.
    ensure!(both(0x34, 4) == (truth.cpus.len() as u64, 1), "NumberProcessors");
    ensure!(both(0x38, 4) == (0x161, 0xdead_dead), "BugCheckCode");
    ensure!(both(0x348 + 0xf8, 8) == (guest.machine.cpus[0].rip, 0), "Rip");
    // Its time since the start is not that.
    ensure!(both(0x1030, 8).0 == truth.interrupt_time, "SystemUpTime");
    ensure!(both(0x1030, 8).1 != truth.interrupt_time, "its SystemUpTime is right now");
    let kdbg = guest.pieces(truth.kdbg.va, truth.kdbg.plain.len() as u64);
    for (pa, len) in kdbg {
        let at = usize::try_from(0x2000 + pa)?;
        let end = at + usize::try_from(len)?;
        ensure!(ours[at..end] == theirs[at..end], "the debugger data at {pa:#x}");
    }
    Ok(())
}
