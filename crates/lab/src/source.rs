//! Kernels that are built here from Debian's source package, for what no package of
//! Debian has: stacks with frame pointers, no type information, few symbols or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{self, Package, Wanted};
use crate::cache;
use crate::command::succeed;
use crate::progress::say;

const UNPACK_LIMIT: Duration = Duration::from_mins(10);
const BUILD_LIMIT: Duration = Duration::from_mins(40);

/// What the programs of all guests need, beyond `allnoconfig`.
const COMMON: &str = include_str!("../programs/kernel.config");

/// Kernels by the names of their recipes, and what each has beyond [`COMMON`] or in
/// place of it: of what is set twice the last counts.
const CONFIGURATIONS: [(&str, &str); 3] = [
    ("linux-6.1-frame-pointers", ""),
    ("linux-6.1-bare", include_str!("../programs/bare.config")),
    ("linux-6.1-no-kallsyms", include_str!("../programs/no-kallsyms.config")),
];

/// The same kernel wherever and whenever it is built.
const BUILT_BY: [(&str, &str); 3] = [
    ("KBUILD_BUILD_USER", "lab"),
    ("KBUILD_BUILD_HOST", "lab"),
    ("KBUILD_BUILD_TIMESTAMP", "2024-01-01"),
];

const PACKAGE: &str = "package.json";

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
pub(crate) fn configuration(kernel: &str) -> Option<String> {
    let found = CONFIGURATIONS.iter().find(|(name, _)| *name == kernel);
    found.map(|(_, own)| format!("{COMMON}{own}"))
}

/// Builds the kernel out of the package, into `dir`, where `vmlinuz-RELEASE`, `vmlinux`
/// and the module are then.
pub(crate) fn build(wanted: &Wanted, configuration: &str, dir: &Path) -> Result<Package> {
    let (tree, package) = unpacked(wanted)?;
    let started = Instant::now();
    let out = dir.join("build");
    fs::create_dir(&out)?;
    let make = |what: &[&str]| make(&tree, &out, what);
    fs::write(out.join("lab.config"), configuration)?;
    make(&["KCONFIG_ALLCONFIG=lab.config", "allnoconfig"])?;
    ensure_taken(configuration, &fs::read_to_string(out.join(".config"))?)?;
    make(&[&format!("-j{}", available_parallelism()?), "bzImage", "modules"])?;
    let release = make(&["kernelrelease"])?.trim().to_owned();
    let image = dir.join(format!("vmlinuz-{release}"));
    let built = [
        ("arch/x86/boot/bzImage", image),
        ("vmlinux", dir.join("vmlinux")),
        ("drivers/block/loop.ko", dir.join("loop.ko")),
    ];
    for (from, to) in built {
        fs::rename(out.join(from), to)?;
    }
    fs::remove_dir_all(&out)?;
    say(&format!("kernel {release} built in {:.0?}", started.elapsed()));
    Ok(package)
}

/// What depends on something that is not there is left out without a word.
fn ensure_taken(wanted: &str, taken: &str) -> Result<()> {
    let is_taken = |line: &&str| match unset(line) {
        Some(option) => taken.lines().all(|taken| option_of(taken) != Some(option)),
        None => taken.lines().any(|taken| taken == *line),
    };
    let last = wanted.lines().enumerate().filter(|(at, line)| {
        let option = unset(line).or_else(|| option_of(line));
        wanted.lines().skip(at + 1).all(|later| unset(later).or_else(|| option_of(later)) != option)
    });
    let missing: Vec<&str> = last.map(|(_, line)| line).filter(|line| !is_taken(line)).collect();
    ensure!(missing.is_empty(), "the kernel does not take: {}", missing.join(" "));
    Ok(())
}

/// The option that a line of a configuration sets.
fn option_of(line: &str) -> Option<&str> {
    line.split_once('=').map(|(option, _)| option)
}

/// The option that a line leaves out.
fn unset(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set")
}

/// The unpacked sources, which stay in the cache for all kernels of them.
fn unpacked(wanted: &Wanted) -> Result<(PathBuf, Package)> {
    let entry = cache::versioned("sources/linux-6.1", &format!("{wanted:?} {LEFT_OUT:?}"));
    let dir = cache::once(&entry, |dir| {
        let package = apt::unpack_newest(wanted, dir)?;
        unpack(dir)?;
        fs::write(dir.join(PACKAGE), serde_json::to_vec_pretty(&package)?)?;
        Ok(())
    })?;
    let package = serde_json::from_slice(&fs::read(dir.join(PACKAGE))?)?;
    Ok((first(&dir, "linux-source-")?, package))
}

/// The package holds one archive, and that one folder.
fn unpack(package: &Path) -> Result<()> {
    let archives = package.join("usr");
    let archive = first(&archives.join("src"), "linux-source-")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--wildcards", "--file"]).arg(&archive).arg("-C").arg(package);
    succeed(tar.args(LEFT_OUT.map(|path| format!("--exclude={path}"))), UNPACK_LIMIT)?;
    fs::remove_dir_all(archives)?;
    Ok(())
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
fn make(tree: &Path, out: &Path, what: &[&str]) -> Result<String> {
    let mut make = Command::new("setpriv");
    make.args(["--pdeathsig", "TERM", "nice", "make", "-s", "-C"]).arg(tree);
    make.arg(format!("O={}", out.display())).args(what);
    succeed(make.envs(BUILT_BY), BUILD_LIMIT)
        .context("building a kernel: cargo xtask setup installs what that needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_set_twice_the_last_must_be_taken() {
        let wanted = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_A is not set\n# CONFIG_C is not set\n";
        assert!(ensure_taken(wanted, "CONFIG_B=m\n# CONFIG_C is not set\n").is_ok());
        let error = ensure_taken(wanted, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n").unwrap_err();
        assert!(
            error.to_string().ends_with(": CONFIG_B=m # CONFIG_A is not set # CONFIG_C is not set")
        );
    }
}
