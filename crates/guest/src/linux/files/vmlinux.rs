//! The kernel's file with symbols and debug information.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmss2core_mem::{Found, Gva};

use super::elf::{Elf, SymbolTable};
use super::system_map::{Agreement, agreement, unchecked};
use super::{FileError, build_id, wanted};
use crate::linux::dwarf::Dwarf;
use crate::linux::{Kernel, Symbol, Symbols, Types};

/// A kernel file, as built or as a package of debug symbols has it.
#[derive(Debug)]
pub struct Vmlinux {
    elf: Elf,
    spill_dir: PathBuf,
}

impl Vmlinux {
    /// Opens a file; of its content only the table of sections is read.
    pub fn open(path: &Path, spill_dir: &Path) -> Result<Self, FileError> {
        let elf = Elf::open(path)?;
        if elf.is_core {
            let why = "it is a core".into();
            return Err(FileError::NotElf { path: path.to_owned(), why });
        }
        Ok(Self { elf, spill_dir: spill_dir.to_owned() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.elf.path()
    }

    /// Whether it is a 64-bit kernel.
    pub fn is_64_bit(&self) -> bool {
        self.elf.is_64_bit
    }

    /// Its build id, in hexadecimal.
    pub fn build_id(&self) -> Option<String> {
        self.elf.build_id()
    }

    /// The `Linux version ...` line in it; files of debug symbols alone have none.
    pub fn banner(&self) -> Result<Option<String>, FileError> {
        let table = self.elf.symbol_table()?;
        let symbol = table.as_ref().and_then(|table| {
            table.iter().find(|symbol| symbol.name == "linux_banner").map(|symbol| symbol.address)
        });
        let text = symbol.and_then(|address| self.elf.text_at(address.0));
        Ok(text.map(|text| text.trim_end().to_owned()))
    }

    /// Its types: DWARF, else BTF.
    pub fn types(&self) -> Result<Found<Arc<dyn Types>>, FileError> {
        let path = self.path().display();
        let dwarf = self.elf.dwarf(&self.spill_dir)?;
        let is_split = dwarf.as_ref().is_some_and(Dwarf::is_split);
        if let Some(dwarf) = dwarf.filter(|_| !is_split) {
            return Ok(Found::new(Arc::new(dwarf), format!("DWARF of {path}")));
        }
        if let Some(btf) = self.elf.btf()? {
            return Ok(Found::new(Arc::new(btf), format!("BTF of {path}")));
        }
        let path = self.path().to_owned();
        Err(if is_split { FileError::Split { path } } else { FileError::NoTypes { path } })
    }

    /// Its symbols, where the guest has them; `None` if it has no symbol table.
    pub fn symbols_in(&self, kernel: &Kernel) -> Result<Option<Symbols>, FileError> {
        let Some(table) = self.elf.symbol_table()? else { return Ok(None) };
        Ok(Some(relocated(&table, kernel)))
    }

    /// Whether it is the file of a guest's kernel: an error if it is not, a
    /// sentence of doubt if that cannot be told.
    pub(super) fn check(
        &self,
        kernel: &Kernel,
        symbols: Option<&Symbols>,
    ) -> Result<Option<String>, FileError> {
        let (own, guests) = (self.build_id(), build_id(kernel));
        if let (Some(own), Some(guests)) = (&own, guests) {
            if own == guests {
                return Ok(None);
            }
            // Some releases wrote garbage into VMCOREINFO (6.1.113 to 6.1.118
            // among them), so the symbols have the last word.
            if symbols.is_some_and(|symbols| agreement(symbols, kernel) == Agreement::Same) {
                return Ok(None);
            }
            return Err(self.other(kernel, format!("its build id is {own}")));
        }
        match symbols.map_or(Agreement::Unknown, |symbols| agreement(symbols, kernel)) {
            Agreement::Same => Ok(None),
            Agreement::Other(why) => Err(self.other(kernel, why)),
            Agreement::Unknown => Ok(Some(unchecked(self.path()))),
        }
    }

    fn other(&self, kernel: &Kernel, why: String) -> FileError {
        let path = self.path().to_owned();
        FileError::OtherKernel { path, why, wanted: wanted(kernel) }
    }
}

fn relocated(table: &SymbolTable, kernel: &Kernel) -> Symbols {
    relocate(&table.iter().collect::<Vec<_>>(), kernel)
}

/// Symbols with the addresses that the guest has: KASLR moves all that lies in
/// the image, but not the per-CPU variables that x86-64 up to 6.14 links at 0, nor
/// absolute numbers.
pub(super) fn relocate(symbols: &[Symbol<'_>], kernel: &Kernel) -> Symbols {
    let linked = |name: &str| symbols.iter().find(|symbol| symbol.name == name);
    let linked = |name: &str| linked(name).map(|symbol| symbol.address.0);
    let slide = slide(kernel, &linked).unwrap_or(0);
    let first = linked("_text").or_else(|| linked("_stext")).unwrap_or(u64::MAX);
    let moved = symbols.iter().map(|symbol| match symbol.address.0 {
        address if address >= first && !is_absolute(symbol.kind) => {
            Symbol { address: Gva(address.wrapping_add(slide)), ..*symbol }
        }
        _ => *symbol,
    });
    Symbols::new(moved)
}

fn is_absolute(kind: char) -> bool {
    kind.eq_ignore_ascii_case(&'A')
}

/// How far the guest's kernel lies from where a file links it.
fn slide(kernel: &Kernel, linked: &dyn Fn(&str) -> Option<u64>) -> Option<u64> {
    let linux = kernel.linux();
    let info = linux.vmcoreinfo.as_ref();
    let by_vmcoreinfo = || Some(info?.value.symbol("_stext")?.0.wrapping_sub(linked("_stext")?));
    let by_image = || {
        let text = linux.text.as_ref().filter(|_| linux.is_64_bit)?;
        Some(text.value.start.0.wrapping_sub(linked("_text")?))
    };
    by_vmcoreinfo().or_else(by_image).or_else(|| Some(linux.kaslr_offset.as_ref()?.value))
}
