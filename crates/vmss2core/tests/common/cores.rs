//! Runs the program on guests' checkpoints, each way of it once for all tests.
//!
//! Tests run side by side and in processes of their own, so what they share is
//! files, made under a lock, in a folder that is named by what they were made
//! from: the guest, the lab's writer and the program.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use vmss2core_lab::Guest;
use vmss2core_lab::hidden::BTF_HEADER;
use vmss2core_lab::vmware::{Machine, Registers, Shape, Written, write_checkpoint};

use super::elf::Core;
use super::evicted;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vmss2core");

/// What a run of the program left behind.
pub struct Run {
    /// The folder that it ran in.
    pub dir: PathBuf,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn core(&self, name: &str) -> Result<Core> {
        Core::open(&self.path(name))
    }

    /// The command line that the program proposed: the line that begins so and
    /// names this file.
    pub fn hint(&self, beginning: &str, file: &str) -> Result<String> {
        let fits = |line: &&str| {
            line.starts_with(beginning) && line.split_whitespace().any(|word| word == file)
        };
        let found = self.stderr.lines().map(str::trim).find(fits);
        found.map(str::to_owned).with_context(|| {
            format!("no line begins with {beginning:?} and names {file}:\n{}", self.stderr)
        })
    }

    /// Puts a link to a file beside what the program wrote.
    pub fn bring(&self, name: &str, file: &Path) -> Result<()> {
        let link = self.path(name);
        match std::os::unix::fs::symlink(file, &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// A change to a guest before it is wrapped.
type Change = fn(&Guest, &mut Machine) -> Result<()>;

/// How a guest is wrapped.
pub struct Wrap {
    name: &'static str,
    shape: Shape,
    change: Option<Change>,
}

impl Wrap {
    /// State and memory in two files, as today's products write them.
    pub fn split() -> Self {
        Self { name: "split", shape: Shape::default(), change: None }
    }

    /// Split, with registers as a product of 2012 wrote them.
    pub fn year_2012() -> Self {
        Self::split().with_registers_of_2012()
    }

    /// The same with registers as a product of 2012 wrote them.
    pub fn with_registers_of_2012(mut self) -> Self {
        self.shape.registers = Registers::Year2012;
        self.name = format!("{}-2012", self.name).leak();
        self
    }

    /// Split, with registers as one of 2016 wrote them.
    pub fn year_2016() -> Self {
        let shape = Shape { registers: Registers::Year2016, ..Shape::default() };
        Self { name: "year-2016", shape, change: None }
    }

    /// Everything in one file.
    pub fn monolithic() -> Self {
        use vmss2core_lab::vmware::Placement;
        let shape = Shape { placement: Placement::Monolithic, ..Shape::default() };
        Self { name: "monolithic", shape, change: None }
    }

    /// Split, from a guest of [`vmss2core_lab::hidden`].
    pub fn hidden() -> Self {
        Self { name: "hidden", ..Self::split() }
    }

    /// Split, from a guest whose VMCOREINFO is gone.
    pub fn without_vmcoreinfo() -> Self {
        Self { name: "no-vmcoreinfo", change: Some(remove_vmcoreinfo), ..Self::split() }
    }

    /// Split, from a guest whose kernel has no type information.
    pub fn without_types() -> Self {
        Self { name: "no-types", change: Some(remove_types), ..Self::split() }
    }

    /// Split, from a guest whose page cache has lost the ends of libraries.
    pub fn without_ends_of_libraries() -> Self {
        Self { name: "evicted-libraries", change: Some(evicted::libraries), ..Self::split() }
    }

    /// The same, and the end of the program `mt`.
    pub fn without_ends_of_files() -> Self {
        Self { name: "evicted-all", change: Some(evicted::all), ..Self::split() }
    }

    /// The program `mt` without its ELF header.
    pub fn without_header() -> Self {
        Self { name: "evicted-header", change: Some(evicted::header), ..Self::split() }
    }
}

/// Overwrites every text of VMCOREINFO, and the note with one, by zeroes.
fn remove_vmcoreinfo(_: &Guest, machine: &mut Machine) -> Result<()> {
    let text_len = |text: &[u8]| text.iter().take_while(|byte| **byte != 0).count();
    let texts = remove(machine, b"OSRELEASE=", text_len)?;
    let notes = remove(machine, b"VMCOREINFO\0", |_| b"VMCOREINFO".len())?;
    ensure!(texts + notes > 1, "the guest has no VMCOREINFO to take away");
    Ok(())
}

/// Overwrites the beginning of every piece of BTF.
fn remove_types(_: &Guest, machine: &mut Machine) -> Result<()> {
    let removed = remove(machine, &BTF_HEADER, |_| BTF_HEADER.len())?;
    ensure!(removed > 0, "the guest has no BTF to take away");
    Ok(())
}

/// Overwrites by zeroes what begins so, as long as `len` says, and counts it.
fn remove(machine: &mut Machine, beginning: &[u8], len: fn(&[u8]) -> usize) -> Result<usize> {
    const PIECE: usize = 1 << 20;
    let mut found = Vec::new();
    // What spans two pieces is in the overlap.
    let mut bytes = vec![0; PIECE + 4096];
    for at in (0..machine.ram.len()).step_by(PIECE) {
        machine.ram.read(at, &mut bytes)?;
        for start in memchr::memmem::find_iter(&bytes, beginning) {
            found.push((at + start as u64, len(bytes.get(start..).unwrap_or_default())));
        }
    }
    for (at, len) in &found {
        machine.ram.patch(*at, &vec![0; *len]);
    }
    Ok(found.len())
}

/// The guest's checkpoint.
pub fn checkpoint(guest: &Guest, wrap: &Wrap) -> Result<PathBuf> {
    let dir = folder(guest, &[wrap.name])?;
    let state = dir.join("guest.vmss");
    once(&dir, || {
        let mut machine = Machine::of_guest(guest)?;
        wrap.change.map_or(Ok(()), |change| change(guest, &mut machine))?;
        let Written { state: written, .. } =
            write_checkpoint(&machine, &wrap.shape, &dir, "guest")?;
        ensure!(written == state, "unexpected name of a checkpoint: {}", written.display());
        Ok(())
    })?;
    Ok(state)
}

/// Runs the program with `options` on the guest's checkpoint, in a folder of
/// its own. It must succeed.
pub fn converted(guest: &Guest, wrap: &Wrap, options: &[&str]) -> Result<Run> {
    converted_with(guest, wrap, options, &[0])
}

/// The same, where not all is in the checkpoint that is wanted.
pub fn incomplete(guest: &Guest, wrap: &Wrap, options: &[&str]) -> Result<Run> {
    converted_with(guest, wrap, options, &[0, 4])
}

fn converted_with(guest: &Guest, wrap: &Wrap, options: &[&str], codes: &[i32]) -> Result<Run> {
    let checkpoint = checkpoint(guest, wrap)?;
    let label = if options.is_empty() { "linear".to_owned() } else { options.concat() };
    let dir = folder(guest, &[wrap.name, &label])?;
    once(&dir, || {
        let output = Command::new(PROGRAM)
            .args(options)
            .arg(&checkpoint)
            .current_dir(&dir)
            .output()
            .context("running the program")?;
        fs::write(dir.join("stdout"), &output.stdout)?;
        fs::write(dir.join("stderr"), &output.stderr)?;
        let talk = String::from_utf8_lossy(&output.stderr);
        let is_right = output.status.code().is_some_and(|code| codes.contains(&code));
        ensure!(is_right, "vmss2core {options:?}: {}\n{talk}", output.status);
        Ok(())
    })?;
    let read = |name: &str| fs::read_to_string(dir.join(name));
    Ok(Run { stdout: read("stdout")?, stderr: read("stderr")?, dir })
}

/// `vmss2core F`: the address space of each vCPU.
pub fn linear(guest: &Guest) -> Result<Run> {
    converted(guest, &Wrap::split(), &[])
}

/// `vmss2core -M F`: physical memory.
pub fn physical(guest: &Guest) -> Result<Run> {
    converted(guest, &Wrap::split(), &["-M"])
}

/// `vmss2core -N6 F`: the Linux core.
pub fn linux(guest: &Guest) -> Result<Run> {
    converted(guest, &Wrap::split(), &["-N6"])
}

/// A folder for what is made of `guest` in this way, once for this state of the
/// program, the lab and the guest.
pub fn folder(guest: &Guest, way: &[&str]) -> Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    hash.write_u64(fingerprint()?);
    hash.write(&fs::read(guest.dir.join("guest.json"))?);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge");
    let name = format!("{}-{}", guest.name, way.join("-"));
    let dir = made.join(format!("{name}.{:016x}", hash.finish()));
    if !dir.exists() {
        forget_former(&made, &name, &dir)?;
        fs::create_dir_all(&dir)?;
    }
    Ok(dir)
}

/// Removes what other states of the program made: each is a gigabyte or so.
fn forget_former(made: &Path, name: &str, current: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(made) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path != current && path.file_stem().is_some_and(|stem| stem == name) {
            // Another test may be doing the same.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// Changes with the program and with the lab's writer.
fn fingerprint() -> Result<u64> {
    static FINGERPRINT: OnceLock<u64> = OnceLock::new();
    if let Some(known) = FINGERPRINT.get() {
        return Ok(*known);
    }
    let mut hash = DefaultHasher::new();
    hash.write(&fs::read(PROGRAM)?);
    hash_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/src/vmware"), &mut hash)?;
    Ok(*FINGERPRINT.get_or_init(|| hash.finish()))
}

fn hash_folder(dir: &Path, hash: &mut DefaultHasher) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash_folder(&path, hash)?;
        } else {
            hash.write(&fs::read(&path)?);
        }
    }
    Ok(())
}

/// Runs `make` unless it once succeeded for this folder.
pub fn once(dir: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let lock = File::create(dir.join("lock"))?;
    lock.lock()?;
    let done = dir.join("done");
    if !done.exists() {
        make().with_context(|| format!("in {}", dir.display()))?;
        File::create(done)?;
    }
    Ok(())
}
