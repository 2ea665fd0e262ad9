//! Images in the kernel: those that are loaded, and those that were.

use std::sync::OnceLock;

use vmss2core_mem::{Gva, Problem};

use super::pe::{self, Headers};
use super::view::element;
use super::{Kernel, PdbIdentity, Section, kdbg_fields, list};

const MAX_MODULES: usize = 4096;
/// `MmUnloadedDrivers` has so many slots.
const MAX_UNLOADED: u64 = 50;

/// Images of the kernel.
#[derive(Debug, Default)]
pub struct Modules {
    /// In the order of the list: the kernel first.
    pub modules: Vec<Module>,
    /// Images that were unloaded, the oldest first.
    pub unloaded: Vec<UnloadedModule>,
    /// How the list was found.
    pub how: String,
    /// Problems: missing or broken data.
    pub problems: Vec<Problem>,
}

/// An image in the kernel.
#[derive(Debug)]
pub struct Module {
    /// Address of its `KLDR_DATA_TABLE_ENTRY`.
    pub entry: Gva,
    /// `BaseDllName`.
    pub name: String,
    /// `FullDllName`.
    pub path: Option<String>,
    /// First address.
    pub base: Gva,
    /// `SizeOfImage`.
    pub size_bytes: u32,
    /// Its entry point.
    pub entry_point: Option<Gva>,
    /// `TimeDateStamp`: of the header, or of the list's entry if the header is not
    /// in memory and the other entries agree with their headers.
    pub timestamp: Option<u32>,
    /// Identity of its PDB, if that is in memory.
    pub pdb: Option<PdbIdentity>,
    pub(super) headers: Option<Headers>,
    exports: OnceLock<Vec<(u32, String)>>,
}

/// An image that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnloadedModule {
    /// Its name.
    pub name: String,
    /// First address that it had.
    pub start: Gva,
    /// The first address behind it.
    pub end: Gva,
    /// When, in 100 ns since 1601.
    pub time: u64,
}

/// A place in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'k> {
    /// Name of the image, without its extension.
    pub module: &'k str,
    /// Distance from its start.
    pub offset: u64,
    /// The exported name of the function that it is in, and the distance from its
    /// start; `None` where nothing vouches for that.
    pub symbol: Option<(&'k str, u64)>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { module, offset, symbol } = self;
        match symbol {
            Some((name, 0)) => write!(f, "{module}!{name}"),
            Some((name, distance)) => write!(f, "{module}!{name}+{distance:#x}"),
            None => write!(f, "{module}+{offset:#x}"),
        }
    }
}

impl Module {
    /// Whether an address lies in it.
    pub fn contains(&self, gva: Gva) -> bool {
        gva.0.checked_sub(self.base.0).is_some_and(|at| at < u64::from(self.size_bytes))
    }

    /// Its sections; none if its headers are not in memory.
    pub fn sections(&self) -> &[Section] {
        self.headers.as_ref().map_or(&[], |headers| &headers.sections)
    }

    /// Key of the image in a symbol store: time stamp and size.
    pub fn image_key(&self) -> Option<String> {
        Some(format!("{:08X}{:x}", self.timestamp?, self.size_bytes))
    }

    fn stem(&self) -> &str {
        let stem = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
        // As debuggers call the kernel, whatever its file.
        if stem.eq_ignore_ascii_case("ntoskrnl") { "nt" } else { stem }
    }

    /// The name by which it exports what is at a distance from its start.
    fn export_at(&self, kernel: &Kernel, rva: u32) -> Option<&str> {
        let exports = self.exports.get_or_init(|| pe::exports(kernel.view(), self.base));
        let first = exports.partition_point(|(at, _)| *at < rva);
        let (at, name) = exports.get(first)?;
        (*at == rva).then_some(name.as_str())
    }
}

impl Modules {
    pub(super) fn of(kernel: &Kernel) -> Self {
        let mut found = Self::default();
        match kernel.module_head() {
            Some(head) => found.read(kernel, head),
            None => found.problems.push(Problem::incomplete(
                "where the kernel keeps its list of modules is not known: its debugger data was \
                 not found",
            )),
        }
        if found.modules.is_empty()
            && let Some(known) = &kernel.windows().image
        {
            found.modules.push(kernel_only(kernel, known.value.base, known.value.size_bytes));
        }
        found.unloaded = unloaded(kernel);
        found
    }

    fn read(&mut self, kernel: &Kernel, head: Gva) {
        self.how = format!("PsLoadedModuleList at {head}");
        let listed = list::walk(kernel.view(), head, MAX_MODULES);
        if let Some(torn) = listed.torn {
            self.problems.push(Problem::incomplete(format!(
                "the list of modules is torn, read from both ends: {torn}"
            )));
        }
        let mut stamps = Vec::new();
        for entry in listed.entries {
            let Some((module, stamp)) = module(kernel, entry) else {
                let message = format!("the module whose entry lies at {entry} is not in memory");
                self.problems.push(Problem::incomplete(message));
                continue;
            };
            stamps.push(stamp);
            self.modules.push(module);
        }
        self.add_stamps(&stamps);
    }

