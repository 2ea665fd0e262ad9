//! ELF files as kernels are, read by their sections: a kernel with debug
//! information has half a gigabyte, of which little is wanted.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use object::read::ReadCache;
use object::{CompressionFormat, Object, ObjectSection, SectionFlags};
use vmss2core_formats::elf as raw;
use vmss2core_mem::{Gva, ReadAt};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::FileError;
use crate::linux::dwarf::{DebugSections, Dwarf, Section as DwarfSection};
use crate::linux::{Btf, Symbol};

/// Sections held in memory are not longer than this: those of a kernel have
/// 10 MiB at most.
const LONGEST_HELD: u64 = 256 << 20;
/// Nor are those that are unpacked into a file: `.debug_info` of a kernel with
/// everything built in has 1 GiB.
const LONGEST_UNPACKED: u64 = 8 << 30;

/// Type and name of a note with a build id (`NT_GNU_BUILD_ID`); lengths of name
/// and id lie before it.
const BUILD_ID_NOTE: &[u8] = b"\x03\0\0\0GNU\0";

/// An ELF file for x86.
#[derive(Debug)]
pub(super) struct Elf {
    path: PathBuf,
    file: Arc<File>,
    pub(super) is_64_bit: bool,
    /// Core files are no kernels.
    pub(super) is_core: bool,
    sections: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    index: usize,
    address: u64,
    offset: u64,
    stored_len: u64,
    compression: CompressionFormat,
    letter: char,
}

