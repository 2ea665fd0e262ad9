//! kdump-compressed files in all programs that read them, against the ELF core
//! of the same guest and against what makedumpfile makes of that.

#[macro_use]
mod common;

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests::{self, Ram};
use common::judges;
use common::kdump::Pages;
use common::text::{ensure_contains, field, same_lines};
use common::walker::{self, Sample};
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{
    Judge, crash, crash_trixie, makedumpfile, makedumpfile_i386, makedumpfile_sid,
};

const READS: usize = 2_000;
const FILE: &str = "vmss.kdump";

/// The guest's file, converted with these options.
fn dump(guest: &Guest, options: &[&str]) -> Result<PathBuf> {
    let convert = ["convert", "-f", "kdump", "-o", FILE];
    Ok(cores::converted(guest, &Wrap::split(), &[&convert, options].concat())?.path(FILE))
}

fn elf(guest: &Guest) -> Result<PathBuf> {
    Ok(cores::linux(guest)?.path("vmss.core"))
}

/// Each page that libkdumpfile reads is the guest's.
fn every_page_is_right(name: &str) -> Result<()> {
    every_page_in(&guests::guest(name)?, &[])
}

fn every_page_in(guest: &Guest, options: &[&str]) -> Result<()> {
    let what = format!("{} {options:?} in libkdumpfile", guest.name);
    let state = cores::checkpoint(guest, &Wrap::split())?;
    let ram = Ram::of_checkpoint(guest, &state)?;
    let (mut list, mut pages) = (String::new(), 0);
    for range in ram.ranges() {
        writeln!(list, "{} {} {}", range.gpa, range.len, range.file_offset)?;
        pages += usize::try_from(range.len / 4096)?;
    }
    let ranges = tempfile::NamedTempFile::new()?;
    fs::write(ranges.path(), list)?;
    let mut python = judges::kdumpfile_script(&dump(guest, options)?, "kdumpfile_pages.py")?;
    python.env("MEMORY", state.with_extension("vmem")).env("RANGES", ranges.path());
    let said = judges::output(&mut python)?;
    ensure!(field(&said, "file.format") == Some("diskdump"), "{what}: {said}");
    judges::all_right(&what, &said, pages)
}

/// Kernel memory of the guest by virtual address.
fn kernel_samples(guest: &Guest) -> Result<Vec<Sample>> {
    let ram = Ram::of_checkpoint(guest, &cores::checkpoint(guest, &Wrap::split())?)?;
    let [cpu, ..] = &*guest.cpus else { anyhow::bail!("no processor") };
    let space = guests::address_space(&ram, guest, cpu)?;
    let mut samples = walker::mapped(&space, &guests::kernel_pages(&space)?, READS)?;
    samples.retain(Sample::is_whole);
    samples.push(guests::banner(guest, &space)?);
    Ok(samples)
}

/// drgn and libkdumpfile find the kernel in it, as in the ELF core.
fn the_kernel_is_found(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let file = dump(&guest, &[])?;
    let samples = kernel_samples(&guest)?;
    let list = judges::samples_file(&samples)?;
    let mut drgn = judges::drgn_script(&file, "drgn_core.py")?;
    let said = judges::output(drgn.env("SAMPLES", list.path()))?;
    ensure_contains(name, &said, "IS_LINUX_KERNEL")?;
    judges::all_right(&format!("{name} in drgn"), &said, samples.len())?;
    // libkdumpfile 0.5.1 needs addresses in the file to read the page tables of a
    // 32-bit kernel, and this format has none ("Infinite recursion loop").
    let samples = if guest.is_64_bit { samples } else { Vec::new() };
    let list = judges::samples_file(&samples)?;
    let mut python = judges::kdumpfile_script(&file, "kdumpfile_core.py")?;
    let said = judges::output(python.env("SAMPLES", list.path()))?;
    let architecture = if guest.is_64_bit { "x86_64" } else { "ia32" };
    ensure!(field(&said, "arch.name") == Some(architecture), "{name}: {said}");
    ensure!(field(&said, "cpu.number") == Some(&guest.cpus.len().to_string()), "{name}: {said}");
    let truth = guest.truth()?;
    let release = truth.text("version")?.split_whitespace().nth(2).context("no release")?;
    ensure!(field(&said, "linux.uts.release") == Some(release), "{name}: {said}");
    judges::all_right(&format!("{name} in libkdumpfile"), &said, samples.len())
}

/// What a user looks at first.
const COMMANDS: &str = "sys\nps\nbt -a\nlog\nquit\n";

/// Each line but the one that names the file.
fn comparable(said: &str) -> Vec<String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.starts_with("DUMPFILE: "));
    lines.map(str::to_owned).collect()
}

fn same_in(judge: &Judge, name: &str, options: &[&str]) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let elf = judges::crash(judge, &[&kernel, &elf(&guest)?], COMMANDS)?;
    let ours = judges::crash(judge, &[&kernel, &dump(&guest, options)?], COMMANDS)?;
    ensure_contains(name, &ours, "lab-dmesg-mark")?;
    same_lines(&format!("{name} in crash"), &comparable(&elf), &comparable(&ours))
}

