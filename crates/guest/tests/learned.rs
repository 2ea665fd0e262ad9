//! What the data of real kernels shows of their structures: never anything else than
//! their own type information, and enough for the same answers without it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use vmss2core_guest::analyse;
use vmss2core_guest::linux::{BetterSources, Kernel, Member, Process, VmaFlags};
use vmss2core_lab::{Guest, Truth, hidden, make};

mod common;

/// Runs `check` on the guest's kernel.
fn with_kernel(guest: &Guest, check: impl FnOnce(&Kernel) -> Result<()>) -> Result<()> {
    let checkpoint = common::checkpoint(guest)?;
    let facts = analyse(&checkpoint);
    check(&Kernel::open(&checkpoint, &facts, BetterSources::default())?)
        .with_context(|| guest.name.clone())
}

/// Not every source says how long a member is.
fn sizes_agree(one: Member, other: Member) -> bool {
    one.size_bytes.zip(other.size_bytes).is_none_or(|(one, other)| one == other)
}

/// Compares every learned member with what BTF and VMCOREINFO say.
fn agrees(name: &str) -> Result<()> {
    with_kernel(&make::guest(name)?, |kernel| {
        let learned = kernel.learned().context("nothing was learned")?;
        let mut compared = 0;
        for (structure, path, found) in learned.members() {
            // The name changed with 5.14; a `long` was as good as its lower half.
            let names = if path == "state" { ["__state", "state"] } else { [path, path] };
            let known = kernel.layout().any_member(structure, &names);
            let Some(known) = known else { continue };
            let (learned, known) = (found.value, known.value);
            ensure!(
                learned.offset_bytes == known.offset_bytes
                    && (path == "state" || sizes_agree(learned, known)),
                "{structure}.{path} is at {known:x?}, not at {learned:x?}"
            );
            compared += 1;
        }
        ensure!(compared > 90, "{compared} of {} members are known", learned.members().count());
        let symbol = kernel.symbol("init_task")?.value;
        ensure!(learned.init_task().value == symbol, "init_task is at {symbol}");
        Ok(())
    })
}

#[test]
fn learned_members_agree_with_btf_of_linux_5_10() -> Result<()> {
    agrees("linux-5.10")
}

#[test]
fn learned_members_agree_with_btf_of_linux_6_1_with_five_levels() -> Result<()> {
    agrees("linux-6.1")
}

#[test]
fn learned_members_agree_with_btf_under_page_table_isolation() -> Result<()> {
    agrees("linux-6.1-4level")
}

#[test]
fn learned_members_agree_with_btf_around_the_hole_for_devices() -> Result<()> {
    agrees("linux-6.1-6g")
}

#[test]
fn learned_members_agree_with_btf_of_a_crashed_kernel() -> Result<()> {
    agrees("linux-6.1-panic")
}

#[test]
fn learned_members_agree_with_btf_of_a_real_time_kernel() -> Result<()> {
    agrees("linux-6.12-rt")
}

#[test]
fn learned_members_agree_with_btf_of_a_small_kernel() -> Result<()> {
    agrees("linux-6.1-frame-pointers")
}

#[test]
fn learned_members_agree_with_btf_with_swap_and_an_overlay() -> Result<()> {
    agrees("linux-6.1-rare")
}

#[test]
fn learned_members_agree_with_btf_of_a_kernel_beside_its_crash_kernel() -> Result<()> {
    agrees("linux-6.1-kdump")
}

#[test]
fn learned_members_agree_with_btf_of_three_processors() -> Result<()> {
    agrees("linux-6.1-vectors")
}

#[test]
fn learned_members_agree_with_btf_of_an_installed_system() -> Result<()> {
    agrees("linux-6.1-production")
}

#[test]
fn learned_members_agree_with_btf_of_linux_6_12() -> Result<()> {
    agrees("linux-6.12")
}

#[test]
fn learned_members_agree_with_btf_of_the_newest_kernel() -> Result<()> {
    agrees("linux-sid")
}

