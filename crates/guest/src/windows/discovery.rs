//! Finds out about a Windows kernel: page tables, image, debugger
//! data, processors. Each step takes what those before it found, and goes on
//! without what they did not.

use vmss2core_machine::paging::Root;
use vmss2core_machine::{Privilege, VcpuView};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, Problem, Severity};

use super::arch::cpus::{self, directory_table};
use super::arch::roots::{self, KernelTables};
use super::kdbg::{VersionBlock, fields as kdbg_at};
use super::view::element;
use super::{
    Completeness, ForeignVcpu, Kdbg, KernelImage, Options, ScanDepth, View, WindowsCpu,
    WindowsFacts, arch, image, kdbg, shared,
};
use crate::cpu::Cpu;

/// Looks for Windows where it is cheap to see.
pub(crate) fn quickly(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'_>],
    options: &Options,
) -> Option<WindowsFacts> {
    Some(of_tables(memory, &roots::quickly(memory, cpus)?, cpus, options))
}

/// Looks for Windows in all of memory.
pub(crate) fn thoroughly(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'_>],
    options: &Options,
) -> Option<WindowsFacts> {
    Some(of_tables(memory, &roots::by_scan(memory, cpus)?, cpus, options))
}

/// Says of vCPUs whose page tables hide the kernel which ones do not.
pub(crate) fn set_kernel_roots(windows: &WindowsFacts, vcpus: &mut [VcpuView]) {
    let (_, common) = windows.kernel_root.value;
    for facts in vcpus {
        if windows.foreign.iter().any(|foreign| foreign.vcpu == facts.index) {
            continue;
        }
        let runs =
            |cpu: &&WindowsCpu| cpu.vcpu.as_ref().is_some_and(|vcpu| vcpu.value == facts.index);
        let own = windows.cpus.iter().find(runs).and_then(|cpu| cpu.kernel_root);
        let root = own.unwrap_or(common);
        if facts.privilege == Some(Privilege::User) && facts.root() != Some(root) {
            let how =
                if own.is_some() { "DirectoryTableBase of its process" } else { "the kernel" };
            facts.kernel_root = Some(Found::new(root, how));
        }
    }
}

fn of_tables(
    memory: &PhysicalMemory,
    tables: &KernelTables,
    vcpus: &[Cpu<'_>],
    options: &Options,
) -> WindowsFacts {
    let space = &tables.space;
    let mut finder = Finder {
        memory,
        view: View::new(memory, space.mode(), space.root()),
        is_64_bit: space.mode().is_64_bit(),
        vcpus,
        options,
        version: None,
        image: None,
        kdbg: None,
    };
    finder.find_image_and_block();
    finder.facts(tables)
}

struct Finder<'s, 'a> {
    memory: &'a PhysicalMemory,
    view: View,
    is_64_bit: bool,
    vcpus: &'s [Cpu<'a>],
    options: &'s Options,
    version: Option<Found<VersionBlock>>,
    image: Option<Found<KernelImage>>,
    kdbg: Option<Found<Kdbg>>,
}

