//! Debian packages of several releases, fetched without installing any.
//!
//! apt runs with lists, sources and an empty status of its own, so that it sees
//! other releases than the machine's. The mirror is the one that the machine is
//! set up with; a mirror that is half through an update is tried again, and an
//! older package taken if the newest is not available.

mod mirror;

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::command::{retry, run, succeed};
use crate::progress::say;

const LIMIT: Duration = Duration::from_mins(15);
const TRIES: u32 = 4;

/// Which package: the newest whose name fits.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Regular expression, as apt takes them, for the whole name.
    pub name: &'static str,
    /// `amd64` or `i386`.
    pub architecture: &'static str,
    /// Releases to look in.
    pub suites: &'static [&'static str],
}

/// A package that a mirror offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `i386`.
    pub architecture: String,
}

impl Package {
    /// As apt takes it: exactly this one.
    pub fn exact(&self) -> String {
        format!("{}:{}={}", self.name, self.architecture, self.version)
    }
}

/// Fetches the newest package that fits and unpacks it into `to`.
pub fn unpack_newest(wanted: &Wanted, to: &Path) -> Result<Package> {
    let _lock = cache::lock("apt")?;
    let apt = Apt::open()?;
    // Failing refreshes the lists: what they offered may have left the mirror.
    retry("fetching the newest package", 2, || apt.unpack_first(&apt.candidates(wanted)?, to))
}

/// Fetches packages, given as `name`, `name:i386`, `name/suite` or
/// `name=version`, and unpacks them into `to`; of each only `members`
/// (`./usr/lib/debug`) if there are any.
pub fn unpack(packages: &[&str], members: &[&str], to: &Path) -> Result<()> {
    // apt's own lock makes a second one fail instead of wait.
    let _lock = cache::lock("apt")?;
    Apt::open()?.unpack(packages, members, to)
}

/// Lines of a `sources.list` for one release alone, its security updates included.
pub(crate) fn sources_of(suite: &str) -> Result<Vec<String>> {
    let is_of = |line: &&str| line.split(' ').any(|word| word.starts_with(suite));
    let sources = mirror::sources()?;
    Ok(sources.lines().filter(is_of).map(|line| line.replace(",i386", "")).collect())
}

/// apt with a world of its own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn open() -> Result<Self> {
        let apt = Self { dir: cache::dir()?.join("debian") };
        for folder in ["lists/partial", "cache/archives/partial", "none", "packages"] {
            fs::create_dir_all(apt.dir.join(folder))?;
        }
        fs::write(apt.dir.join("status"), "")?;
        let sources = mirror::sources()?;
        if fs::read_to_string(apt.dir.join("sources.list")).ok().as_deref() != Some(&sources) {
            fs::write(apt.dir.join("sources.list"), sources)?;
            apt.update()?;
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let own = |name: &str| self.dir.join(name).display().to_string();
        let mut command = Command::new(program);
        let mut set = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        set("Dir::State::lists", &own("lists"));
        set("Dir::State::status", &own("status"));
        set("Dir::Cache", &own("cache"));
        // Some images empty these two, which makes every call parse all lists.
        set("Dir::Cache::pkgcache", "pkgcache.bin");
        set("Dir::Cache::srcpkgcache", "srcpkgcache.bin");
        set("Dir::Etc::sourcelist", &own("sources.list"));
        set("Dir::Etc::sourceparts", &own("none"));
        set("Dir::Etc::preferencesparts", &own("none"));
        set("Dir::Etc::preferences", &own("none/preferences"));
        set("APT::Architecture", "amd64");
        set("APT::Architectures::", "amd64");
        set("APT::Architectures::", "i386");
        set("APT::Sandbox::User", "root");
        set("Acquire::Check-Valid-Until", "false");
        set("Acquire::Retries", "3");
        set("Dpkg::Use-Pty", "0");
        command.env("LC_ALL", "C");
        command
    }

    /// A list that is not available is no error as long as the others serve.
    fn update(&self) -> Result<()> {
        say("fetching package lists");
        let mut command = self.command("apt-get");
        let output = run(command.arg("update"), LIMIT)?;
        if !output.status.success() {
            say(&format!("some package lists are not available: {}", output.stderr.trim()));
        }
        Ok(())
    }

    /// What fits, newest first; with fresh lists if the old ones have nothing.
    fn candidates(&self, wanted: &Wanted) -> Result<Vec<Package>> {
        retry("finding a package", TRIES, || {
            let found = self.search(wanted)?;
            if found.is_empty() {
                self.update()?;
                bail!("no package is called: {} in {:?}", wanted.name, wanted.suites);
            }
            Ok(found)
        })
    }

    fn search(&self, wanted: &Wanted) -> Result<Vec<Package>> {
        let mut search = self.command("apt-cache");
        search.args(["search", "--names-only"]).arg(format!("^{}$", wanted.name));
        let names = succeed(&mut search, LIMIT)?;
        let names = names.lines().filter_map(|line| line.split(' ').next());
        let qualified: Vec<_> = names.map(|n| format!("{n}:{}", wanted.architecture)).collect();
        if qualified.is_empty() {
            return Ok(Vec::new());
        }
        let mut madison = self.command("apt-cache");
        let table = succeed(madison.arg("madison").args(&qualified), LIMIT)?;
        let mut found: Vec<_> = table.lines().filter_map(|line| offered(line, wanted)).collect();
        found.sort_by(|one, other| compare(&other.version, &one.version));
        found.dedup();
        Ok(found)
    }

    /// Unpacks the first of these packages that is available.
    fn unpack_first(&self, candidates: &[Package], to: &Path) -> Result<Package> {
        let mut failures = String::new();
        for package in candidates {
            match self.unpack(&[&package.exact()], &[], to) {
                Ok(()) => return Ok(package.clone()),
                Err(error) => failures = format!("{failures}\n{error:#}"),
            }
        }
        bail!("none of {} packages is available:{failures}", candidates.len())
    }

    fn unpack(&self, packages: &[&str], members: &[&str], to: &Path) -> Result<()> {
        let names = packages.join(" ");
        let downloads = tempfile::tempdir_in(self.dir.join("packages"))?;
        retry(&format!("fetching {names}"), TRIES, || {
            self.download(packages, downloads.path()).inspect_err(|_| {
                // Most often a package is gone from the mirror since.
                let _ = self.update();
            })
        })?;
        for file in fs::read_dir(downloads.path())? {
            extract(&file?.path(), members, to)?;
        }
        Ok(())
    }

    fn download(&self, packages: &[&str], into: &Path) -> Result<()> {
        say(&format!("fetching {}", packages.join(" ")));
        let mut command = self.command("apt-get");
        succeed(command.current_dir(into).arg("download").args(packages), LIMIT)?;
        Ok(())
    }
}

