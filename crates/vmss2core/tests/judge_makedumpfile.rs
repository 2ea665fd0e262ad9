//! makedumpfile and libkdumpfile on the Linux core: the one that others build
//! on, and the one that reads 32-bit guests too.

#[macro_use]
mod common;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::guests::{self, Ram};
use common::judges;
use common::text::{ensure_contains, field};
use common::walker::{self, Sample};
use vmss2core_lab::Guest;

const READS: usize = 2_000;

/// Kernel memory of the guest by virtual address.
fn kernel_samples(guest: &Guest, wrap: &Wrap) -> Result<Vec<Sample>> {
    let ram = Ram::of_checkpoint(guest, &cores::checkpoint(guest, wrap)?)?;
    let [cpu, ..] = &*guest.cpus else { anyhow::bail!("no processor") };
    let space = guests::address_space(&ram, guest, cpu)?;
    let mut samples = walker::mapped(&space, &guests::kernel_pages(&space)?, READS)?;
    samples.retain(Sample::is_whole);
    samples.push(guests::banner(guest, &space)?);
    Ok(samples)
}

fn libkdumpfile_reads_the_kernel(name: &str) -> Result<()> {
    reads_in_libkdumpfile_of(name, &Wrap::split())
}

/// The same of a guest without VMCOREINFO, for which we make one up.
fn libkdumpfile_reads_with_made_up_vmcoreinfo(name: &str) -> Result<()> {
    reads_in_libkdumpfile_of(name, &Wrap::without_vmcoreinfo())
}

fn reads_in_libkdumpfile_of(name: &str, wrap: &Wrap) -> Result<()> {
    let guest = guests::guest(name)?;
    let core = cores::converted(&guest, wrap, &["-N6"])?.path("vmss.core");
    reads_in_libkdumpfile(&guest, &core, &kernel_samples(&guest, wrap)?)
}

fn reads_in_libkdumpfile(guest: &Guest, core: &Path, samples: &[Sample]) -> Result<()> {
    let what = format!("{} in libkdumpfile", guest.name);
    let list = judges::samples_file(samples)?;
    let mut python = judges::kdumpfile_script(core, "kdumpfile_core.py")?;
    let said = judges::output(python.env("SAMPLES", list.path()))?;
    let architecture = if guest.is_64_bit { "x86_64" } else { "ia32" };
    ensure!(field(&said, "arch.name") == Some(architecture), "{what}: {said}");
    let cpus = guest.cpus.len().to_string();
    ensure!(field(&said, "cpu.number") == Some(&cpus), "{what}: {said}");
    judges::all_right(&what, &said, samples.len())
}

/// All that makedumpfile can leave out is left out; what remains is far smaller,
/// opens, and still has the kernel's banner. Debian's makedumpfile for amd64
/// reads no 32-bit guests.
fn makedumpfile_filters(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let core = cores::linux(&guest)?.path("vmss.core");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let filtered = dir.path().join("filtered");
    let said = judges::output(&mut judges::makedumpfile(&core, &filtered)?)?;
    ensure_contains(name, &said, "makedumpfile Completed.")?;
    let len = filtered.metadata()?.len();
    ensure!(len < guest.ram_bytes / 4, "{name}: makedumpfile left out little: {len} remain");
    let banner = kernel_samples(&guest, &Wrap::split())?.pop().context("no sample")?;
    reads_in_libkdumpfile(&guest, &filtered, &[banner])
}

tests_of_all_guests!(libkdumpfile_reads_the_kernel, libkdumpfile_reads_with_made_up_vmcoreinfo);

mod makedumpfile {
    use super::makedumpfile_filters;

    tests_of_64_bit_guests!(makedumpfile_filters);
}
