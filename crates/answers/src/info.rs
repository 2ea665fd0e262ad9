//! The report about a checkpoint, as plain data.
//!
//! The member names are the JSON members; `docs/schema/info-1.json` describes
//! them. Any member that is an `Option` is absent from the JSON when it is not
//! known. A change that breaks a reader of the JSON changes the
//! number in its [`SCHEMA`](crate::Answer::SCHEMA).

mod page;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use vmss2core_checkpoint::{Inventory, Item};
use vmss2core_guest::{CrashKernel, Facts, KernelText, LinuxFacts, Told};
use vmss2core_machine::paging::Root;
use vmss2core_machine::{
    Arch, Checkpoint, Machine, Privilege, Provenance, Scope, Vcpu, VcpuView, Width,
};
use vmss2core_mem::{Found, PhysicalMemory, Problem, Severity};

use crate::macos::MacosInfo;
use crate::next::{CommandLine, Step, Steps};
use crate::state::{KernelState, RunningTask};
use crate::windows::WindowsInfo;

/// An address or another number that is read in hexadecimal. In JSON it is a
/// string, because many readers of JSON hold numbers in 53 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value with how it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Known<T> {
    /// The value.
    pub value: T,
    /// How it was found, in words.
    pub how: String,
}

/// Everything that `info` says about a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct InfoReport {
    /// Why all of the rest is to be read with care; also the first problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// Whether registers were left out because they do not fit the memory.
    #[serde(skip)]
    pub has_misfit: bool,
    /// The kind of checkpoint, and its files.
    pub checkpoint: CheckpointInfo,
    /// The picture of its screen, if the checkpoint has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screenshot: Option<ScreenshotInfo>,
    /// The virtual machine, as the checkpoint describes it.
    pub machine: MachineInfo,
    /// The guest's physical memory.
    pub memory: MemoryInfo,
    /// The virtual processors.
    pub vcpus: Vec<VcpuInfo>,
    /// The guest's operating system.
    pub guest: GuestInfo,
    /// Missing, odd or broken parts.
    pub problems: Vec<ProblemInfo>,
    /// Commands that are worth typing for this guest.
    pub next: Vec<Step>,
}

/// The kind of checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointInfo {
    /// Name of the input format.
    pub format: &'static str,
    /// Its kind in words.
    pub kind: String,
    /// The files it was read from.
    pub files: Vec<FileInfo>,
    /// The snapshot that it is, as the machine's list of them has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotInfo>,
}

/// A snapshot in a machine's list of them.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotInfo {
    /// The name that the user gave it.
    pub name: String,
    /// When it was taken, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_unix: Option<u64>,
    /// The list's file.
    pub list: String,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct FileInfo {
    /// Its path.
    pub path: String,
    /// Its content.
    pub role: &'static str,
    /// How it was found.
    pub found: String,
}

/// The virtual machine.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "as in vmss2core_machine::Machine")]
pub struct MachineInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_build: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_guest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub powered_on_unix: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_unix: Option<u64>,
}

/// The guest's physical memory.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryInfo {
    /// Bytes held.
    pub bytes: u64,
    /// Ranges that are held, sorted, adjacent parts joined.
    pub ranges: Vec<RangeInfo>,
    /// Gaps between the ranges, sorted.
    pub holes: Vec<RangeInfo>,
}

/// A range of guest physical memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeInfo {
    /// First address.
    pub start: Hex,
    /// First address after it.
    pub end: Hex,
    /// Its length.
    pub bytes: u64,
}

/// One virtual processor.
#[derive(Clone, Debug, Serialize)]
pub struct VcpuInfo {
    /// Number in the checkpoint.
    pub index: u32,
    /// The guest's number of it, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_cpu: Option<u32>,
    /// Whether it sat in a halt instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<bool>,
    /// How it translates addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Known<&'static str>>,
    /// Physical address of its page tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<Hex>,
    /// Physical address of the kernel's page tables, if they are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_page_tables: Option<Known<Hex>>,
    /// Privilege level: 0 is the kernel's, 3 a program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privilege: Option<u8>,
    /// Instruction pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction_pointer: Option<Hex>,
    /// Stack pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_pointer: Option<Hex>,
    /// Its registers, where not even what it executes is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub registers: BTreeMap<String, Hex>,
    /// The place that it executes, as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Whether it executes the second kernel, which runs since the guest's crashed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_crash_kernel: bool,
    /// The task that it runs, or did when the kernel crashed, if that could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<RunningTask>,
}

