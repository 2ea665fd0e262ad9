//! VMware state files: suspended machines (`.vmss`) and snapshots (`.vmsn`),
//! with the guest's memory inside or in a file of its own (`.vmem`).
//!
//! A state file is a table of groups, each a stream of named values ([`tags`]).
//! Everything is optional: a file without registers, without a memory map or
//! cut off in the middle gives what it holds, and a list of what is missing.
//!
//! Sources are named in each module; the facts come from other readers of the
//! format and from published listings, none from VMware's own documents.

mod arch;
mod companions;
mod cut;
mod error;
mod facts;
mod format;
mod groups;
mod hotplug;
mod memory;
mod problems;
mod raw;
mod regions;
mod tags;
mod vcpu;
mod vmsd;
mod vmx;
mod window;

use std::sync::Arc;

use vmss2core_machine::{About, Checkpoint, Provenance, SourceFile};
use vmss2core_mem::{PhysicalMemory, Problem};

use self::groups::VmwareHeader;
use self::problems::Problems;
use self::raw::{Completeness, Magic};
use self::regions::VmwareRegion;
use self::tags::BlockForm;
use crate::codec::{Codec, Image};
use crate::inventory::{Inventory, Item};
use crate::source::Source;
use crate::{OpenOptions, Opened};

pub(crate) use self::error::VmwareError;
pub(crate) use self::format::{Configuration, EncryptedContainer, Vmware};
pub(crate) use self::vmx::Vmx;

/// Name of the format.
const NAME: &str = "vmware";

/// Whether a file that begins with `head` is a state file.
pub(crate) fn is_state(head: &[u8]) -> bool {
    Magic::of(head).is_some()
}

/// If `source` is a memory file of FastLZ containers, the expanded image.
pub(crate) fn open_compressed_image(source: &Source) -> Result<Option<Source>, VmwareError> {
    let containers = memory::open_containers(source)?;
    Ok(containers.map(|containers| Source {
        len: containers.len(),
        bytes: Arc::new(containers),
        ..source.clone()
    }))
}

/// A state file with all its tags read; blocks stay in the file.
pub(crate) struct StateFile {
    source: Source,
    header: VmwareHeader,
    inventory: Inventory,
    problems: Problems,
    /// Whether the file ends too early.
    is_cut: bool,
}

impl StateFile {
    /// Reads header, group table and tags.
    pub(crate) fn open(source: &Source) -> Result<Self, VmwareError> {
        let header = groups::read_header(source)?;
        let walk = walk(source, &header)?;
        let mut problems = walk.problems;
        problems.extend(cut::problem(source.len, &walk.cut));
        problems.extend(completeness_problem(header.magic));
        let is_cut = !walk.cut.is_empty();
        let inventory = Inventory::new(walk.items, Arc::clone(&source.bytes));
        Ok(Self { source: source.clone(), header, inventory, problems, is_cut })
    }

