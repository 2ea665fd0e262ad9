//! Packs an initial file system: a gzip'd cpio archive of the `newc` form
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// What a guest's first script wants to find.
pub(crate) const FOLDERS: [&str; 9] =
    ["bin", "programs", "modules", "lib", "lib64", "dev", "proc", "sys", "root"];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
pub(crate) struct Initramfs {
    out: GzEncoder<File>,
    count: u32,
}

impl Initramfs {
    /// Starts one at `path`, with the given folders.
    pub(crate) fn create(path: &Path, folders: &[&str]) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut archive = Self { out: GzEncoder::new(file, Compression::fast()), count: 0 };
        for folder in folders {
            archive.folder(folder)?;
        }
        Ok(archive)
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, name: &str) -> Result<()> {
        self.add(name, FOLDER, &[])
    }

    /// Adds a program that is a file here.
    pub(crate) fn program_from(&mut self, name: &str, path: &Path) -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.program(name, &bytes)
    }

    /// Adds a program.
    pub(crate) fn program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add(name, PROGRAM, bytes)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.add(name, LINK, target.as_bytes())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.add("TRAILER!!!", 0, &[])?;
        self.out.finish().context("ending the archive")?;
        Ok(())
    }

    fn add(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.count += 1;
        let name = name.trim_start_matches('/');
        let size = u32::try_from(bytes.len()).context("file too big for an archive")?;
        let name_size = u32::try_from(name.len() + 1)?;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
        // rdevminor namesize check
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = String::from("070701");
        for field in fields {
            write!(head, "{field:08x}")?;
        }
        head += name;
        head.push('\0');
        self.out.write_all(head.as_bytes())?;
        self.pad(head.len())?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())
    }

    /// Everything is padded to a multiple of 4 bytes.
    fn pad(&mut self, length: usize) -> Result<()> {
        let zeroes = [0; 3];
        let count = length.next_multiple_of(4) - length;
        self.out.write_all(zeroes.get(..count).unwrap_or_default())?;
        Ok(())
    }
}
