//! Other people's readers of VMware checkpoints, as judges of ours.
//!
//! volatility3 and LeechCore come from the Python package index into a private
//! environment in the user's cache directory, once.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Newer ones may do as well; these were tried.
const PACKAGES: [&str; 2] = ["volatility3==2.28.2", "leechcorepyc==2.23.3"];

const SCRIPT: &str = include_str!("foreign.py");

/// A reader that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignReader {
    /// Reads memory beside the state file, `.vmss` or `.vmsn`.
    Volatility3,
    /// Reads the same, and large `.vmsn` files with the memory inside.
    LeechCore,
}

/// The memory that a foreign reader finds in a checkpoint, as a stream.
#[derive(Debug)]
pub struct ForeignMemory {
    child: Child,
    output: ChildStdout,
}

impl ForeignReader {
    /// Opens the file that this reader wants to be given: the memory file, or
    /// the state file if the memory is inside.
    pub fn open(self, path: &Path) -> Result<ForeignMemory> {
        let name = match self {
            Self::Volatility3 => "volatility3",
            Self::LeechCore => "leechcore",
        };
        let mut child = Command::new(python()?)
            .args(["-c", SCRIPT, name])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let output = child.stdout.take().context("the output of a child that was piped")?;
        Ok(ForeignMemory { child, output })
    }
}

impl ForeignMemory {
    /// The next range by address and length; its bytes must be read before the
    /// one after it. `None` once the reader has ended well.
    pub fn next_range(&mut self) -> Result<Option<(u64, u64)>> {
        let mut header = Vec::new();
        (&mut self.output).take(16).read_to_end(&mut header)?;
        if header.is_empty() {
            let status = self.child.wait()?;
            ensure!(status.success(), "the foreign reader failed: {status}");
            return Ok(None);
        }
        let words = header.as_chunks::<8>().0;
        let &[start, len] = words else { bail!("the foreign reader stopped in a header") };
        Ok(Some((u64::from_le_bytes(start), u64::from_le_bytes(len))))
    }

    /// The next bytes of the range.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<()> {
        self.output.read_exact(buf).context("the foreign reader stopped in a range")
    }
}

/// The interpreter of the private environment, made if it is not there.
fn python() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?;
    let dir = cache.join("vmss2core/lab/foreign-readers");
    let (python, ready) = (dir.join("bin/python"), dir.join("ready"));
    fs::create_dir_all(&dir)?;
    // Tests run at the same time; one installs, the others wait.
    let lock = fs::File::create(dir.join("lock"))?;
    lock.lock()?;
    if fs::read_to_string(&ready).ok().as_deref() != Some(&PACKAGES.join(" ")) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        fs::write(&ready, PACKAGES.join(" "))?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
