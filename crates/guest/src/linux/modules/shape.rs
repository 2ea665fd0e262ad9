//! Where the members of `struct module` are.

use std::ops::Range;

use vmss2core_mem::{Gva, PAGE_SIZE, Sums, to_page_end};

use super::unwind::UnwindShape;
use super::{LONGEST_NAME, MOST_MODULES, learn};
use crate::linux::{Kernel, LinuxError, Member};

/// A module is smaller.
pub(super) const LARGEST_PART: u64 = 256 << 20;
/// Bytes of a `struct module` that are looked at where its size is not known.
const UNKNOWN_LEN: u64 = 0x600;
/// Kinds of memory that a module has since 6.4 (`enum mod_mem_type`).
const MOST_PARTS: u64 = 16;

/// Where the members are.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) len: u64,
    pub(super) word: u64,
    pub(super) state: u64,
    pub(super) list: u64,
    pub(super) name: u64,
    /// Where address and size of each part are; the code's is the first.
    pub(super) parts: Vec<(u64, u64)>,
    /// Whether the first part is that of the code, for sure.
    pub(super) has_code_first: bool,
    pub(super) references: Option<u64>,
    /// The count that a module has while nobody uses it (`MODULE_REF_BASE`).
    pub(super) own_reference: u32,
    pub(super) users: Option<Users>,
    pub(super) init: Option<u64>,
    pub(super) exit: Option<u64>,
    pub(super) taints: Option<u64>,
    pub(super) version: Option<u64>,
    pub(super) symbols: Option<SymbolsShape>,
    pub(super) exports: Option<Exports>,
    pub(super) unwind: Option<UnwindShape>,
}

/// Where a module points at what it exports to all (`syms`), not only to free modules
/// (`gpl_syms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exports {
    pub(super) table: u64,
    /// Where it says how many there are (`num_syms`), if that is known: without any it
    /// may point at what follows.
    pub(super) count: Option<u64>,
}

/// The ring of those that use a module.
#[derive(Debug)]
pub(super) struct Users {
    /// Where the ring is in a module.
    pub(super) ring: u64,
    /// Where it is in a `struct module_use`.
    pub(super) node: u64,
    /// Where that names the user.
    pub(super) user: u64,
}

/// Where the symbol table is.
#[derive(Debug)]
pub(super) struct SymbolsShape {
    /// Where a module points at its `struct mod_kallsyms`; `None` if that is
    /// the module itself (to 4.4).
    pub(super) pointer: Option<u64>,
    pub(super) table: u64,
    pub(super) count: u64,
    pub(super) names: u64,
    /// Letters of the types (since 5.2); before, they are in the table.
    pub(super) types: Option<u64>,
}

/// The bytes of a structure.
pub(super) struct Bytes {
    pub(super) at: Gva,
    pub(super) bytes: Vec<u8>,
}

impl Bytes {
    pub(super) fn uint(&self, offset: u64, len: u64) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)?;
        let mut wide = [0; 8];
        wide.iter_mut().zip(bytes).for_each(|(wide, byte)| *wide = *byte);
        Some(u64::from_le_bytes(wide))
    }

    /// Printable text that ends within so many bytes.
    pub(super) fn text(&self, offset: u64, most: usize) -> Option<String> {
        let bytes = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let len = bytes.iter().take(most).position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
        let printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        printable.then(|| text.to_owned())
    }
}

impl Shape {
    /// Where the members are in the modules at these list heads, and who says so.
    pub(super) fn of(kernel: &Kernel, nodes: &[Gva]) -> Result<(Self, String), LinuxError> {
        match Self::of_layout(kernel) {
            Ok(shape) => {
                let how = kernel.layout().member("module", "list").map(|found| found.how);
                Ok((shape, how.unwrap_or_default()))
            }
            Err(error) => {
                let learned = learn::shape(kernel, nodes).ok_or(error)?;
                Ok((learned, "learned from the data".to_owned()))
            }
        }
    }

    fn of_layout(kernel: &Kernel) -> Result<Self, LinuxError> {
        let (layout, word) = (kernel.layout(), kernel.word_len());
        let member = |path: &str| -> Result<Member, LinuxError> {
            let found = layout.member("module", path);
            let unknown = || LinuxError::UnknownMember {
                structure: "module".to_owned(),
                member: path.to_owned(),
            };
            Ok(found.ok_or_else(unknown)?.value)
        };
        let offset = |path: &str| member(path).map(|member| member.offset_bytes);
        let size = layout.size_of("module").map(|size| size.value);
        Ok(Self {
            len: size.filter(|size| (1..PAGE_SIZE * 4).contains(size)).unwrap_or(UNKNOWN_LEN),
            word,
            state: offset("state")?,
            list: offset("list")?,
            name: offset("name")?,
            parts: parts_of_layout(kernel)?,
            has_code_first: true,
            references: offset("refcnt").ok(),
            own_reference: 1,
            users: users_of_layout(kernel),
            init: offset("init").ok(),
            exit: offset("exit").ok(),
            taints: offset("taints").ok(),
            version: offset("version").ok(),
            symbols: symbols_of_layout(kernel),
            exports: exports_of_layout(kernel),
            unwind: UnwindShape::of_layout(kernel),
        })
    }

    /// Reads as much of a `struct module` as there is.
    pub(super) fn read(&self, kernel: &Kernel, at: Gva) -> Result<Bytes, LinuxError> {
        let len = |len| usize::try_from(len).unwrap_or(0);
        let mut bytes = vec![0; len(self.len)];
        if kernel.space().read(at, &mut bytes).is_err() {
            // Where its size is not known: it may end with the module's memory.
            bytes.truncate(len(to_page_end(at.0)));
            kernel.read(at, &mut bytes, "struct module")?;
        }
        Ok(Bytes { at, bytes })
    }

