//! Makes guests: kernel, programs and initial file system, boot, stop, keep.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Wanted};
use crate::cache;
use crate::command::{retry, succeed};
use crate::guest::Guest;
use crate::initramfs::{FOLDERS, Initramfs};
use crate::kernel::Kernel;
use crate::programs::{self, PROGRAMS, Programs};
use crate::progress::say;
use crate::qemu::{Files, Qemu};
use crate::recipe::{Extra, Recipe, recipe, recipes};
use crate::system;

const INIT: &str = include_str!("../programs/init");
/// Raised when the lab makes guests differently without any recipe changing.
const GENERATION: u32 = 2;

/// The guest of this name, from the cache or made on the spot.
pub fn guest(name: &str) -> Result<Guest> {
    let recipe = find(name)?;
    let dir = cache::once(&entry(recipe), |dir| make(recipe, dir))?;
    let mut guest = Guest::load(&dir)?;
    guest.ram = dir.join("ram");
    guest.vmlinux = recipe.kernel.get()?.cached_vmlinux()?;
    guest.dir = dir;
    Ok(guest)
}

/// Like [`guest`], with the kernel's DWARF (fetched on first use).
pub fn guest_with_vmlinux(name: &str) -> Result<Guest> {
    let mut guest = guest(name)?;
    guest.vmlinux = Some(find(name)?.kernel.get()?.vmlinux()?);
    Ok(guest)
}

/// Whether the kernel of the guest of this name is compiled here, which takes minutes.
pub fn builds_kernel(name: &str) -> Result<bool> {
    Ok(find(name)?.kernel.is_built())
}

/// Makes the kernel of the guest of this name, if it is not there.
pub fn kernel(name: &str) -> Result<()> {
    find(name)?.kernel.get().map(drop)
}

/// Where the guest of this name is, or would be.
pub fn guest_dir(name: &str) -> Result<PathBuf> {
    Ok(cache::dir()?.join(entry(find(name)?)))
}

fn find(name: &str) -> Result<&'static Recipe> {
    recipe(name).with_context(|| {
        let names: Vec<_> = recipes().iter().map(|recipe| recipe.name).collect();
        format!("no guest is called {name}, but: {}", names.join(", "))
    })
}

/// The name carries a hash of everything that decides about what the guest is.
fn entry(recipe: &Recipe) -> String {
    let own = match recipe.system() {
        Some(system) => system.identity(),
        None => script_identity(recipe),
    };
    let kernel = recipe.kernel.configuration();
    let identity = format!("{GENERATION} {recipe:?} {own}{kernel}");
    cache::versioned(&format!("guests/{}", recipe.name), &identity)
}

fn script_identity(recipe: &Recipe) -> String {
    let extra = recipe.extra().map(|extra| format!("{extra:?}")).unwrap_or_default();
    let crash = recipe.crash_program().map(|program| format!("{program:?}")).unwrap_or_default();
    format!("{INIT} {}{extra}{crash}", Programs::recipe())
}

fn make(recipe: &Recipe, dir: &Path) -> Result<()> {
    let kernel = recipe.kernel.get()?;
    let initramfs = dir.join("initramfs.gz");
    if let Some(system) = recipe.system() {
        system.lay_out(&kernel, &dir.join("root"))?;
        return boot_twice_at_most(recipe, &kernel, &initramfs, dir);
    }
    let programs = Programs::build(recipe.kernel.is_64_bit)?;
    pack(&initramfs, recipe, &kernel, &programs)?;
    boot_twice_at_most(recipe, &kernel, &initramfs, dir)?;
    keep_programs(recipe, &programs, dir)
}

/// A boot fails now and then on a machine that is very busy.
fn boot_twice_at_most(
    recipe: &Recipe,
    kernel: &Kernel,
    initramfs: &Path,
    dir: &Path,
) -> Result<()> {
    retry(&format!("booting {}", recipe.name), 2, || boot(recipe, kernel, initramfs, dir))
}

fn boot(recipe: &Recipe, kernel: &Kernel, initramfs: &Path, dir: &Path) -> Result<()> {
    let started = Instant::now();
    let files = Files::in_dir(dir);
    for stale in [&files.ram, &files.serial, &files.truth] {
        let _ = fs::remove_file(stale);
    }
    if let Some(extra) = recipe.extra().filter(|extra| extra.disk_mib != 0) {
        fs::File::create(&files.disk)?.set_len(extra.disk_mib << 20)?;
    }
    if let Some(system) = recipe.system() {
        system.prepare(kernel, &dir.join("root"), &files, initramfs)?;
    }
    let mut qemu = Qemu::start(recipe, &kernel.image(), initramfs, files.clone())?;
    qemu.wait_for(recipe.stop_at)?;
    let cpus = qemu.stop()?;
    ensure!(cpus.len() == usize::try_from(recipe.cpus)?, "{} processors", cpus.len());
    match recipe.system() {
        Some(_) => system::hear_again(qemu, &files)?,
        None => qemu.end()?,
    }
    // Pages that the firmware and the kernel zeroed need no room on the disk.
    succeed(Command::new("fallocate").arg("--dig-holes").arg(&files.ram), Duration::from_mins(2))?;
    let guest = Guest {
        name: recipe.name.to_owned(),
        dir: dir.to_owned(),
        ram: files.ram,
        ram_bytes: recipe.memory_mib << 20,
        cpus,
        vmlinux: None,
        is_64_bit: recipe.kernel.is_64_bit,
    };
    guest.check()?;
    fs::write(dir.join("guest.json"), serde_json::to_vec_pretty(&guest)?)?;
    say(&format!("{} booted and stopped in {:.1?}", recipe.name, started.elapsed()));
    Ok(())
}

