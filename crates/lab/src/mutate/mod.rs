//! Attacks on the program: checkpoints damaged where it looks, and packets that no
//! debugger sends.
//!
//! Where a command looks is learned from its own system calls (`strace`): damage
//! anywhere else would change nothing. Whatever is made up comes from a seed, so that
//! each run can be had again.

mod damage;
mod forms;
pub mod packets;
mod reads;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::vmware::{Machine, Random, Shape, write_checkpoint};
use crate::{make, windows};
use damage::{Damage, Files};
use forms::Form;
use reads::Read;
pub use run::{Ended, Limits};

/// Guests that are attacked if no other are named: each kind of page tables, of
/// kernels' structures and of systems.
pub const GUESTS: [&str; 9] = [
    "linux-6.1",
    "linux-sid",
    "linux-5.10",
    "linux-6.1-panic",
    "linux-6.1-i386",
    "linux-6.1-i386-pae",
    "win10-19041-x64",
    "win7-pae",
    "winxp-x86",
];

/// A guest under attack. What is learned of it serves all who attack it.
pub struct Target {
    name: String,
    machine: Machine,
    forms: &'static [Form],
    reads: Mutex<BTreeMap<usize, Arc<Vec<Read>>>>,
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

impl Target {
    /// A Linux guest of the lab, or a Windows fixture.
    pub fn of(name: &str) -> Result<Self> {
        let (machine, forms) = match windows::fixture(name) {
            Some(fixture) => (windows::make(&fixture)?.machine, forms::WINDOWS),
            None => (Machine::of_guest(&make::guest(name)?)?, forms::LINUX),
        };
        Ok(Self { name: name.to_owned(), machine, forms, reads: Mutex::default() })
    }
}

impl<'t> Attack<'t> {
    /// Makes a copy of the guest's checkpoint to attack `program` with.
    pub fn new(target: &'t Target, program: &Path, limits: Limits) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let written = write_checkpoint(&target.machine, &Shape::default(), dir.path(), "vm")?;
        let memory = written.memory.context("memory in a file of its own")?;
        let files = Files::open(&written.state, &memory)?;
        Ok(Self { target, program: program.to_owned(), limits, dir, files })
    }

    /// Runs what `seed` says.
    pub fn run(&mut self, seed: u64) -> Result<Run> {
        let mut random = Random::new(seed);
        let index = random.below(self.target.forms.len());
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
        let what = if is_changed { Some("an input was changed".to_owned()) } else { ended.fault() };
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
