//! A macOS kernel at one moment, asked for what every system has.

use std::sync::Arc;

use vmss2core_mem::Problem;

use super::{KernelImage, Kext, MacosFacts};
use crate::model::{Image, Images};
use crate::system::Now;

/// A macOS kernel at one moment. Nothing is known of it but what was found with it.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(super) macos: Arc<MacosFacts>,
    pub(super) problems: Vec<Problem>,
}

impl Now for Kernel {
    /// The kernel first, then its extensions, the latest first.
    fn images(&self) -> Option<Images> {
        let list = self.macos.kexts.as_ref();
        let image = self.macos.image.as_ref().map(|image| self.kernel(&image.value));
        let kexts = list.into_iter().flat_map(|list| &list.value.kexts).map(kext);
        Some(Images {
            how: list.map(|list| list.how.clone()).unwrap_or_default(),
            word_len: if self.macos.is_64_bit { 8 } else { 4 },
            loaded: image.into_iter().chain(kexts).collect(),
            unloaded: Vec::new(),
            problems: self.problems.clone(),
        })
    }
}

impl Kernel {
    fn kernel(&self, image: &KernelImage) -> Image {
        let darwin = self.macos.version.as_ref().map(|version| version.value.darwin);
        let lengths = image.segments.iter().filter_map(|segment| {
            segment.start.0.checked_add(segment.len_bytes)?.checked_sub(image.base.0)
        });
        Image {
            name: "mach_kernel".to_owned(),
            address: Some(image.base),
            size_bytes: lengths.max().unwrap_or_default(),
            version: darwin.map(|darwin| darwin.map(|number| number.to_string()).join(".")),
            uuid: image.uuid.map(|uuid| uuid.to_string()),
            ..Image::default()
        }
    }
}

fn kext(kext: &Kext) -> Image {
    Image {
        name: kext.name.clone(),
        address: kext.base,
        symbols_at: kext.base,
        size_bytes: kext.size_bytes,
        version: Some(kext.version.clone()),
        uuid: kext.uuid.map(|uuid| uuid.to_string()),
        ..Image::default()
    }
}