impl<'a> Finder<'_, 'a> {
    fn find_image_and_block(&mut self) {
        self.version = VersionBlock::of_regions(&self.view, &self.processors(None).of_registers());
        self.image = image::find(&self.view, &self.hints());
        self.kdbg = self.block();
        if self.image.is_none() {
            let of_block = self.kdbg.as_ref().map(|kdbg| &kdbg.value);
            let stated = of_block.and_then(|kdbg| image::from_kdbg(&self.view, kdbg));
            self.image = stated.or_else(|| self.image_of_version());
        }
    }

    /// The kernel at the base that its version block states.
    fn image_of_version(&self) -> Option<Found<KernelImage>> {
        let Found { value: version, how } = self.version.as_ref()?;
        let image = image::from_base(&self.view, version.kern_base, None);
        Some(Found::new(image, format!("KernBase of the {how}")))
    }

    fn block(&self) -> Option<Found<Kdbg>> {
        let image = self.image.as_ref().map(|image| &image.value);
        let given = self.options.kdbg.and_then(|gva| kdbg::find(&self.view, image, Some(gva)));
        let listed = || kdbg::of_version(&self.view, image, self.version.as_ref()?);
        let found = given.or_else(listed).or_else(|| kdbg::find(&self.view, image, None));
        if found.is_some() || self.options.scan != ScanDepth::AllMemory {
            return found;
        }
        kdbg::scan_memory(self.memory, &self.view).into_iter().next().map(|(_, block)| block)
    }

    fn pointer(&self, at: usize) -> Option<Gva> {
        self.kdbg.as_ref()?.value.pointer(at, self.is_64_bit)
    }

    /// Addresses in the kernel's code, the surest first.
    fn hints(&self) -> Vec<(Gva, String)> {
        let stub = self.is_64_bit.then(|| roots::low_stub(self.memory)).flatten();
        let mut hints: Vec<(Gva, String)> = stub
            .map(|stub| {
                let how = format!("processor start block at physical {:#x}", stub.gpa.0);
                (stub.target, how)
            })
            .into_iter()
            .collect();
        let version = self.version.as_ref();
        hints.extend(
            version.map(|found| (found.value.kern_base, format!("KernBase of the {}", found.how))),
        );
        for cpu in self.vcpus {
            hints.extend(self.hints_of(cpu));
        }
        hints.retain(|(gva, _)| self.view.is_kernel(*gva));
        hints
    }

    fn hints_of(&self, cpu: &Cpu<'_>) -> Vec<(Gva, String)> {
        let hints = arch::hints::in_registers(&self.view, self.is_64_bit, cpu);
        let named = |(gva, what)| (Gva(gva), format!("{what} of vCPU {}", cpu.index));
        hints.into_iter().map(named).collect()
    }

    fn facts(self, tables: &KernelTables) -> WindowsFacts {
        let exports = self.exports();
        let system_process = self.system_process(exports.process);
        let (lab, build) = (self.lab(), self.build(&exports, tables));
        let search = cpus::Search {
            build: build.as_ref().map(|build| build.value),
            count: tables.shared.processors,
            ..self.processors(self.kdbg.as_ref().map(|kdbg| &kdbg.value))
        };
        let (cpus, foreign) = search.run();
        let completeness = self.completeness(&cpus);
        WindowsFacts {
            kernel_root: self.kernel_root(system_process.as_ref(), tables),
            is_64_bit: self.is_64_bit,
            missing: self.missing(&cpus, &foreign),
            bugcheck: self.bugcheck(),
            shared: Some(tables.shared.clone()),
            is_checked: exports.is_checked
                || self.version.as_ref().is_some_and(|version| version.value.is_checked),
            image: self.image,
            kdbg: self.kdbg,
            build,
            lab,
            system_process,
            cpus,
            foreign,
            completeness,
        }
    }

    fn processors<'k>(&'k self, kdbg: Option<&'k Kdbg>) -> cpus::Search<'k, 'a> {
        let Self { view, is_64_bit, vcpus, .. } = self;
        cpus::Search {
            view: view.clone(),
            is_64_bit: *is_64_bit,
            kdbg,
            build: None,
            count: None,
            vcpus,
        }
    }

    fn exports(&self) -> Exports {
        let Some(image) = &self.image else { return Exports::default() };
        let symbols = image::exports(&self.view, &image.value);
        let number = symbols.get("NtBuildNumber").and_then(|at| self.view.uint(*at, 4));
        Exports {
            process: symbols
                .get("PsInitialSystemProcess")
                .and_then(|at| self.view.pointer(*at))
                .filter(|process| self.view.is_kernel(*process)),
            build: number.and_then(|number| u32::try_from(number & 0xffff).ok()),
            is_checked: number.is_some_and(|number| number >> 28 == 0xc),
        }
    }

    fn build(&self, exports: &Exports, tables: &KernelTables) -> Option<Found<u32>> {
        let given = self.options.build.map(|build| Found::new(build, "given by the user"));
        let exported = || exports.build.map(|build| Found::new(build, "NtBuildNumber"));
        let version = || {
            let version = self.version.as_ref()?;
            Some(Found::new(version.value.build, version.how.clone()))
        };
        let shared = || Some(Found::new(tables.shared.build?, "KUSER_SHARED_DATA.NtBuildNumber"));
        let lab = || {
            let digits = self.lab()?.value;
            Some(Found::new(digits.split('.').next()?.parse().ok()?, "NtBuildLab"))
        };
        given.or_else(exported).or_else(shared).or_else(version).or_else(lab)
    }

    fn lab(&self) -> Option<Found<String>> {
        let bytes = self.view.prefix(self.pointer(kdbg_at::BUILD_LAB)?, 128);
        let text = bytes.split(|byte| *byte == 0).next().filter(|text| !text.is_empty())?;
        let is_text = text.iter().all(u8::is_ascii_graphic) && text.len() < bytes.len();
        let text = is_text.then(|| String::from_utf8_lossy(text).into_owned())?;
        Some(Found::new(text, "NtBuildLab"))
    }

    fn bugcheck(&self) -> Option<Found<[u64; 5]>> {
        let at = self.pointer(kdbg_at::BUGCHECK_DATA)?;
        let word = |index: u64| {
            let at = element(at, index, self.view.word_len())?;
            self.view.pointer(at).map(|value| value.0)
        };
        let code = word(0).filter(|code| *code != 0 && u32::try_from(*code).is_ok())?;
        let data = [code, word(1)?, word(2)?, word(3)?, word(4)?];
        Some(Found::new(data, "KiBugcheckData"))
    }

    /// The System process: exported, or the first of the list of processes, whose
    /// beginning is known by what it holds.
    fn system_process(&self, exported: Option<Gva>) -> Option<Found<Gva>> {
        if let Some(process) = exported.filter(|process| self.root_of(*process).is_some()) {
            return Some(Found::new(process, "PsInitialSystemProcess"));
        }
        let links = self.view.pointer(self.pointer(kdbg_at::PROCESS_HEAD)?)?;
        let step = usize::try_from(self.view.word_len()).unwrap_or(8);
        let found = (0x80..0x600_u64).step_by(step).find_map(|offset| {
            let process = Gva(links.0.wrapping_sub(offset));
            self.root_of(process).map(|_| process)
        });
        Some(Found::new(found?, "first entry of PsActiveProcessHead"))
    }

    /// The root of what may be a process; it must map the kernel.
    fn root_of(&self, process: Gva) -> Option<Root> {
        /// `DISPATCHER_HEADER.Type` of a process.
        const PROCESS: u64 = 3;
        (self.view.uint(process, 1)? == PROCESS).then_some(())?;
        let offset = directory_table(self.kdbg.as_ref().map(|kdbg| &kdbg.value), self.is_64_bit);
        let value = self.view.pointer(Gva(process.0.wrapping_add(offset)))?;
        let root = self.view.space().mode().root_of(value.0);
        shared::of_kernel(&self.view.space().with_root(root)).map(|_| root)
    }

    fn kernel_root(
        &self,
        system: Option<&Found<Gva>>,
        tables: &KernelTables,
    ) -> Found<(vmss2core_machine::paging::PagingMode, Root)> {
        let mode = tables.space.mode();
        match system.and_then(|system| self.root_of(system.value)) {
            Some(root) => Found::new((mode, root), "DirectoryTableBase of the System process"),
            None => Found::new((mode, tables.space.root()), tables.how.clone()),
        }
    }

    fn completeness(&self, cpus: &[WindowsCpu]) -> Completeness {
        match (&self.image, &self.kdbg) {
            (_, Some(_)) if !cpus.is_empty() && cpus.iter().all(|cpu| cpu.vcpu.is_some()) => {
                Completeness::Full
            }
            (_, Some(_)) => Completeness::SomeProcessors,
            (Some(_), None) => Completeness::KernelOnly,
            (None, None) => Completeness::PageTablesOnly,
        }
    }

    fn missing(&self, cpus: &[WindowsCpu], foreign: &[ForeignVcpu]) -> Vec<String> {
        let mut missing = Vec::new();
        if self.image.is_none() {
            missing.push(
                "the kernel's image was not found: no image that is mapped where kernels are \
                 exports as ntoskrnl.exe, has a kernel's PDB or sections, and no debugger data \
                 says where it is; neither modules nor symbols can be told"
                    .to_owned(),
            );
        }
        if self.kdbg.is_none() {
            missing.push(
                "the debugger data block (KDBG) was not found: WinDbg will need symbols and shows \
                 little; give its address with -WDDB<hex>, or search all memory with -WSCAN"
                    .to_owned(),
            );
        }
        missing.extend(foreign.iter().map(|vcpu| {
            let ForeignVcpu { vcpu, holder, .. } = vcpu;
            format!("registers of Windows on vCPU {vcpu}: {holder} had it at that time")
        }));
        let lost = cpus.iter().filter(|cpu| cpu.vcpu.is_none());
        missing.extend(
            lost.map(|cpu| {
                format!("registers of Windows' processor {}: no vCPU is it", cpu.number)
            }),
        );
        missing
    }
}

/// Values of exported variables of the kernel.
#[derive(Default)]
struct Exports {
    process: Option<Gva>,
    build: Option<u32>,
    is_checked: bool,
}

/// Contradiction of something that the user said.
pub(crate) fn contradiction(windows: &WindowsFacts, options: &Options) -> Option<Problem> {
    let given = options.kdbg?;
    let at = windows.kdbg.as_ref()?.value.gva;
    (at != given).then(|| {
        let message = format!("no debugger data at {given}, as given; that at {at} is used");
        Problem { severity: Severity::Warning, message }
    })
}

/// Where debugger data blocks are in all of physical memory, best first: the search
/// that `-WSCAN` asks for. Stale copies are among them.
pub fn debugger_blocks(memory: &PhysicalMemory, windows: &WindowsFacts) -> Vec<(Gpa, Found<Kdbg>)> {
    let (mode, root) = windows.kernel_root.value;
    kdbg::scan_memory(memory, &View::new(memory, mode, root))
}
