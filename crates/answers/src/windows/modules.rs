//! What `vmss2core modules` says about a Windows guest.

use std::io::{self, Write};

use serde::Serialize;
use vmss2core_guest::windows::{Module, Modules, UnloadedModule};

use super::{PdbInfo, windows_time};
use crate::escape::printable;
use crate::info::{Hex, ProblemInfo, problem_info};

/// Name and version of the JSON form of [`WindowsModulesReport`].
pub const WINDOWS_MODULES_SCHEMA: &str = "vmss2core/windows-modules/1";

/// Images in a Windows kernel.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsModulesReport {
    /// Always [`WINDOWS_MODULES_SCHEMA`].
    pub schema: &'static str,
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
            schema: WINDOWS_MODULES_SCHEMA,
            how: found.how.clone(),
            modules: found.modules.iter().map(module).collect(),
            unloaded: found.unloaded.iter().map(unloaded).collect(),
            problems: found.problems.iter().map(problem_info).collect(),
        }
    }

    /// Writes a line for each.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:<18} {:>9}  {:<20} PDB", "BASE", "SIZE", "NAME")?;
        for module in &self.modules {
            let pdb = module.pdb.as_ref().map_or("?", |pdb| pdb.path.as_str());
            let (base, bytes) = (module.base.to_string(), module.bytes);
            let name = printable(&module.name);
            writeln!(out, "{base:<18} {bytes:>9x}  {name:<20} {}", printable(pdb))?;
        }
        if !self.unloaded.is_empty() {
            writeln!(out, "unloaded")?;
        }
        for module in &self.unloaded {
            let (start, bytes) = (module.start, module.end.0.saturating_sub(module.start.0));
            let (name, time) = (printable(&module.name), module.time.as_deref().unwrap_or("?"));
            writeln!(out, "{:<18} {bytes:>9x}  {name:<20} {time}", start.to_string())?;
        }
        Ok(())
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
