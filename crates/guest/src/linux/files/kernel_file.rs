//! A file of some kernel, by itself: no guest is there to run it.

use std::path::Path;
use std::sync::Arc;

use vmss2core_mem::Found;

use super::{FileError, Vmlinux, is_elf, read_btf};
use crate::linux::{KernelVersion, Layout};

/// Facts about its kernel in a file.
#[derive(Debug)]
pub struct KernelFile {
    /// Where members of structures lie.
    pub layout: Layout,
    /// Its version; files of types alone do not tell.
    pub version: Option<KernelVersion>,
    /// Whether it is a 64-bit kernel.
    pub is_64_bit: bool,
}

impl KernelFile {
    /// Reads a kernel with debug information, or BTF; `None` if the file is
    /// neither.
    pub fn open(path: &Path, spill_dir: &Path) -> Result<Option<Self>, FileError> {
        if is_elf(path)? {
            return match Vmlinux::open(path, spill_dir) {
                Ok(file) => Self::of_vmlinux(&file).map(Some),
                // Some other ELF file, a core for example.
                Err(FileError::NotElf { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        if !is_btf(path)? {
            return Ok(None);
        }
        let btf = read_btf(path)?;
        let is_64_bit = btf.word_len() == 8;
        let mut layout = Layout::default();
        layout.push(Found::new(Arc::new(btf), format!("BTF of {}", path.display())));
        Ok(Some(Self { layout, version: None, is_64_bit }))
    }

    fn of_vmlinux(file: &Vmlinux) -> Result<Self, FileError> {
        let banner = file.banner()?;
        let release = banner.as_ref().and_then(|line| line.strip_prefix("Linux version "));
        let mut layout = Layout::default();
        layout.push(file.types()?);
        Ok(Self {
            layout,
            version: release.and_then(KernelVersion::of_release),
            is_64_bit: file.is_64_bit(),
        })
    }
}

fn is_btf(path: &Path) -> Result<bool, FileError> {
    Ok(super::head(path)? == [0x9f, 0xeb, 1, 0])
}
