//! Installs what the guests and judges need from Debian.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

const PACKAGES: &str = include_str!("../packages.txt");

/// How often a flaky mirror or a lock held by another apt is tried again.
const TRIES: u32 = 5;

/// Installs the packages that are missing, or those of them that the demo needs; does
/// nothing if none is.
pub(crate) fn run(for_demo: bool) -> Result<()> {
    let missing: Vec<&str> = packages(for_demo).filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = missing.join(" ");
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {words}");
    if !has("apt-get") {
        bail!("this is no Debian, and the guests are made on one; these are missing: {words}");
    }
    if !is_root()? && !has("sudo") {
        bail!("packages are missing, and sudo is too; as root type: {by_hand}");
    }
    println!("installing with apt-get: {words}");
    persist(&["update", "-q"])?;
    persist(&[&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat())
}

fn packages(for_demo: bool) -> impl Iterator<Item = &'static str> {
    let lines = PACKAGES.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(move |line| {
        let (package, mark) = line.split_once(' ').unwrap_or((line, ""));
        (!for_demo || mark == "demo").then_some(package)
    })
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
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
    let mut command = Command::new(if is_root()? { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
    Ok(command.stdout(Stdio::null()).status()?.success())
}
