//! Files of modules: the order of their sections, which memory does not tell.
//!
//! The kernel lists the sections that it loaded (`sect_attrs`) without those that
//! it only looks at (`.modinfo`, `__versions`); a debugger counts all that its
//! file calls allocated.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use object::elf::SHF_ALLOC;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, FileKind, elf};
use vmss2core_mem::Gva;

use crate::linux::{Kernel, Module};

/// Debian's largest has 10 MiB, with debug information a few hundred.
const MOST_BYTES: u64 = 1 << 30;
/// Directories and files that are looked at below one.
const MOST_ENTRIES: usize = 1 << 17;
const BUILD_ID: &str = ".note.gnu.build-id";

/// The file of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// Names of its allocated sections, in order.
    sections: Vec<String>,
    /// Content of its build id note.
    build_id: Option<Vec<u8>>,
}

impl ModuleFile {
    /// Reads a file; `None` if it is no ELF file of a module.
    pub fn read(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        match FileKind::parse(bytes.as_slice()).ok()? {
            FileKind::Elf32 => sections::<elf::FileHeader32<Endianness>>(&bytes),
            FileKind::Elf64 => sections::<elf::FileHeader64<Endianness>>(&bytes),
            _ => None,
        }
    }

    /// Files named `NAME.ko` below a directory, by the name of the module: that has
    /// an underscore where a file may have a hyphen.
    pub fn below(dir: &Path) -> HashMap<String, PathBuf> {
        let mut found = HashMap::new();
        let mut seen = 0_usize;
        let mut todo = vec![dir.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                seen = seen.saturating_add(1);
                if seen > MOST_ENTRIES {
                    return found;
                }
                let path = entry.path();
                // What a link leads to could lead back.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko")
                    && let Some(stem) = path.file_stem()
                {
                    found.insert(stem.to_string_lossy().replace('-', "_"), path);
                }
            }
        }
        found
    }
}

fn sections<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<ModuleFile> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let table = header.sections(endian, bytes).ok()?;
    let mut file = ModuleFile { sections: Vec::new(), build_id: None };
    for section in table.iter() {
        if !section.sh_flags(endian).contains(SHF_ALLOC) {
            continue;
        }
        let name = table.section_name(endian, section).ok()?;
        let name = String::from_utf8_lossy(name).into_owned();
        if name == BUILD_ID {
            file.build_id = Some(section.data(endian, bytes).ok()?.to_vec());
        }
        file.sections.push(name);
    }
    Some(file)
}

impl Kernel {
    /// Addresses of all sections that a module's file calls allocated, in its order;
    /// 0 for those that are not in memory. `None` if the sections in memory cannot
    /// be told, or the file is of another build.
    pub fn module_addresses(&self, module: &Module, file: &ModuleFile) -> Option<Vec<Gva>> {
        let loaded = self.module_sections(module);
        let find = |name: &str| loaded.iter().find(|(have, _)| have == name).map(|(_, at)| *at);
        find(".text")?;
        if let (Some(id), Some(at)) = (&file.build_id, find(BUILD_ID)) {
            let mut in_memory = vec![0; id.len()];
            self.read(at, &mut in_memory, "build id of a module").ok()?;
            if in_memory != *id {
                return None;
            }
        }
        Some(file.sections.iter().map(|name| find(name).unwrap_or(Gva(0))).collect())
    }
}