/// Where a processor executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// Whose code it is.
    pub space: Space,
    /// Distance from the start of the kernel image, if it lies in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_text_offset: Option<Hex>,
    /// The address that the kernel was linked at for this place: what `addr2line`
    /// and `objdump` know it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_address: Option<Hex>,
    /// The function, and how far in it: `default_idle+0xb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
}

/// Whose code a processor executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Space {
    /// The operating system's kernel or the firmware.
    Kernel,
    /// A program.
    User,
}

/// The guest's operating system.
#[derive(Clone, Debug, Serialize)]
pub struct GuestInfo {
    /// The operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<Known<&'static str>>,
    /// Facts about a Linux kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<LinuxInfo>,
    /// Facts about a Windows kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsInfo>,
    /// Facts about a macOS kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macos: Option<MacosInfo>,
    /// Facts about another system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactInfo>,
}

/// A fact about a system that has no form of its own here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactInfo {
    /// Its subject.
    pub name: &'static str,
    /// The fact.
    pub value: String,
    /// How it was found.
    pub how: String,
}

/// Facts about a Linux kernel.
#[derive(Clone, Debug, Serialize)]
pub struct LinuxInfo {
    /// The `Linux version ...` line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Known<String>>,
    /// Release, as `uname -r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Known<String>>,
    /// Width of the kernel's addresses: 32 or 64.
    pub bits: u8,
    /// Where the kernel image lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Known<KernelImage>>,
    /// How far the kernel lies from its link address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kaslr_offset: Option<Known<Hex>>,
    /// `phys_base`, which may be negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phys_base: Option<Known<String>>,
    /// Virtual address of physical 0 in the direct map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_map: Option<Known<Hex>>,
    /// Physical address of the kernel's own page tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_tables: Option<Known<Hex>>,
    /// The VMCOREINFO text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmcoreinfo: Option<Known<VmcoreInfoInfo>>,
    /// The second kernel (kdump), if this one has crashed and another runs since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_kernel: Option<Known<CrashKernelInfo>>,
    /// Its state; absent if it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<KernelState>,
}

/// Where a kernel image lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelImage {
    /// Virtual address of its start.
    pub start: Hex,
    /// Physical address of its start.
    pub physical: Hex,
    /// Its length.
    pub bytes: u64,
}

/// About a VMCOREINFO text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VmcoreInfoInfo {
    /// Its length.
    pub bytes: u64,
    /// Whether we made it from other facts because none was found in the guest.
    pub synthesised: bool,
}

/// A kernel that runs since the guest's own has crashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CrashKernelInfo {
    /// Its release, as `uname -r`.
    pub release: String,
    /// Its `Linux version ...` line.
    pub banner: String,
    /// Where its image lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<KernelImage>,
    /// The vCPUs that execute it.
    pub vcpus: Vec<u32>,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemInfo {
    /// `note`, `warning` or `incomplete`.
    pub severity: &'static str,
    /// The thing, its place, and what to do about it.
    pub message: String,
}

impl InfoReport {
    /// The report about a checkpoint. `inputs` are the files as the user named
    /// them; the commands in [`next`](Self::next), which `line` makes, name them in the
    /// same way.
    pub fn new(
        checkpoint: &Checkpoint,
        facts: &Facts,
        inputs: &[PathBuf],
        line: CommandLine,
    ) -> Self {
        let mut report = Self {
            headline: None,
            has_misfit: false,
            checkpoint: checkpoint_info(&checkpoint.about.provenance),
            screenshot: None,
            machine: machine_info(&checkpoint.about.machine),
            memory: memory_info(&checkpoint.memory),
            vcpus: checkpoint.vcpus.iter().map(|vcpu| vcpu_info(vcpu, facts)).collect(),
            guest: guest_info(facts),
            problems: checkpoint
                .about
                .problems
                .iter()
                .chain(&facts.problems)
                .map(problem_info)
                .collect(),
            next: Steps::new(facts.linux(), inputs, line).all(checkpoint, facts),
        };
        report.add_headline();
        if let Some(macos) = facts.macos() {
            report.add_macos_places(macos);
        }
        report
    }
}

/// A picture of the screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScreenshotInfo {
    /// The item of the state file that it is.
    pub item: String,
    /// Its length.
    pub bytes: u64,
}

