//! The part of `info` that is about a Windows kernel.

use serde::Serialize;
use vmss2core_guest::windows::{
    Completeness, Kernel, PdbIdentity, WindowsFacts, bugcheck_name, bugcheck_parameters,
};
use vmss2core_mem::Gva;

use super::{names, windows_time};
use crate::info::{Hex, InfoReport, Known, known_as};
use crate::page::Page;
use crate::units::duration;

const SECOND: u64 = 10_000_000;

/// Facts about a Windows kernel.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsInfo {
    /// Width of the kernel's addresses: 32 or 64.
    pub bits: u8,
    /// Marketing name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kind of product and suites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// Build number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Known<u32>>,
    /// A checked (debug) kernel.
    pub checked: bool,
    /// `NtBuildLab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab: Option<Known<String>>,
    /// The folder it is installed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_root: Option<String>,
    /// The kernel's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Known<WindowsImage>>,
    /// Physical address of the kernel's page tables.
    pub page_tables: Known<Hex>,
    /// Address of the debugger data block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debugger_data: Option<Known<Hex>>,
    /// Whether that is encoded in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debugger_data_encoded: Option<bool>,
    /// The guest's time in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Seconds since it was started, time asleep included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<u64>,
    /// Why it stopped; absent if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bugcheck: Option<Known<BugcheckInfo>>,
    /// Windows' processors and what each runs.
    pub cpus: Vec<WindowsCpuInfo>,
    /// vCPUs whose registers are not Windows' own.
    pub foreign: Vec<WindowsForeign>,
    /// How much was found: `full`, `some processors`, `kernel only`, `page tables
    /// only`.
    pub completeness: &'static str,
    /// Missing facts, and why they matter.
    pub missing: Vec<String>,
}

/// The kernel's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsImage {
    /// Its first address.
    pub base: Hex,
    /// Its length.
    pub bytes: u32,
    /// Key in a symbol store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its PDB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<PdbInfo>,
}

/// Identity of a PDB in a symbol store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PdbInfo {
    /// File name.
    pub name: String,
    /// GUID.
    pub guid: String,
    /// Age.
    pub age: u32,
    /// Path in a symbol store.
    pub path: String,
}

impl PdbInfo {
    pub(crate) fn new(pdb: &PdbIdentity) -> Self {
        let PdbIdentity { name, guid, age } = pdb.clone();
        Self { path: pdb.store_path(), name, guid, age }
    }
}

/// Why Windows stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BugcheckInfo {
    /// The stop code.
    pub code: Hex,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// Its four parameters.
    pub parameters: Vec<BugcheckParameter>,
}

/// A parameter of a stop code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BugcheckParameter {
    /// Its value.
    pub value: Hex,
    /// Its meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// The place in an image that it is the address of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A processor as Windows sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsCpuInfo {
    /// Windows' number.
    pub number: u32,
    /// The vCPU whose registers are its.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<Known<u32>>,
    /// Address of its `KPRCB`.
    pub kprcb: Hex,
    /// Number of the process that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Number of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u64>,
    /// Name of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// A vCPU whose registers are not Windows' own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowsForeign {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// Who had it.
    pub holder: String,
    /// Why that is thought.
    pub how: String,
}

impl WindowsInfo {
    pub(crate) fn new(windows: &WindowsFacts) -> Self {
        let shared = windows.shared.as_ref();
        let kdbg = windows.kdbg.as_ref();
        Self {
            bits: if windows.is_64_bit { 64 } else { 32 },
            name: names::marketing_name(windows),
            edition: names::edition(windows),
            build: windows.build.as_ref().map(|build| known_as(build, |build| *build)),
            checked: windows.is_checked,
            lab: windows.lab.as_ref().map(|lab| known_as(lab, Clone::clone)),
            system_root: shared.map(|shared| shared.system_root.clone()),
            image: image(windows),
            page_tables: known_as(&windows.kernel_root, |(_, root)| Hex(root.0.0)),
            debugger_data: kdbg.map(|kdbg| known_as(kdbg, |kdbg| Hex(kdbg.gva.0))),
            debugger_data_encoded: kdbg.map(|kdbg| kdbg.value.encoding.is_some()),
            time: shared.and_then(|shared| windows_time(shared.system_time)),
            uptime_seconds: shared.map(|shared| shared.interrupt_time / SECOND),
            bugcheck: windows.bugcheck.as_ref().map(|found| known_as(found, bugcheck)),
            cpus: windows.cpus.iter().map(cpu_info).collect(),
            foreign: windows.foreign.iter().map(foreign).collect(),
            completeness: completeness(windows.completeness),
            missing: windows.missing.clone(),
        }
    }
}

fn image(windows: &WindowsFacts) -> Option<Known<WindowsImage>> {
    let found = windows.image.as_ref()?;
    Some(known_as(found, |image| WindowsImage {
        base: Hex(image.base.0),
        bytes: image.size_bytes,
        key: image.timestamp.map(|stamp| format!("{stamp:08X}{:x}", image.size_bytes)),
        pdb: image.pdb.as_ref().map(PdbInfo::new),
    }))
}

fn bugcheck(found: &[u64; 5]) -> BugcheckInfo {
    let [code, parameters @ ..] = *found;
    let parameter =
        |(value, meaning)| BugcheckParameter { value: Hex(value), meaning, place: None };
    let meanings = bugcheck_parameters(code);
    BugcheckInfo {
        code: Hex(code),
        name: bugcheck_name(code),
        parameters: parameters.into_iter().zip(meanings).map(parameter).collect(),
    }
}