/// Tasks of a kernel that says nothing about its structures.
fn tasks_are_told(kernel: &Kernel, truth: &Truth) -> Result<()> {
    let sources: Vec<_> = kernel.layout().sources().collect();
    let are_given = sources.iter().any(|how| how.contains("BTF"));
    ensure!(!are_given && kernel.learned().is_some(), "not learned: {sources:?}");
    let found = kernel.tasks()?.tasks;
    let found: BTreeSet<_> = found
        .iter()
        .filter(|task| task.tid != 0)
        .map(|task| (task.tid, task.pid, task.ppid))
        .collect();
    let expected: BTreeSet<_> =
        truth.tasks()?.iter().map(|task| (task.tid, task.pid, Some(task.ppid))).collect();
    // What ran for a moment only may be in one of the two.
    let differences = found.symmetric_difference(&expected).count();
    ensure!(expected.len() > 40 && differences <= 3, "{differences} of {} differ", expected.len());
    users_and_programs_are_told(kernel, truth)
}

fn users_and_programs_are_told(kernel: &Kernel, truth: &Truth) -> Result<()> {
    let tasks = kernel.tasks()?.tasks;
    let by_pid: BTreeMap<u32, _> =
        tasks.iter().filter(|task| task.is_leader()).map(|task| (task.pid, task)).collect();
    let mut others = 0;
    for process in truth.processes()? {
        let Some(task) = by_pid.get(&process.pid) else { continue };
        let (uid, gid) = (Some(process.uid.1), Some(process.gid.1));
        ensure!((task.uid, task.gid) == (uid, gid), "{process:?} is {task:?}");
        others += usize::from(process.uid.1 != 0);
    }
    ensure!(others > 0, "all processes are root's");
    let programs = truth.programs()?;
    for (name, pid) in &programs {
        let task = by_pid.get(pid).with_context(|| format!("{name} is not there"))?;
        mappings_are_told(&Process::of(kernel, task)?, name, truth)?;
    }
    ensure!(programs.len() > 2, "only {programs:?} ran");
    Ok(())
}

fn mappings_are_told(process: &Process, program: &str, truth: &Truth) -> Result<()> {
    let letters = |flags: VmaFlags| {
        let letter = |flag, letter| if flags.contains(flag) { letter } else { '-' };
        let shared = if flags.contains(VmaFlags::SHARED) { 's' } else { 'p' };
        let all = [
            letter(VmaFlags::READ, 'r'),
            letter(VmaFlags::WRITE, 'w'),
            letter(VmaFlags::EXECUTE, 'x'),
            shared,
        ];
        String::from_iter(all)
    };
    let found: Vec<_> = process
        .vmas()
        .iter()
        .map(|vma| (vma.start.0, vma.end.0, letters(vma.flags), vma.name.clone()))
        .collect();
    let expected: Vec<_> = truth
        .maps(program)?
        .into_iter()
        .filter(|map| map.path != "[vsyscall]")
        .map(|map| (map.start, map.end, map.permissions, map.path))
        .collect();
    ensure!(!expected.is_empty() && found == expected, "{program}: {found:x?}\n{expected:x?}");
    Ok(())
}

/// A kernel without BTF and without symbols of variables.
fn answers(guest: &Guest, minimum: usize) -> Result<()> {
    let truth = guest.truth()?;
    with_kernel(guest, |kernel| {
        let learned = kernel.learned().context("nothing was learned")?;
        let count = learned.members().count();
        let problems: Vec<_> = learned.problems().iter().map(|problem| &problem.message).collect();
        ensure!(count >= minimum, "{count} members were learned: {problems:?}");
        tasks_are_told(kernel, &truth)
    })
}

#[test]
fn a_pae_kernel_of_5_10_is_learned() -> Result<()> {
    answers(&make::guest("linux-5.10-i386-pae")?, 95)
}

#[test]
fn a_kernel_of_5_10_with_two_levels_is_learned() -> Result<()> {
    answers(&make::guest("linux-5.10-i386")?, 95)
}

#[test]
fn a_pae_kernel_of_6_1_is_learned() -> Result<()> {
    answers(&make::guest("linux-6.1-i386-pae")?, 100)
}

#[test]
fn a_kernel_of_6_1_with_two_levels_is_learned() -> Result<()> {
    answers(&make::guest("linux-6.1-i386")?, 100)
}

#[test]
fn a_kernel_whose_code_is_not_write_protected_is_learned() -> Result<()> {
    answers(&make::guest("linux-6.1-i386-writable")?, 100)
}

