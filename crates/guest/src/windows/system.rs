//! Windows among the systems that a guest may run.

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Found, Problem};

use super::{Kernel, WindowsFacts, discovery, extent};
use crate::Facts;
use crate::system::{AskError, Boot, Effort, GivenFiles, Look, Now, Seen, System, Told};

/// Windows NT.
#[derive(Debug)]
pub struct Windows;

impl System for Windows {
    fn name(&self) -> &'static str {
        "Windows"
    }

    fn look(&self, look: &mut Look<'_>, effort: Effort) -> Option<Seen> {
        let (memory, options) = (&look.checkpoint.memory, look.windows);
        let found = match effort {
            Effort::Quick => discovery::quickly(memory, look.cpus, options),
            Effort::Thorough => discovery::thoroughly(memory, look.cpus, options),
        };
        let windows = found?;
        discovery::set_kernel_roots(&windows, look.vcpus);
        Some(Seen {
            how: windows.kernel_root.how.clone(),
            problems: discovery::contradiction(&windows, options).into_iter().collect(),
            boot: Arc::new(windows),
        })
    }

    fn not_seen(&self, _look: &Look<'_>) -> String {
        "no page tables that were found map the page which every Windows shares with its programs"
            .to_owned()
    }
}

impl Boot for WindowsFacts {
    fn system(&self) -> &'static dyn System {
        &Windows
    }

    fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>> {
        Some(&self.kernel_root)
    }

    fn now(
        self: Arc<Self>,
        checkpoint: &Checkpoint,
        _facts: &Facts,
        _files: &GivenFiles,
    ) -> Result<Arc<dyn Now>, AskError> {
        Ok(Arc::new(Kernel::open(checkpoint, &self)))
    }

    fn location(&self) -> Vec<Told> {
        Told::of("nt", self.image.as_ref(), |image| image.base.to_string()).into_iter().collect()
    }

    fn missing_memory(&self, checkpoint: &Checkpoint, _facts: &Facts) -> Option<Problem> {
        extent::missing(&checkpoint.memory, self)
    }
}
