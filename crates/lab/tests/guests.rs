//! Guests boot, tell the truth, and are kept as they were when they stopped.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use vmss2core_lab::truth::{Symbol, page_hash};
use vmss2core_lab::{CpuRegisters, Guest, Recipe, hidden, make, recipes};

const SPINNER: [u64; 4] =
    [0x1212_1212_1212_1212, 0x1313_1313_1313_1313, 0x1414_1414_1414_1414, 0x1515_1515_1515_1515];

fn guest(name: &str) -> Guest {
    make::guest(name).unwrap()
}

/// Those that run the lab's script and nothing else.
fn small() -> impl Iterator<Item = &'static Recipe> {
    recipes().iter().filter(|recipe| !recipe.has_system())
}

fn in_user_mode(cpu: &CpuRegisters) -> bool {
    cpu.segments[1].selector & 3 == 3
}

/// The processor that runs the spinner, where it was scheduled at that moment.
fn spinning(guest: &Guest) -> Option<&CpuRegisters> {
    guest.cpus.iter().find(|cpu| in_user_mode(cpu) && cpu.gpr[12..] == SPINNER)
}

#[test]
fn every_guest_is_whole() {
    for recipe in recipes() {
        let guest = guest(recipe.name);
        guest.check().unwrap_or_else(|error| panic!("{}: {error:#}", recipe.name));
        let mapped: u64 = guest.memory_map().iter().map(|range| range.len).sum();
        assert_eq!(mapped, recipe.memory_mib << 20, "{}", recipe.name);
        assert!(guest.serial_log().unwrap().contains(recipe.stop_at), "{}", recipe.name);
    }
}

#[test]
fn every_guest_lists_its_threads_and_symbols() {
    for recipe in small() {
        let truth = guest(recipe.name).truth().unwrap();
        let tasks = truth.tasks().unwrap();
        let named = |comm: &str| tasks.iter().filter(|task| task.comm == comm).count();
        // One guest runs `mt` from a second place, too; some have a program of their own.
        let (copies, programs) = match recipe.name {
            "linux-6.1-rare" => (2, 6),
            "linux-6.1-vectors"
            | "linux-6.1-kdump"
            | "linux-6.1-frame-pointers"
            | "linux-6.1-bare"
            | "linux-6.1-no-kallsyms" => (1, 5),
            _ => (1, 4),
        };
        let found = (named("mt"), named("mt-sleeper"), named("t32"));
        assert_eq!(found, (copies, copies, 2), "{}", recipe.name);
        assert_eq!(truth.programs().unwrap().len(), programs, "{}", recipe.name);
        assert_eq!(truth.program_threads().unwrap().len(), 4, "{}", recipe.name);
        if recipe.name == "linux-6.1-no-kallsyms" {
            assert!(truth.text("kallsyms").unwrap().is_empty());
            continue;
        }
        assert!(truth.symbol("_text").unwrap() > 0, "{}", recipe.name);
        let symbols = truth.symbols().unwrap();
        let of_loop = |symbol: &Symbol| symbol.module.as_deref() == Some("loop");
        assert!(symbols.iter().any(of_loop), "{}", recipe.name);
    }
}

#[test]
fn registers_are_those_of_a_running_kernel() {
    for recipe in recipes() {
        let guest = guest(recipe.name);
        assert_eq!(guest.cpus.len(), recipe.cpus as usize);
        for cpu in &guest.cpus {
            assert_eq!(cpu.cr0 & 0x8000_0001, 0x8000_0001, "{}: paging", recipe.name);
            assert_eq!(cpu.efer & 0x400 != 0, guest.is_64_bit, "{}: long mode", recipe.name);
            assert!(cpu.cr3 < guest.ram_bytes + (1 << 30), "{}", recipe.name);
            assert_eq!(cpu.fxsave.as_ref().map(Vec::len), Some(512));
            assert!(cpu.idt.base > 0 && cpu.gdt.base > 0);
        }
        let five_level = guest.cpus[0].cr4 & (1 << 12) != 0;
        assert_eq!(five_level, recipe.cpu == "max", "{}", recipe.name);
    }
}

#[test]
fn a_program_is_caught_with_known_values_in_its_registers() {
    let caught: Vec<_> = ["linux-6.1", "linux-6.1-4level", "linux-6.1-6g", "linux-6.12"]
        .iter()
        .filter_map(|name| {
            let guest = guest(name);
            let cpu = spinning(&guest)?.clone();
            Some((guest, cpu))
        })
        .collect();
    assert!(!caught.is_empty(), "the spinner runs nowhere");
    for (guest, cpu) in caught {
        let maps = guest.truth().unwrap().maps("mt").unwrap();
        let code = maps.iter().find(|map| (map.start..map.end).contains(&cpu.rip)).unwrap();
        assert_eq!((code.path.as_str(), code.permissions.as_str()), ("/programs/mt", "r-xp"));
        // What swapgs would bring in is the processor's own area of the kernel.
        assert!(cpu.kernel_gs_base.unwrap() > 1 << 63);
        let xmm = &cpu.fxsave.as_ref().unwrap()[160 + 16 * 6..];
        assert_eq!((xmm[0], xmm[7], xmm[16]), (0x12, 0x12, 0x13));
    }
}

