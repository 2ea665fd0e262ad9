//! Running the program on small checkpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use vmss2core_lab::vmware::{Cpu, Machine, Shape, page_of, write_checkpoint};

/// A directory of its own for each test, and the program in it.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With `vm.vmss` and `vm.vmem` of a machine with this many vCPUs.
    pub(crate) fn with_checkpoint(vcpus: u32) -> Self {
        let place = Self::new();
        place.add_checkpoint(&machine(vcpus), &Shape::default(), "vm");
        place
    }

    pub(crate) fn add_checkpoint(&self, machine: &Machine, shape: &Shape, stem: &str) {
        write_checkpoint(machine, shape, self.path(), stem).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn add_file(&self, name: &str, contents: &[u8]) {
        fs::write(self.file(name), contents).unwrap();
    }

    /// The program, to be run here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmss2core"));
        command.current_dir(self.path()).args(args).env("COLUMNS", "80").env("TMPDIR", self.path());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.output(line).into()
    }

    /// For output that is no text.
    pub(crate) fn output(&self, line: &str) -> Output {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.command(&args).output().unwrap()
    }

    /// Names of the files here, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// Bytes of memory of [`machine`].
pub(crate) const MEMORY: u64 = 24 << 20;

/// A guest with its paging off, so that virtual addresses are physical ones.
pub(crate) fn machine(vcpus: u32) -> Machine {
    let mut machine = Machine::synthetic_32_bit(MEMORY, vcpus);
    machine.cpus.iter_mut().for_each(unpage);
    machine
}

fn unpage(cpu: &mut Cpu) {
    const PE: u64 = 1;
    cpu.control = [PE, 0, 0, 0, 0];
    cpu.msrs.efer = Some(0);
}

/// The memory of [`machine`].
pub(crate) fn memory() -> Vec<u8> {
    (0..MEMORY / 4096).flat_map(page_of).collect()
}

/// Whether the file is an ELF core.
pub(crate) fn is_elf_core(path: &Path) -> bool {
    let head = fs::read(path).unwrap();
    head.starts_with(b"\x7fELF") && head.get(16..18) == Some(&[4, 0])
}
