//! Offsets of structures in a line of text.
//!
//! The original tool took 14 numbers that a gdb script, `getlinuxoffsets`, wrote:
//! kernel version, then offsets in `task_struct`, `mm_struct` and `thread_struct`
//! as kernels 2.4 and 2.6 have them. That is not enough for what is asked today,
//! so a list of `structure.member=offset` is understood as well:
//!
//! ```text
//! version=6.1.0,thread_size=0x4000,task_struct.tasks=0x890:16,mm.pgd=0x48
//! ```
//!
//! After a colon comes the size in bytes, for a bit field then its lowest bit
//! and width (`0x928:1@2+1`); `sizeof:page=0x40` is the size of a structure. `task`,
//! `mm`, `vma` and `thread` stand for the structures' long names. Items are divided
//! by commas or white space; from `#` on a line is a remark.

mod known;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Member, Types};

pub use write::{Known, LayoutItem, known_layout, line};

/// Offsets that a line of text states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxOffsets {
    version: Option<KernelVersion>,
    thread_size: Option<u64>,
    /// By structure and path.
    members: BTreeMap<(String, String), Member>,
    sizes: BTreeMap<String, u64>,
}

/// Version, patch level and sublevel, as LINUX_VERSION_CODE has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32, pub u32);

/// Why a text is not a line of offsets.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetsError {
    /// There is nothing in it.
    #[error("there are no offsets in it")]
    Empty,
    /// A number is none.
    #[error("{text:?} is not a number: 0x and hexadecimal digits, or decimal digits")]
    Number {
        /// The text that was given.
        text: String,
    },
    /// There are too many numbers.
    #[error("{count} numbers, but there are at most 14")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Tasks cannot be listed.
    #[error(
        "next_task and tasks, the third and fourth number, are both 0: one of them tells how \
         tasks are listed"
    )]
    NoList,
    /// An item is not understood.
    #[error("{item:?} is not structure.member=offset, version=6.1.0 or sizeof:structure=size")]
    Item {
        /// The item.
        item: String,
    },
    /// An offset is beyond every structure.
    #[error("{item:?}: no structure has 16 MiB")]
    TooLarge {
        /// The item.
        item: String,
    },
}

impl LinuxOffsets {
    /// Kernel version that the line is for.
    pub fn version(&self) -> Option<KernelVersion> {
        self.version
    }

    /// Size of a kernel stack.
    pub fn thread_size(&self) -> Option<u64> {
        self.thread_size
    }

    /// Structures and paths of the members that it says something of.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str, Member)> {
        self.members.iter().map(|((structure, path), member)| (&**structure, &**path, *member))
    }

    /// Whether it says anything about structures.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.sizes.is_empty()
    }
}

impl KernelVersion {
    /// The version that a release such as `6.1.0-28-amd64` begins with.
    pub fn of_release(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        Some(Self(major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
    }

    /// The version that a code stands for: 0x20614 is 2.6.20.
    fn of_code(code: u64) -> Option<Self> {
        let code = u32::try_from(code).ok().filter(|code| *code != 0)?;
        Some(Self(code >> 16, code >> 8 & 0xff, code & 0xff))
    }

    /// Its code; sublevels above 255 are 255, as the kernel has them since 5.10.
    pub fn code(self) -> u64 {
        let Self(major, minor, patch) = self;
        u64::from(major) << 16 | u64::from(minor.min(255)) << 8 | u64::from(patch.min(255))
    }
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Types for LinuxOffsets {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        self.members.get(&(structure.to_owned(), path.to_owned())).copied()
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        let stack = || self.thread_size.filter(|_| structure == "thread_union");
        self.sizes.get(structure).copied().or_else(stack)
    }
}
