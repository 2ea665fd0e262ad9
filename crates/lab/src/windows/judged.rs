//! What foreign programs find in a guest's memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::truth::{Module, Truth};
use crate::judges;
use crate::vmware::{Contents, Machine};

const SCRIPT: &str = include_str!("memprocfs.py");

/// What MemProcFS finds.
#[derive(Clone, Debug, Deserialize)]
pub struct MemProcFs {
    /// Build of Windows.
    pub build: u32,
    /// By number.
    pub processes: Vec<SeenProcess>,
    /// Of the kernel. None for 32-bit guests.
    pub modules: Vec<SeenModule>,
    /// Of notepad.
    pub user_modules: Vec<SeenModule>,
    /// The bytes that were asked for.
    pub dump_ranges: Vec<Vec<u8>>,
}

/// A process that was found.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in Process")]
pub struct SeenProcess {
    pub pid: u64,
    pub parent: u64,
    pub name: String,
    pub path: String,
    pub address: u64,
    pub root: u64,
    pub peb: u64,
}

/// A module that was found.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Module")]
pub struct SeenModule {
    pub name: String,
    pub base: u64,
    pub size: u64,
}

impl Machine {
    /// Writes memory as a plain image, in which physical addresses are offsets.
    pub fn write_raw(&self, path: &Path) -> Result<()> {
        let mut raw = Contents::default();
        for range in &self.memory {
            raw.grow_to(range.gpa);
            raw.push(&self.ram.slice(range.offset, range.len));
        }
        raw.write_to(path)
    }
}

/// What MemProcFS finds in an image, a checkpoint or a crash dump, and the bytes
/// at physical ranges of (address, length) of the dump that it makes of it.
pub fn memprocfs(path: &Path, dump_ranges: &[(u64, u64)]) -> Result<MemProcFs> {
    let mut command = judges::python()?.command();
    command.args(["-c", SCRIPT]).arg(path);
    command.args(dump_ranges.iter().map(|(start, len)| format!("{start:x},{len:x}")));
    said_by_memprocfs(command, path)
}

/// The crash dump that MemProcFS makes of an image, written to `to`.
pub fn dump_of_memprocfs(path: &Path, to: &Path) -> Result<()> {
    let mut command = judges::python()?.command();
    command.args(["-c", SCRIPT]).arg(path).arg(format!("to={}", to.display()));
    said_by_memprocfs(command, path).map(drop)
}

fn said_by_memprocfs(mut command: Command, path: &Path) -> Result<MemProcFs> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "memprocfs did not open {}:\n{said}", path.display());
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.with_context(|| format!("memprocfs said {text}"))?)
        .context("reading what memprocfs said")
}

impl MemProcFs {
    /// An error that says what is not as it was put into the guest.
    pub fn agrees(&self, truth: &Truth) -> Result<()> {
        ensure!(self.build == truth.build, "build {}", self.build);
        let mut processes: Vec<_> = self.processes.iter().collect();
        processes.sort_by_key(|process| process.pid);
        ensure!(processes.len() == truth.processes.len(), "{} processes", processes.len());
        for (seen, put) in processes.into_iter().zip(&truth.processes) {
            let same = (seen.pid, seen.parent, seen.address, seen.root, &seen.name, seen.peb)
                == (put.pid, put.parent, put.eprocess, put.dtb, &put.name, put.peb);
            let file = put.path.rsplit('\\').next().unwrap_or_default();
            ensure!(same && (put.path.is_empty() || seen.path == file), "{seen:x?} for {put:x?}");
        }
        if truth.paging.is_64_bit() {
            // Of a crash dump it lists the second first.
            let mut seen = self.modules.clone();
            let mut put: Vec<_> = truth.modules.iter().map(SeenModule::from).collect();
            for modules in [&mut seen, &mut put] {
                modules.sort_by_key(|module| module.base);
            }
            ensure!(seen == put, "modules {seen:x?}");
        }
        let user: Vec<_> = self.user_modules.iter().map(|one| one.name.as_str()).collect();
        ensure!(user == ["notepad.exe", "ntdll.dll"], "modules of notepad: {user:?}");
        Ok(())
    }
}

impl From<&Module> for SeenModule {
    fn from(module: &Module) -> Self {
        Self { name: module.name.clone(), base: module.base, size: module.size.into() }
    }
}

/// What ntoseye prints for `commands`, run in turn on a crash dump. The PDB of the
/// kernel lies in `dir`, and what ntoseye keeps goes there, too.
pub fn ntoseye(dump: &Path, dir: &Path, commands: &[&str]) -> Result<String> {
    let mut command = judges::ntoseye(dir)?;
    command.arg("--dump").arg(dump).args(["--plain-repl", "--batch", "--sympath-append"]).arg(dir);
    command.args(commands.iter().flat_map(|command| ["-c", command]));
    let output = command.output()?;
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "ntoseye: {}\n{text}\n{said}", output.status);
    Ok(text.into_owned())
}

/// A row of volatility 3's `windows.pslist`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are the columns'")]
pub struct PsListRow {
    #[serde(rename = "PID")]
    pub pid: u64,
    #[serde(rename = "PPID")]
    pub parent: u64,
    pub image_file_name: String,
    #[serde(rename = "Offset(V)")]
    pub offset: u64,
    pub threads: u64,
    pub exit_time: Option<String>,
}

/// A row of volatility 3's `windows.modules`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are the columns'")]
pub struct ModulesRow {
    pub base: u64,
    pub size: u64,
    pub name: String,
    pub path: String,
}

/// A row of volatility 3's `windows.info`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are the columns'")]
pub struct InfoRow {
    pub variable: String,
    pub value: String,
}

/// The rows that a plugin of volatility 3 prints for a file that holds the
/// memory of this guest. Its symbol table is written to `dir`.
pub fn volatility3<Row: DeserializeOwned>(
    path: &Path,
    truth: &Truth,
    plugin: &str,
    dir: &Path,
) -> Result<Vec<Row>> {
    let (below, table) = truth.volatility_symbols();
    let table_path = dir.join(below);
    fs::create_dir_all(table_path.parent().context("a table without a folder")?)?;
    fs::write(&table_path, table)?;
    fs::create_dir_all(dir.join("cache"))?;
    let mut command = judges::volatility3()?.command();
    // Tables that it made an index of before must not be found instead.
    command.args(["-q", "--offline", "-r", "json", "--cache-path"]).arg(dir.join("cache"));
    command.arg("-s").arg(dir).arg("-f").arg(path).arg(plugin);
    let output = command.output()?;
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "volatility3 {plugin}: {}\n{text}\n{said}", output.status);
    let Some(start) = text.find('[') else { bail!("volatility3 {plugin} said {text}\n{said}") };
    serde_json::from_str(text.get(start..).unwrap_or_default())
        .with_context(|| format!("reading what volatility3 {plugin} said: {text}"))
}
