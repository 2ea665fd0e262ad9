//! Images of a kernel.

use std::ops::Range;

use vmss2core_mem::{Gva, Problem};

/// Images in a kernel: modules, drivers or extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// How they were found; empty if they were not.
    pub how: String,
    /// Bytes of an address.
    pub word_len: u64,
    /// Those that are loaded, in the order of the guest's own list.
    pub loaded: Vec<Image>,
    /// Those that were unloaded, the oldest first.
    pub unloaded: Vec<Unloaded>,
    /// Missing parts.
    pub problems: Vec<Problem>,
}

/// An image that is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Path of its file.
    pub path: Option<String>,
    /// Where it begins; `None` for one that is part of another.
    pub address: Option<Gva>,
    /// Bytes of memory that it has.
    pub size_bytes: u64,
    /// Where debuggers place its symbols if they are told of one address only; `None` if one
    /// is not enough, or they know it otherwise.
    pub symbols_at: Option<Gva>,
    /// The version it states.
    pub version: Option<String>,
    /// `LC_UUID` of a Mach-O image.
    pub uuid: Option<String>,
    /// `TimeDateStamp` of a PE image.
    pub timestamp: Option<u32>,
    /// Key of a PE image in a symbol store: time stamp and size.
    pub key: Option<String>,
    /// Its PDB.
    pub pdb: Option<PdbIdentity>,
    /// Details of a kernel that counts users of its modules.
    pub in_use: Option<ImageUse>,
}

/// Identity of a PDB in a symbol store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdbIdentity {
    /// File name, such as `ntkrnlmp.pdb`.
    pub name: String,
    /// GUID as 32 upper-case digits in a symbol store's order.
    pub guid: String,
    /// Age.
    pub age: u32,
}

impl PdbIdentity {
    /// Path in a symbol store: `name/GUIDage/name`.
    pub fn store_path(&self) -> String {
        format!("{0}/{1}{2:X}/{0}", self.name, self.guid, self.age)
    }
}

/// How a module is used, and what it consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUse {
    /// How many use it.
    pub users: Option<u32>,
    /// The modules that use it.
    pub used_by: Option<Vec<String>>,
    /// It cannot be removed.
    pub is_permanent: bool,
    /// State: `Live`, `Loading`, `Unloading` or `Unformed`.
    pub state: &'static str,
    /// Where its section `.text` begins: what `add-symbol-file` asks for.
    pub text: Option<Gva>,
    /// Its memory.
    pub parts: Vec<Range<u64>>,
    /// Taints of the kernel because of it, as letters.
    pub taint: Option<String>,
    /// How many symbols it has.
    pub symbols: u64,
}

/// An image that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// Its name.
    pub name: String,
    /// The addresses that it had.
    pub range: Range<u64>,
    /// When, in seconds since 1970.
    pub unix: Option<u64>,
}
