//! The lab's Windows guests as checkpoints, the program's dumps of them, and what
//! must be in those.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use vmss2core_lab::judges;
use vmss2core_lab::vmware::{Machine, Placement, Shape, write_checkpoint};
use vmss2core_lab::windows::{self, MiniNt, Paging, Residence, Truth};

use super::cores::PROGRAM;
use super::dmp::Dmp;
use super::walker::{Mode, Physical, Walker};

/// A Windows guest in a folder of its own.
pub struct Windows {
    pub machine: Machine,
    pub truth: Truth,
    dir: TempDir,
}

/// What the readers of `windows_dump.py` found.
#[derive(Debug, Deserialize)]
pub struct Seen {
    /// Ranges of (address, length, CRC) by reader, or why there are none.
    pub pages: std::collections::BTreeMap<String, Value>,
    /// Registers in the header, by name.
    pub context: Value,
    /// Rows by plugin of volatility 3.
    pub plugins: std::collections::BTreeMap<String, Value>,
}

impl Windows {
    pub fn guest(name: &str) -> Result<Self> {
        let fixture = windows::fixture(name).with_context(|| format!("no guest {name}"))?;
        let MiniNt { machine, truth } = windows::make(&fixture)?;
        Ok(Self { machine, truth, dir: TempDir::new()? })
    }

