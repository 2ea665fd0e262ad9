//! The disk that a system boots from, and the initial file system that finds it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{System, programs, root};
use crate::command::succeed;
use crate::initramfs::{FOLDERS, Initramfs};
use crate::kernel::Kernel;
use crate::make;

const LIMIT: Duration = Duration::from_mins(5);

const INIT: &str = include_str!("../../programs/production/init");

/// Files of `/lab` in the guest, and how they may be used.
const FILES: [(&str, &str, u32); 5] = [
    ("start", include_str!("../../programs/production/start"), 0o755),
    ("modules", include_str!("../../programs/production/modules"), 0o644),
    ("frames.py", include_str!("../../programs/production/frames.py"), 0o644),
    ("threads.py", include_str!("../../programs/production/threads.py"), 0o644),
    ("threads.js", include_str!("../../programs/production/threads.js"), 0o644),
];
const PROGRAMS: [&str; 8] = ["crowd", "eater", "swapped", "witness", "rust", "go", "mt", "t32"];
const SERVICE: &str = include_str!("../../programs/production/lab.service");

/// Everything here that decides about what the guest is.
pub(super) fn recipe() -> String {
    format!("{INIT} {FILES:?} {PROGRAMS:?} {SERVICE}")
}

/// The root file system of a guest, as a folder at `to`. Files are shared with the
/// installed one: nothing may be written in place.
pub(super) fn lay_out(system: &System, kernel: &Kernel, to: &Path) -> Result<()> {
    link_tree(&root::installed(system)?, to)?;
    add_modules(system, kernel, to)?;
    add_programs(to)?;
    let units = to.join("etc/systemd/system");
    fs::create_dir_all(units.join("graphical.target.wants"))?;
    fs::write(units.join("lab.service"), SERVICE)?;
    symlink("../lab.service", units.join("graphical.target.wants/lab.service"))?;
    replace(&to.join("etc/hostname"), "lab-guest\n")?;
    // Empty: systemd gives it a number, and does not take this for a first boot.
    replace(&to.join("etc/machine-id"), "")
}

fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    succeed(
        command.args(["--archive", "--link", "--no-target-directory"]).arg(from).arg(to),
        LIMIT,
    )?;
    Ok(())
}

/// A new file in the place of one that may be shared.
fn replace(path: &Path, text: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn add_modules(system: &System, kernel: &Kernel, root: &Path) -> Result<()> {
    let release = &kernel.package.release;
    let modules = root.join("lib/modules").join(release);
    fs::create_dir_all(root.join("lib/modules"))?;
    link_tree(&kernel.all_modules()?, &modules)?;
    for folder in system.left_out {
        fs::remove_dir_all(modules.join("kernel").join(folder))?;
    }
    let mut depmod = Command::new("depmod");
    succeed(depmod.arg("--basedir").arg(root).arg(release), LIMIT)?;
    Ok(())
}

fn add_programs(root: &Path) -> Result<()> {
    let (lab, built) = (root.join("lab"), programs::build()?);
    for folder in ["bin", "out"] {
        fs::create_dir_all(lab.join(folder))?;
    }
    for program in PROGRAMS {
        fs::copy(built.join(program), lab.join("bin").join(program))?;
    }
    fs::copy(built.join("liblab.so"), root.join("usr/lib/liblab.so"))?;
    for (name, text, mode) in FILES {
        fs::write(lab.join(name), text)?;
        fs::set_permissions(lab.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A disk image with everything of `root`.
pub(super) fn fill_disk(system: &System, root: &Path, disk: &Path) -> Result<()> {
    fs::File::create(disk)?.set_len(system.disk_mib << 20)?;
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(root).arg(disk);
    succeed(&mut make, LIMIT)?;
    Ok(())
}

/// What loads the drivers of the disk and its file system, and goes on there.
pub(super) fn pack_early(system: &System, kernel: &Kernel, root: &Path, to: &Path) -> Result<()> {
    let mut archive = Initramfs::create(to, &FOLDERS)?;
    make::add_busybox(&mut archive, true)?;
    archive.program("init", INIT.as_bytes())?;
    let mut order = Vec::new();
    for file in load_order(system, kernel, root)? {
        let name = file.rsplit('/').next().context("a module without a name")?.to_owned();
        if !order.contains(&name) {
            archive.program_from(&format!("modules/{name}"), Path::new(&file))?;
            order.push(name);
        }
    }
    archive.program("modules/order", (order.join("\n") + "\n").as_bytes())?;
    archive.finish()
}

/// Files of modules, each after those it needs.
fn load_order(system: &System, kernel: &Kernel, root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for module in system.early_modules {
        let mut modprobe = Command::new("modprobe");
        modprobe.arg("--dirname").arg(root).args(["--set-version", &kernel.package.release]);
        let said = succeed(modprobe.args(["--show-depends", module]), LIMIT)?;
        let file = |line: &str| Some(line.strip_prefix("insmod ")?.split(' ').next()?.to_owned());
        files.extend(said.lines().filter_map(file));
    }
    Ok(files)
}