    /// Entries of newer kernels have a copy of the time stamp. That they do is
    /// seen by the images whose headers can be read.
    fn add_stamps(&mut self, stamps: &[Option<u32>]) {
        let known =
            self.modules.iter().zip(stamps).filter(|(module, _)| module.timestamp.is_some());
        let agree = known.clone().all(|(module, stamp)| module.timestamp == *stamp);
        if !agree || known.count() < 2 {
            return;
        }
        for (module, stamp) in self.modules.iter_mut().zip(stamps) {
            module.timestamp = module.timestamp.or(*stamp);
        }
    }

    /// The module that an address lies in.
    pub fn at(&self, gva: Gva) -> Option<&Module> {
        self.modules.iter().find(|module| module.contains(gva))
    }
}

/// A module and the time stamp where newer kernels have it.
fn module(kernel: &Kernel, entry: Gva) -> Option<(Module, Option<u32>)> {
    let view = kernel.view();
    let pick = |wide, narrow| if kernel.is_64_bit() { wide } else { narrow };
    let at = |offset: u64| entry.0.checked_add(offset).map(Gva);
    let base = view.pointer(at(pick(0x30, 0x18))?)?;
    let size_bytes = u32::try_from(view.uint(at(pick(0x40, 0x20))?, 4)?).ok()?;
    let name = view.unicode(at(pick(0x58, 0x2c))?);
    let stamp = || u32::try_from(view.uint(at(0x9c)?, 4)?).ok();
    let headers = Headers::read(view, base);
    let module = Module {
        entry,
        name: name.unwrap_or_else(|| format!("image at {base}")),
        path: view.unicode(at(pick(0x48, 0x24))?).filter(|path| !path.is_empty()),
        base,
        size_bytes,
        entry_point: view.pointer(at(pick(0x38, 0x1c))?).filter(|at| at.0 != 0),
        timestamp: headers.as_ref().map(|headers| headers.timestamp),
        pdb: headers.as_ref().and_then(|headers| pe::pdb(view, base, headers)),
        headers,
        exports: OnceLock::new(),
    };
    Some((module, if kernel.is_64_bit() { stamp() } else { None }))
}

/// The kernel's image where its list is not known.
fn kernel_only(kernel: &Kernel, base: Gva, size_bytes: u32) -> Module {
    let headers = Headers::read(kernel.view(), base);
    Module {
        entry: Gva(0),
        name: "ntoskrnl.exe".to_owned(),
        path: None,
        base,
        size_bytes,
        entry_point: None,
        timestamp: headers.as_ref().map(|headers| headers.timestamp),
        pdb: headers.as_ref().and_then(|headers| pe::pdb(kernel.view(), base, headers)),
        headers,
        exports: OnceLock::new(),
    }
}

/// `MmUnloadedDrivers`: a ring of 50, of which `MmLastUnloadedDriver` is the next
/// to be used.
fn unloaded(kernel: &Kernel) -> Vec<UnloadedModule> {
    let view = kernel.view();
    let read = || {
        let array = view.pointer(kernel.kdbg_address(kdbg_fields::UNLOADED_DRIVERS)?)?;
        let last = view.uint(kernel.kdbg_address(kdbg_fields::LAST_UNLOADED_DRIVER)?, 4)?;
        view.is_kernel(array).then_some((array, last))
    };
    let Some((array, last)) = read() else { return Vec::new() };
    let slots = (0..MAX_UNLOADED).map(|slot| (last.wrapping_add(slot)) % MAX_UNLOADED);
    slots.filter_map(|slot| unloaded_slot(kernel, array, slot)).collect()
}

fn unloaded_slot(kernel: &Kernel, array: Gva, slot: u64) -> Option<UnloadedModule> {
    let view = kernel.view();
    let word = view.word_len();
    let len = if kernel.is_64_bit() { 0x28 } else { 0x18 };
    let at = |words: u64| element(element(array, slot, len)?, words, word);
    let name = view.unicode(at(0)?)?;
    let (start, end) = (view.pointer(at(2)?)?, view.pointer(at(3)?)?);
    let time = view.uint(at(4)?, 8)?;
    (start.0 != 0 && end > start).then_some(UnloadedModule { name, start, end, time })
}

impl Kernel {
    /// The image that an address lies in, and where in it.
    pub fn place(&self, gva: Gva) -> Option<Place<'_>> {
        let module = self.modules().at(gva)?;
        let offset = gva.0.wrapping_sub(module.base.0);
        Some(Place { module: module.stem(), offset, symbol: self.symbol(module, offset) })
    }

    /// The exported name of what begins at a place, or of the function that it is in
    /// by the image's table of functions. The exported name before a place says
    /// nothing: most functions are not exported.
    fn symbol<'m>(&self, module: &'m Module, offset: u64) -> Option<(&'m str, u64)> {
        let exact = || Some((module.export_at(self, u32::try_from(offset).ok()?)?, 0));
        let inside = || {
            let start = super::arch::unwind::start(self.view(), module, offset)?;
            Some((module.export_at(self, start)?, offset.checked_sub(u64::from(start))?))
        };
        exact().or_else(inside)
    }
}
