//! Facts about a macOS kernel, each missing if it was not found.

use std::fmt;

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Found, Gpa, Gva};

use super::DarwinVersion;

/// Facts about a macOS kernel.
#[derive(Clone, Debug, Default)]
pub struct MacosFacts {
    /// A 64-bit kernel (K64). Of a 32-bit one only the image and version are known.
    pub is_64_bit: bool,
    /// The `Darwin Kernel Version ...` text.
    pub version: Option<Found<DarwinVersion>>,
    /// Build, such as `19H15`.
    pub build: Option<Found<String>>,
    /// The kernel's image.
    pub image: Option<Found<KernelImage>>,
    /// How far the kernel lies from where it was linked; `None` if that is not known.
    pub slide: Option<Found<u64>>,
    /// Physical address of the page of pointers for debuggers (`lowGlo`).
    pub low_globals: Option<Found<Gpa>>,
    /// Page tables that map the kernel.
    pub kernel_root: Option<Found<(PagingMode, Root)>>,
    /// The kernel's message when it panicked; `None` if it runs.
    pub panic: Option<Found<String>>,
    /// Kernel extensions that are loaded.
    pub kexts: Option<Found<KextList>>,
}

impl MacosFacts {
    /// The image that an address lies in, `mach_kernel` or the identifier of an extension,
    /// and how far from its start.
    pub fn place(&self, gva: Gva) -> Option<(&str, u64)> {
        let in_kernel = |image: &KernelImage| {
            let is_in = image.segments.iter().any(|segment| segment.contains(gva));
            gva.0.checked_sub(image.base.0).filter(|_| is_in)
        };
        let image = self.image.as_ref().and_then(|image| in_kernel(&image.value));
        let in_kext = |kext: &Kext| {
            let offset = gva.0.checked_sub(kext.base?.0)?;
            (offset < kext.size_bytes).then_some(offset)
        };
        let mut kexts = self.kexts.iter().flat_map(|list| &list.value.kexts);
        let kext = || kexts.find_map(|kext| Some((kext.name.as_str(), in_kext(kext)?)));
        image.map(|offset| ("mach_kernel", offset)).or_else(kext)
    }
}

/// The kernel's image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage {
    /// Address of the Mach-O header: the start of `__TEXT`.
    pub base: Gva,
    /// Its physical address.
    pub gpa: Gpa,
    /// Physical address of the collection that it is part of, from Darwin 20 on.
    pub collection: Option<Gpa>,
    /// `LC_UUID`.
    pub uuid: Option<Uuid>,
    /// Its segments, at the addresses where they are.
    pub segments: Vec<Segment>,
}

/// A segment of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name, such as `__TEXT`.
    pub name: String,
    /// First address.
    pub start: Gva,
    /// Length in memory.
    pub len_bytes: u64,
}

impl Segment {
    /// Whether an address lies in it.
    pub fn contains(&self, gva: Gva) -> bool {
        gva.0.checked_sub(self.start.0).is_some_and(|at| at < self.len_bytes)
    }
}

/// Identity of a Mach-O file. Shown as debuggers and `dwarfdump --uuid` show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02X}")?;
        }
        Ok(())
    }
}

/// The kernel's list of extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KextList {
    /// The extensions, the latest first.
    pub kexts: Vec<Kext>,
    /// Why the list ends before its end, if it does.
    pub torn: Option<String>,
}

/// A kernel extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kext {
    /// Its `kmod_info`.
    pub info: Gva,
    /// Bundle identifier, such as `com.apple.driver.AppleAPIC`.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// Where its image begins; `None` for those that are part of the kernel.
    pub base: Option<Gva>,
    /// Length of its image.
    pub size_bytes: u64,
    /// `LC_UUID` of its image, if that is in memory.
    pub uuid: Option<Uuid>,
}