/// A line of `apt-cache madison`: `name | version | mirror suite/component arch Packages`.
fn offered(line: &str, wanted: &Wanted) -> Option<Package> {
    let mut columns = line.split('|').map(str::trim);
    let (name, version, source) = (columns.next()?, columns.next()?, columns.next()?);
    let mut words = source.split(' ').skip(1);
    let suite = words.next()?.split('/').next()?;
    let fits = wanted.suites.contains(&suite) && words.next()? == wanted.architecture;
    let name = name.split(':').next()?;
    fits.then(|| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: wanted.architecture.to_owned(),
    })
}

/// Debian's order of versions, which only dpkg knows in full.
fn compare(one: &str, other: &str) -> Ordering {
    let holds = |relation: &str| {
        let mut command = Command::new("dpkg");
        let status = command.args(["--compare-versions", one, relation, other]).status();
        status.is_ok_and(|status| status.success())
    };
    if holds("lt") {
        Ordering::Less
    } else if holds("gt") {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

fn extract(package: &Path, members: &[&str], to: &Path) -> Result<()> {
    let mut unpacked = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let stream = unpacked.stdout.take().context("the output of a child that was piped")?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--directory"]).arg(to).args(members);
    let taken = tar.stdin(stream).status().context("starting tar")?;
    let read = unpacked.wait()?;
    ensure!(taken.success() && read.success(), "unpacking {}: {read}, {taken}", package.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted =
        Wanted { name: "busybox-static", architecture: "i386", suites: &["bullseye"] };

    #[test]
    fn a_package_counts_in_the_wanted_suite_and_architecture_only() {
        let line =
            "busybox-static:i386 | 1:1.30.1-6+b3 | http://mirror/debian SUITE/main ARCH Packages";
        let offer = |suite: &str, architecture: &str| {
            offered(&line.replace("SUITE", suite).replace("ARCH", architecture), &WANTED)
        };
        assert_eq!(offer("bullseye", "i386").unwrap().version, "1:1.30.1-6+b3");
        assert_eq!(offer("bullseye", "i386").unwrap().name, "busybox-static");
        assert_eq!(offer("sid", "i386"), None);
        assert_eq!(offer("bullseye", "amd64"), None);
    }

    #[test]
    fn versions_compare_as_debian_does() {
        assert_eq!(compare("6.1.99-1", "6.1.176-1"), Ordering::Less);
        assert_eq!(compare("1.0~rc1-1", "1.0-1"), Ordering::Less);
        assert_eq!(compare("1:1.0-1", "2.0-1"), Ordering::Greater);
        assert_eq!(compare("1.0-1", "1.0-1"), Ordering::Equal);
    }
}