fn cpu_info(cpu: &vmss2core_guest::windows::WindowsCpu) -> WindowsCpuInfo {
    WindowsCpuInfo {
        number: cpu.number,
        vcpu: cpu.vcpu.as_ref().map(|vcpu| known_as(vcpu, |vcpu| *vcpu)),
        kprcb: Hex(cpu.kprcb.0),
        pid: None,
        tid: None,
        process: None,
        place: None,
    }
}

fn foreign(found: &vmss2core_guest::windows::ForeignVcpu) -> WindowsForeign {
    WindowsForeign { vcpu: found.vcpu, holder: found.holder.clone(), how: found.how.clone() }
}

fn completeness(completeness: Completeness) -> &'static str {
    match completeness {
        Completeness::Full => "full",
        Completeness::SomeProcessors => "some processors",
        Completeness::KernelOnly => "kernel only",
        Completeness::PageTablesOnly => "page tables only",
    }
}

impl InfoReport {
    /// Adds what a Windows kernel itself answers: who runs on each processor, and
    /// the places that addresses are in.
    pub fn add_windows(&mut self, kernel: &Kernel) {
        let place = |at: u64| kernel.place(Gva(at)).map(|place| place.to_string());
        for vcpu in &mut self.vcpus {
            let is_foreign =
                kernel.windows().foreign.iter().any(|foreign| foreign.vcpu == vcpu.index);
            if let (Some(location), Some(ip), false) =
                (&mut vcpu.location, vcpu.instruction_pointer, is_foreign)
            {
                location.symbol = place(ip.0);
            }
        }
        let Some(windows) = &mut self.guest.windows else { return };
        let parameters = windows.bugcheck.iter_mut().flat_map(|found| &mut found.value.parameters);
        for parameter in parameters {
            parameter.place = place(parameter.value.0);
        }
        for (shown, cpu) in windows.cpus.iter_mut().zip(&kernel.windows().cpus) {
            let process = cpu.process.and_then(|process| kernel.process(process));
            shown.pid = process.as_ref().map(|process| process.pid);
            shown.process = process.map(|process| process.full_name().to_owned());
            shown.tid = cpu.thread.and_then(|thread| kernel.thread(thread, None).tid);
            let vcpu = cpu.vcpu.as_ref().map(|vcpu| vcpu.value);
            let known = self.vcpus.iter().find(|known| Some(known.index) == vcpu);
            shown.place = known.and_then(|known| place(known.instruction_pointer?.0));
        }
    }
}

impl WindowsInfo {
    /// Describes it for people.
    pub(crate) fn describe(&self, page: &mut Page<'_>) {
        page.field("edition", self.edition.as_deref());
        page.known("lab", self.lab.as_ref(), Clone::clone);
        page.known("build", self.build.as_ref(), |build| {
            format!("{build}{}", if self.checked { ", checked" } else { "" })
        });
        page.field("installed", self.system_root.as_deref());
        page.known("image", self.image.as_ref(), |image| {
            let key = image.key.as_ref().map(|key| format!(", key {key}"));
            format!("{}, {} bytes{}", image.base, image.bytes, key.unwrap_or_default())
        });
        let pdb = self.image.as_ref().and_then(|image| image.value.pdb.as_ref());
        page.field("PDB", pdb.map(|pdb| pdb.path.as_str()));
        page.known("page table", Some(&self.page_tables), |root| format!("physical {root}"));
        page.known("KDBG", self.debugger_data.as_ref(), |at| {
            let encoded = self.debugger_data_encoded == Some(true);
            format!("{at}{}", if encoded { ", encoded in memory" } else { "" })
        });
        page.field("time", self.time.as_deref());
        page.field("uptime", self.uptime_seconds.map(duration).as_deref());
        self.describe_bugcheck(page);
        for cpu in &self.cpus {
            page.field(&format!("CPU {}", cpu.number), Some(&cpu.line()));
        }
        for foreign in &self.foreign {
            let text =
                format!("vCPU {} was with {} ({})", foreign.vcpu, foreign.holder, foreign.how);
            page.field("foreign", Some(&text));
        }
        for missing in &self.missing {
            page.field("missing", Some(missing));
        }
    }

    /// The failure that it stopped with, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.bugcheck.as_ref().map(|found| stop_code(&found.value))
    }

    fn describe_bugcheck(&self, page: &mut Page<'_>) {
        page.known("stopped", self.bugcheck.as_ref(), stop_code);
        let parameters = self.bugcheck.iter().flat_map(|found| &found.value.parameters);
        for (number, parameter) in (1..).zip(parameters) {
            let place = parameter.place.as_ref().map(|place| format!(" in {place}"));
            let meaning = parameter.meaning.map(|meaning| format!(": {meaning}"));
            let text = format!(
                "{}{}{}",
                parameter.value,
                place.unwrap_or_default(),
                meaning.unwrap_or_default()
            );
            page.field(&format!("arg {number}"), Some(&text));
        }
    }
}

fn stop_code(found: &BugcheckInfo) -> String {
    format!("stop code {} {}", found.code, found.name.unwrap_or("without a known name"))
}

impl WindowsCpuInfo {
    fn line(&self) -> String {
        let mut words = vec![match &self.vcpu {
            Some(vcpu) if vcpu.value == self.number => "same vCPU".to_owned(),
            Some(vcpu) => format!("vCPU {}", vcpu.value),
            None => "no vCPU".to_owned(),
        }];
        if let (Some(pid), Some(name)) = (self.pid, &self.process) {
            words.push(format!("process {pid} {name}"));
        }
        words.extend(self.tid.map(|tid| format!("thread {tid}")));
        words.extend(self.place.as_ref().map(|place| format!("at {place}")));
        words.join(", ")
    }
}