#[test]
fn the_panicked_guest_says_why() {
    let log = guest("linux-6.1-panic").serial_log().unwrap();
    assert!(log.contains("Kernel panic - not syncing: sysrq triggered crash"), "{log}");
}

/// What each of these kernels lacks is what it was made for.
#[test]
fn kernels_lack_what_they_are_configured_without() {
    let truth = guest("linux-6.1-bare").truth().unwrap();
    assert!(truth.text("vmcoreinfo").unwrap().is_empty());
    let symbols = truth.symbols().unwrap();
    let is_data = |symbol: &&Symbol| symbol.module.is_none() && "dDbB".contains(symbol.kind);
    assert_eq!(symbols.iter().find(is_data), None);
}

/// The entry of the page table for `_text` is one of 4 MiB that may be written.
#[test]
fn the_code_of_a_32_bit_kernel_is_writable() {
    const PRESENT_WRITABLE_LARGE: u32 = 0x83;
    let guest = guest("linux-6.1-i386-writable");
    let text = guest.truth().unwrap().symbol("_text").unwrap();
    let ram = File::open(&guest.ram).unwrap();
    for cpu in &guest.cpus {
        let mut entry = [0; 4];
        ram.read_exact_at(&mut entry, cpu.cr3 + (text >> 22) * 4).unwrap();
        let entry = u32::from_le_bytes(entry);
        assert_eq!(entry & PRESENT_WRITABLE_LARGE, PRESENT_WRITABLE_LARGE, "{entry:#x}");
    }
    let log = guest.serial_log().unwrap();
    assert!(log.contains("Kernel memory protection disabled."), "{log}");
}

#[test]
fn memory_above_the_hole_is_used() {
    let guest = guest("linux-6.1-6g");
    let [low, high] = guest.memory_map()[..] else { panic!("two ranges") };
    assert_eq!((low.gpa + low.len, high.gpa, high.file_offset), (3 << 30, 4 << 30, 3 << 30));
    let iomem = guest.truth().unwrap().text("iomem").unwrap().to_owned();
    assert!(iomem.contains("100000000-1bfffffff : System RAM"), "{iomem}");
    let file = File::open(&guest.ram).unwrap();
    let mut page = [0; 4096];
    let used = (high.file_offset..high.file_offset + high.len).step_by(4 << 20).any(|offset| {
        file.read_exact_at(&mut page, offset).unwrap();
        page != [0; 4096]
    });
    assert!(used);
}

#[test]
fn an_unknown_guest_is_an_error_that_names_the_known_ones() {
    let error = make::guest("linux-0.99").unwrap_err().to_string();
    assert!(error.contains("linux-6.1-panic"), "{error}");
}

#[test]
fn pages_and_processes_are_told_as_they_are() {
    for recipe in small() {
        let guest = guest(recipe.name);
        let truth = guest.truth().unwrap();
        let first = truth.maps("pages").unwrap().remove(0);
        let program = std::fs::read(guest.program("pages")).unwrap();
        let pages = truth.pages("pages").unwrap();
        assert_eq!(pages[&first.start], page_hash(&program[..4096]), "{}", recipe.name);
        let pid = truth.programs().unwrap()["pages"];
        let all = truth.processes().unwrap();
        let process = all.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!((process.uid, process.gid), ((1000, 1000), (1001, 1001)), "{}", recipe.name);
        assert_eq!(process.command_line, b"/programs/pages\0--lab-argument\0");
        let states = truth.tasks().unwrap().into_iter().filter(|task| task.ppid == pid);
        assert_eq!(states.map(|task| task.state).collect::<String>(), "ZT", "{}", recipe.name);
        assert!(truth.time().unwrap().uptime > 1.0);
    }
}

#[test]
fn a_hidden_guest_has_lost_its_types_and_symbols_only() {
    let (whole, hidden) = (guest("linux-6.1"), hidden::guest("linux-6.1").unwrap());
    let (whole, hidden) = (File::open(&whole.ram).unwrap(), File::open(&hidden.ram).unwrap());
    let len = whole.metadata().unwrap().len();
    assert_eq!(hidden.metadata().unwrap().len(), len);
    let (mut one, mut other) = (vec![0; 4096], vec![0; 4096]);
    let different = (0..len).step_by(4096).filter(|offset| {
        whole.read_exact_at(&mut one, *offset).unwrap();
        hidden.read_exact_at(&mut other, *offset).unwrap();
        one != other
    });
    let count = different.count();
    assert!((2..50).contains(&count), "{count} pages differ");
}