    /// Where a module's code begins; 0 if it has none. Of what was learned only the parts
    /// that a module has are known, and in which order.
    pub(super) fn code(&self, module: &Bytes) -> Gva {
        let base = match self.parts.first() {
            Some((base, _)) if self.has_code_first => module.uint(*base, self.word),
            _ => self.parts(module).first().map(|part| part.start),
        };
        Gva(base.unwrap_or(0))
    }

    /// The parts that a module still has: those of its initialisation are gone
    /// as a rule.
    pub(super) fn parts(&self, module: &Bytes) -> Vec<Range<u64>> {
        let part = |&(base, size): &(u64, u64)| {
            let (base, size) = (module.uint(base, self.word)?, module.uint(size, 4)?);
            let end = base.checked_add(size)?;
            (base != 0 && (1..LARGEST_PART).contains(&size)).then_some(base..end)
        };
        self.parts.iter().filter_map(part).collect()
    }
}

/// Since 6.4 `mem`, since 4.5 `core_layout` and `init_layout`, before `module_core`
/// and others.
fn parts_of_layout(kernel: &Kernel) -> Result<Vec<(u64, u64)>, LinuxError> {
    let layout = kernel.layout();
    let offset =
        |structure: &str, path: &str| Some(layout.member(structure, path)?.value.offset_bytes);
    if let (Some(mem), Some(size)) =
        (layout.member("module", "mem"), layout.size_of("module_memory"))
        && let (Some(base), Some(len)) =
            (offset("module_memory", "base"), offset("module_memory", "size"))
    {
        let (at, size) = (mem.value.offset_bytes, size.value.max(1));
        let count = mem.value.size_bytes.and_then(|all| all.checked_div(size)).unwrap_or(0);
        let count = count.min(MOST_PARTS);
        return Ok((0..count)
            .map(|index| at.plus(index.times(size)))
            .map(|at| (at.plus(base), at.plus(len)))
            .collect());
    }
    let named = [
        [("core_layout.base", "core_layout.size"), ("init_layout.base", "init_layout.size")],
        [("module_core", "core_size"), ("module_init", "init_size")],
    ];
    let found = named.into_iter().find_map(|names| {
        let part = |(base, size)| Some((offset("module", base)?, offset("module", size)?));
        names.into_iter().map(part).collect()
    });
    found.ok_or_else(|| LinuxError::UnknownMember {
        structure: "module".to_owned(),
        member: "mem|core_layout|module_core".to_owned(),
    })
}

fn users_of_layout(kernel: &Kernel) -> Option<Users> {
    let offset = |structure: &str, path: &str| {
        Some(kernel.layout().member(structure, path)?.value.offset_bytes)
    };
    Some(Users {
        ring: offset("module", "source_list")?,
        node: offset("module_use", "source_list")?,
        user: offset("module_use", "source")?,
    })
}

fn exports_of_layout(kernel: &Kernel) -> Option<Exports> {
    let offset = |path: &str| Some(kernel.layout().member("module", path)?.value.offset_bytes);
    Some(Exports { table: offset("syms")?, count: offset("num_syms") })
}

fn symbols_of_layout(kernel: &Kernel) -> Option<SymbolsShape> {
    let offset = |structure: &str, path: &str| {
        Some(kernel.layout().member(structure, path)?.value.offset_bytes)
    };
    let pointer = offset("module", "kallsyms");
    let holder = if pointer.is_some() { "mod_kallsyms" } else { "module" };
    Some(SymbolsShape {
        pointer,
        table: offset(holder, "symtab")?,
        count: offset(holder, "num_symtab")?,
        names: offset(holder, "strtab")?,
        types: offset(holder, "typetab"),
    })
}

impl Users {
    /// Names of the modules that use the one at `module`.
    pub(super) fn names(&self, kernel: &Kernel, shape: &Shape, module: Gva) -> Option<Vec<String>> {
        let head = Gva(module.0.wrapping_add(self.ring));
        let mut names = Vec::new();
        let mut at = head;
        loop {
            at = kernel.read_pointer(at, "module_use").ok()?;
            if at == head {
                return Some(names);
            }
            if names.len() >= MOST_MODULES {
                return None;
            }
            let user = at.0.wrapping_sub(self.node).wrapping_add(self.user);
            let user = kernel.read_pointer(Gva(user), "module_use.source").ok()?;
            let mut name = [0; LONGEST_NAME];
            kernel.read(Gva(user.0.wrapping_add(shape.name)), &mut name, "module.name").ok()?;
            names.push(Bytes { at: user, bytes: name.to_vec() }.text(0, LONGEST_NAME)?);
        }
    }
}

/// A short text that a pointer leads to; `None` for a null pointer.
pub(super) fn text_at(kernel: &Kernel, at: Gva) -> Option<String> {
    text_up_to(kernel, at, 64)
}

/// The name of a symbol that a pointer leads to.
pub(super) fn name_at(kernel: &Kernel, at: Gva) -> Option<String> {
    // `KSYM_NAME_LEN`; a short one may lie at the end of what can be read.
    [512, 64, 16].into_iter().find_map(|len| text_up_to(kernel, at, len))
}

fn text_up_to(kernel: &Kernel, at: Gva, longest: usize) -> Option<String> {
    let mut bytes = vec![0; longest];
    (at.0 != 0).then_some(())?;
    kernel.read(at, &mut bytes, "a text").ok()?;
    Bytes { at, bytes }.text(0, longest)
}