/// Debuggers want the programs beside the memory.
fn keep_programs(recipe: &Recipe, programs: &Programs, dir: &Path) -> Result<()> {
    let kept = dir.join("programs");
    fs::create_dir_all(&kept)?;
    if let Some(Extra { program: (name, _), .. }) = recipe.extra() {
        fs::rename(dir.join(name), kept.join(name))?;
    }
    for name in PROGRAMS.into_iter().chain(["liblab.so"]) {
        fs::copy(programs.dir.join(name), kept.join(name))?;
    }
    for (here, there) in &programs.libraries {
        let name = Path::new(there).file_name().context("a library without a name")?;
        fs::copy(here, kept.join(name))?;
    }
    Ok(())
}

fn pack(path: &Path, recipe: &Recipe, kernel: &Kernel, programs: &Programs) -> Result<()> {
    let mut archive = Initramfs::create(path, &FOLDERS)?;
    add_busybox(&mut archive, recipe.kernel.is_64_bit)?;
    archive.program("init", INIT.as_bytes())?;
    for name in ["emit", "tell"] {
        archive.program_from(&format!("bin/{name}"), &programs.dir.join(name))?;
    }
    archive.program_from("modules/loop.ko", &kernel.module())?;
    for name in PROGRAMS {
        archive.program_from(&format!("programs/{name}"), &programs.dir.join(name))?;
    }
    if let Some(extra) = recipe.extra() {
        add_extra(&mut archive, extra, kernel, path.parent().context("no folder")?)?;
    }
    if let Some(program) = recipe.crash_program() {
        let dir = path.parent().context("no folder")?;
        add_crash_kernel(&mut archive, program, kernel, dir)?;
    }
    archive.program_from("lib/liblab.so", &programs.dir.join("liblab.so"))?;
    for (here, there) in &programs.libraries {
        archive.program_from(there, here)?;
    }
    archive.finish()
}

/// The programs that a script needs.
pub(crate) fn add_busybox(archive: &mut Initramfs, is_64_bit: bool) -> Result<()> {
    let busybox = busybox(is_64_bit)?;
    archive.program_from("bin/busybox", &busybox)?;
    let applets = succeed(Command::new(&busybox).arg("--list"), Duration::from_secs(10))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(())
}

/// The program is built into `dir`.
fn add_extra(archive: &mut Initramfs, extra: &Extra, kernel: &Kernel, dir: &Path) -> Result<()> {
    for module in extra.modules {
        let file = kernel.other_module(module)?;
        archive.program_from(&format!("modules/{module}.ko"), &file)?;
    }
    let (name, text) = extra.script;
    if !name.is_empty() {
        archive.program(&format!("programs/{name}"), text.as_bytes())?;
    }
    let (name, text) = extra.program;
    programs::compile_alone(dir, name, text)?;
    archive.program_from(&format!("programs/{name}"), &dir.join(name))
}

/// The kernel for the case of a crash is the same one, with an initial file system of
/// its own in which the program is all there is.
fn add_crash_kernel(
    archive: &mut Initramfs,
    (name, text): (&str, &str),
    kernel: &Kernel,
    dir: &Path,
) -> Result<()> {
    programs::compile_alone(dir, name, text)?;
    let (program, files) = (dir.join(name), dir.join("crash-initramfs.gz"));
    let mut second = Initramfs::create(&files, &["dev"])?;
    second.program_from("init", &program)?;
    second.finish()?;
    archive.folder("crash")?;
    archive.program_from("crash/vmlinuz", &kernel.image())?;
    archive.program_from("crash/initramfs.gz", &files)?;
    archive.program_from(&format!("programs/{name}"), &program)
}

/// A busybox that needs no library, for the guest's word size.
fn busybox(is_64_bit: bool) -> Result<PathBuf> {
    let wanted = if is_64_bit {
        Wanted { name: "busybox-static", architecture: "amd64", suites: &["bookworm"] }
    } else {
        Wanted { name: "busybox-static", architecture: "i386", suites: &["bullseye"] }
    };
    let name = format!("busybox/{}", wanted.architecture);
    let dir = cache::once(&cache::versioned(&name, &format!("{wanted:?}")), |dir| {
        apt::unpack_newest(&wanted, dir).map(drop)
    })?;
    Ok(dir.join("bin/busybox"))
}
