//! The foreign programs that judge what we read and write. A missing judge is an
//! error, never a skipped test.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{apt, cache};

/// Longest that a judge may take.
const LIMIT: &str = "600";

/// What crash needs besides itself, in the suites that it is taken from.
const CRASH_LIBRARIES: [&str; 11] = [
    "libc6",
    "libgmp10",
    "libmpfr6",
    "libncursesw6",
    "libtinfo6",
    "libstdc++6",
    "libgcc-s1",
    "liblzo2-2",
    "libsnappy1v5",
    "libzstd1",
    "zlib1g",
];

/// What makedumpfile needs.
const MAKEDUMPFILE_LIBRARIES: [&str; 11] = [
    "libc6",
    "libdw1t64",
    "libelf1t64",
    "libbz2-1.0",
    "liblzma5",
    "liblzo2-2",
    "libsnappy1v5",
    "libstdc++6",
    "libgcc-s1",
    "libzstd1",
    "zlib1g",
];

/// What gdb needs, down to the C library: it can fetch symbols and run Python.
const GDB_LIBRARIES: [&str; 61] = [
    "libbabeltrace1",
    "libc6",
    "libdebuginfod1t64",
    "libexpat1",
    "libgcc-s1",
    "libgmp10",
    "libipt2",
    "liblzma5",
    "libmpfr6",
    "libncursesw6",
    "libpython3.13",
    "libreadline8t64",
    "libsource-highlight4t64",
    "libstdc++6",
    "libtinfo6",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
    "libdw1t64",
    "libelf1t64",
    "libglib2.0-0t64",
    "libuuid1",
    "libcurl3t64-gnutls",
    "libjson-c5",
    "libpython3.13-stdlib",
    "libbz2-1.0",
    "libatomic1",
    "libffi8",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libbrotli1",
    "libgnutls30t64",
    "libgssapi-krb5-2",
    "libidn2-0",
    "libldap2",
    "libnettle8t64",
    "libnghttp2-14",
    "libnghttp3-9",
    "libngtcp2-16",
    "libngtcp2-crypto-gnutls8",
    "libpsl5t64",
    "librtmp1",
    "libssh2-1t64",
    "libpython3.13-minimal",
    "libsqlite3-0",
    "libblkid1",
    "libhogweed6t64",
    "libp11-kit0",
    "libtasn1-6",
    "libunistring5",
    "libkrb5-3",
    "libcom-err2",
    "libk5crypto3",
    "libkrb5support0",
    "libsasl2-2",
    "libssl3t64",
    "libkeyutils1",
    "libcap2",
    "libsystemd0",
    "libcrypt1",
];

/// Python packages in the judges' own environment.
const PYTHON_PACKAGES: [&str; 7] =
    ["drgn", "volatility3", "leechcorepyc", "memprocfs", "kdmp-parser", "ntoseye", "jsonschema"];

/// A program that can be run.
#[derive(Clone, Debug)]
pub struct Judge {
    argv: Vec<PathBuf>,
}

impl Judge {
    fn new<const N: usize>(argv: [&Path; N]) -> Self {
        Self { argv: argv.map(Path::to_owned).to_vec() }
    }

    /// A program of the machine's own, of which Debian's `package` is the source.
    fn installed(program: &str, package: &str) -> Result<Self> {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output()?;
        ensure!(found.status.success(), "{program} is missing: apt-get install {package}");
        Ok(Self::new([Path::new(program)]))
    }

    /// The command, to which arguments are added; it is ended after ten minutes.
    pub fn command(&self) -> Command {
        let mut command = Command::new("timeout");
        command.arg(LIMIT).args(&self.argv).stdin(Stdio::null());
        command
    }

    /// Runs it and returns what it printed on both streams, standard output
    /// first; an exit code other than 0 is an error with all of that.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        let output = self.command().args(args).output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{:?} ended with {}:\n{text}", self.argv, output.status);
        Ok(text)
    }
}

/// crash as Debian unstable has it.
pub fn crash() -> Result<Judge> {
    crash_of("sid", "amd64")
}