impl Elf {
    /// Reads the table of sections.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let read = |source| FileError::Read { path: path.to_owned(), source };
        let not_elf = |why: String| FileError::NotElf { path: path.to_owned(), why };
        let file = Arc::new(File::open(path).map_err(read)?);
        let cache = ReadCache::new(&*file);
        let elf = object::File::parse(&cache).map_err(|error| not_elf(error.to_string()))?;
        if elf.format() != object::BinaryFormat::Elf || !elf.is_little_endian() {
            return Err(not_elf("it is for another kind of machine".into()));
        }
        let sections = elf.sections().filter_map(|section| describe(&section).ok()).collect();
        let (is_64_bit, is_core) = (elf.is_64(), elf.kind() == object::ObjectKind::Core);
        Ok(Self { path: path.to_owned(), file: file.clone(), is_64_bit, is_core, sections })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.stored_len > 0)
    }

    /// The types of `.BTF`.
    pub(super) fn btf(&self) -> Result<Option<Btf>, FileError> {
        let Some(section) = self.section(".BTF") else { return Ok(None) };
        let bytes = self.bytes(section, ".BTF")?;
        let error = |source| FileError::Btf { path: self.path.clone(), source };
        Btf::parse(bytes).map(Some).map_err(error)
    }

    /// The types of the debug sections.
    pub(super) fn dwarf(&self, spill_dir: &Path) -> Result<Option<Dwarf>, FileError> {
        let Some(info) = self.section(".debug_info") else { return Ok(None) };
        let held = |name: &'static str| {
            self.section(name).map_or(Ok(Vec::new()), |section| self.bytes(section, name))
        };
        Ok(Some(Dwarf::new(DebugSections {
            abbrev: held(".debug_abbrev")?,
            strings: held(".debug_str")?,
            line_strings: held(".debug_line_str")?,
            string_offsets: held(".debug_str_offsets")?,
            info: self.lazy(info, ".debug_info", spill_dir)?,
        })))
    }

    /// A section that is read when it is needed; a compressed one is unpacked
    /// into an unnamed file, because it does not fit into memory.
    fn lazy(
        &self,
        section: &Section,
        name: &'static str,
        spill_dir: &Path,
    ) -> Result<DwarfSection, FileError> {
        if section.compression == CompressionFormat::None {
            let file: Arc<dyn ReadAt> = self.file.clone();
            return Ok(DwarfSection::new(file, section.offset, section.stored_len));
        }
        let error = |source| FileError::Read { path: self.path.clone(), source };
        let mut spill = tempfile::tempfile_in(spill_dir)
            .map_err(|source| FileError::Read { path: spill_dir.to_owned(), source })?;
        let mut unpacked = self.unpacked(section, name)?.take(LONGEST_UNPACKED);
        let len = io::copy(&mut unpacked, &mut spill).map_err(error)?;
        spill.flush().map_err(error)?;
        Ok(DwarfSection::new(Arc::new(spill), 0, len))
    }

    /// All of a section.
    fn bytes(&self, section: &Section, name: &'static str) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        let mut unpacked = self.unpacked(section, name)?.take(LONGEST_HELD + 1);
        unpacked
            .read_to_end(&mut bytes)
            .map_err(|source| FileError::Read { path: self.path.clone(), source })?;
        let len = bytes.len() as u64;
        if len > LONGEST_HELD {
            return Err(FileError::TooLong { path: self.path.clone(), len });
        }
        Ok(bytes)
    }

    /// A section's content, unpacked while it is read.
    fn unpacked(
        &self,
        section: &Section,
        name: &'static str,
    ) -> Result<Box<dyn Read + '_>, FileError> {
        let stored = Positioned { file: &self.file, at: section.offset, left: section.stored_len };
        match section.compression {
            CompressionFormat::None => Ok(Box::new(stored)),
            CompressionFormat::Zlib => Ok(Box::new(flate2::read::ZlibDecoder::new(stored))),
            CompressionFormat::Zstandard => {
                let decoder = zstd::Decoder::new(stored);
                let error = |source| FileError::Read { path: self.path.clone(), source };
                Ok(Box::new(decoder.map_err(error)?))
            }
            other => Err(FileError::Compressed {
                path: self.path.clone(),
                section: name,
                how: format!("{other:?}").to_lowercase(),
            }),
        }
    }

    /// The build id, in hexadecimal.
    pub(super) fn build_id(&self) -> Option<String> {
        [".notes", ".note.gnu.build-id"].iter().find_map(|name| {
            let notes = self.bytes(self.section(name)?, ".notes").ok()?;
            build_ids(&notes).into_iter().next()
        })
    }

    /// The text that lies at an address up to a NUL, if the file holds it.
    pub(super) fn text_at(&self, address: u64) -> Option<String> {
        let holds = |section: &&Section| {
            section.address > 0
                && section.stored_len > 0
                && section.compression == CompressionFormat::None
                && (section.address..section.address.saturating_add(section.stored_len))
                    .contains(&address)
        };
        let section = self.sections.iter().find(holds)?;
        let skip = address.saturating_sub(section.address);
        let len = usize::try_from(section.stored_len.saturating_sub(skip)).ok()?.min(4096);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(section.offset.checked_add(skip)?, &mut bytes).ok()?;
        bytes.truncate(memchr::memchr(0, &bytes)?);
        String::from_utf8(bytes).ok()
    }

    /// The raw symbol table.
    pub(super) fn symbol_table(&self) -> Result<Option<SymbolTable>, FileError> {
        let (Some(symbols), Some(names)) = (self.section(".symtab"), self.section(".strtab"))
        else {
            return Ok(None);
        };
        let (symbols, names) = (self.bytes(symbols, ".symtab")?, self.bytes(names, ".strtab")?);
        let count =
            self.sections.iter().map(|section| section.index.saturating_add(1)).max().unwrap_or(0);
        let mut letters = vec!['?'; count];
        for section in &self.sections {
            if let Some(letter) = letters.get_mut(section.index) {
                *letter = section.letter;
            }
        }
        Ok(Some(SymbolTable { symbols, names, letters, is_64_bit: self.is_64_bit }))
    }
}