    /// The same guest with other memory or registers, in another folder.
    pub fn with_machine(&self, machine: Machine) -> Result<Self> {
        Ok(Self { machine, truth: self.truth.clone(), dir: TempDir::new()? })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The state file of a checkpoint of it.
    pub fn checkpoint(&self, placement: Placement) -> Result<PathBuf> {
        let shape = Shape { placement, ..Shape::default() };
        let stem = format!("{placement:?}").to_lowercase();
        Ok(write_checkpoint(&self.machine, &shape, self.dir(), &stem)?.state)
    }

    /// What `convert` makes of a checkpoint.
    pub fn dump(&self, state: &Path, format: &str) -> Result<PathBuf> {
        let stem = state.file_stem().context("a state file")?.to_string_lossy();
        let out = self.dir().join(format!("{stem}.{format}.dmp"));
        let mut command = Command::new(PROGRAM);
        command.arg("convert").arg(state).arg("-o").arg(&out).args(["--format", format]);
        let output = command.args(["--progress=never", "--force"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // 4: something is missing, which is said.
        ensure!(matches!(output.status.code(), Some(0 | 4)), "{command:?}: {said}");
        ensure!(out.exists(), "{command:?} wrote nothing: {said}");
        Ok(out)
    }

    /// What `COMMAND FILE --json` says.
    pub fn json(command: &str, state: &Path) -> Result<Value> {
        let output = Command::new(PROGRAM).arg(command).arg(state).arg("--json").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // 4: something is missing, which is said.
        ensure!(matches!(output.status.code(), Some(0 | 4)), "{command}: {said}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("{command}: {said}"))
    }

    /// Whether Windows' own page tables are walked by no foreign reader.
    pub fn has_five_levels(&self) -> bool {
        self.truth.paging == Paging::FiveLevel
    }

    /// How its processors translate.
    pub fn mode(&self) -> Mode {
        match self.truth.paging {
            Paging::TwoLevel => Mode::TwoLevel,
            Paging::Pae => Mode::Pae,
            Paging::FourLevel => Mode::FourLevel,
            Paging::FiveLevel => Mode::FiveLevel,
        }
    }

    /// Physical pieces of kernel memory, as the guest was made.
    pub fn pieces(&self, va: u64, len: u64) -> Vec<(u64, u64)> {
        let truth = &self.truth;
        let present = truth.mappings.iter().filter(|one| one.residence == Residence::Present);
        present
            .filter(|one| one.root == truth.dtb)
            .filter_map(|one| {
                let (start, end) = (va.max(one.va), (va + len).min(one.va + one.len));
                (start < end).then(|| (one.pa + (start - one.va), end - start))
            })
            .collect()
    }

    /// What the program may write over the guest's memory: the debugger data block
    /// and its flag, registers of processors.
    pub fn may_change(&self) -> Vec<(u64, u64)> {
        let (kdbg, wide) = (&self.truth.kdbg, self.truth.paging.is_64_bit());
        let (context, special) = if wide { (0x4d0, 0xf0) } else { (0x2cc, 0x54) };
        let mut areas = vec![(kdbg.va, kdbg.plain.len() as u64)];
        areas.extend(kdbg.keys.map(|keys| (keys.flag, 1)));
        for cpu in &self.truth.cpus {
            areas.extend(cpu.context.map(|at| (at, context)));
            areas.push((cpu.embedded_context, context));
            areas.push((cpu.special_registers, special));
        }
        areas.into_iter().flat_map(|(va, len)| self.pieces(va, len)).collect()
    }

    /// The guest's own bytes.
    pub fn memory(&self, pa: u64, buf: &mut [u8]) -> Result<bool> {
        let end = pa + buf.len() as u64;
        let range =
            self.machine.memory.iter().find(|one| one.gpa <= pa && end <= one.gpa + one.len);
        let Some(range) = range else { return Ok(false) };
        self.machine.ram.read(range.offset + (pa - range.gpa), buf)?;
        Ok(true)
    }

    /// Runs the readers and the plugins on a dump.
    pub fn read_by_others(&self, dump: &Path, plugins: &[&str]) -> Result<Seen> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/windows_dump.py");
        let (below, table) = self.truth.volatility_symbols();
        let table_path = self.dir().join(below);
        std::fs::create_dir_all(table_path.parent().context("a table without a folder")?)?;
        std::fs::write(table_path, table)?;
        let mut python = judges::python()?.command();
        python.arg(script).arg(dump);
        if plugins.is_empty() {
            python.arg("")
        } else {
            python.arg(self.dir())
        };
        python.arg(if self.truth.paging.is_64_bit() { "64" } else { "32" }).args(plugins);
        let output = python.output()?;
        let (text, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{python:?}: {}\n{text}\n{said}", output.status);
        let line = text.lines().find(|line| line.starts_with('{'));
        serde_json::from_str(line.with_context(|| format!("the readers said {text}"))?)
            .context("reading what they said")
    }

    /// volatility 3 shows 48 bits of addresses.
    pub fn shortened(&self, va: u64) -> u64 {
        if self.truth.paging.is_64_bit() { va & 0xffff_ffff_ffff } else { va }
    }
}

/// The memory of a dump is the guest's, but for what may be changed.
pub fn same_memory(guest: &Windows, dump: &Dmp) -> Result<()> {
    let (mut ours, mut theirs) = (vec![0; 4096], vec![0; 4096]);
    let may_change = guest.may_change();
    for run in &dump.runs {
        for pa in (run.pa..run.pa + run.len).step_by(4096) {
            ensure!(dump.read(pa, &mut ours)?, "no page {pa:#x}");
            ensure!(guest.memory(pa, &mut theirs)?, "the guest has no page {pa:#x}");
            if ours != theirs {
                changed_where_it_may(pa, &ours, &theirs, &may_change)?;
            }
        }
    }
    Ok(())
}

fn changed_where_it_may(pa: u64, ours: &[u8], theirs: &[u8], areas: &[(u64, u64)]) -> Result<()> {
    for (at, _) in (pa..).zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs)
    {
        let allowed = areas.iter().any(|(start, len)| (*start..start + len).contains(&at));
        ensure!(allowed, "the byte at {at:#x} is not the guest's");
    }
    Ok(())
}

/// Every page that was mapped is found through the root in the dump's header, or
/// that of its process, and holds what the guest does: by the walker of these
/// tests.
pub fn mapped_as_put(guest: &Windows, dump: &Dmp) -> Result<usize> {
    ensure!(dump.root() == guest.truth.dtb, "root {:#x}", dump.root());
    let mut walked = 0;
    for one in &guest.truth.mappings {
        let root = if one.root == guest.truth.dtb { dump.root() } else { one.root };
        let space = Walker::new(dump, guest.mode(), root);
        let present = one.residence == Residence::Present;
        let found = space.translate(one.va)?;
        ensure!(found == present.then_some(one.pa), "{one:x?} is at {found:x?}");
        walked += 1;
    }
    Ok(walked)
}

/// Bytes at a kernel address of a dump, through the root in its header.
pub fn kernel_bytes(guest: &Windows, dump: &Dmp, va: u64, len: usize) -> Result<Vec<u8>> {
    let bytes = Walker::new(dump, guest.mode(), dump.root()).read(va, len)?;
    ensure!(bytes.len() == len, "{} of {len} bytes at {va:#x}", bytes.len());
    Ok(bytes)
}

/// Ranges of memory in a dump as (address, length, CRC), neighbours joined.
pub fn checksums(dump: &Dmp) -> Result<Value> {
    let mut out: Vec<(u64, u64, flate2::Crc)> = Vec::new();
    let mut page = vec![0; 4096];
    for run in &dump.runs {
        if out.last().is_none_or(|(pa, len, _)| pa + len != run.pa) {
            out.push((run.pa, 0, flate2::Crc::new()));
        }
        let Some((_, len, crc)) = out.last_mut() else { continue };
        for pa in (run.pa..run.pa + run.len).step_by(4096) {
            ensure!(dump.read(pa, &mut page)?, "no page {pa:#x}");
            crc.update(&page);
        }
        *len += run.len;
    }
    Ok(out.into_iter().map(|(pa, len, crc)| Value::from(vec![pa, len, crc.sum().into()])).collect())
}
