//! What `vmss2core modules` says about a macOS guest.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::macos::{KernelImage, Kext, MacosFacts};
use vmss2core_mem::Problem;

use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};

/// The kernel and its extensions.
#[derive(Clone, Debug, Serialize)]
pub struct MacosModulesReport {
    /// How the extensions were found; empty if they were not.
    pub how: String,
    /// The kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<MacosKernelInfo>,
    /// The extensions, the latest first.
    pub kexts: Vec<MacosKext>,
    /// What is missing.
    pub problems: Vec<ProblemInfo>,
}

/// The kernel's image.
#[derive(Clone, Debug, Serialize)]
pub struct MacosKernelInfo {
    /// Version of Darwin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// First address.
    pub base: Hex,
    /// Length in memory, from there to the end of its last segment.
    pub bytes: u64,
    /// Its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

/// An extension.
#[derive(Clone, Debug, Serialize)]
pub struct MacosKext {
    /// Bundle identifier.
    pub name: String,
    /// Version.
    pub version: String,
    /// First address; absent for one that is part of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Hex>,
    /// Length in memory.
    pub bytes: u64,
    /// Its identity, if its header is in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

impl MacosModulesReport {
    /// The report about this kernel; `problems` are those of the guest.
    pub fn new(macos: &MacosFacts, problems: &[Problem]) -> Self {
        let list = macos.kexts.as_ref();
        let darwin = macos.version.as_ref().map(|version| version.value.darwin);
        let version = darwin.map(|darwin| darwin.map(|number| number.to_string()).join("."));
        Self {
            how: list.map(|list| list.how.clone()).unwrap_or_default(),
            kernel: macos.image.as_ref().map(|image| kernel(&image.value, version)),
            kexts: list.iter().flat_map(|list| &list.value.kexts).map(kext).collect(),
            problems: problems.iter().map(problem_info).collect(),
        }
    }
}

impl Answer for MacosModulesReport {
    const SCHEMA: &'static str = "vmss2core/macos-modules/1";

    /// A row for each, the kernel first.
    fn page(&self, page: &mut Page<'_>) {
        let columns = [
            Column::left("BASE", 18),
            Column::right("SIZE", 9),
            Column::left("NAME", 40).after("  "),
            Column::left("VERSION", 12),
            Column::left("UUID", 0),
        ];
        let row = |base: String, bytes: u64, name: &str, (version, uuid): (&str, Option<&str>)| {
            let uuid = uuid.unwrap_or("?");
            let texts = [name, version, uuid].map(|text| Cow::from(text.to_owned()));
            let [name, version, uuid] = texts;
            [base.into(), format!("{bytes:x}").into(), name, version, uuid]
        };
        let kernel = self.kernel.iter().map(|kernel| {
            let version = kernel.version.as_deref().unwrap_or("?");
            let rest = (version, kernel.uuid.as_deref());
            row(kernel.base.to_string(), kernel.bytes, "mach_kernel", rest)
        });
        let kexts = self.kexts.iter().map(|kext| {
            let base = kext.base.map_or_else(|| "in the kernel".to_owned(), |at| at.to_string());
            let uuid = kext.uuid.as_deref().or(kext.base.is_none().then_some("-"));
            row(base, kext.bytes, &kext.name, (&kext.version, uuid))
        });
        page.table(&columns, kernel.chain(kexts));
    }
}

fn kernel(image: &KernelImage, version: Option<String>) -> MacosKernelInfo {
    let lengths = image.segments.iter().filter_map(|segment| {
        segment.start.0.checked_add(segment.len_bytes)?.checked_sub(image.base.0)
    });
    MacosKernelInfo {
        version,
        base: Hex(image.base.0),
        bytes: lengths.max().unwrap_or_default(),
        uuid: image.uuid.map(|uuid| uuid.to_string()),
    }
}

fn kext(kext: &Kext) -> MacosKext {
    MacosKext {
        name: kext.name.clone(),
        version: kext.version.clone(),
        base: kext.base.map(|base| Hex(base.0)),
        bytes: kext.size_bytes,
        uuid: kext.uuid.map(|uuid| uuid.to_string()),
    }
}
