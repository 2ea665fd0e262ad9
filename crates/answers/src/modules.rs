//! The answer of `vmss2core modules`.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::model::{Image, ImageUse, Images, Unloaded};

use crate::info::{Hex, ProblemInfo, RangeInfo, problem_info, range_info};
use crate::page::{Answer, Column, Page};
use crate::symbols::matches_pattern;
use crate::units::utc_time;
use crate::windows::PdbInfo;

/// How the text form looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModuleList {
    /// A table as `lsmod` prints it, with addresses.
    #[default]
    Table,
    /// Lines as in `/proc/modules`.
    Proc,
}

/// Modules, images or extensions of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct ModulesReport {
    /// How they were found; empty if they were not.
    pub how: String,
    /// Modules, images or extensions, in the order of the guest's own list.
    pub modules: Vec<ModuleInfo>,
    /// Those that were unloaded, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unloaded: Vec<UnloadedInfo>,
    /// Problems: what is missing.
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
    /// Path of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Bytes of memory that it has.
    pub size: u64,
    /// Where it begins, a module of Linux with its code; absent for one that is part of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Hex>,
    /// The version it states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `LC_UUID` of a Mach-O image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// `TimeDateStamp` of a PE image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Hex>,
    /// Key of a PE image in a symbol store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The PDB of a PE image, if its headers are in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<PdbInfo>,
    /// Details of a kernel that counts users of its modules.
    #[serde(flatten)]
    pub in_use: Option<ModuleUse>,
}

/// How a module of Linux is used, and what it consists of.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleUse {
    /// How many use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// The modules that use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_by: Option<Vec<String>>,
    /// It cannot be removed.
    pub permanent: bool,
    /// State: `Live`, `Loading`, `Unloading` or `Unformed`.
    pub state: &'static str,
    /// Where its section `.text` begins: what `add-symbol-file` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Hex>,
    /// Its memory.
    pub parts: Vec<RangeInfo>,
    /// Taints of the kernel because of it, as letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taint: Option<String>,
    /// How many symbols it has.
    pub symbols: u64,
}

/// An image that was unloaded.
#[derive(Clone, Debug, Serialize)]
pub struct UnloadedInfo {
    /// Its name.
    pub name: String,
    /// First address that it had.
    pub start: Hex,
    /// The first address after it.
    pub end: Hex,
    /// When, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix: Option<u64>,
}

impl ModulesReport {
    /// The report about these images.
    pub fn new(found: &Images, list: ModuleList) -> Self {
        Self {
            how: found.how.clone(),
            modules: found.loaded.iter().map(module_info).collect(),
            unloaded: found.unloaded.iter().map(unloaded_info).collect(),
            problems: found.problems.iter().map(problem_info).collect(),
            word_len: found.word_len,
            list,
        }
    }

    /// Keeps only modules of these names or patterns, if there are any. Error: a name that
    /// no module has.
    pub fn keep(&mut self, names: &[String]) -> Result<(), String> {
        let is_called = |module: &ModuleInfo, name: &String| {
            matches_pattern(name, &module.name)
                // Files have a dash where the kernel has an underscore.
                || matches_pattern(&name.replace('-', "_"), &module.name)
        };
        let is_absent = |name: &&String| !self.modules.iter().any(|one| is_called(one, name));
        if let Some(absent) = names.iter().find(is_absent) {
            return Err(absent.clone());
        }
        if !names.is_empty() {
            self.modules.retain(|module| names.iter().any(|name| is_called(module, name)));
            self.unloaded.clear();
        }
        Ok(())
    }

    /// Columns that no module has something for are left out.
    fn columns(&self) -> Vec<Column> {
        let longest = |text: fn(&ModuleInfo) -> usize| self.modules.iter().map(text).max();
        let name = longest(|module| module.name.chars().count()).unwrap_or(0);
        let has = |column, is_there| Some(column).filter(|_| is_there);
        let any = |known: fn(&ModuleInfo) -> bool| self.modules.iter().any(known);
        let columns = [
            Some(Column::left("Module", name.clamp(19, 48))),
            Some(Column::right("Size", 8)),
            Some(Column::left("Address", 18).after("  ")),
            has(Column::left("Used by", 0), any(|module| module.in_use.is_some())),
            has(
                Column::left("Version", 12),
                any(|module| module.in_use.is_none() && module.version.is_some()),
            ),
            has(Column::left("UUID", 0), any(|module| module.uuid.is_some())),
            has(Column::left("PDB", 0), any(|module| module.pdb.is_some())),
        ];
        columns.into_iter().flatten().collect()
    }

