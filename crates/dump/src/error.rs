//! Why a file could not be written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use vmss2core_mem::MemoryError;

use crate::ChoiceError;

/// Why a file could not be written. In every case nothing was left behind and
/// an existing file is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The output exists and may not be replaced.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link has the output's name, which nobody typed.
    #[error(
        "{} is a symbolic link, which may lead anywhere: remove it, or choose another name",
        path.display()
    )]
    IsLink {
        /// The link.
        path: PathBuf,
    },
    /// The output is a directory, a device, a pipe or a socket.
    #[error("{} is not a regular file; name a new file", path.display())]
    NotAFile {
        /// The path that was named as output.
        path: PathBuf,
    },
    /// The output is one of the files of the checkpoint.
    #[error("{} is part of the checkpoint; name another output", path.display())]
    IsInput {
        /// The file.
        path: PathBuf,
    },
    /// The user stopped it; nothing was left behind.
    #[error("stopped; nothing was written")]
    Cancelled,
    /// The output could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The directory that the output is to go to is not there.
    #[error("cannot write {}: the directory {} does not exist", path.display(), directory.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// Guest memory that the checkpoint promised could not be read.
    #[error("cannot read the guest's memory")]
    Read(#[from] MemoryError),
    /// The file would be larger than a file can be.
    #[error("the output would be longer than 2^63 bytes: the memory map makes no sense")]
    TooLarge,
    /// The checkpoint has no memory that the format could hold.
    #[error("no guest memory to write: {why}")]
    NoMemory {
        /// Why, and what to try.
        why: String,
    },
    /// There is no such processor.
    #[error("{}", no_vcpu(*index, *count))]
    NoVcpu {
        /// Its index.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// Nothing that the page tables of a processor map is in the checkpoint. Other tables,
    /// or the physical view, may show more.
    #[error(
        "no guest memory to write: the page tables of vCPU {index} map nothing that the \
         checkpoint holds"
    )]
    NothingMapped {
        /// Index of the processor.
        index: u32,
    },
    /// A processor's page tables are of an architecture that this version cannot read.
    /// The physical view needs none.
    #[error("no address space for vCPU {index}: page tables other than x86's are not known")]
    UnknownPageTables {
        /// Index of the processor.
        index: u32,
    },
    /// The address space of a processor cannot be told. Page tables may be named, and the
    /// physical view needs none.
    #[error("no address space for vCPU {index}: {why}")]
    NoAddressSpace {
        /// Index of the processor.
        index: u32,
        /// Why.
        why: String,
    },
    /// The format is one of Linux, and the guest is not known to run that.
    #[error("{}, and {format} files are for Linux only", not_linux(*system))]
    NotLinux {
        /// The format.
        format: &'static str,
        /// The system that was found instead.
        system: Option<&'static str>,
    },
    /// The format is one of Windows, and the guest is not known to run that.
    #[error("{why}, and {format} files are for Windows only")]
    NotWindows {
        /// The format.
        format: &'static str,
        /// The system that was found instead.
        why: &'static str,
    },
    /// The choices made do not go together.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The reader of the output went away, or the disk that it writes to is full.
    #[error("cannot write the output: {why}")]
    Stream {
        /// The error of the operating system.
        why: io::Error,
    },
    /// The memory was another one when it was looked at again.
    #[error("the guest's memory changed while it was read: suspend it, or take a snapshot")]
    Changed,
    /// A page could not be compressed.
    #[error("a page could not be compressed: {why}")]
    Compress {
        /// The error of the method.
        why: String,
    },
    /// A page that was compressed cannot be decompressed.
    #[error("a page of compressed swap space cannot be read: {why}")]
    Unmade {
        /// Why.
        why: String,
    },
    /// How long a file of the guest is is not known.
    #[error("cannot write {}: the length of the guest's file is not known", path.display())]
    UnknownLength {
        /// The file.
        path: PathBuf,
        /// The kernel's own error.
        source: vmss2core_guest::linux::LinuxError,
    },
    /// Nothing that is in a file of the guest is known.
    #[error("cannot write {}: nothing of the guest's file is known: {why}", path.display())]
    NoContents {
        /// The file.
        path: PathBuf,
        /// Why its first bytes are not there.
        why: String,
    },
    /// The use of the guest's pages is not known.
    #[error("pages cannot be left out by what they are for (levels 2 to 16)")]
    NoPageClasses {
        /// The kernel's own error.
        source: vmss2core_guest::linux::LinuxError,
    },
}

/// Registers may be missing, or left out because they do not fit the memory.
fn no_vcpu(index: u32, count: usize) -> String {
    if count == 0 {
        return "no vCPU has registers to go by, and so no address space to write".to_owned();
    }
    format!("no vCPU {index}: the checkpoint has {count}")
}

fn not_linux(system: Option<&str>) -> String {
    match system {
        Some(system) => format!("this is a {system} guest"),
        None => "no Linux kernel was found in the guest".to_owned(),
    }
}
