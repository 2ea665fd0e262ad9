//! What `vmss2core modules` prints.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::linux::{Module, Modules};

use crate::info::{Hex, ProblemInfo, RangeInfo, problem_info, range_info};
use crate::page::{Answer, Column, Page};

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
    /// How they were found.
    pub how: String,
    /// The modules, the latest first.
    pub modules: Vec<ModuleInfo>,
    /// What is missing.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    word_len: u64,
    #[serde(skip)]
    list: ModuleList,
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
    /// The report about some modules of a kernel with words of so many bytes.
    pub fn new(modules: &Modules, word_len: u64, list: ModuleList) -> Self {
        Self {
            how: modules.how.clone(),
            modules: modules.modules.iter().map(module_info).collect(),
            problems: modules.problems.iter().map(problem_info).collect(),
            word_len,
            list,
        }
    }

    fn table(&self, page: &mut Page<'_>) {
        let columns = [
            Column::left("Module", 19),
            Column::right("Size", 8),
            Column::left("Address", 18).after("  "),
            Column::left("Used by", 0),
        ];
        let row = |module: &ModuleInfo| {
            let (size, address) = (module.size.to_string(), self.address(module));
            let used_by = format!("{} {}", module.users(), module.used_by());
            [module.name.clone(), size, address, used_by].map(Cow::from)
        };
        page.table(&columns, self.modules.iter().map(row));
    }

    fn lines_of_proc(&self, page: &mut Page<'_>) {
        for module in &self.modules {
            let ModuleInfo { name, size, state, .. } = module;
            let (users, address) = (module.users(), self.address(module));
            let used_by = match module.used_by().as_str() {
                "" => "-".to_owned(),
                names => format!("{names},"),
            };
            let taint = match module.taint.as_deref() {
                None | Some("") => String::new(),
                Some(letters) => format!(" ({letters})"),
            };
            page.line(&format!("{name} {size} {users} {used_by} {state} {address}{taint}"));
        }
    }

    fn address(&self, module: &ModuleInfo) -> String {
        let digits = if self.word_len == 8 { 16 } else { 8 };
        format!("0x{:0digits$x}", module.address.0)
    }
}

impl Answer for ModulesReport {
    const SCHEMA: &'static str = "vmss2core/modules/1";

    fn page(&self, page: &mut Page<'_>) {
        match self.list {
            ModuleList::Table => self.table(page),
            ModuleList::Proc => self.lines_of_proc(page),
        }
    }
}

impl ModuleInfo {
    fn users(&self) -> String {
        self.users.map_or_else(|| "?".to_owned(), |users| users.to_string())
    }

    /// Names with commas between, the mark of what cannot be removed last.
    fn used_by(&self) -> String {
        let names = self.used_by.as_deref().unwrap_or_default().iter().map(String::as_str);
        let mark = self.permanent.then_some("[permanent]");
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
