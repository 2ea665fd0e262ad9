//! The Windows guests are what they say they are: by walkers of their page
//! tables written here, and by foreign readers.
//!
//! A judge that refuses a guest is asserted too: when it learns to read it, the
//! table here must be corrected.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

use anyhow::Context;
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};
use vmss2core_lab::windows::{
    Doing, Fixture, InfoRow, MiniNt, ModulesRow, Paging, PsListRow, Residence, Truth,
    dump_of_memprocfs, fixture, fixtures, make, memprocfs, ntoseye, volatility3,
};

/// What MemProcFS cannot open as a raw image, and why as far as it is known.
const MEMPROCFS_REFUSES: [&str; 14] = [
    // It knows four levels only.
    "win10-19041-la57",
    // Without the low stub it does not know where the kernel is.
    "no-low-stub",
    "all-in-user-mode-no-low-stub",
    // It finds the kernel by its header page, which it reads when present.
    "header-in-transition",
    "header-paged-out",
    "header-paged-out-pae",
    // And by the name in its exports.
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

/// What volatility 3 cannot open.
const VOLATILITY_REFUSES: [&str; 4] = [
    "win10-19041-la57",
    "header-paged-out",
    "header-paged-out-pae",
    // It knows a kernel by its PDB.
    "other-linker",
];

fn made(name: &str) -> MiniNt {
    make(&fixture(name).unwrap()).unwrap()
}

#[test]
fn fixtures_have_names_of_their_own_and_are_the_same_each_time() {
    let all = fixtures();
    let mut names: Vec<_> = all.iter().map(|fixture| fixture.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    let (one, other) = (made("second-image"), made("second-image"));
    assert_eq!(one.machine.ram.bytes().unwrap(), other.machine.ram.bytes().unwrap());
    let seeded = Fixture { seed: 2, ..fixture("second-image").unwrap() };
    let seeded = make(&seeded).unwrap();
    assert_ne!(one.machine.ram.bytes().unwrap(), seeded.machine.ram.bytes().unwrap());
}

#[test]
fn page_tables_map_what_the_truth_says() {
    for fixture in fixtures() {
        let MiniNt { machine, truth } = make(&fixture).unwrap();
        let memory = Physical(&machine);
        for mapping in &truth.mappings {
            let found = memory.walk(truth.paging, mapping.root, mapping.va);
            let expected =
                (mapping.residence == Residence::Present).then_some((mapping.pa, mapping.len));
            assert_eq!(found, expected, "{} {mapping:x?}", fixture.name);
        }
    }
}

#[test]
fn processes_see_the_kernel_and_shadows_do_not() {
    let MiniNt { machine, truth } = made("one-in-user-mode-shadowed");
    let memory = Physical(&machine);
    let base = truth.kernel.base;
    let at = memory.walk(truth.paging, truth.dtb, base).unwrap();
    for process in &truth.processes {
        assert_eq!(memory.walk(truth.paging, process.dtb, base), Some(at));
        if let Some(root) = process.user_dtb {
            assert_eq!(memory.walk(truth.paging, root, base), None);
            let entry = truth.symbols["KiSystemCall64Shadow"];
            assert!(memory.walk(truth.paging, root, entry).is_some());
        }
    }
    let user = truth.cpus.iter().position(|cpu| cpu.doing == Doing::User).unwrap();
    let process = &truth.processes[truth.cpus[user].process];
    assert_eq!(machine.cpus[user].control[3] & !0xfff, process.user_dtb.unwrap());
}

#[test]
fn memprocfs_reads_what_it_can() {
    let dir = tempfile::tempdir().unwrap();
    for fixture in fixtures() {
        let MiniNt { machine, truth } = make(&fixture).unwrap();
        let path = dir.path().join("guest.raw");
        machine.write_raw(&path).unwrap();
        if MEMPROCFS_REFUSES.contains(&fixture.name) {
            let refused = memprocfs(&path, &[]).unwrap_err().to_string();
            assert!(refused.contains("Initialization of vmm failed"), "{refused}");
            continue;
        }
        memprocfs(&path, &[]).unwrap().agrees(&truth).context(fixture.name).unwrap();
    }
}

#[test]
fn memprocfs_decodes_the_debugger_data_to_what_was_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let encoded = ["win8-x64", "win81-x64", "win10-10240-x64", "win10-14393-x64"];
    let newer = ["win10-17763-x64", "win10-19041-x64", "win11-22621-x64", "win11-26100-x64"];
    for name in encoded.into_iter().chain(newer) {
        let MiniNt { machine, truth } = made(name);
        let path = dir.path().join("guest.raw");
        machine.write_raw(&path).unwrap();
        assert_ne!(truth.kdbg.plain, truth.kdbg.stored);
        let len = truth.kdbg.plain.len() as u64;
        let memory = Physical(&machine);
        let at = |va: u64| {
            let (pa, _) = memory.walk(truth.paging, truth.dtb, va & !0xfff).unwrap();
            pa + va % 4096
        };
        // It may cross a page, of which the second is elsewhere.
        let first = len.min(4096 - truth.kdbg.va % 4096);
        let rest = truth.kdbg.va + first;
        let ranges = [(at(truth.kdbg.va), first), (at(rest), len - first)];
        let flag = (at(truth.kdbg.keys.unwrap().flag), 1);
        let seen = memprocfs(&path, &[ranges[0], ranges[1], flag]).unwrap();
        assert_eq!(seen.dump_ranges[..2].concat(), truth.kdbg.plain, "{name}");
        assert_eq!(seen.dump_ranges[2], [0], "{name}");
    }
}

#[test]
fn ntoseye_resolves_by_the_linked_symbols() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["win7-x64", "win10-14393-x64", "win10-17763-x64", "win11-26100-x64"] {
        let MiniNt { machine, truth } = made(name);
        let (path, dump) = (dir.path().join("guest.raw"), dir.path().join("memory.dmp"));
        machine.write_raw(&path).unwrap();
        truth.write_pdb(dir.path()).unwrap();
        dump_of_memprocfs(&path, &dump).unwrap();
        let said =
            ntoseye(&dump, dir.path(), &["vertarget", "lm", "!process 0 0", "!idt"]).unwrap();
        let pdb = format!("{} GUID {} age {}", truth.pdb.name, truth.pdb.guid, truth.pdb.age);
        let expected = [truth.lab.clone(), pdb, "nt!KiDivideErrorFault".to_owned()];
        let modules = truth
            .modules
            .iter()
            .map(|one| format!("{:016x}  {:016x}", one.base, one.base + u64::from(one.size)));
        let processes = truth.processes.iter().map(|one| format!("{:016x}  ", one.eprocess));
        for expected in expected.into_iter().chain(modules).chain(processes) {
            assert!(said.contains(&expected), "{name}: no {expected} in {said}");
        }
    }
}