/// crash says of it what it says of the ELF core, also when only the kernel's
/// own memory is in it.
fn crash_says_the_same(name: &str) -> Result<()> {
    same_in(&crash()?, name, &[])?;
    same_in(&crash()?, name, &["-d", "31"])
}

/// makedumpfile makes the same of it as of the ELF core, byte by byte, and finds
/// the log.
fn makedumpfile_reads_it(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = |name: &str| dir.path().join(name);
    // The installed one does not know zstd.
    for (judge, how, option) in [
        (makedumpfile_sid()?, "zstd", "-z"),
        (makedumpfile()?, "zlib", "-c"),
        (makedumpfile()?, "lzo", "-l"),
    ] {
        let ours = dump(&guest, &["--compress", how])?;
        for (from, to) in [(&elf(&guest)?, "theirs"), (&ours, "ours")] {
            judge.run([Path::new("-d"), Path::new("31"), Path::new(option), from, &path(to)])?;
        }
        let same = fs::read(path("theirs"))? == fs::read(path("ours"))?;
        ensure!(same, "{name} {how}: makedumpfile makes something else of our file");
        judge.run([Path::new("--dump-dmesg"), &ours, &path("log")])?;
        ensure_contains(name, &fs::read_to_string(path("log"))?, "lab-dmesg-mark")?;
        for made in ["theirs", "ours", "log"] {
            fs::remove_file(path(made))?;
        }
    }
    Ok(())
}

/// The pages that are left out are those that makedumpfile leaves out.
fn the_same_pages_are_left_out(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let judge = if guest.is_64_bit { makedumpfile_sid()? } else { makedumpfile_i386()? };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let out = dir.path().join("theirs");
    let mut counts = Vec::new();
    for level in ["1", "2", "4", "8", "16", "31"] {
        let arguments = ["-d", level, "-l"].map(Path::new);
        judge.run(arguments.into_iter().chain([elf(&guest)?.as_path(), &out]))?;
        let theirs = Pages::of(&out, guest.is_64_bit)?;
        let ours = Pages::of(&dump(&guest, &["-d", level])?, guest.is_64_bit)?;
        ensure!(ours.present == theirs.present, "{name}: other memory");
        let missing = theirs.not_in(&ours);
        ensure!(missing.is_empty(), "{name} -d {level}: too many left out: {missing:x?}");
        are_parts_of_kernel_pages(&guest, &ours.not_in(&theirs))
            .with_context(|| format!("{name} -d {level}"))?;
        counts.push(ours.stored_count());
        fs::remove_file(&out)?;
    }
    // Equal nonsense would be equal too.
    let [all, cache, all_cache, user, free, kernel] = counts[..] else { unreachable!() };
    ensure!(cache < all && all_cache <= cache && user < all && free < all / 2, "{counts:?}");
    ensure!(kernel < free, "{name}: {counts:?}");
    Ok(())
}

/// Without VMCOREINFO the type information and the symbol table say where a
/// kernel keeps what it knows of its pages.
fn the_same_pages_without_vmcoreinfo(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let options = ["convert", "-f", "kdump", "-o", FILE, "-d", "31"];
    let run = cores::converted(&guest, &Wrap::without_vmcoreinfo(), &options)?;
    let without = Pages::of(&run.path(FILE), true)?;
    let with = Pages::of(&dump(&guest, &["-d", "31"])?, true)?;
    // The guests differ only in the page that the text was in.
    ensure!(without == with, "{name}: {} and {}", without.stored_count(), with.stored_count());
    Ok(())
}

/// Neither VMCOREINFO nor type information say what a page is for, only the data does: no page
/// is left out that would not be if they did. Of files all are; of processes huge pages are not.
fn no_other_page_is_left_out_without_a_word_of_the_kernel(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    for level in ["4", "8", "31"] {
        let options = ["convert", "-f", "kdump", "-o", FILE, "-d", level];
        let run = cores::converted(&guest, &Wrap::without_vmcoreinfo(), &options)?;
        let without = Pages::of(&run.path(FILE), guest.is_64_bit)?;
        let with = Pages::of(&dump(&guest, &["-d", level])?, guest.is_64_bit)?;
        let missing = with.not_in(&without);
        ensure!(missing.is_empty(), "{name} -d {level}: too many left out: {missing:x?}");
        ensure!(level != "4" || without == with, "{name} -d {level}: pages of files are kept");
        ensure!(without.stored_count() < without.present_count(), "{name} -d {level}: all kept");
    }
    Ok(())
}