/// crash as Debian 13 has it; Debian 12's misreads its own current kernel.
pub fn crash_trixie() -> Result<Judge> {
    crash_of("trixie", "amd64")
}

/// crash for dumps of 32-bit kernels.
pub fn crash_i386() -> Result<Judge> {
    crash_of("sid", "i386")
}

fn crash_of(suite: &'static str, architecture: &'static str) -> Result<Judge> {
    unpacked(Package { name: "crash", libraries: &CRASH_LIBRARIES, suite, architecture })
}

/// A package whose program runs from where it is unpacked, with the libraries of
/// its own suite.
#[derive(Clone, Copy)]
struct Package {
    /// Its name, and that of the program.
    name: &'static str,
    libraries: &'static [&'static str],
    suite: &'static str,
    architecture: &'static str,
}

fn unpacked(package: Package) -> Result<Judge> {
    let Package { name, suite, architecture, .. } = package;
    let dir = cache::once(&format!("{name}-{suite}-{architecture}"), |unfinished| {
        let names = [name].into_iter().chain(package.libraries.iter().copied());
        let packages: Vec<String> =
            names.map(|name| format!("{name}:{architecture}/{suite}")).collect();
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        apt::unpack(&packages, &[], unfinished)
    })?;
    let (loader, triplet) = match architecture {
        "i386" => ("ld-linux.so.2", "i386-linux-gnu"),
        _ => ("ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    };
    let libraries = format!("{0}/usr/lib/{triplet}:{0}/lib/{triplet}", dir.display());
    let loader = find(&dir, loader)?;
    let option = Path::new("--library-path");
    Ok(Judge::new([&loader, option, Path::new(&libraries), &dir.join("usr/bin").join(name)]))
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let folders = ["lib64", "usr/lib64", "lib", "usr/lib", "usr/lib/i386-linux-gnu"];
    let mut paths = folders.iter().map(|folder| dir.join(folder).join(name));
    paths.find(|path| path.exists()).with_context(|| format!("no {name} in {}", dir.display()))
}

/// The machine's gdb.
pub fn gdb() -> Result<Judge> {
    Judge::installed("gdb", "gdb")
}

/// gdb 16, as Debian 13 has it.
pub fn gdb_trixie() -> Result<Judge> {
    let (name, suite, architecture) = ("gdb", "trixie", "amd64");
    let gdb = unpacked(Package { name, libraries: &GDB_LIBRARIES, suite, architecture })?;
    // Its Python and its own files lie where they were unpacked.
    let dir = cache::dir()?.join(format!("{name}-{suite}-{architecture}"));
    let home = format!("PYTHONHOME={}", dir.join("usr").display());
    let mut argv = vec![PathBuf::from("env"), PathBuf::from(home)];
    argv.extend(gdb.argv);
    argv.push(PathBuf::from("--data-directory"));
    argv.push(dir.join("usr/share/gdb"));
    Ok(Judge { argv })
}

/// lldb 19.
pub fn lldb() -> Result<Judge> {
    Judge::installed("lldb-19", "lldb-19")
}

/// makedumpfile.
pub fn makedumpfile() -> Result<Judge> {
    Judge::installed("makedumpfile", "makedumpfile")
}

/// makedumpfile as Debian unstable has it, which reads zstd and knows the pages
/// of today's kernels.
pub fn makedumpfile_sid() -> Result<Judge> {
    makedumpfile_of("amd64")
}

/// makedumpfile for dumps of 32-bit kernels.
pub fn makedumpfile_i386() -> Result<Judge> {
    makedumpfile_of("i386")
}

fn makedumpfile_of(architecture: &'static str) -> Result<Judge> {
    let libraries = &MAKEDUMPFILE_LIBRARIES;
    unpacked(Package { name: "makedumpfile", libraries, suite: "sid", architecture })
}

/// bpftool, which reads BTF.
pub fn bpftool() -> Result<Judge> {
    Judge::installed("bpftool", "bpftool")
}

/// pahole, which reads BTF and DWARF.
pub fn pahole() -> Result<Judge> {
    Judge::installed("pahole", "dwarves")
}

/// readelf of elfutils, which knows core notes.
pub fn eu_readelf() -> Result<Judge> {
    Judge::installed("eu-readelf", "elfutils")
}

/// Debian's Python, which can import `kdumpfile`.
pub fn libkdumpfile() -> Result<Judge> {
    let python = Judge::new([Path::new("/usr/bin/python3")]);
    python.run(["-c", "import kdumpfile"]).context("apt-get install python3-libkdumpfile")?;
    Ok(python)
}

/// drgn's command line.
pub fn drgn() -> Result<Judge> {
    Ok(Judge::new([&environment()?.join("bin/drgn")]))
}

/// volatility 3's command line.
pub fn volatility3() -> Result<Judge> {
    Ok(Judge::new([&environment()?.join("bin/vol")]))
}

/// ntoseye, a debugger of Windows kernels. Its folder of symbols is below `home`,
/// and it finds no server: symbols are there or are not.
pub fn ntoseye(home: &Path) -> Result<Command> {
    let mut command = Judge::new([&environment()?.join("bin/ntoseye")]).command();
    let nowhere = "http://127.0.0.1:9";
    command.env("HOME", home).env_remove("SUDO_USER").env("NTOSEYE_NO_PDB_FROM_MEMORY", "1");
    command.envs(
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, nowhere)),
    );
    Ok(command)
}

