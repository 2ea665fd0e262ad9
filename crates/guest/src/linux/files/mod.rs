//! Files of the kernel that the user gives because the guest does not tell what they hold.
//!
//! Every file is checked to be of the kernel that runs in the guest before it is
//! believed. A kernel file is so by its build id, else, as a symbol table is, by what
//! the guest has where its symbols say: the banner, or many functions. Types without any of these are checked when they are used (see `layout`).

mod distribution;
mod elf;
mod kernel_file;
mod module;
mod system_map;
mod vmlinux;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Found, Problem, Setting};

pub use kernel_file::KernelFile;
pub use module::ModuleFile;
pub use vmlinux::Vmlinux;

use super::{BetterSources, Btf, BtfError, Kernel, KernelVersion, LinuxError, LinuxOffsets, Types};
use crate::Facts;

pub use distribution::{DebugSymbols, debug_symbols};

/// Text and type files longer than this are something else.
const LONGEST: u64 = 256 << 20;

/// [`GivenFiles::vmlinux`], in messages.
pub(super) const VMLINUX: Setting = Setting::with_value("vmlinux", "FILE");
/// [`GivenFiles::btf`], in messages.
pub(super) const BTF: Setting = Setting::with_value("btf", "FILE");
/// [`GivenFiles::system_map`], in messages.
pub(super) const SYSTEM_MAP: Setting = Setting::with_value("system-map", "FILE");
/// [`GivenFiles::offsets`], in messages.
const OFFSETS: Setting = Setting::named("offsets");

/// Files that the user gives, best first.
#[derive(Clone, Debug, Default)]
pub struct GivenFiles {
    /// Offsets of structures, as text has them.
    pub offsets: Option<LinuxOffsets>,
    /// The kernel with debug information.
    pub vmlinux: Option<PathBuf>,
    /// Type information: BTF, or an ELF file that holds some.
    pub btf: Option<PathBuf>,
    /// The kernel's symbols as its build lists them.
    pub system_map: Option<PathBuf>,
    /// Where temporary files go that compressed debug information needs.
    pub spill_dir: PathBuf,
}

impl GivenFiles {
    /// Whether there is any.
    pub fn are_given(&self) -> bool {
        let files = [&self.vmlinux, &self.btf, &self.system_map];
        self.offsets.is_some() || files.iter().any(|file| file.is_some())
    }
}

/// Why a file of the kernel cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too long.
    #[error("{} has {len} bytes; no such file is longer than {LONGEST}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// It is not an ELF file.
    #[error("{} is not an ELF file as kernels are: {why}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// It has no types.
    #[error(
        "{} has neither DWARF nor BTF: it was stripped, or built without; the package with debug \
         symbols has the file with them",
        path.display()
    )]
    NoTypes {
        /// The file.
        path: PathBuf,
    },
    /// Its types are in other files (split DWARF).
    #[error(
        "the types of {} are in files of their own, .dwo or .dwp, which are not read: take the \
         kernel's file from a package with debug symbols, or one built without \
         CONFIG_DEBUG_INFO_SPLIT",
        path.display()
    )]
    Split {
        /// The file.
        path: PathBuf,
    },
    /// It is not BTF.
    #[error("{} cannot be used", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: BtfError,
    },
    /// It is not a System.map.
    #[error("line {line} of {} is not ADDRESS LETTER NAME", path.display())]
    SystemMap {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// A section of it is compressed in a way that is not supported.
    #[error(
        "{section} of {} is compressed with {how}, which cannot be read; objcopy \
         --decompress-debug-sections makes a file that can",
        path.display()
    )]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The section.
        section: &'static str,
        /// The name of the compression.
        how: String,
    },
    /// It belongs to another kernel.
    #[error("{} is of another kernel: {why}; wanted is {wanted}", path.display())]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        why: String,
        /// The kernel of the guest, and where its file is available.
        wanted: String,
    },
    /// The guest's kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] LinuxError),
}

impl BetterSources {
    /// Reads files and checks that they are of the kernel that `facts` found in
    /// `checkpoint`.
    pub fn read(
        given: &GivenFiles,
        checkpoint: &Checkpoint,
        facts: &Facts,
    ) -> Result<Self, FileError> {
        let mut sources = Self::default();
        if let Some(offsets) = &given.offsets {
            sources.take_offsets(offsets, facts);
        }
        let needs_check = given.vmlinux.is_some() || given.system_map.is_some();
        let kernel =
            needs_check.then(|| Kernel::open(checkpoint, facts, Self::default())).transpose()?;
        if let (Some(path), Some(kernel)) = (&given.vmlinux, &kernel) {
            sources.take_vmlinux(&Vmlinux::open(path, &given.spill_dir)?, kernel)?;
        }
        if let Some(path) = &given.btf {
            sources.push(&format!("BTF of {}", path.display()), Arc::new(read_btf(path)?));
        }
        if let (Some(path), Some(kernel)) = (&given.system_map, &kernel) {
            let (symbols, doubt) = system_map::read(path, kernel)?;
            sources.problems.extend(doubt.map(Problem::warning));
            sources.symbols.get_or_insert(Found::new(symbols, path.display().to_string()));
        }
        Ok(sources)
    }