impl InfoReport {
    /// Says that the checkpoint has a picture of the screen, and how to get it.
    pub fn add_screenshot(&mut self, inventory: &Inventory, line: CommandLine, inputs: &[PathBuf]) {
        const ITEM: &str = "MKSVMX/imageData";
        let is_picture = |item: &&Item| item.size_in_file > 0 && item.to_string() == ITEM;
        let Some(item) = inventory.items.iter().find(is_picture) else { return };
        self.screenshot = Some(ScreenshotInfo { item: ITEM.to_owned(), bytes: item.size_in_file });
        let picture = Steps::new(None, inputs, line).screenshot(ITEM);
        self.next.insert(0, picture);
    }

    /// Says first that the registers do not fit the memory, and so are not among the rest.
    pub fn add_misfit(&mut self, misfit: &Problem) {
        self.has_misfit = true;
        self.headline = Some(misfit.message.clone());
        self.problems.insert(0, problem_info(misfit));
    }

    /// Says first what is missing, if something is.
    fn add_headline(&mut self) {
        let incomplete = severity_name(Severity::Incomplete);
        self.problems.sort_by_key(|problem| problem.severity != incomplete);
        let first = self.problems.first().filter(|problem| problem.severity == incomplete);
        self.headline = first.map(|problem| problem.message.clone());
    }
}

fn checkpoint_info(provenance: &Provenance) -> CheckpointInfo {
    let files = provenance.files.iter().map(|file| FileInfo {
        path: file.path.to_string_lossy().into_owned(),
        role: file.role,
        found: file.found.clone(),
    });
    CheckpointInfo {
        format: provenance.format,
        kind: provenance.kind.clone(),
        files: files.collect(),
        snapshot: provenance.snapshot.as_ref().map(|snapshot| SnapshotInfo {
            name: snapshot.name.clone(),
            taken_unix: snapshot.taken_unix,
            list: snapshot.list.clone(),
        }),
    }
}

fn machine_info(machine: &Machine) -> MachineInfo {
    MachineInfo {
        architecture: machine.architecture.map(Arch::name),
        product: machine.product.clone(),
        product_version: machine.product_version.clone(),
        product_build: machine.product_build.clone(),
        memory_mib: machine.memory_mib,
        display_name: machine.display_name.clone(),
        configured_guest: machine.configured_guest.clone(),
        firmware: machine.firmware.clone(),
        uuid: machine.uuid.clone(),
        powered_on_unix: machine.powered_on_unix,
        suspended_unix: machine.suspended_unix,
    }
}

fn memory_info(memory: &PhysicalMemory) -> MemoryInfo {
    let held = memory.ranges();
    let holes = held.iter().zip(held.iter().skip(1));
    MemoryInfo {
        bytes: memory.len_bytes(),
        ranges: held.iter().map(|range| range_info(range.start, range.end)).collect(),
        holes: holes.map(|(before, after)| range_info(before.end, after.start)).collect(),
    }
}

pub(crate) fn range_info(start: u64, end: u64) -> RangeInfo {
    RangeInfo { start: Hex(start), end: Hex(end), bytes: end.saturating_sub(start) }
}

fn vcpu_info(vcpu: &Vcpu, facts: &Facts) -> VcpuInfo {
    let known = facts.vcpu(vcpu.index);
    let mode = known.and_then(|known| known.paging.as_ref()).map(|paging| &paging.mode);
    let instruction_pointer = vcpu.registers.linear_pc(mode.map(|mode| mode.value)).map(|at| at.0);
    let linux = facts.linux();
    let in_crash_kernel = linux.is_some_and(|linux| linux.has_left(vcpu.index));
    let linux = linux.filter(|_| !in_crash_kernel);
    VcpuInfo {
        index: vcpu.index,
        logical_cpu: known.and_then(|known| known.number),
        halted: vcpu.halted,
        mode: mode.map(|mode| known_as(mode, |mode| mode.short_name())),
        page_tables: known.and_then(VcpuView::root).map(root_address),
        kernel_page_tables: known
            .and_then(|known| known.kernel_root.as_ref())
            .map(|root| known_as(root, |root| root_address(*root))),
        privilege: vcpu.registers.level(),
        instruction_pointer: instruction_pointer.map(Hex),
        stack_pointer: vcpu.registers.sp().map(Hex),
        registers: if instruction_pointer.is_none() { registers(vcpu) } else { BTreeMap::new() },
        location: instruction_pointer.and_then(|ip| location(ip, known, linux)),
        in_crash_kernel,
        task: None,
    }
}

