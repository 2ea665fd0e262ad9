//! Guests that run an installed Debian from a disk.
//!
//! The root file system is made once, from Debian's packages; what the lab adds
//! goes over links to its files. No file system is mounted here: `mke2fs` fills
//! the disk.

mod image;
mod programs;
mod root;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::succeed;
use crate::kernel::Kernel;
use crate::qemu::{Files, Qemu};

const LIMIT: Duration = Duration::from_mins(5);
/// What the guest says on the serial console when it has told everything again.
const RESUMED: &str = "RESUMED";
/// The file with what it told after it had been stopped.
pub(crate) const AFTER: &str = "truth-after";

/// What a guest has that runs from a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// The guest.
    pub(crate) guest: &'static str,
    /// The release of Debian.
    pub(crate) suite: &'static str,
    /// Its packages, beyond those that every system has.
    pub(crate) packages: &'static [&'static str],
    /// Modules without which the root file system cannot be reached.
    pub(crate) early_modules: &'static [&'static str],
    /// Folders of modules for hardware that no guest has.
    pub(crate) left_out: &'static [&'static str],
    /// Size of the disk with the root file system.
    pub(crate) disk_mib: u64,
    /// Size of a second disk, which is empty.
    pub(crate) second_mib: u64,
}

const SYSTEMS: [System; 1] = [System {
    guest: "linux-6.1-production",
    suite: "bookworm",
    packages: &[
        "cron",
        "gdb",
        "nginx-light",
        "nodejs",
        "openjdk-17-jre-headless",
        "postgresql-15",
        "python3",
        "redis-server",
        "rsyslog",
    ],
    early_modules: &["virtio_pci", "virtio_blk", "ext4", "crc32c_generic"],
    left_out: &[
        "drivers/gpu",
        "drivers/hid",
        "drivers/iio",
        "drivers/infiniband",
        "drivers/media",
        "drivers/net/wireless",
        "drivers/staging",
        "drivers/usb",
        "sound",
    ],
    disk_mib: 2500,
    second_mib: 64,
}];

/// The system of the guest of this name, if it runs from a disk.
pub(crate) fn of_guest(name: &str) -> Option<&'static System> {
    SYSTEMS.iter().find(|system| system.guest == name)
}

impl System {
    /// Everything that decides about what the guest is, beyond its recipe.
    pub(crate) fn identity(&self) -> String {
        format!("{self:?} {} {}", programs::recipe(), image::recipe())
    }

    /// The root file system as a folder, which debuggers want beside the memory.
    pub(crate) fn lay_out(&self, kernel: &Kernel, root: &Path) -> Result<()> {
        image::lay_out(self, kernel, root)
    }

    /// Makes what it boots from: disks and the initial file system.
    pub(crate) fn prepare(
        &self,
        kernel: &Kernel,
        root: &Path,
        files: &Files,
        initramfs: &Path,
    ) -> Result<()> {
        image::pack_early(self, kernel, root, initramfs)?;
        image::fill_disk(self, root, &files.disk)?;
        fs::File::create(&files.second_disk)?.set_len(self.second_mib << 20)?;
        Ok(())
    }
}

/// Keeps the memory of a stopped guest, then lets it say a second time what it
/// knows of itself: what it says both before and after is so at the stop.
pub(crate) fn hear_again(mut qemu: Qemu, files: &Files) -> Result<()> {
    let stopped = files.ram.with_extension("stopped");
    let mut copy = Command::new("cp");
    succeed(copy.arg("--sparse=always").args([&files.ram, &stopped]), LIMIT)?;
    let said = fs::metadata(&files.truth)?.len();
    qemu.go_on()?;
    qemu.wait_for(RESUMED)?;
    qemu.end()?;
    fs::rename(&stopped, &files.ram)?;
    let mut truth = fs::read(&files.truth)?;
    let after = truth.split_off(usize::try_from(said)?);
    fs::write(&files.truth, truth)?;
    fs::write(files.truth.with_file_name(AFTER), after)?;
    for disk in [&files.disk, &files.second_disk] {
        fs::remove_file(disk)?;
    }
    Ok(())
}