    fn take_offsets(&mut self, offsets: &LinuxOffsets, facts: &Facts) {
        let release = facts.linux().and_then(|linux| linux.release.as_ref());
        let release = release.map_or("", |release| release.value.as_str());
        let (stated, actual) = (offsets.version(), KernelVersion::of_release(release));
        if let Some((stated, _)) = stated.zip(actual).filter(|(stated, actual)| stated != actual) {
            self.problems.push(Problem::warning(format!(
                "{OFFSETS} is for kernel {stated}; this guest runs {release}"
            )));
        }
        if !offsets.is_empty() {
            self.push(&format!("the offsets of {OFFSETS}"), Arc::new(offsets.clone()));
        }
    }

    fn take_vmlinux(&mut self, file: &Vmlinux, kernel: &Kernel) -> Result<(), FileError> {
        let path = file.path().display().to_string();
        let symbols = file.symbols_in(kernel)?;
        if let Some(doubt) = file.check(kernel, symbols.as_ref())? {
            self.problems.push(Problem::warning(doubt));
        }
        match file.types() {
            Ok(types) => self.types.push(Found::new(types.value, types.how)),
            Err(FileError::NoTypes { .. }) if symbols.is_some() => {
                self.problems.push(Problem::warning(format!(
                    "{path} has symbols, but neither DWARF nor BTF; the layout \
                     of structures comes from elsewhere"
                )));
            }
            Err(error) => return Err(error),
        }
        self.symbols = symbols.map(|symbols| Found::new(symbols, path));
        Ok(())
    }

    fn push(&mut self, how: &str, types: Arc<dyn Types>) {
        self.types.push(Found::new(types, how));
    }
}

/// BTF from a file of it, or from the section of an ELF file.
pub fn read_btf(path: &Path) -> Result<Btf, FileError> {
    if is_elf(path)? {
        let file = elf::Elf::open(path)?;
        return file.btf()?.ok_or_else(|| FileError::NoTypes { path: path.to_owned() });
    }
    let source = |source| FileError::Btf { path: path.to_owned(), source };
    Btf::parse(read_whole(path)?).map_err(source)
}

/// Whether a file begins as ELF files do.
fn is_elf(path: &Path) -> Result<bool, FileError> {
    Ok(head(path)? == *b"\x7fELF")
}

/// The first four bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut head));
    read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    Ok(head)
}

/// All of a file that is not longer than such files are.
fn read_whole(path: &Path) -> Result<Vec<u8>, FileError> {
    let error = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(error)?;
    let len = bytes.len() as u64;
    if len > LONGEST {
        return Err(FileError::TooLong { path: path.to_owned(), len });
    }
    Ok(bytes)
}

/// The guest's kernel, and which package has its file with symbols.
fn wanted(kernel: &Kernel) -> String {
    let release = kernel.linux().release.as_ref().map_or("?", |release| release.value.as_str());
    let banner = kernel.linux().banner.as_ref().map_or("", |banner| banner.value.as_str());
    let package = package(release, banner);
    match build_id(kernel) {
        Some(id) => format!("that of {release} with build id {id}: {package}"),
        None => format!("that of {release}: {package}"),
    }
}

/// Build id as VMCOREINFO has it.
fn build_id(kernel: &Kernel) -> Option<&str> {
    kernel.linux().vmcoreinfo.as_ref()?.value.get("BUILD-ID")
}

/// Which package has the kernel file with symbols.
fn package(release: &str, banner: &str) -> String {
    let symbols = debug_symbols(banner, release);
    match symbols.distribution.zip(symbols.package) {
        Some((distribution, package)) => format!("the package {package} of {distribution}"),
        None => format!("the {} that was built with it", symbols.vmlinux),
    }
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn the_package_is_that_of_the_distribution() {
        let debian = package("6.1.0-50-amd64", "Linux version ... #1 SMP Debian 6.1.192-1");
        assert_eq!(debian, "the package linux-image-6.1.0-50-amd64-dbg of Debian");
        let fedora = package("6.8.5-301.fc40.x86_64", "Linux version ...");
        assert_eq!(fedora, "the package kernel-debuginfo-6.8.5-301.fc40.x86_64 of Fedora");
        let ubuntu = package("5.15.0-25-generic", "(buildd@x) ... #25-Ubuntu SMP");
        assert!(ubuntu.ends_with("of Ubuntu"), "{ubuntu}");
        assert_eq!(package("6.1.0", ""), "the vmlinux-6.1.0 that was built with it");
    }
}
