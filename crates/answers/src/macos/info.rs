//! The part of `info` that is about a macOS kernel.

use serde::Serialize;
use vmss2core_guest::macos::{DarwinVersion, KernelImage, MacosFacts};
use vmss2core_mem::Gva;

use crate::info::{Hex, InfoReport, Known, known_as};
use crate::page::Page;

/// Facts about a macOS kernel.
#[derive(Clone, Debug, Serialize)]
pub struct MacosInfo {
    /// Width of the kernel's addresses: 32 or 64.
    pub bits: u8,
    /// Marketing name: "macOS 10.15".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The `Darwin Kernel Version ...` text, as `uname -v`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Known<String>>,
    /// Version of Darwin, as `uname -r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub darwin: Option<String>,
    /// Build of the system, such as `19H15`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Known<String>>,
    /// The kernel's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Known<MacosImage>>,
    /// How far the kernel lies from where it was linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slide: Option<Known<Hex>>,
    /// Physical address of the page of pointers for debuggers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_globals: Option<Known<Hex>>,
    /// Physical address of page tables that map the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<Known<Hex>>,
    /// Text of the kernel's panic; absent if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic: Option<Known<String>>,
    /// How many kernel extensions are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kexts: Option<Known<usize>>,
}

/// A kernel's image in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MacosImage {
    /// Address of its header.
    pub start: Hex,
    /// Its physical address.
    pub physical: Hex,
    /// Its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its segments.
    pub segments: Vec<MacosSegment>,
}

/// A segment of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MacosSegment {
    /// Its name.
    pub name: String,
    /// First address.
    pub start: Hex,
    /// Length in memory.
    pub bytes: u64,
}

impl MacosInfo {
    pub(crate) fn new(macos: &MacosFacts) -> Self {
        let version = macos.version.as_ref();
        Self {
            bits: if macos.is_64_bit { 64 } else { 32 },
            name: version.and_then(|version| name(&version.value)),
            version: version.map(|version| known_as(version, |version| version.text.clone())),
            darwin: version.map(|version| version.value.darwin.map(|n| n.to_string()).join(".")),
            build: macos.build.as_ref().map(|build| known_as(build, Clone::clone)),
            image: macos.image.as_ref().map(|image| known_as(image, image_info)),
            slide: macos.slide.as_ref().map(|slide| known_as(slide, |slide| Hex(*slide))),
            low_globals: macos.low_globals.as_ref().map(|low| known_as(low, |gpa| Hex(gpa.0))),
            page_tables: macos
                .kernel_root
                .as_ref()
                .map(|root| known_as(root, |(_, root)| Hex(root.0.0))),
            panic: macos.panic.as_ref().map(|panic| known_as(panic, Clone::clone)),
            kexts: macos.kexts.as_ref().map(|list| known_as(list, |list| list.kexts.len())),
        }
    }
}

fn name(version: &DarwinVersion) -> Option<String> {
    let brand = match version.darwin {
        [..=11, ..] => "Mac OS X",
        [12..=15, ..] => "OS X",
        _ => "macOS",
    };
    Some(format!("{brand} {}", version.macos()?))
}

pub(super) fn image_info(image: &KernelImage) -> MacosImage {
    MacosImage {
        start: Hex(image.base.0),
        physical: Hex(image.gpa.0),
        uuid: image.uuid.map(|uuid| uuid.to_string()),
        segments: image
            .segments
            .iter()
            .map(|segment| MacosSegment {
                name: segment.name.clone(),
                start: Hex(segment.start.0),
                bytes: segment.len_bytes,
            })
            .collect(),
    }
}

impl InfoReport {
    /// Adds the places in the kernel and its extensions that processors are at.
    pub(crate) fn add_macos_places(&mut self, macos: &MacosFacts) {
        for vcpu in &mut self.vcpus {
            if let (Some(location), Some(ip)) = (&mut vcpu.location, vcpu.instruction_pointer) {
                let place = macos.place(Gva(ip.0));
                location.symbol = place.map(|(name, offset)| format!("{name}+{offset:#x}"));
            }
        }
    }
}

impl MacosInfo {
    /// Describes it for people.
    pub(crate) fn describe(&self, page: &mut Page<'_>) {
        page.known("version", self.version.as_ref(), Clone::clone);
        page.known("build", self.build.as_ref(), Clone::clone);
        page.known("image", self.image.as_ref(), |image| {
            format!("{} at physical {}", image.start, image.physical)
        });
        let uuid = self.image.as_ref().and_then(|image| image.value.uuid.as_deref());
        page.field("UUID", uuid);
        page.known("slide", self.slide.as_ref(), |slide| match slide {
            Hex(0) => "kernel lies where it was linked".to_owned(),
            slide => format!("kernel lies {slide} above its link address"),
        });
        page.known("lowGlo", self.low_globals.as_ref(), |at| format!("physical {at}"));
        page.known("page table", self.page_tables.as_ref(), |root| format!("physical {root}"));
        page.known("stopped", self.panic.as_ref(), Clone::clone);
        page.known("kexts", self.kexts.as_ref(), |count| format!("{count} loaded; see modules"));
    }
}