    fn table(&self, page: &mut Page<'_>) {
        let columns = self.columns();
        let or_unknown = |text: Option<&str>| text.unwrap_or("?").to_owned();
        let row = |module: &ModuleInfo| -> Vec<Cow<'static, str>> {
            let cell = |column: &Column| match column.head {
                "Module" => module.name.clone(),
                "Size" => module.size.to_string(),
                "Address" => self.address(module),
                "Used by" => module.in_use.as_ref().map(ModuleUse::summary).unwrap_or_default(),
                "Version" => or_unknown(module.version.as_deref()),
                "UUID" if module.address.is_none() => "-".to_owned(),
                "UUID" => or_unknown(module.uuid.as_deref()),
                _ => or_unknown(module.pdb.as_ref().map(|pdb| pdb.path.as_str())),
            };
            columns.iter().map(cell).map(Cow::from).collect()
        };
        page.table(&columns, self.modules.iter().map(row));
        if !self.unloaded.is_empty() {
            page.line("unloaded");
        }
        let unloaded = |module: &UnloadedInfo| -> Vec<Cow<'static, str>> {
            let size = module.end.0.saturating_sub(module.start.0).to_string();
            let time = module.unix.and_then(utc_time).unwrap_or_else(|| "?".to_owned());
            let start = hex(module.start, self.word_len);
            [module.name.clone(), size, start, time].into_iter().map(Cow::from).collect()
        };
        let [name, size, address, ..] = columns.as_slice() else { return };
        let columns = [*name, *size, *address, Column::left("", 0)].map(Column::without_head);
        page.table(&columns, self.unloaded.iter().map(unloaded));
    }

    fn lines_of_proc(&self, page: &mut Page<'_>) {
        for module in &self.modules {
            let Some(in_use) = &module.in_use else { continue };
            let (ModuleInfo { name, size, .. }, state) = (module, in_use.state);
            let (users, address) = (in_use.users(), self.address(module));
            let used_by = match in_use.used_by().as_str() {
                "" => "-".to_owned(),
                names => format!("{names},"),
            };
            let taint = match in_use.taint.as_deref() {
                None | Some("") => String::new(),
                Some(letters) => format!(" ({letters})"),
            };
            page.line(&format!("{name} {size} {users} {used_by} {state} {address}{taint}"));
        }
    }

    fn address(&self, module: &ModuleInfo) -> String {
        let address = module.address.map(|address| hex(address, self.word_len));
        address.unwrap_or_else(|| "in the kernel".to_owned())
    }
}

fn hex(address: Hex, word_len: u64) -> String {
    let digits = if word_len == 8 { 16 } else { 8 };
    format!("0x{:0digits$x}", address.0)
}

impl Answer for ModulesReport {
    const SCHEMA: &'static str = "vmss2core/modules/2";

    /// A table; lines as in `/proc/modules` only of modules that have what those tell, and
    /// nothing where there are none.
    fn page(&self, page: &mut Page<'_>) {
        let is_linux = self.modules.iter().any(|module| module.in_use.is_some());
        match self.list {
            ModuleList::Proc if is_linux || self.modules.is_empty() => self.lines_of_proc(page),
            ModuleList::Proc | ModuleList::Table => self.table(page),
        }
    }
}

impl ModuleUse {
    fn summary(&self) -> String {
        format!("{} {}", self.users(), self.used_by())
    }

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

fn module_info(image: &Image) -> ModuleInfo {
    ModuleInfo {
        name: image.name.clone(),
        path: image.path.clone(),
        size: image.size_bytes,
        address: image.address.map(|address| Hex(address.0)),
        version: image.version.clone(),
        uuid: image.uuid.clone(),
        timestamp: image.timestamp.map(|stamp| Hex(stamp.into())),
        key: image.key.clone(),
        pdb: image.pdb.as_ref().map(PdbInfo::new),
        in_use: image.in_use.as_ref().map(module_use),
    }
}

fn module_use(in_use: &ImageUse) -> ModuleUse {
    ModuleUse {
        users: in_use.users,
        used_by: in_use.used_by.clone(),
        permanent: in_use.is_permanent,
        state: in_use.state,
        text: in_use.text.map(|text| Hex(text.0)),
        parts: in_use.parts.iter().map(|part| range_info(part.start, part.end)).collect(),
        taint: in_use.taint.clone(),
        symbols: in_use.symbols,
    }
}

fn unloaded_info(image: &Unloaded) -> UnloadedInfo {
    UnloadedInfo {
        name: image.name.clone(),
        start: Hex(image.range.start),
        end: Hex(image.range.end),
        unix: image.unix,
    }
}
