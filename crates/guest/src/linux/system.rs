//! Linux among the systems that a guest may run.

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::text::signed_hex;
use vmss2core_mem::{Found, Problem};

use super::{BetterSources, GivenFiles, Kernel, LinuxFacts, discovery, extent};
use crate::Facts;
use crate::cpu::Cpu;
use crate::system::{AskError, Boot, Effort, Look, Now, Seen, System, Told};

/// Linux.
#[derive(Debug)]
pub struct Linux;

impl System for Linux {
    fn name(&self) -> &'static str {
        "Linux"
    }

    fn triple(&self) -> &'static str {
        "unknown-linux-gnu"
    }

    fn look(&self, look: &mut Look<'_>, effort: Effort) -> Option<Seen> {
        if effort == Effort::Thorough {
            return None;
        }
        let mut lost = None;
        let memory = &look.checkpoint.memory;
        let found = discovery::analyse(memory, look.cpus, look.vcpus, &mut lost);
        look.lost.extend(lost);
        let discovery::Analysis { linux, problems } = found?;
        let banner = linux.banner.as_ref();
        let how = banner.map_or("VMCOREINFO", |banner| banner.how.as_str()).to_owned();
        Some(Seen { boot: Arc::new(linux), how, problems })
    }

    fn not_seen(&self, look: &Look<'_>) -> String {
        let is_paged = |cpu: &Cpu<'_>| {
            cpu.space.as_ref().is_some_and(|space| space.mode() != PagingMode::IDENTITY)
        };
        let clause = if look.cpus.iter().any(is_paged) {
            "no page tables of a vCPU map a kernel with the banner of Linux"
        } else {
            "no VMCOREINFO of Linux leads to page tables of its kernel"
        };
        clause.to_owned()
    }
}

impl Boot for LinuxFacts {
    fn system(&self) -> &'static dyn System {
        &Linux
    }

    fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>> {
        self.kernel_root.as_ref()
    }

    fn now(
        self: Arc<Self>,
        checkpoint: &Checkpoint,
        facts: &Facts,
        files: &GivenFiles,
    ) -> Result<Arc<dyn Now>, AskError> {
        let better = BetterSources::read(files, checkpoint, facts)?;
        Ok(Arc::new(Kernel::open(checkpoint, facts, better)?))
    }

    fn location(&self) -> Vec<Told> {
        let lines = [
            Told::of("_text", self.text.as_ref(), |text| text.start.to_string()),
            Told::of("offset", self.kaslr_offset.as_ref(), |offset| format!("{offset:#x}")),
            Told::of("phys_base", self.phys_base.as_ref(), |base| signed_hex(*base)),
        ];
        lines.into_iter().flatten().collect()
    }

    fn missing_memory(&self, checkpoint: &Checkpoint, facts: &Facts) -> Option<Problem> {
        extent::missing(checkpoint, facts)
    }
}