    /// Whether the file holds the guest's memory itself.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory_block().is_some()
    }

    /// How long the memory image is by the memory map, or else by the machine's
    /// memory slots or its configured size.
    pub(crate) fn expected_memory_len(&self) -> Option<u64> {
        let regions = regions::tagged(&self.inventory, &mut Problems::default());
        let mapped = regions::image_len(&regions);
        let in_slots = hotplug::len_bytes(&hotplug::ram(&self.inventory));
        let known = [mapped, in_slots].into_iter().find(|&len| len != 0);
        known.or_else(|| self.configured_len())
    }

    /// The machine's configuration, if the file carries it.
    pub(crate) fn vmx_text(&self) -> Option<String> {
        facts::vmx_text(&self.inventory)
    }

    /// Makes a checkpoint of this file and, unless it holds the memory itself,
    /// of the `memory` file that belongs to it.
    pub(crate) fn into_opened(
        mut self,
        memory: Option<Source>,
        options: &OpenOptions,
    ) -> Result<Opened, VmwareError> {
        let mut problems = std::mem::take(&mut self.problems);
        let image = self.image(memory.as_ref(), options, &mut problems)?;
        let provenance = self.provenance(&image, memory);
        let memory = self.map(&image, &mut problems);
        Ok(self.finish(memory, provenance, problems))
    }

    /// The state file by itself, without memory.
    pub(crate) fn into_opened_without_memory(mut self) -> Opened {
        let problems = std::mem::take(&mut self.problems);
        let kind = self.kind("without its memory", Codec::Stored);
        let files = vec![source_file(&self.source, "state")];
        let provenance = Provenance { kind, format: NAME, files, ..Provenance::default() };
        self.finish(PhysicalMemory::new(), provenance, problems)
    }

    fn finish(
        self,
        memory: PhysicalMemory,
        provenance: Provenance,
        mut problems: Problems,
    ) -> Opened {
        let vcpus = arch::of_file(&self.inventory).vcpus(&self.inventory, &mut problems);
        // Of a file that is cut off it is said what is missing.
        if vcpus.is_empty() && !self.is_cut {
            problems.push(Problem::warning("the state file holds no vCPU registers"));
        }
        let machine = facts::machine(&self.inventory);
        let problems = problems.into_list();
        let about = About { machine, provenance, problems };
        let checkpoint = Checkpoint::new(memory, vcpus, about);
        Opened { checkpoint, inventory: Some(self.inventory) }
    }

    fn memory_block(&self) -> Option<&Item> {
        let mut blocks = self.inventory.group("memory").filter(|item| item.name == "Memory");
        blocks.find(|item| item.value.is_none() && item.size_in_file != 0)
    }

    fn configured_len(&self) -> Option<u64> {
        facts::memory_mib(&self.inventory)?.checked_mul(1 << 20)
    }

    fn image(
        &self,
        memory: Option<&Source>,
        options: &OpenOptions,
        problems: &mut Problems,
    ) -> Result<Image, VmwareError> {
        let Some(block) = self.memory_block() else {
            let memory = memory.ok_or_else(|| self.no_memory())?;
            return memory::open_companion(memory, self.expected_memory_len(), problems);
        };
        if let Some(memory) = memory {
            problems.push(Problem::warning(format!(
                "the state file holds the memory itself; {} is not used",
                memory.path.display()
            )));
        }
        memory::open_block(&self.source, block, options, problems)
    }

    /// Why there is no memory: a machine whose memory was saved has a processor
    /// or a memory map in its state file.
    pub(crate) fn no_memory(&self) -> VmwareError {
        let path = self.source.path.clone();
        let groups = ["cpu", "memory"];
        if groups.iter().any(|group| self.inventory.group(group).next().is_some()) {
            return VmwareError::MemoryFileMissing { path, expected: self.expected_memory_len() };
        }
        VmwareError::TakenWithoutMemory { path }
    }

    fn map(&self, image: &Image, problems: &mut Problems) -> PhysicalMemory {
        let mut regions = regions::tagged(&self.inventory, problems);
        let slots = hotplug::ram(&self.inventory);
        if regions.is_empty() {
            let len = image.len.max(self.configured_len().unwrap_or_default());
            regions = if hotplug::len_bytes(&slots) == len {
                hotplug::regions(&slots)
            } else {
                self.untagged_regions(len, problems)
            };
        }
        hotplug::check(&slots, &regions, problems);
        memory::map(&regions, image, problems)
    }

    /// Without a map, all of the image is guest memory, and more if the machine
    /// is configured to have more: `len` bytes.
    fn untagged_regions(&self, len: u64, problems: &mut Problems) -> Vec<VmwareRegion> {
        let layout = arch::of_file(&self.inventory).layout(&self.inventory);
        regions::untagged(len, layout, problems)
    }

    fn provenance(&self, image: &Image, memory: Option<Source>) -> Provenance {
        let inside = self.has_memory();
        let place = if inside { "memory inside" } else { "memory in a separate file" };
        let mut files = vec![source_file(&self.source, "state")];
        files.extend(memory.filter(|_| !inside).map(|memory| source_file(&memory, "memory")));
        Provenance {
            kind: self.kind(place, image.codec),
            format: NAME,
            files,
            ..Provenance::default()
        }
    }

    /// The kind of checkpoint, in words. Suspended states and snapshots
    /// do not differ inside, so their names decide between these two words.
    fn kind(&self, place: &str, codec: Codec) -> String {
        let extension = self.source.path.extension().unwrap_or_default().to_ascii_lowercase();
        let what = match extension.to_str() {
            Some("vmss") => "suspended state",
            Some("vmsn") => "snapshot",
            _ => "checkpoint",
        };
        let width = if self.header.magic.narrow { "32-bit" } else { "64-bit" };
        let packed = match codec {
            Codec::Stored => String::new(),
            codec => format!(", compressed ({codec})"),
        };
        let state = match self.header.magic.completeness {
            Completeness::Complete => "",
            Completeness::Partial => ", marked partial",
            Completeness::Restored => ", marked restored",
            Completeness::NoRestore => ", marked not to be restored",
        };
        format!(
            "VMware {what}, {width} layout (version {}){state}, {place}{packed}",
            self.header.version
        )
    }
}

fn source_file(source: &Source, role: &'static str) -> SourceFile {
    SourceFile { path: source.path.clone(), role, found: source.found.clone() }
}

/// Block headers of old files have 32-bit sizes, says the only source; if that
/// breaks more groups than 64-bit ones would, it is wrong for this file.
fn walk(source: &Source, header: &VmwareHeader) -> Result<tags::Walk, VmwareError> {
    if !header.magic.narrow {
        return tags::walk(source, &header.groups, BlockForm::Wide);
    }
    let narrow = tags::walk(source, &header.groups, BlockForm::Narrow)?;
    if narrow.broken == 0 {
        return Ok(narrow);
    }
    let wide = tags::walk(source, &header.groups, BlockForm::Wide)?;
    Ok(if wide.broken < narrow.broken { wide } else { narrow })
}

fn completeness_problem(magic: Magic) -> Option<Problem> {
    match magic.completeness {
        Completeness::Complete => None,
        Completeness::Partial => Some(Problem::warning(
            "the state file is marked as partial: it may have been copied while it was being saved",
        )),
        Completeness::Restored => Some(Problem::warning(
            "the machine was resumed from this checkpoint: memory may be newer than the registers",
        )),
        Completeness::NoRestore => {
            Some(Problem::note("the state file is marked as not to be restored"))
        }
    }
}

#[cfg(test)]
mod tests;
