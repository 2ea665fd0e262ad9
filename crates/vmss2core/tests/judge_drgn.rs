//! drgn on the Linux core: what it recognises, reads through the kernel's page
//! tables, and the task list against the guest's own.

#[macro_use]
mod common;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Run, Wrap};
use common::guests::{self, Ram};
use common::judges;
use common::text::{ensure_contains, field};
use common::walker;
use vmss2core_lab::Guest;

const READS: usize = 10_000;

/// Without symbols: VMCOREINFO is accepted, and its page tables lead to the
/// bytes that a walk of our own finds.
fn recognised_and_readable(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    readable_in(&guest, &Wrap::split())?;
    Ok(())
}

/// The same of a guest without VMCOREINFO, for which we make one up and say so.
fn readable_with_made_up_vmcoreinfo(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = readable_in(&guest, &Wrap::without_vmcoreinfo())?;
    ensure_contains(name, &run.stderr, "VMCOREINFO was made up")
}

fn readable_in(guest: &Guest, wrap: &Wrap) -> Result<Run> {
    let name = &guest.name;
    let run = cores::converted(guest, wrap, &["-N6"])?;
    let ram = Ram::of_checkpoint(guest, &cores::checkpoint(guest, wrap)?)?;
    let [cpu, ..] = &*guest.cpus else { anyhow::bail!("no processor") };
    let space = guests::address_space(&ram, guest, cpu)?;
    let mut samples = walker::mapped(&space, &guests::kernel_pages(&space)?, READS)?;
    samples.retain(walker::Sample::is_whole);
    samples.push(guests::banner(guest, &space)?);
    let list = judges::samples_file(&samples)?;
    let mut drgn = judges::drgn_script(&run.path("vmss.core"), "drgn_core.py")?;
    let said = judges::output(drgn.env("SAMPLES", list.path()))?;
    ensure_contains(name, &said, "IS_LINUX_KERNEL")?;
    ensure!(field(&said, "osrelease") == Some(&release(guest)?), "{name}: {said}");
    judges::all_right(&format!("{name} in drgn"), &said, samples.len())?;
    Ok(run)
}

/// The third word of `/proc/version`.
fn release(guest: &Guest) -> Result<String> {
    let truth = guest.truth()?;
    Ok(truth.text("version")?.split_whitespace().nth(2).unwrap_or_default().to_owned())
}

/// With the kernel's symbols: the tasks are those that the guest listed.
fn same_tasks(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let run = cores::linux(&guest)?;
    let mut drgn = judges::drgn_script(&run.path("vmss.core"), "drgn_tasks.py")?;
    let said = judges::output(drgn.env("VMLINUX", &kernel))?;
    let (shown, listed) = (steady(listed(&said)), steady(guests::tasks(&guest)?));
    ensure!(listed.len() > 40, "{name}: the guest listed only {} tasks", listed.len());
    ensure!(shown == listed, "{name}: drgn shows\n{shown:?}\nthe guest listed\n{listed:?}");
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let line = said.lines().find(|line| line.starts_with(&format!("stack {index} ")));
        let stack = line.with_context(|| format!("{name}: no stack of CPU {index}:\n{said}"))?;
        let is_idle = cpu.halted && guests::privilege(cpu) == 0;
        let expected = match (guests::has_panicked(&guest)?, is_idle) {
            (false, true) => " do_idle cpu_startup_entry ",
            (true, true) => " stop_this_cpu ",
            (true, false) => " panic sysrq_handle_crash ",
            (false, false) => " ",
        };
        ensure_contains(name, stack, expected)?;
    }
    Ok(())
}

/// Lines `task NUMBER NAME`.
fn listed(said: &str) -> BTreeMap<u32, String> {
    let tasks = said.lines().filter_map(|line| line.strip_prefix("task ")?.split_once(' '));
    tasks.filter_map(|(pid, comm)| Some((pid.parse().ok()?, comm.to_owned()))).collect()
}

fn steady(mut tasks: BTreeMap<u32, String>) -> BTreeMap<u32, String> {
    tasks.retain(|_, comm| !guests::is_fleeting(comm));
    tasks
}

tests_of_all_guests!(recognised_and_readable, readable_with_made_up_vmcoreinfo);

mod tasks {
    guest_tests! {
        (same_tasks)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        around_the_hole: "linux-6.1-6g",
        panicked: "linux-6.1-panic",
    }

    use super::same_tasks;
}
