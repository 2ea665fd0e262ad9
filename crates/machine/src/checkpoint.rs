//! A checkpoint after reading: plain data, without a trace of its format.

use std::path::PathBuf;
use std::sync::Arc;

use vmss2core_mem::{PhysicalMemory, Problem};

use crate::{Arch, Vcpu};

/// A machine standing still: what a reader made of a file, or a running machine that
/// was stopped. A clone shares everything.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The guest's memory.
    pub memory: PhysicalMemory,
    /// Its processors; empty if the source holds none.
    pub vcpus: Arc<[Vcpu]>,
    /// Which stop of the machine this is: 0 for a file, one more at every stop.
    pub number: u64,
    /// Where it comes from, and what that says about the machine.
    pub about: Arc<About>,
}

/// Facts that a source states about a checkpoint, apart from memory and processors.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Facts that the source states about the machine.
    pub machine: Machine,
    /// Which files it was read from, and how they were found.
    pub provenance: Provenance,
    /// Missing, odd or broken parts.
    pub problems: Vec<Problem>,
}

impl Checkpoint {
    /// A checkpoint of a file.
    pub fn new(memory: PhysicalMemory, vcpus: Vec<Vcpu>, about: About) -> Self {
        Self { memory, vcpus: vcpus.into(), number: 0, about: Arc::new(about) }
    }

    /// The processor of this index.
    pub fn vcpu(&self, index: u32) -> Option<&Vcpu> {
        self.vcpus.iter().find(|vcpu| vcpu.index == index)
    }

    /// The facts about it, to add to.
    pub fn about_mut(&mut self) -> &mut About {
        Arc::make_mut(&mut self.about)
    }

    /// Its processors, to change.
    pub fn vcpus_mut(&mut self) -> &mut [Vcpu] {
        Arc::make_mut(&mut self.vcpus)
    }
}

/// Facts about the virtual machine, each as its source states it.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Processor architecture.
    pub architecture: Option<&'static dyn Arch>,
    /// Product that wrote the checkpoint.
    pub product: Option<String>,
    /// Its version.
    pub product_version: Option<String>,
    /// Its build.
    pub product_build: Option<String>,
    /// Configured memory in MiB.
    pub memory_mib: Option<u64>,
    /// The machine's name.
    pub display_name: Option<String>,
    /// The guest operating system as configured, a hint at best.
    pub configured_guest: Option<String>,
    /// Firmware kind.
    pub firmware: Option<String>,
    /// BIOS UUID.
    pub uuid: Option<String>,
    /// When it was powered on, Unix seconds.
    pub powered_on_unix: Option<u64>,
    /// When it was suspended, Unix seconds.
    pub suspended_unix: Option<u64>,
}

/// Where a checkpoint came from.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// The kind of checkpoint in words: "VMware suspended state,
    /// 64-bit layout, memory in a separate file".
    pub kind: String,
    /// Name of the input format as listed by the reader.
    pub format: &'static str,
    /// The files it was read from.
    pub files: Vec<SourceFile>,
    /// The snapshot that it is, as the machine's list of them has it.
    pub snapshot: Option<Snapshot>,
    /// Every file of the host that was read for it, archives and pieces too. No
    /// output replaces one.
    pub host_files: Vec<PathBuf>,
}

/// A snapshot in a machine's list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The name that the user gave it; may be empty.
    pub name: String,
    /// When it was taken, Unix seconds.
    pub taken_unix: Option<u64>,
    /// The list's file, without directory.
    pub list: String,
}

/// One file that took part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as given or found.
    pub path: PathBuf,
    /// Its content: "state", "memory", "configuration".
    pub role: &'static str,
    /// How it was found: "given", "same name", "named in x.vmx".
    pub found: String,
}
