//! The root file system as Debian's packages make it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::System;
use crate::apt;
use crate::cache;
use crate::command::{retry, succeed};
use crate::progress::say;

const LIMIT: Duration = Duration::from_mins(20);
const TRIES: u32 = 3;

/// Every system has these.
const PACKAGES: [&str; 9] = [
    "dbus",
    "dmsetup",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "procps",
    "systemd-sysv",
    "udev",
    "util-linux",
];

/// Never read in a guest.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// The folder with the packages of a system installed.
pub(super) fn installed(system: &System) -> Result<PathBuf> {
    let packages = [&PACKAGES, system.packages].concat().join(",");
    let recipe = format!("{} {packages} {LEFT_OUT:?}", system.suite);
    let name = cache::versioned(&format!("roots/{}", system.suite), &recipe);
    let dir = cache::once(&name, |dir| {
        let root = dir.join("root");
        retry("installing Debian into a folder", TRIES, || install(system.suite, &packages, &root))
    })?;
    Ok(dir.join("root"))
}

fn install(suite: &str, packages: &str, root: &Path) -> Result<()> {
    say(&format!("installing {suite} with {packages}"));
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--format=directory", "--architectures=amd64"]);
    command.args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"5\""]);
    command.arg("--dpkgopt=force-unsafe-io");
    command.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.arg(format!("--include={packages}")).arg(suite).arg(root);
    command.args(apt::sources_of(suite)?);
    succeed(&mut command, LIMIT)?;
    // Lists that nobody reads again.
    fs::remove_dir_all(root.join("var/lib/apt/lists"))?;
    Ok(())
}
