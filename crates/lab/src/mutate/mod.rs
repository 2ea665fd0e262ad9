//! Attacks on the program: checkpoints damaged where it looks, and packets that no
//! debugger sends.
//!
//! Where a command looks is learned from its own system calls (`strace`): damage
//! anywhere else would change nothing. Whatever is made up comes from a seed, so that
//! each run can be repeated.

mod damage;
mod forms;
pub mod packets;
mod reads;
pub mod recorded;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::vmware::{
    Delivery, Machine, Placement, Random, Registers, Shape, Written, deliver, guest_dump,
    write_checkpoint,
};
use crate::{macos, make, windows};
use damage::{Damage, Files};
use forms::Form;
use reads::Read;
pub use run::{Ended, Limits};

/// Guests that are attacked if no other are named: each kind of page tables, of
/// kernels' structures, of systems and of checkpoints. See [`Target::of`].
pub const GUESTS: [&str; 22] = [
    "linux-6.1",
    "linux-6.1:2016",
    "linux-6.1:2012",
    "linux-6.1-production",
    "linux-6.1-production:2016",
    "linux-6.1-vectors",
    "linux-6.1-vectors:2012",
    "linux-6.1-kdump",
    "linux-6.1-panic:dump",
    "linux-6.1-4level:2016",
    "linux-6.12",
    "linux-sid",
    "linux-5.10",
    "linux-6.1-i386:2012",
    "linux-6.1-i386-pae",
    "win10-19041-x64",
    "win11-26100-x64:2016",
    "win7-pae:2012",
    "winxp-x86",
    "crashed-win2003:whole",
    "macos",
    "macos:2016",
];

/// Version of a monitor's debug dump.
const NEWEST_DUMP: u32 = 7;

/// A guest under attack. What is learned of it serves all who attack it.
pub struct Target {
    name: String,
    machine: Machine,
    layout: Layout,
    forms: &'static [Form],
    reads: Mutex<BTreeMap<usize, Arc<Vec<Read>>>>,
}

/// How a checkpoint is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// As a product of these years does, memory beside the state.
    Split(Registers),
    /// Memory in the state file.
    Whole,
    /// As a monitor's debug dump.
    Dump,
}

/// A copy of a checkpoint to be damaged, and the program.
pub struct Attack<'t> {
    target: &'t Target,
    program: PathBuf,
    limits: Limits,
    dir: TempDir,
    files: Files,
}

/// What a run has shown that it should not have.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The guest.
    pub guest: String,
    /// The seed of the run.
    pub seed: u64,
    /// The command line.
    pub line: String,
    /// What is wrong.
    pub what: String,
    /// What had been changed.
    pub damage: String,
    /// The end of what the program said.
    pub said: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guest, seed, line, what, damage, said } = self;
        writeln!(f, "{what}: {line}\n  {damage}")?;
        said.lines().try_for_each(|line| writeln!(f, "  | {line}"))?;
        write!(f, "  again: cargo xtask mutate --guest {guest} --seed {seed} --runs 1")
    }
}

/// One run.
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Its command line.
    pub line: String,
    /// How it ended.
    pub ended: Ended,
    /// What is wrong about that.
    pub finding: Option<Finding>,
}

impl Layout {
    fn of(name: &str) -> Result<Self> {
        Ok(match name {
            "2022" => Self::Split(Registers::Year2022),
            "2016" => Self::Split(Registers::Year2016),
            "2012" => Self::Split(Registers::Year2012),
            "whole" => Self::Whole,
            "dump" => Self::Dump,
            _ => bail!("{name} is none of 2022, 2016, 2012, whole and dump"),
        })
    }

    fn write(self, machine: &Machine, dir: &Path) -> Result<Written> {
        let shape = match self {
            Self::Split(registers) => Shape { registers, ..Shape::default() },
            Self::Whole => Shape { placement: Placement::Monolithic, ..Shape::default() },
            Self::Dump => {
                let dump = guest_dump(machine, NEWEST_DUMP)?;
                let files =
                    [("vm.vmss".to_owned(), dump), ("vm.vmem".to_owned(), machine.ram.clone())];
                return deliver(&files, Delivery::Plain, dir);
            }
        };
        write_checkpoint(machine, &shape, dir, "vm")
    }
}

impl Target {
    /// A Linux guest of the lab, a Windows fixture, or `macos`; after a colon the
    /// layout: the year of a product (2022 if none is named), `whole` or `dump`.
    pub fn of(name: &str) -> Result<Self> {
        let (guest, layout) = name.split_once(':').unwrap_or((name, "2022"));
        let (machine, forms) = match windows::fixture(guest) {
            Some(fixture) => (windows::make(&fixture)?.machine, forms::WINDOWS),
            None if guest == "macos" => {
                (macos::make(macos::Fixture::default())?.machine, forms::MACOS)
            }
            None => (Machine::of_guest(&make::guest(guest)?)?, forms::LINUX),
        };
        let layout = Layout::of(layout)?;
        Ok(Self { name: name.to_owned(), machine, layout, forms, reads: Mutex::default() })
    }

    /// Writes its checkpoint to `dir`; returns its state file.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        Ok(self.layout.write(&self.machine, dir)?.state)
    }

    /// What `random` makes of it: seldom one that reads all memory, which takes long and
    /// looks at little of it.
    fn form(&self, random: &mut Random) -> Result<usize> {
        const SELDOM: usize = 8;
        loop {
            let index = random.below(self.forms.len());
            let form = self.forms.get(index).context("no form of a command")?;
            let is_possible = self.layout != Layout::Whole || !form.line.contains(".vmem");
            if is_possible && (!form.reads_all || random.below(SELDOM) == 0) {
                return Ok(index);
            }
        }
    }
}

impl<'t> Attack<'t> {
    /// Makes a copy of the guest's checkpoint to attack `program` with.
    pub fn new(target: &'t Target, program: &Path, limits: Limits) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let written = target.layout.write(&target.machine, dir.path())?;
        let files = Files::open(&written.state, written.memory.as_deref())?;
        Ok(Self { target, program: program.to_owned(), limits, dir, files })
    }

    /// Runs what `seed` says.
    pub fn run(&mut self, seed: u64) -> Result<Run> {
        let mut random = Random::new(seed);
        let index = self.target.form(&mut random)?;
        let form = self.target.forms.get(index).context("no form of a command")?;
        let reads = self.reads(index, form)?;
        let damage = Damage::random(&mut random, &reads, &self.files)?;
        let line = format!("vmss2core {}", form.line);
        let undo = self.files.apply(&damage)?;
        let before = self.files.stamps()?;
        let ended = run::run(&self.program, form, self.dir.path(), self.limits);
        let is_changed = self.files.stamps()? != before;
        self.files.restore(undo)?;
        let ended = ended?;
        let what = if is_changed {
            Some("an input was changed".to_owned())
        } else {
            ended.fault(self.limits)
        };
        let finding = what.map(|what| Finding {
            guest: self.target.name.clone(),
            seed,
            line: line.clone(),
            what,
            damage: damage.to_string(),
            said: ended.said.clone(),
        });
        Ok(Run { seed, line, ended, finding })
    }

    /// Where a command looks in an undamaged checkpoint.
    fn reads(&self, index: usize, form: &Form) -> Result<Arc<Vec<Read>>> {
        let known = || self.target.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reads) = known().get(&index) {
            return Ok(Arc::clone(reads));
        }
        let reads = reads::learn(&self.program, form, self.dir.path())?;
        let reads = Arc::new(reads);
        known().insert(index, Arc::clone(&reads));
        Ok(reads)
    }
}
