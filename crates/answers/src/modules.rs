//! What `vmss2core modules` prints.

use std::io::{self, Write};

use serde::Serialize;
use vmss2core_guest::linux::{Module, Modules};

use crate::escape::printable;
use crate::info::{Hex, ProblemInfo, RangeInfo, problem_info, range_info};

/// Name and version of the JSON form of [`ModulesReport`].
pub const MODULES_SCHEMA: &str = "vmss2core/modules/1";

/// How the text form looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModuleList {
    /// A table as `lsmod` prints it, with addresses.
    #[default]
    Table,
    /// Lines as in `/proc/modules`.
    Proc,
}

/// The modules of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct ModulesReport {
    /// Always [`MODULES_SCHEMA`].
    pub schema: &'static str,
    /// How they were found.
    pub how: String,
    /// The modules, the latest first.
    pub modules: Vec<ModuleInfo>,
    /// What is missing.
    pub problems: Vec<ProblemInfo>,
}

/// One module.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleInfo {
    /// Its name.
    pub name: String,
    /// Bytes of memory that it has.
    pub size: u64,
    /// How many use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// The modules that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_by: Option<Vec<String>>,
    /// It cannot be removed.
    pub permanent: bool,
    /// What it is about to do: `Live`, `Loading` or `Unloading`.
    pub state: &'static str,
    /// Where its code begins.
    pub address: Hex,
    /// Where its section `.text` begins: what `add-symbol-file` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Hex>,
    /// Its memory.
    pub parts: Vec<RangeInfo>,
    /// What taints the kernel because of it, as letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taint: Option<String>,
    /// The version it states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many symbols it has.
    pub symbols: u64,
}

impl ModulesReport {
    /// The report about some modules.
    pub fn new(modules: &Modules) -> Self {
        Self {
            schema: MODULES_SCHEMA,
            how: modules.how.clone(),
            modules: modules.modules.iter().map(module_info).collect(),
            problems: modules.problems.iter().map(problem_info).collect(),
        }
    }

    /// Prints the modules of a kernel with words of so many bytes.
    pub fn write_text(
        &self,
        list: ModuleList,
        word_len: u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let digits = if word_len == 8 { 16 } else { 8 };
        if list == ModuleList::Table {
            let title = format!("{:<19} {:>8}  {:<18} Used by", "Module", "Size", "Address");
            writeln!(out, "{title}")?;
        }
        for module in &self.modules {
            let (name, size) = (printable(&module.name), module.size);
            let (users, used_by) = (module.users(), module.used_by());
            let address = format!("0x{:0digits$x}", module.address.0);
            if list == ModuleList::Table {
                let line = format!("{name:<19} {size:>8}  {address:<18} {users} {used_by}");
                writeln!(out, "{}", line.trim_end())?;
                continue;
            }
            let used_by = match used_by.as_str() {
                "" => "-".to_owned(),
                names => format!("{names},"),
            };
            write!(out, "{name} {size} {users} {used_by} {} {address}", module.state)?;
            match module.taint.as_deref() {
                None | Some("") => writeln!(out)?,
                Some(letters) => writeln!(out, " ({})", printable(letters))?,
            }
        }
        Ok(())
    }
}

impl ModuleInfo {
    fn users(&self) -> String {
        self.users.map_or_else(|| "?".to_owned(), |users| users.to_string())
    }

    /// Names with commas between, the mark of what cannot be removed last.
    fn used_by(&self) -> String {
        let names = self.used_by.as_deref().unwrap_or_default().iter().map(|name| printable(name));
        let mark = self.permanent.then(|| "[permanent]".to_owned());
        names.chain(mark).collect::<Vec<_>>().join(",")
    }
}

fn module_info(module: &Module) -> ModuleInfo {
    ModuleInfo {
        name: module.name.clone(),
        size: module.size(),
        users: module.users,
        used_by: module.used_by.clone(),
        permanent: module.is_permanent,
        state: module.state.name(),
        address: Hex(module.base.0),
        text: module.text.map(|text| Hex(text.0)),
        parts: module.parts.iter().map(|part| range_info(part.start, part.end)).collect(),
        taint: module.taint.clone(),
        version: module.version.clone(),
        symbols: module.symbols.len() as u64,
    }
}
