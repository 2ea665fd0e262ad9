//! What is found of every small Windows guest of the lab, against what was put in.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[path = "common/mini_nt.rs"]
mod mini_nt;

use vmss2core_guest::windows::{Completeness, Options, ScanDepth, WindowsFacts, debugger_blocks};
use vmss2core_guest::{analyse, analyse_with};
use vmss2core_lab::windows::{Doing, Fixture, Paging, Trap, Truth, fixture, fixtures};
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Gpa, Gva};

use mini_nt::Guest;

fn windows_of(guest: &Guest, what: &str) -> WindowsFacts {
    let facts = analyse(&guest.checkpoint);
    let system = facts.system().unwrap_or_else(|| panic!("{what}: no system was found"));
    assert_eq!(system.name(), "Windows", "{what}");
    facts.windows().unwrap_or_else(|| panic!("{what}: nothing is known of Windows")).clone()
}

#[test]
fn every_guest_is_found_as_it_was_made() {
    for fixture in fixtures() {
        let guest = Guest::of(&fixture);
        let what = fixture.name;
        let found = windows_of(&guest, what);
        let truth = &guest.nt.truth;
        root_and_mode(&found, truth, what);
        image(&found, truth, &fixture);
        debugger_data(&found, truth, what);
        way_to_debugger_data(&found, &fixture);
        facts_about_the_system(&found, truth, what);
        processors(&found, truth, what);
    }
}

fn root_and_mode(found: &WindowsFacts, truth: &Truth, what: &str) {
    let (mode, root) = found.kernel_root.value;
    assert_eq!(root, Root(Gpa(truth.dtb)), "{what}: {}", found.kernel_root.how);
    let is_right = match truth.paging {
        Paging::TwoLevel => modes::is_two_level(mode),
        Paging::Pae => mode == modes::PAE,
        Paging::FourLevel => mode == modes::FOUR_LEVEL,
        Paging::FiveLevel => mode == modes::FIVE_LEVEL,
    };
    assert!(is_right, "{what}: {mode}");
    assert_eq!(found.is_64_bit, truth.paging.is_64_bit(), "{what}");
    let system = found.system_process.as_ref().unwrap_or_else(|| panic!("{what}: no System"));
    assert_eq!(system.value, Gva(truth.processes[0].eprocess), "{what}: {}", system.how);
}

fn image(found: &WindowsFacts, truth: &Truth, fixture: &Fixture) {
    let what = fixture.name;
    let image = found.image.as_ref().unwrap_or_else(|| panic!("{what}: no image"));
    assert_eq!(image.value.base, Gva(truth.kernel.base), "{what}: {}", image.how);
    if fixture.has(Trap::HeaderPagedOut) {
        assert_eq!(image.value.timestamp, None, "{what}");
        return;
    }
    assert_eq!(image.value.size_bytes, truth.kernel.size, "{what}");
    assert_eq!(image.value.timestamp, Some(truth.kernel.timestamp), "{what}");
    if fixture.has(Trap::OtherLinker) {
        assert_eq!(image.value.pdb, None, "{what}");
        return;
    }
    let pdb = image.value.pdb.as_ref().unwrap_or_else(|| panic!("{what}: no PDB"));
    let want = (&truth.pdb.name, &truth.pdb.guid, truth.pdb.age);
    assert_eq!((&pdb.name, &pdb.guid, pdb.age), want, "{what}");
}

fn debugger_data(found: &WindowsFacts, truth: &Truth, what: &str) {
    let kdbg = found.kdbg.as_ref().unwrap_or_else(|| panic!("{what}: no debugger data"));
    assert_eq!(kdbg.value.gva, Gva(truth.kdbg.va), "{what}: {}", kdbg.how);
    assert!(kdbg.value.plain == truth.kdbg.plain, "{what}: {}", kdbg.how);
    let keys = kdbg.value.encoding.map(|encoding| {
        encoding.keys.unwrap_or_else(|| panic!("{what}: the keys were not told apart"))
    });
    let keys = keys.map(|keys| (keys.wait_never, keys.wait_always, keys.flag));
    let want = truth.kdbg.keys.map(|keys| (keys.never, keys.always, Gva(keys.flag)));
    assert_eq!(keys, want, "{what}");
}

/// 32-bit kernels say themselves where it is, unless their regions do not.
fn way_to_debugger_data(found: &WindowsFacts, fixture: &Fixture) {
    let how = &found.kdbg.as_ref().unwrap().how;
    let is_told = !found.is_64_bit && !fixture.has(Trap::NoVersionBlock);
    assert_eq!(how.contains("version block"), is_told, "{}: {how}", fixture.name);
    assert_eq!(how.contains("search"), !is_told, "{}: {how}", fixture.name);
}

fn facts_about_the_system(found: &WindowsFacts, truth: &Truth, what: &str) {
    assert_eq!(found.build.as_ref().map(|build| build.value), Some(truth.build), "{what}");
    assert_eq!(found.lab.as_ref().map(|lab| &lab.value), Some(&truth.lab), "{what}");
    assert_eq!(found.bugcheck.as_ref().map(|code| code.value), truth.bugcheck, "{what}");
    let shared = found.shared.as_ref().unwrap_or_else(|| panic!("{what}: no shared data"));
    assert_eq!((shared.major, shared.minor), truth.version, "{what}");
    assert_eq!((shared.product, shared.suite), (truth.product, truth.suite), "{what}");
    let times = (shared.system_time, shared.interrupt_time);
    assert_eq!(times, (truth.system_time, truth.interrupt_time), "{what}");
    assert_eq!(shared.boot_id, (truth.build >= 10240).then_some(truth.boot_id), "{what}");
}

