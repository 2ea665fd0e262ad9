//! Debian packages, fetched and unpacked privately: nothing is installed.
//!
//! A configuration of its own (lists, cache, an empty status) lets one machine
//! take kernels and tools from five suites without touching its own packages.
//! The mirror is the one that the machine's own configuration names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;

/// Suites of the main archive that packages are taken from.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];

/// How often a flaky mirror is tried again.
const TRIES: u64 = 4;

/// Name of the newest package whose name matches the extended regular
/// expression, for example `^linux-image-6\.1\.0-[0-9]+-cloud-amd64-unsigned$`.
pub fn newest(expression: &str) -> Result<String> {
    let line = format!(
        "apt-cache pkgnames | sed 's/:i386$//' | grep -E '{expression}' | sort -uV | tail -n 1"
    );
    let name = text(&shell(&line)?);
    ensure!(!name.is_empty(), "no Debian package is named like {expression}");
    Ok(name)
}

/// Fetches packages (`name`, `name:i386` or `name/suite`) and unpacks them into
/// `to`; of each only `members` (`./usr/lib/debug`) if there are any.
pub fn unpack(packages: &[&str], members: &[&str], to: &Path) -> Result<()> {
    let debs = tempfile::tempdir_in(cache::dir()?)?;
    download(packages, debs.path())?;
    for entry in fs::read_dir(debs.path())? {
        let deb = entry?.path();
        let line = format!(
            "dpkg-deb --fsys-tarfile '{}' | tar -x -C '{}' {}",
            deb.display(),
            to.display(),
            members.join(" ")
        );
        let output = shell(&line)?;
        ensure!(output.status.success(), "unpacking {}: {}", deb.display(), errors(&output));
    }
    Ok(())
}

/// One process at a time: apt's own lock makes others fail instead of wait.
fn download(packages: &[&str], to: &Path) -> Result<()> {
    let configuration = configuration()?;
    let _lock = cache::lock("apt-download")?;
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            sleep(Duration::from_secs(attempt * 5));
            update(&configuration)?;
        }
        let mut command = apt("apt-get", &configuration);
        let output = command.arg("download").args(packages).current_dir(to).output()?;
        if output.status.success() {
            return Ok(());
        }
        last = errors(&output);
    }
    bail!("cannot fetch {}: {last}", packages.join(" "))
}

/// Fetches the lists of packages anew. Best effort: a mirror in the middle of a
/// sync lacks one list for hours, and a package that is not found says so itself.
fn update(configuration: &Path) -> Result<()> {
    for attempt in 0..2 {
        sleep(Duration::from_secs(attempt * 10));
        if apt("apt-get", configuration).args(["update", "-q"]).output()?.status.success() {
            break;
        }
    }
    Ok(())
}

fn apt(program: &str, configuration: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("APT_CONFIG", configuration.join("apt.conf"));
    command
}

fn shell(line: &str) -> Result<Output> {
    Ok(apt("sh", &configuration()?).args(["-c", line]).output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// The folder with `apt.conf`, made and filled with lists the first time. It is
/// made in place, because `apt.conf` names it.
fn configuration() -> Result<PathBuf> {
    let (dir, done) = (cache::dir()?.join("apt"), cache::dir()?.join("apt/complete"));
    if done.exists() {
        return Ok(dir);
    }
    let _lock = cache::lock("apt")?;
    if done.exists() {
        return Ok(dir);
    }
    for folder in ["lists/partial", "archives/partial", "etc"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    fs::write(dir.join("status"), "")?;
    fs::write(dir.join("sources.list"), sources(&mirrors()?))?;
    fs::write(dir.join("apt.conf"), settings(&dir))?;
    update(&dir)?;
    fs::write(done, "")?;
    Ok(dir)
}

fn settings(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::State \"{dir}\";\nDir::State::lists \"{dir}/lists\";\nDir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}\";\nDir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
         Dir::Etc::preferencesparts \"-\";\nAPT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; \"i386\"; }};\nAPT::Sandbox::User \"root\";\n\
         Acquire::Check-Valid-Until \"false\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
    )
}

/// Base addresses of the main and of the security archive.
struct Mirrors {
    main: String,
    security: String,
}

fn sources(mirrors: &Mirrors) -> String {
    let mut lines: Vec<String> =
        SUITES.iter().map(|suite| format!("deb {} {suite} main", mirrors.main)).collect();
    lines.push(format!("deb {} bookworm-security main", mirrors.security));
    lines.join("\n") + "\n"
}

/// What the machine's own apt configuration names, in either of its two syntaxes.
fn mirrors() -> Result<Mirrors> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|entry| entry.path()));
    let text: String = files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let addresses = || {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.flat_map(str::split_whitespace).filter(|word| word.contains("://"))
    };
    let ending = |end: &str| {
        let found = addresses().find(|address| address.trim_end_matches('/').ends_with(end));
        found.map(str::to_owned).with_context(|| format!("no apt source ends in {end}"))
    };
    Ok(Mirrors { main: ending("/debian")?, security: ending("/debian-security")? })
}