#[test]
fn volatility_lists_processes_and_modules() {
    let dir = tempfile::tempdir().unwrap();
    // It takes seconds for each: one of each kind of paging, and what MemProcFS has
    // not seen. It reads the dumps of all of them in judge_windbg_peers.
    let plain = ["win7-x64", "win11-26100-x64", "win10-19041-la57", "winxp-x86", "win10-19041-pae"];
    let is_read = |fixture: &Fixture| {
        plain.contains(&fixture.name) || MEMPROCFS_REFUSES.contains(&fixture.name)
    };
    for fixture in fixtures().into_iter().filter(is_read) {
        let MiniNt { machine, truth } = make(&fixture).unwrap();
        let path = dir.path().join("guest.raw");
        machine.write_raw(&path).unwrap();
        let rows = volatility3::<PsListRow>(&path, &truth, "windows.pslist", dir.path());
        if VOLATILITY_REFUSES.contains(&fixture.name) {
            let refused = rows.unwrap_err().to_string();
            assert!(refused.contains("Unable to validate"), "{refused}");
            continue;
        }
        let rows = rows.unwrap();
        assert_eq!(rows.len(), truth.processes.len(), "{}", fixture.name);
        for (seen, put) in rows.iter().zip(&truth.processes) {
            assert_eq!((seen.pid, seen.parent), (put.pid, put.parent));
            assert_eq!(seen.image_file_name, put.name);
            assert_eq!(seen.offset, shortened(&truth, put.eprocess));
            assert_eq!(seen.threads, put.threads.len() as u64);
            assert_eq!(seen.exit_time.is_some(), put.exited != 0);
        }
        modules_of_volatility(&fixture, &truth, &path, dir.path());
    }
}

fn modules_of_volatility(fixture: &Fixture, truth: &Truth, path: &Path, dir: &Path) {
    let rows = volatility3::<ModulesRow>(path, truth, "windows.modules", dir).unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.base, row.size, &row.name, &row.path)).collect();
    let put: Vec<_> = truth
        .modules
        .iter()
        .map(|one| (shortened(truth, one.base), u64::from(one.size), &one.name, &one.path))
        .collect();
    assert_eq!(seen, put, "{}", fixture.name);
}