fn processors(found: &WindowsFacts, truth: &Truth, what: &str) {
    assert_eq!(found.cpus.len(), truth.cpus.len(), "{what}");
    let mut foreign = Vec::new();
    for ((number, cpu), want) in (0..).zip(&found.cpus).zip(&truth.cpus) {
        assert_eq!((cpu.number, cpu.kpcr, cpu.kprcb), (number, Gva(want.kpcr), Gva(want.kprcb)));
        let is_windows = matches!(want.doing, Doing::Kernel | Doing::User);
        let vcpu = cpu.vcpu.as_ref().map(|vcpu| vcpu.value);
        assert_eq!(vcpu, is_windows.then_some(number), "{what}: {:?}", cpu.vcpu);
        foreign.extend((!is_windows).then_some(number));
        assert_eq!(cpu.context, want.context.map(Gva), "{what}");
        assert_eq!(cpu.embedded_context, Some(Gva(want.embedded_context)), "{what}");
        assert_eq!(cpu.special_registers, Some(Gva(want.special_registers)), "{what}");
        assert_eq!(cpu.thread, Some(Gva(want.thread)), "{what}");
        let process = &truth.processes[want.process];
        assert_eq!(cpu.process, Some(Gva(process.eprocess)), "{what}");
        assert_eq!(cpu.kernel_root, Some(Root(Gpa(want.kernel_dtb))), "{what}");
    }
    let held: Vec<u32> = found.foreign.iter().map(|vcpu| vcpu.vcpu).collect();
    assert_eq!(held, foreign, "{what}");
    let rung = if foreign.is_empty() { Completeness::Full } else { Completeness::SomeProcessors };
    assert_eq!(found.completeness, rung, "{what}: {:?}", found.missing);
    assert_eq!(found.missing.is_empty(), rung == Completeness::Full, "{what}: {:?}", found.missing);
}

#[test]
fn programs_on_their_own_page_tables_get_the_kernels_root() {
    let guest = Guest::of(&fixture("one-in-user-mode-shadowed").unwrap());
    let facts = analyse(&guest.checkpoint);
    let want = guest.nt.truth.cpus[1].kernel_dtb;
    let root = facts.vcpus[1].kernel_root.as_ref().map(|root| root.value);
    assert_eq!(root, Some(Root(Gpa(want))));
    assert_eq!(facts.vcpus[0].kernel_root, None);
}

#[test]
fn the_user_is_believed() {
    let guest = Guest::of(&fixture("plain-kdbg").unwrap());
    let kdbg = Gva(guest.nt.truth.kdbg.va);
    let options = Options { build: Some(12345), kdbg: Some(kdbg), ..Options::default() };
    let facts = analyse_with(&guest.checkpoint, &options);
    let found = facts.windows().unwrap();
    assert_eq!(found.build.as_ref().map(|build| build.value), Some(12345));
    assert_eq!(found.kdbg.as_ref().map(|found| found.value.gva), Some(kdbg));
}

#[test]
fn a_search_of_all_memory_ranks_the_living_block_first() {
    let guest = Guest::of(&fixture("stale-kdbg").unwrap());
    let options = Options { scan: ScanDepth::AllMemory, ..Options::default() };
    let facts = analyse_with(&guest.checkpoint, &options);
    let found = facts.windows().unwrap();
    assert_eq!(found.kdbg.as_ref().unwrap().value.gva, Gva(guest.nt.truth.kdbg.va));
    // What is encoded is not seen by a search for its tag; what is stale is.
    let guest = Guest::of(&fixture("plain-kdbg").unwrap());
    let facts = analyse(&guest.checkpoint);
    let found = facts.windows().unwrap();
    let blocks = debugger_blocks(&guest.checkpoint.memory, found);
    assert_eq!(blocks[0].1.value.gva, Gva(guest.nt.truth.kdbg.va));
}

#[test]
fn without_registers_windows_is_still_found() {
    for name in ["win10-19041-x64", "win10-19041-la57", "win7-pae", "winxp-x86", "no-low-stub"] {
        let mut guest = Guest::of(&fixture(name).unwrap());
        guest.checkpoint.vcpus = [].into();
        let found = windows_of(&guest, name);
        assert_eq!(found.kernel_root.value.1, Root(Gpa(guest.nt.truth.dtb)), "{name}");
        assert_eq!(found.kdbg.as_ref().unwrap().value.gva, Gva(guest.nt.truth.kdbg.va), "{name}");
        assert_eq!(found.completeness, Completeness::SomeProcessors, "{name}");
    }
}

/// Images of other kinds, or none, where the kernel should be: what is said of it must
/// be true of all.
#[test]
fn a_kernel_that_is_not_found_is_not_called_paged_out() {
    let mut guest = Guest::of(&fixture("no-version-block").unwrap());
    let at = guest.nt.truth.kernel.base;
    guest.overwrite(at, &[0; 4096]);
    guest.overwrite(guest.nt.truth.kdbg.va, &[0; 0x20]);
    let found = windows_of(&guest, "no header");
    assert_eq!((&found.image, &found.kdbg), (&None, &None));
    let said = found.missing.join("; ");
    assert!(said.contains("no image that is mapped where kernels are"), "{said}");
    assert!(!said.contains("not in memory"), "{said}");
}