/// makedumpfile 1.7.8 does not know `page.compound_info` of Linux 7. It takes
/// the further pages of a compound page of the kernel, whose other fields mean
/// nothing, for pages of a process. No other page may we keep that it does not.
fn are_parts_of_kernel_pages(guest: &Guest, pages: &[u64]) -> Result<()> {
    if pages.is_empty() {
        return Ok(());
    }
    let run = cores::converted(guest, &Wrap::split(), &["vmcoreinfo"])?;
    let value = |key: &str| run.stdout.lines().find_map(|line| line.strip_prefix(key));
    let offset = value("OFFSET(page.compound_info)=").context("kept too many pages")?;
    let base = u64::from_str_radix(value("SYMBOL(vmemmap)=").context("no vmemmap")?, 16)?;
    let size: u64 = value("SIZE(page)=").context("no size")?.parse()?;
    let ram = Ram::of_checkpoint(guest, &cores::checkpoint(guest, &Wrap::split())?)?;
    let [cpu, ..] = &*guest.cpus else { anyhow::bail!("no processor") };
    let space = guests::address_space(&ram, guest, cpu)?;
    for pfn in pages {
        let at = base + pfn * size + offset.parse::<u64>()?;
        let info = space.read(at, 8)?;
        let is_part = info.first().is_some_and(|byte| byte & 1 == 1);
        ensure!(is_part, "kept, but not part of a page: {pfn:#x}");
    }
    Ok(())
}

/// What goes to standard output, and what `--flatten` writes, restores to the
/// file itself.
fn the_flattened_form_restores(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let direct = fs::read(dump(&guest, &[])?)?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut writer = Command::new(PROGRAM)
        .args(["convert", "-f", "kdump", "-o", "-"])
        .arg(cores::checkpoint(&guest, &Wrap::split())?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pipe = writer.stdout.take().context("no pipe")?;
    restore(pipe.into(), &dir.path().join("piped"), &direct)?;
    ensure!(writer.wait()?.success(), "{name}: writing to a pipe failed");
    let flat = dump(&guest, &["--flatten"])?;
    restore(File::open(&flat)?.into(), &dir.path().join("restored"), &direct)?;
    // drgn opens it as it is.
    let samples = kernel_samples(&guest)?;
    let list = judges::samples_file(&samples)?;
    let mut drgn = judges::drgn_script(&flat, "drgn_core.py")?;
    let said = judges::output(drgn.env("SAMPLES", list.path()))?;
    judges::all_right(&format!("{name} in drgn"), &said, samples.len())
}

fn restore(from: Stdio, to: &Path, direct: &[u8]) -> Result<()> {
    let mut judge = makedumpfile()?.command();
    let status = judge.arg("-R").arg(to).stdin(from).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "makedumpfile -R: {status}");
    ensure!(fs::read(to)? == direct, "another file than the direct one");
    Ok(())
}

tests_of_all_guests!(every_page_is_right, the_kernel_is_found, the_same_pages_are_left_out);

mod with_symbols {
    use super::crash_says_the_same;

    guest_tests! {
        (crash_says_the_same)
        five_level: "linux-6.1",
        isolated_four_level: "linux-6.1-4level",
        around_the_hole: "linux-6.1-6g",
        panicked: "linux-6.1-panic",
    }
}

mod no_vmcoreinfo {
    use super::the_same_pages_without_vmcoreinfo;

    guest_tests! {
        (the_same_pages_without_vmcoreinfo)
        linux_5_10: "linux-5.10",
        five_level: "linux-6.1",
        linux_6_12: "linux-6.12",
        newest: "linux-sid",
    }
}

mod nothing_stated {
    use super::no_other_page_is_left_out_without_a_word_of_the_kernel;

    guest_tests! {
        (no_other_page_is_left_out_without_a_word_of_the_kernel)
        linux_5_10: "linux-5.10-hidden",
        five_level: "linux-6.1-hidden",
        newest: "linux-sid-hidden",
    }
}

mod others {
    use super::{makedumpfile_reads_it, the_flattened_form_restores};

    guest_tests! {
        (makedumpfile_reads_it, the_flattened_form_restores)
        five_level: "linux-6.1",
        linux_6_12: "linux-6.12",
        newest: "linux-sid",
    }
}

#[test]
fn every_page_is_right_in_every_compression() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    for how in ["zlib", "lzo", "snappy", "raw"] {
        every_page_in(&guest, &["--compress", how])?;
    }
    every_page_in(&guest, &["--compress", "zstd", "--level", "19"])?;
    every_page_in(&guest, &["--compress", "zlib", "--level", "9"])
}

#[test]
fn crash_reads_every_compression() -> Result<()> {
    for how in ["zlib", "lzo", "snappy", "raw"] {
        same_in(&crash()?, "linux-6.1", &["--compress", how])?;
    }
    Ok(())
}

#[test]
fn crash_reads_the_flattened_form() -> Result<()> {
    same_in(&crash()?, "linux-6.1", &["--flatten"])
}

/// The panicked guest: crash 8.0.6 fails on others of these, whoever wrote the
/// core (see `judge_crash`).
#[test]
fn an_older_crash_says_the_same() -> Result<()> {
    same_in(&crash_trixie()?, "linux-6.1-panic", &[])
}