#[test]
fn a_kernel_without_variables_types_and_vmcoreinfo_is_learned() -> Result<()> {
    answers(&make::guest("linux-6.1-bare")?, 90)
}

#[test]
fn a_kernel_without_any_symbols_is_learned() -> Result<()> {
    answers(&make::guest("linux-6.1-no-kallsyms")?, 90)
}

#[test]
fn a_kernel_whose_types_and_symbols_are_gone_is_learned() -> Result<()> {
    answers(&hidden::guest("linux-6.1")?, 100)
}

/// The members that the spec's measurements of these kernels name.
#[test]
fn offsets_of_32_bit_kernels_are_those_measured_by_hand() -> Result<()> {
    let measured = [
        ("linux-5.10-i386-pae", "task_struct", "stack", 0xc),
        ("linux-5.10-i386-pae", "task_struct", "tasks", 0x30c),
        ("linux-5.10-i386-pae", "task_struct", "mm", 0x334),
        ("linux-5.10-i386-pae", "task_struct", "pid", 0x3ac),
        ("linux-5.10-i386-pae", "task_struct", "real_parent", 0x3b8),
        ("linux-5.10-i386-pae", "task_struct", "group_leader", 0x3d0),
        ("linux-5.10-i386-pae", "task_struct", "start_time", 0x45c),
        ("linux-5.10-i386-pae", "task_struct", "cred", 0x4d4),
        ("linux-5.10-i386-pae", "task_struct", "comm", 0x4dc),
        ("linux-5.10-i386-pae", "mm_struct", "pgd", 0x24),
        ("linux-5.10-i386-pae", "mm_struct", "arg_start", 0xb4),
        ("linux-5.10-i386-pae", "vm_area_struct", "vm_next", 0x8),
        ("linux-5.10-i386-pae", "vm_area_struct", "vm_flags", 0x2c),
        ("linux-5.10-i386-pae", "vm_area_struct", "vm_file", 0x54),
        ("linux-6.1-i386", "task_struct", "stack", 0x14),
        ("linux-6.1-i386", "task_struct", "tasks", 0x3c8),
        ("linux-6.1-i386", "task_struct", "mm", 0x3f0),
        ("linux-6.1-i386", "task_struct", "pid", 0x454),
        ("linux-6.1-i386", "task_struct", "cred", 0x57c),
        ("linux-6.1-i386", "task_struct", "comm", 0x584),
        ("linux-6.1-i386", "mm_struct", "pgd", 0x1c),
        ("linux-6.1-i386", "mm_struct", "mm_mt", 0),
        ("linux-6.1-i386", "vm_area_struct", "vm_file", 0x38),
        ("linux-6.1-i386", "file", "f_path", 0x8),
        ("linux-6.1-i386", "dentry", "d_parent", 0x10),
        ("linux-6.1-i386", "dentry", "d_name.name", 0x1c),
        ("linux-6.1-i386", "mount", "mnt_parent", 0x8),
        ("linux-6.1-i386", "mount", "mnt", 0x10),
    ];
    for name in ["linux-5.10-i386-pae", "linux-6.1-i386"] {
        with_kernel(&make::guest(name)?, |kernel| {
            for (_, structure, path, offset) in measured.iter().filter(|one| one.0 == name) {
                let found =
                    kernel.layout().member(structure, path).map(|one| one.value.offset_bytes);
                ensure!(found == Some(*offset), "{structure}.{path}: {found:x?}, not {offset:x}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What each vCPU runs, as thread numbers.
fn running(guest: &Guest) -> Result<Vec<(Option<u32>, u32)>> {
    let mut running = Vec::new();
    with_kernel(guest, |kernel| {
        let tasks = kernel.tasks()?.tasks;
        let found = tasks.iter().filter(|task| task.on_vcpu.is_some());
        running = found.map(|task| (task.on_vcpu, task.tid)).collect();
        running.sort_unstable();
        Ok(())
    })?;
    Ok(running)
}

#[test]
fn what_the_processors_run_is_told_with_and_without_symbols() -> Result<()> {
    let with = running(&make::guest("linux-6.1")?)?;
    ensure!(!with.is_empty(), "nothing runs");
    let without = running(&hidden::guest("linux-6.1")?)?;
    ensure!(with == without, "{with:?} is {without:?} without symbols");
    Ok(())
}
