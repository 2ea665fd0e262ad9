//! Reads by virtual address from our cores against a second, naive page walker
//! over the guest's memory: every paging mode, mapped and unmapped addresses.

#[macro_use]
mod common;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::elf::{self, Core};
use common::guests::{self, Ram};
use common::judges;
use common::walker::{self, Mode, Sample, Walker};

const READS: usize = 10_000;

/// That every mode is among the guests.
fn mode_of(name: &str) -> Mode {
    match name {
        "linux-6.1-4level" | "linux-5.10" => Mode::FourLevel,
        "linux-6.1-i386-pae" | "linux-5.10-i386-pae" => Mode::Pae,
        "linux-6.1-i386" | "linux-5.10-i386" => Mode::TwoLevel,
        _ => Mode::FiveLevel,
    }
}

/// The linear core of each processor, read by our own tiny reader.
fn linear_cores_hold_every_page(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::linear(&guest)?;
    let ram = Ram::of(&guest)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let what = format!("{name} vCPU {index}");
        let space = guests::address_space(&ram, &guest, cpu)?;
        ensure!(space.mode() == mode_of(name), "{what} runs in {:?}", space.mode());
        let pages = guests::pages(&space)?;
        let mut samples = walker::samples(&space, &pages, READS)?;
        samples.extend(walker::each_page(&space, &pages)?);
        let core = run.core(&format!("vmss.core{index}"))?;
        same_bytes(&what, &samples, |sample| core.read_virtual(sample.va, sample.len))?;
        let most = guest.ram_bytes + guest.ram_bytes / 100;
        ensure!(core.len <= most, "{what}: larger than the guest: {}", core.len);
    }
    Ok(())
}

/// All samples; the error shows the first few that differ.
fn same_bytes(
    what: &str,
    samples: &[Sample],
    read: impl Fn(&Sample) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for sample in samples {
        let got = read(sample)?;
        if got != sample.bytes {
            wrong.push(format!("expected {sample:x?}, got {got:x?}"));
        }
    }
    let (count, all) = (wrong.len(), samples.len());
    wrong.truncate(5);
    ensure!(count == 0, "{what}: {count} of {all} reads are wrong:\n{}", wrong.join("\n"));
    Ok(())
}

/// The same reads through gdb, which sorts and splits by its own rules.
fn gdb_reads_the_same(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::linear(&guest)?;
    let ram = Ram::of(&guest)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let space = guests::address_space(&ram, &guest, cpu)?;
        let samples = walker::samples(&space, &guests::pages(&space)?, READS)?;
        let core = run.path(&format!("vmss.core{index}"));
        let list = judges::samples_file(&samples)?;
        let mut gdb = judges::gdb_script(&core, "gdb_reads.py")?;
        let said = judges::output(gdb.env("SAMPLES", list.path()))?;
        judges::all_right(&format!("{name} vCPU {index} in gdb"), &said, samples.len())?;
    }
    Ok(())
}

/// The Linux core has physical segments: page tables walked in it, from the CR3
/// in its own notes, lead to the same bytes; and its virtual addresses, of the
/// direct map and of the kernel's image, lie where the page tables say.
fn linux_core_holds_every_page(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let core = cores::linux(&guest)?.core("vmss.core")?;
    let ram = Ram::of_checkpoint(&guest, &cores::checkpoint(&guest, &Wrap::split())?)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let what = format!("{name} vCPU {index}");
        let truth = Walker::new(&ram, guests::mode(cpu)?, cpu.cr3);
        let pages = guests::pages(&truth)?;
        let mut samples = walker::samples(&truth, &pages, READS)?;
        samples.extend(walker::each_page(&truth, &pages)?);
        let space = Walker::new(&core, guests::mode(cpu)?, noted_cr3(&core, index)?);
        same_bytes(&what, &samples, |sample| space.read(sample.va, sample.len))?;
    }
    Ok(())
}

/// CR3 from the QEMU note of a processor: behind version, size, 18 general
/// registers and 10 segments of 24 bytes come CR0 to CR4.
fn noted_cr3(core: &Core, index: usize) -> Result<u64> {
    let notes = core.notes_of("QEMU");
    let note = notes.get(index).with_context(|| format!("no QEMU note for vCPU {index}"))?;
    elf::number(&note.desc, 8 + 18 * 8 + 10 * 24 + 3 * 8, 8)
}

/// What the Linux core has under a virtual address is what the page tables have.
fn linux_core_tells_the_kernels_addresses(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let core = cores::linux(&guest)?.core("vmss.core")?;
    let ram = Ram::of_checkpoint(&guest, &cores::checkpoint(&guest, &Wrap::split())?)?;
    let [cpu, ..] = &*guest.cpus else { anyhow::bail!("no processor") };
    let space = guests::address_space(&ram, &guest, cpu)?;
    let mut samples = walker::mapped(&space, &guests::kernel_pages(&space)?, READS)?;
    samples.push(guests::banner(&guest, &space)?);
    samples.retain(|sample| sample.is_whole() && is_in_a_segment(&core, sample));
    ensure!(samples.len() > READS / 20, "{name}: only {} in a segment", samples.len());
    same_bytes(name, &samples, |sample| core.read_virtual(sample.va, sample.len))
}

fn is_in_a_segment(core: &Core, sample: &Sample) -> bool {
    let end = sample.va.wrapping_add(sample.len as u64 - 1);
    core.loads.iter().any(|load| sample.va >= load.va && end.wrapping_sub(load.va) < load.len)
}

tests_of_all_guests!(
    linear_cores_hold_every_page,
    gdb_reads_the_same,
    linux_core_holds_every_page,
    linux_core_tells_the_kernels_addresses
);
