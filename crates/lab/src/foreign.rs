//! Other people's readers of VMware checkpoints, as judges of ours.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::judges;

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
        let mut child = judges::python()?
            .command()
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
