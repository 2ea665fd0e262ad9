//! One mapping of a process.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use vmss2core_mem::Gva;

/// A mapping of a process (`struct vm_area_struct`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// First address.
    pub start: Gva,
    /// First address after it.
    pub end: Gva,
    /// Permissions and kind.
    pub flags: VmaFlags,
    /// Where in the file it begins; if it is not of a file 0, or what kernels until 2.6.29
    /// show for it, as a rule its address.
    pub offset_bytes: u64,
    /// The file that is mapped.
    pub file: Option<Arc<MappedFile>>,
    /// Content of a page that the process has not touched yet.
    pub backing: Backing,
    /// Where the kernel has what it maps there: of `[vdso]`, if that is known.
    pub(super) image: Option<Gva>,
    /// Last column of `/proc/PID/maps`: a path, also with
    /// ` (deleted)`, or `[heap]`, `[stack]`, `[vdso]`, `[anon:name]`, or nothing.
    pub name: String,
}

impl Vma {
    /// A private mapping of a file from its beginning on.
    pub fn new(range: Range<Gva>, flags: VmaFlags, file: Arc<MappedFile>) -> Self {
        Self {
            start: range.start,
            end: range.end,
            flags,
            offset_bytes: 0,
            name: file.path.clone(),
            file: Some(file),
            backing: Backing::File,
            image: None,
        }
    }

    /// Length in bytes, never 0.
    pub fn len_bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, gva: Gva) -> bool {
        self.start <= gva && gva < self.end
    }
}

/// Content of a page of a mapping that the process has not touched yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// A page of the file.
    File,
    /// Pages that the kernel or a device gives on first use: `[vdso]`, `[vvar]`.
    Kernel,
    /// Not known: the mapping was found in the page tables only.
    Unknown,
}

/// A file that is mapped or that a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedFile {
    /// Its `struct file`.
    pub gva: Gva,
    /// Its path, as the guest's `/proc` prints it, ` (deleted)` included. Names in
    /// other encodings than UTF-8 have replacement characters.
    pub path: String,
    /// Whether it has lost that name; one that has not may be called `x (deleted)` too.
    pub is_deleted: bool,
    /// Its `struct address_space`, which holds the page cache.
    pub mapping: Option<Gva>,
    /// Number of its inode.
    pub inode_number: Option<u64>,
    /// Major and minor number of its file system.
    pub device: Option<(u32, u32)>,
    /// How many bytes it has.
    pub len_bytes: Option<u64>,
    /// Whether the page cache is all there is of it (tmpfs, ramfs, shared
    /// memory): what is not in there has never been written and is zero.
    pub lives_in_memory: bool,
}

impl MappedFile {
    /// Its path without ` (deleted)`.
    pub fn path_when_it_existed(&self) -> &str {
        let stripped = self.path.strip_suffix(DELETED).filter(|_| self.is_deleted);
        stripped.unwrap_or(&self.path)
    }
}

/// Suffix that Linux appends to the path of a file that has no name any more.
pub(super) const DELETED: &str = " (deleted)";

/// `vm_flags` of a mapping; the bits are those of `include/linux/mm.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VmaFlags(pub u64);

impl VmaFlags {
    /// Readable.
    pub const READ: Self = Self(1);
    /// Writable.
    pub const WRITE: Self = Self(2);
    /// Executable.
    pub const EXECUTE: Self = Self(4);
    /// Shared: what `/proc/PID/maps` shows as `s` (`VM_MAYSHARE`).
    pub const SHARED: Self = Self(0x80);
    /// Grows down, as stacks do.
    pub const GROWS_DOWN: Self = Self(0x100);
    /// Page frames without a `struct page`: devices, `[vvar]`.
    pub const PFN_MAP: Self = Self(0x400);
    /// Memory of a device.
    pub const IO: Self = Self(0x4000);
    /// Private and writable, or once was: `mprotect` does not take it back (`VM_ACCOUNT`).
    pub const ACCOUNT: Self = Self(0x10_0000);

    /// Whether all of these bits are set.
    pub fn contains(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

/// As `/proc/PID/maps` has them: `r-xp`.
impl fmt::Display for VmaFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit, set, clear| if self.contains(bit) { set } else { clear };
        let (read, write) = (letter(Self::READ, 'r', '-'), letter(Self::WRITE, 'w', '-'));
        let (execute, shared) = (letter(Self::EXECUTE, 'x', '-'), letter(Self::SHARED, 's', 'p'));
        write!(f, "{read}{write}{execute}{shared}")
    }
}
