//! Kernels that are built here from Debian's source package, for what no package of
//! Debian has: stacks with frame pointers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::succeed;
use crate::progress::say;

const UNPACK_LIMIT: Duration = Duration::from_mins(10);
const BUILD_LIMIT: Duration = Duration::from_mins(40);

/// Kernels by the names of their recipes, and their configuration beyond
/// `allnoconfig`.
const CONFIGURATIONS: [(&str, &str); 1] =
    [("linux-6.1-frame-pointers", include_str!("../programs/frame-pointers.config"))];

/// The same kernel wherever and whenever it is built.
const BUILT_BY: [(&str, &str); 3] = [
    ("KBUILD_BUILD_USER", "lab"),
    ("KBUILD_BUILD_HOST", "lab"),
    ("KBUILD_BUILD_TIMESTAMP", "2024-01-01"),
];

/// Sources that no configuration here compiles: half of all.
const LEFT_OUT: [&str; 6] = [
    "*/arch/arm*.[chS]",
    "*/arch/powerpc/*.[chS]",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/*.[ch]",
    "*/sound/*.[ch]",
];

/// The configuration of a kernel that is built here.
pub(crate) fn configuration(kernel: &str) -> Option<&'static str> {
    let found = CONFIGURATIONS.iter().find(|(name, _)| *name == kernel);
    found.map(|(_, configuration)| *configuration)
}

/// Builds the kernel out of the unpacked package in `dir`, where `vmlinuz-RELEASE`,
/// `vmlinux` and the modules are then.
pub(crate) fn build(configuration: &str, dir: &Path) -> Result<()> {
    let started = Instant::now();
    let tree = unpack(dir)?;
    fs::write(tree.join("lab.config"), configuration)?;
    make(&tree, &["KCONFIG_ALLCONFIG=lab.config", "allnoconfig"])?;
    ensure_taken(configuration, &fs::read_to_string(tree.join(".config"))?)?;
    let jobs = format!("-j{}", available_parallelism()?);
    make(&tree, &[&jobs, "bzImage", "modules"])?;
    let release = make(&tree, &["kernelrelease"])?.trim().to_owned();
    let image = dir.join(format!("vmlinuz-{release}"));
    let built = [("arch/x86/boot/bzImage", image), ("vmlinux", dir.join("vmlinux"))];
    for (from, to) in built {
        fs::rename(tree.join(from), to)?;
    }
    fs::rename(tree.join("drivers/block/loop.ko"), dir.join("loop.ko"))?;
    fs::remove_dir_all(&tree)?;
    say(&format!("kernel {release} built in {:.0?}", started.elapsed()));
    Ok(())
}

/// What depends on something that is not there is left out without a word.
fn ensure_taken(wanted: &str, taken: &str) -> Result<()> {
    let is_taken = |line: &&str| taken.lines().any(|taken| taken == *line);
    let missing: Vec<&str> = wanted.lines().filter(|line| !is_taken(line)).collect();
    ensure!(missing.is_empty(), "the kernel does not take: {}", missing.join(" "));
    Ok(())
}

/// The package holds one archive, and that one folder.
fn unpack(package: &Path) -> Result<PathBuf> {
    let sources = package.join("usr/src");
    let archive = first(&sources, "linux-source-")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--wildcards", "--file"]).arg(&archive).arg("-C").arg(package);
    succeed(tar.args(LEFT_OUT.map(|path| format!("--exclude={path}"))), UNPACK_LIMIT)?;
    fs::remove_file(&archive)?;
    first(package, "linux-source-")
}

fn first(dir: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("no {prefix} in {}", dir.display())
}

/// Guests that boot meanwhile come first. What runs ends when its starter does.
fn make(tree: &Path, what: &[&str]) -> Result<String> {
    let mut make = Command::new("setpriv");
    make.args(["--pdeathsig", "TERM", "nice", "make", "-s", "-C"]).arg(tree).args(what);
    succeed(make.envs(BUILT_BY), BUILD_LIMIT)
        .context("building a kernel: cargo xtask setup installs what that needs")
}