/// volatility 3 shows 48 bits of addresses.
fn shortened(truth: &Truth, va: u64) -> u64 {
    if truth.paging.is_64_bit() { va & 0xffff_ffff_ffff } else { va }
}

#[test]
fn volatility_tells_the_version_by_the_debugger_data() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["win7-x64", "winxp-x86", "win7-pae", "plain-kdbg", "crashed"] {
        let MiniNt { machine, truth } = made(name);
        let path = dir.path().join("guest.raw");
        machine.write_raw(&path).unwrap();
        let rows = volatility3::<InfoRow>(&path, &truth, "windows.info", dir.path()).unwrap();
        let value = |name: &str| {
            let row = rows.iter().find(|row| row.variable == name);
            row.unwrap_or_else(|| panic!("no {name} in {rows:?}")).value.clone()
        };
        assert_eq!(value("DTB"), format!("{:#x}", truth.dtb), "{name}");
        assert_eq!(value("Kernel Base"), format!("{:#x}", shortened(&truth, truth.kernel.base)));
        assert_eq!(
            value("KdDebuggerDataBlock"),
            format!("{:#x}", shortened(&truth, truth.kdbg.va))
        );
        // It reads 32 characters.
        assert!(truth.lab.starts_with(&value("NTBuildLab")), "{name} {rows:?}");
        assert!(value("NTBuildLab").len() >= truth.lab.len().min(32), "{name}");
        assert_eq!(value("Major/Minor"), format!("15.{}", truth.build));
        assert_eq!(value("KeNumberProcessors"), truth.cpus.len().to_string());
        assert_eq!(value("NtSystemRoot"), r"C:\Windows");
        assert_eq!(value("IsPAE"), if truth.paging == Paging::Pae { "True" } else { "False" });
    }
}

#[test]
fn foreign_readers_open_the_guests_as_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["hole", "many-ranges", "win7-pae", "one-in-user-mode-shadowed"] {
        let MiniNt { machine, truth } = made(name);
        let shape = Shape::default();
        let written = write_checkpoint(&machine, &shape, dir.path(), name).unwrap();
        let memory = written.memory.unwrap();
        let rows = volatility3::<PsListRow>(&memory, &truth, "windows.pslist", dir.path()).unwrap();
        assert_eq!(rows.len(), truth.processes.len(), "{name}");
        memprocfs(&memory, &[]).unwrap().agrees(&truth).context(name).unwrap();
    }
}

/// Physical memory, and a walker of page tables that has nothing in common with
/// the one that is judged, nor with what wrote them.
struct Physical<'a>(&'a Machine);

impl Physical<'_> {
    fn number(&self, pa: u64, len: usize) -> u64 {
        let mut memory = self.0.memory.iter();
        let range = memory.find(|range| pa >= range.gpa && pa < range.gpa + range.len).unwrap();
        let mut bytes = [0; 8];
        self.0.ram.read(pa - range.gpa + range.offset, &mut bytes[..len]).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Physical address and length of the page.
    fn walk(&self, paging: Paging, root: u64, va: u64) -> Option<(u64, u64)> {
        let frame = 0x000f_ffff_ffff_f000;
        match paging {
            Paging::TwoLevel => {
                let directory = self.number(root + (va >> 22) * 4, 4);
                let entry = match directory & 0x81 {
                    0x81 => return Some((directory & 0xffc0_0000, 0x40_0000)),
                    1 => self.number((directory & frame) + (va >> 12 & 0x3ff) * 4, 4),
                    _ => return None,
                };
                (entry & 1 != 0).then_some((entry & frame, 0x1000))
            }
            Paging::Pae => {
                let pointer = self.number(root + (va >> 30) * 8, 8);
                (pointer & 1 != 0).then(|| self.tables(pointer & frame, va, 21))?
            }
            Paging::FourLevel => self.tables(root, va, 39),
            Paging::FiveLevel => self.tables(root, va, 48),
        }
    }

    fn tables(&self, table: u64, va: u64, shift: u32) -> Option<(u64, u64)> {
        let entry = self.number(table + (va >> shift & 0x1ff) * 8, 8);
        let next = entry & 0x000f_ffff_ffff_f000;
        match (entry & 1, shift) {
            (0, _) => None,
            (_, 12) => Some((next, 0x1000)),
            (_, 21) if entry & 0x80 != 0 => Some((next, 0x20_0000)),
            _ => self.tables(next, va, shift - 9),
        }
    }
}