/// The fields of a section that matter.
fn describe<'data>(section: &impl ObjectSection<'data>) -> object::Result<Section> {
    let stored = section.compressed_file_range()?;
    let letter = match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => letter(sh_flags.0, stored.compressed_size > 0),
        _ => '?',
    };
    Ok(Section {
        // Old compilers told compressed sections by their names.
        name: section.name()?.replacen(".zdebug_", ".debug_", 1),
        index: section.index().0,
        address: section.address(),
        offset: stored.offset,
        stored_len: stored.compressed_size,
        compression: stored.format,
        letter,
    })
}

/// The letter that `nm` prints for the global symbols of a section.
fn letter(flags: u64, is_stored: bool) -> char {
    let has = |flag| flags & flag != 0;
    match () {
        () if has(raw::SHF_EXECINSTR) => 'T',
        () if !has(raw::SHF_ALLOC) => 'N',
        () if !is_stored => 'B',
        () if has(raw::SHF_WRITE) => 'D',
        () => 'R',
    }
}

/// Some bytes of a file, read from front to back.
struct Positioned<'f> {
    file: &'f File,
    at: u64,
    left: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.file.read_exact_at(self.at, buf.split_at_mut(len).0)?;
        self.at = self.at.saturating_add(len as u64);
        self.left = self.left.saturating_sub(len as u64);
        Ok(len)
    }
}

/// A symbol table as it is in the file.
pub(super) struct SymbolTable {
    symbols: Vec<u8>,
    names: Vec<u8>,
    /// By section.
    letters: Vec<char>,
    is_64_bit: bool,
}

impl SymbolTable {
    /// All symbols that have a name and a place, with the addresses of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        let wide = if self.is_64_bit { self.symbols.as_slice() } else { &[] };
        let narrow = if self.is_64_bit { &[] } else { self.symbols.as_slice() };
        let wide = elements::<raw::Sym64>(wide).iter().map(raw::Sym::from);
        let narrow = elements::<raw::Sym32>(narrow).iter().map(raw::Sym::from);
        wide.chain(narrow).filter_map(|symbol| self.symbol(&symbol))
    }

    fn symbol(&self, symbol: &raw::Sym) -> Option<Symbol<'_>> {
        let is_named = !matches!(symbol.info & 0xf, raw::STT_SECTION | raw::STT_FILE);
        if !is_named || symbol.section == raw::SHN_UNDEF {
            return None;
        }
        let rest = self.names.get(usize::try_from(symbol.name).ok()?..)?;
        let name = std::str::from_utf8(rest.get(..memchr::memchr(0, rest)?)?).ok()?;
        let kind = self.kind(symbol);
        (!name.is_empty()).then_some(Symbol { address: Gva(symbol.value), kind, name })
    }

    fn kind(&self, symbol: &raw::Sym) -> char {
        let letter = match symbol.section {
            raw::SHN_ABS => 'A',
            section => self.letters.get(usize::from(section)).copied().unwrap_or('?'),
        };
        match symbol.info >> 4 {
            raw::STB_LOCAL => letter.to_ascii_lowercase(),
            raw::STB_WEAK => 'W',
            _ => letter,
        }
    }
}

fn elements<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> &[T] {
    let count = bytes.len().checked_div(size_of::<T>()).unwrap_or(0);
    <[T]>::ref_from_prefix_with_elems(bytes, count).map_or(&[], |(elements, _)| elements)
}

/// The GNU build ids among some notes, in hexadecimal.
pub(super) fn build_ids(notes: &[u8]) -> Vec<String> {
    let start = memmem::Finder::new(BUILD_ID_NOTE);
    let ids = start.find_iter(notes).filter_map(|at| {
        let len =
            notes.get(at.checked_sub(4)?..)?.first_chunk().map(|len| u32::from_le_bytes(*len));
        let len = usize::try_from(len?).ok().filter(|len| (8..=64).contains(len))?;
        notes.get(at.saturating_add(BUILD_ID_NOTE.len())..)?.get(..len)
    });
    ids.map(hexadecimal).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
