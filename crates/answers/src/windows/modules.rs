//! What `vmss2core modules` says about a Windows guest.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::windows::{Module, Modules, UnloadedModule};

use super::{PdbInfo, windows_time};
use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};

/// Images in a Windows kernel.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsModulesReport {
    /// How they were found.
    pub how: String,
    /// Those that are loaded, the kernel first.
    pub modules: Vec<WindowsModuleInfo>,
    /// Those that were unloaded, the oldest first.
    pub unloaded: Vec<UnloadedModuleInfo>,
    /// What is missing.
    pub problems: Vec<ProblemInfo>,
}

/// An image that is loaded.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsModuleInfo {
    /// File name.
    pub name: String,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// First address.
    pub base: Hex,
    /// Length in memory.
    pub bytes: u32,
    /// `TimeDateStamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Hex>,
    /// What a symbol store knows the image by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its PDB, if the image's headers are in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<PdbInfo>,
}

/// An image that was unloaded.
#[derive(Clone, Debug, Serialize)]
pub struct UnloadedModuleInfo {
    /// File name.
    pub name: String,
    /// First address that it had.
    pub start: Hex,
    /// The first address behind it.
    pub end: Hex,
    /// When, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

impl WindowsModulesReport {
    /// The report about these images.
    pub fn new(found: &Modules) -> Self {
        Self {
            how: found.how.clone(),
            modules: found.modules.iter().map(module).collect(),
            unloaded: found.unloaded.iter().map(unloaded).collect(),
            problems: found.problems.iter().map(problem_info).collect(),
        }
    }
}

impl Answer for WindowsModulesReport {
    const SCHEMA: &'static str = "vmss2core/windows-modules/1";

    fn page(&self, page: &mut Page<'_>) {
        let columns = |heads: [&'static str; 4]| {
            let [base, size, name, rest] = heads;
            [
                Column::left(base, 18),
                Column::right(size, 9),
                Column::left(name, 20).after("  "),
                Column::left(rest, 0),
            ]
        };
        let loaded = |module: &WindowsModuleInfo| {
            let pdb = module.pdb.as_ref().map_or("?", |pdb| pdb.path.as_str());
            let (base, bytes) = (module.base.to_string(), format!("{:x}", module.bytes));
            [base, bytes, module.name.clone(), pdb.to_owned()].map(Cow::from)
        };
        page.table(&columns(["BASE", "SIZE", "NAME", "PDB"]), self.modules.iter().map(loaded));
        if !self.unloaded.is_empty() {
            page.line("unloaded");
        }
        let unloaded = |module: &UnloadedModuleInfo| {
            let bytes = format!("{:x}", module.end.0.saturating_sub(module.start.0));
            let time = module.time.as_deref().unwrap_or("?").to_owned();
            [module.start.to_string(), bytes, module.name.clone(), time].map(Cow::from)
        };
        page.table(&columns([""; 4]), self.unloaded.iter().map(unloaded));
    }
}

fn module(module: &Module) -> WindowsModuleInfo {
    WindowsModuleInfo {
        name: module.name.clone(),
        path: module.path.clone(),
        base: Hex(module.base.0),
        bytes: module.size_bytes,
        timestamp: module.timestamp.map(|stamp| Hex(stamp.into())),
        key: module.image_key(),
        pdb: module.pdb.as_ref().map(PdbInfo::new),
    }
}

fn unloaded(module: &UnloadedModule) -> UnloadedModuleInfo {
    UnloadedModuleInfo {
        name: module.name.clone(),
        start: Hex(module.start.0),
        end: Hex(module.end.0),
        time: windows_time(module.time),
    }
}