/// The linker for Windows that comes with the Rust toolchain, else Debian's.
pub fn windows_linker() -> Result<Judge> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output()?;
    ensure!(output.status.success(), "rustc --print target-libdir: {}", output.status);
    let libraries = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let linker = libraries.with_file_name("bin").join("rust-lld");
    if linker.exists() {
        return Ok(Judge::new([&linker, Path::new("-flavor"), Path::new("link")]));
    }
    Judge::installed("lld-link", "lld")
}

/// A Python that can import `drgn`, `volatility3`, `leechcorepyc`,
/// `memprocfs`, `kdmp_parser` and `jsonschema`.
pub fn python() -> Result<Judge> {
    Ok(Judge::new([&environment()?.join("bin/python")]))
}

/// The judges' Python environment. It is made in place, because the programs in
/// it name their interpreter by its whole path; packages that were added to the
/// list since are added to it.
fn environment() -> Result<PathBuf> {
    let (dir, done) = (cache::dir()?.join("python"), cache::dir()?.join("python/complete"));
    let holds_all = || {
        let held = fs::read_to_string(&done).unwrap_or_default();
        PYTHON_PACKAGES.iter().all(|wanted| held.split_whitespace().any(|held| held == *wanted))
    };
    if holds_all() {
        return Ok(dir);
    }
    let _lock = cache::lock("python")?;
    if holds_all() {
        return Ok(dir);
    }
    if !done.exists() {
        make_environment(&dir)?;
    }
    install(&dir.join("bin/pip"))?;
    fs::write(done, PYTHON_PACKAGES.join(" "))?;
    Ok(dir)
}

fn make_environment(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(dir).output()?;
    ensure!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

fn install(pip: &Path) -> Result<()> {
    let mut last = String::new();
    for attempt in 0..4 {
        sleep(Duration::from_secs(attempt * 10));
        let output = Command::new(pip)
            .args(["install", "--quiet", "--disable-pip-version-check", "--retries", "5"])
            .args(PYTHON_PACKAGES)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    anyhow::bail!("pip cannot install {}: {last}", PYTHON_PACKAGES.join(", "))
}

/// Makes every judge available, so that tests need not wait for downloads.
pub fn make_all() -> Result<()> {
    let all: [fn() -> Result<Judge>; 12] = [
        crash,
        crash_trixie,
        crash_i386,
        gdb,
        gdb_trixie,
        lldb,
        makedumpfile,
        makedumpfile_sid,
        makedumpfile_i386,
        eu_readelf,
        libkdumpfile,
        drgn,
    ];
    all.into_iter().try_for_each(|judge| judge().map(drop))
}
