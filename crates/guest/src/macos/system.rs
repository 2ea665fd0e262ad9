//! macOS among the systems that a guest may run.

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::Found;

use super::{Kernel, KernelImage, MacosFacts, discovery};
use crate::Facts;
use crate::system::{AskError, Boot, Effort, GivenFiles, Look, Now, Seen, System, Told};

/// macOS, whatever it was called.
#[derive(Debug)]
pub struct MacOs;

impl System for MacOs {
    fn name(&self) -> &'static str {
        "macOS"
    }

    fn triple(&self) -> &'static str {
        "apple-macosx"
    }

    fn look(&self, look: &mut Look<'_>, effort: Effort) -> Option<Seen> {
        let found = match effort {
            Effort::Quick => discovery::quickly(&look.checkpoint.memory, look.cpus),
            Effort::Thorough => discovery::thoroughly(look.checkpoint, look.cpus),
        };
        let discovery::Analysis { macos, how, problems } = found?;
        discovery::set_kernel_roots(&macos, look.cpus, look.vcpus);
        Some(Seen { boot: Arc::new(macos), how, problems })
    }

    fn not_seen(&self, _look: &Look<'_>) -> String {
        "no header of a macOS kernel is where it lies".to_owned()
    }
}

impl Boot for MacosFacts {
    fn system(&self) -> &'static dyn System {
        &MacOs
    }

    fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>> {
        self.kernel_root.as_ref()
    }

    fn location(&self) -> Vec<Told> {
        let uuid = |image: &KernelImage| image.uuid.map(|uuid| uuid.to_string());
        let image = self.image.as_ref();
        let lines = [
            Told::of("__TEXT", image, |image| image.base.to_string()),
            image.and_then(|image| {
                Some(Told { name: "UUID", fact: Found::new(uuid(&image.value)?, "LC_UUID") })
            }),
            Told::of("slide", self.slide.as_ref(), |slide| format!("{slide:#x}")),
        ];
        lines.into_iter().flatten().collect()
    }

    fn now(
        self: Arc<Self>,
        _checkpoint: &Checkpoint,
        facts: &Facts,
        _files: &GivenFiles,
    ) -> Result<Arc<dyn Now>, AskError> {
        Ok(Arc::new(Kernel { macos: self, problems: facts.problems.clone() }))
    }
}
