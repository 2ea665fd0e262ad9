//! Installs what the guests and judges need from Debian.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

const PACKAGES: &str = include_str!("../packages.txt");

/// How often a flaky mirror or a lock held by another apt is tried again.
const TRIES: u32 = 5;

/// Installs the packages that are missing; does nothing if none is.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> = packages().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    persist(&["update", "-q"])?;
    persist(&[&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat())
}

fn packages() -> impl Iterator<Item = &'static str> {
    PACKAGES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status}", package]).stderr(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}

fn persist(args: &[&str]) -> Result<()> {
    for wait_seconds in 0..TRIES {
        sleep(Duration::from_secs(u64::from(wait_seconds) * 10));
        if apt_get(args)? {
            return Ok(());
        }
    }
    bail!("apt-get {} failed {TRIES} times; run it by hand to see why", args.join(" "))
}

fn apt_get(args: &[&str]) -> Result<bool> {
    let is_root = Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0";
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
    Ok(command.stdout(Stdio::null()).status()?.success())
}