/// All registers that are known.
fn registers(vcpu: &Vcpu) -> BTreeMap<String, Hex> {
    let registers = &vcpu.registers;
    let table = registers.arch().table(Width::Bits64, Scope::Processors, &[registers]);
    let known = table.registers().filter_map(|register| {
        let value = u64::try_from(register.value(registers)?).ok()?;
        Some((register.name.clone(), Hex(value)))
    });
    known.collect()
}

fn location(ip: u64, vcpu: Option<&VcpuView>, linux: Option<&LinuxFacts>) -> Option<Location> {
    let space = space(ip, vcpu)?;
    let in_kernel = linux.filter(|_| space == Space::Kernel);
    let text_offset = in_kernel
        .and_then(|linux| linux.text.as_ref())
        .and_then(|text| ip.checked_sub(text.value.start.0).filter(|at| *at < text.value.len));
    let link_address = text_offset
        .and(in_kernel.and_then(|linux| linux.kaslr_offset.as_ref()))
        .map(|slide| ip.wrapping_sub(slide.value));
    Some(Location {
        space,
        kernel_text_offset: text_offset.map(Hex),
        link_address: link_address.map(Hex),
        symbol: None,
    })
}

/// By privilege level; a vCPU without one is judged by the half of a 64-bit
/// address space that it executes in.
fn space(ip: u64, vcpu: Option<&VcpuView>) -> Option<Space> {
    match vcpu.and_then(|vcpu| vcpu.privilege) {
        Some(Privilege::User) => Some(Space::User),
        Some(_) => Some(Space::Kernel),
        None if ip >> 63 == 1 => Some(Space::Kernel),
        None => None,
    }
}

fn guest_info(facts: &Facts) -> GuestInfo {
    GuestInfo {
        os: facts.boot.as_ref().map(|boot| known_as(boot, |boot| boot.system().name())),
        linux: facts.linux().map(linux_info),
        windows: facts.windows().map(WindowsInfo::new),
        macos: facts.macos().map(MacosInfo::new),
        facts: facts.boot.iter().flat_map(|boot| boot.value.told()).map(fact_info).collect(),
    }
}

fn fact_info(told: Told) -> FactInfo {
    FactInfo { name: told.name, value: told.fact.value, how: told.fact.how }
}

fn linux_info(linux: &LinuxFacts) -> LinuxInfo {
    LinuxInfo {
        banner: linux
            .banner
            .as_ref()
            .map(|banner| known_as(banner, |banner| banner.trim_end().into())),
        release: linux.release.as_ref().map(|release| known_as(release, Clone::clone)),
        bits: if linux.is_64_bit { 64 } else { 32 },
        image: linux.text.as_ref().map(|text| known_as(text, kernel_image)),
        kaslr_offset: linux.kaslr_offset.as_ref().map(|slide| known_as(slide, |slide| Hex(*slide))),
        phys_base: linux
            .phys_base
            .as_ref()
            .map(|base| known_as(base, |base| vmss2core_mem::text::signed_hex(*base))),
        direct_map: linux.direct_map.as_ref().map(|map| known_as(map, |map| Hex(map.0))),
        page_tables: linux
            .kernel_root
            .as_ref()
            .map(|root| known_as(root, |(_, root)| root_address(*root))),
        vmcoreinfo: linux.vmcoreinfo.as_ref().map(|info| {
            known_as(info, |info| VmcoreInfoInfo {
                bytes: info.text.len() as u64,
                synthesised: info.synthesised,
            })
        }),
        crash_kernel: linux.crash_kernel.as_ref().map(|kernel| known_as(kernel, crash_kernel_info)),
        state: None,
    }
}

fn kernel_image(text: &KernelText) -> KernelImage {
    KernelImage { start: Hex(text.start.0), physical: Hex(text.gpa.0), bytes: text.len }
}

fn crash_kernel_info(kernel: &CrashKernel) -> CrashKernelInfo {
    CrashKernelInfo {
        release: kernel.release.clone(),
        banner: kernel.banner.clone(),
        image: kernel.text.as_ref().map(kernel_image),
        vcpus: kernel.vcpus.clone(),
    }
}

pub(crate) fn problem_info(problem: &Problem) -> ProblemInfo {
    ProblemInfo { severity: severity_name(problem.severity), message: problem.message.clone() }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Incomplete => "incomplete",
    }
}

pub(crate) fn known_as<T, U>(found: &Found<T>, value: impl FnOnce(&T) -> U) -> Known<U> {
    Known { value: value(&found.value), how: found.how.clone() }
}

fn root_address(root: Root) -> Hex {
    Hex(root.0.0)
}
