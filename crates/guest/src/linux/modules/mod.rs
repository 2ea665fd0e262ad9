//! Loaded modules, and what lies at an address in the kernel or one of them.
//!
//! The ring of modules begins at the variable `modules`; each `struct module`
//! (include/linux/module.h) lies in memory of the module itself. Where its
//! members are the kernel's type information tells, or [`shape`] learns. In 2.4
//! modules are in a [`chain`].

use std::fmt;
use std::ops::Range;

use vmss2core_mem::{Gva, Problem, Sums, range_len};

use super::panic::taint_letters;
use super::{Kernel, LinuxError, Symbols};

mod absent;
mod chain;
mod generated;
mod learn;
mod old;
mod sections;
mod shape;
mod symbols;
#[cfg(test)]
mod tests;
mod unwind;

pub(in crate::linux) use chain::exported_by_kernel;
pub use generated::GeneratedCode;
use shape::Shape;

/// Distributions' kernels have a few hundred; more than this is no ring of them.
const MOST_MODULES: usize = 1 << 13;
/// Bytes of a name (`MODULE_NAME_LEN` on 64-bit).
const LONGEST_NAME: usize = 56;

/// A loaded module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Where its `struct module` lies.
    pub gva: Gva,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ModuleState,
    /// Where its code begins, as `/proc/modules` has it; 0 if it has none.
    pub base: Gva,
    /// Its memory, the part with the code first.
    pub parts: Vec<Range<u64>>,
    /// How many use it; `None` if that could not be told.
    pub users: Option<u32>,
    /// The modules that use it; `None` if they could not be told.
    pub used_by: Option<Vec<String>>,
    /// It cannot be removed.
    pub is_permanent: bool,
    /// Taints of the kernel because of it, as letters; `None` if that could
    /// not be told.
    pub taint: Option<String>,
    /// The version it states.
    pub version: Option<String>,
    /// Where its section `.text` lies, which debuggers ask for.
    pub text: Option<Gva>,
    /// Its symbols.
    pub symbols: Symbols,
    /// Its unwind tables; `None` if it has none, or they were not found.
    pub unwind: Option<UnwindTables>,
}

/// Where unwind tables (ORC) lie: distances to addresses, and an entry for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwindTables {
    /// How many entries there are.
    pub count: u64,
    /// The distances.
    pub ips: Gva,
    /// The entries.
    pub entries: Gva,
}

impl Module {
    /// Bytes of all its parts.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(range_len).fold(0, Sums::plus)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, gva: Gva) -> bool {
        self.parts.iter().any(|part| part.contains(&gva.0))
    }
}

/// States of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleState {
    /// Nothing: it is there.
    Live,
    /// To become live.
    Loading,
    /// To be removed.
    Unloading,
    /// To be set up.
    Unformed,
}

impl ModuleState {
    /// `enum module_state`.
    fn of(value: u64) -> Option<Self> {
        [Self::Live, Self::Loading, Self::Unloading, Self::Unformed]
            .get(usize::try_from(value).ok()?)
            .copied()
    }

    /// As `/proc/modules` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Loading => "Loading",
            Self::Unloading => "Unloading",
            Self::Unformed => "Unformed",
        }
    }
}

/// All modules.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// The modules, the latest first.
    pub modules: Vec<Module>,
    /// How they were found.
    pub how: String,
    /// Missing ones.
    pub problems: Vec<Problem>,
}

/// The kind of memory at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'k> {
    /// The symbol that the address belongs to.
    pub name: &'k str,
    /// The letter that `nm` prints for it.
    pub kind: char,
    /// How far it is into it.
    pub offset: u64,
    /// The module, if it is not the kernel itself.
    pub module: Option<&'k str>,
}

impl fmt::Display for Place<'_> {
    /// As the kernel's messages have it: `loop_add+0x1c [loop]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        self.module.map_or(Ok(()), |module| write!(f, " [{module}]"))
    }
}

impl Kernel {
    /// The modules that are loaded. Best effort: a broken ring ends early, and
    /// `problems` says so.
    pub fn modules(&self) -> &Modules {
        self.moment.modules.get_or_init(|| find(self))
    }

    /// The function or variable that an address lies in; `None` for addresses
    /// outside of the kernel image, of all modules, and of code made at run time.
    pub fn symbolize(&self, gva: Gva) -> Option<Place<'_>> {
        let (symbols, module) = if self.is_in_image(gva) {
            (&self.symbols()?.value, None)
        } else if let Some(module) =
            self.modules().modules.iter().find(|module| module.contains(gva))
        {
            (&module.symbols, Some(module.name.as_str()))
        } else {
            return self.in_generated_code(gva);
        };
        let (symbol, offset) = symbols.at(gva)?;
        Some(Place { name: symbol.name, kind: symbol.kind, offset, module })
    }
}

impl Kernel {
    fn in_generated_code(&self, gva: Gva) -> Option<Place<'_>> {
        self.generated_code().iter().find_map(|code| {
            let offset = gva.0.checked_sub(code.address.0).filter(|into| *into < code.len_bytes)?;
            Some(Place { name: &code.name, kind: code.kind, offset, module: Some(&code.module) })
        })
    }

    /// Whether an address is, or was at boot, in the kernel image.
    pub(in crate::linux) fn is_in_image(&self, gva: Gva) -> bool {
        let Some(text) = self.linux().text.as_ref().map(|text| text.value) else { return false };
        let end = Gva(text.start.0.saturating_add(text.len));
        let boot = self.symbols().and_then(|symbols| symbols.value.address("_einittext"));
        (text.start..end.max(boot.unwrap_or(end))).contains(&gva)
    }
}

fn find(kernel: &Kernel) -> Modules {
    let named = kernel.symbol("modules").ok().filter(|symbol| is_head(kernel, symbol.value));
    let ring = match named {
        Some(symbol) => Some((symbol.value, symbol.how)),
        None => learn::ring(kernel).map(|head| (head, "learned from the data".to_owned())),
    };
    let Some((head, how)) = ring else { return without_ring(kernel) };
    let (nodes, broken) = nodes(kernel, head);
    let mut found =
        Modules { how: format!("ring of modules at {head}, {how}"), ..Modules::default() };
    found.problems.extend(broken);
    match Shape::of(kernel, &nodes) {
        Ok((mut shape, how)) => {
            symbols::learn_exports(kernel, &mut shape, &nodes);
            found.how = format!("{}; structures: {how}", found.how);
            fill(kernel, &shape, &nodes, &mut found);
        }
        Err(_) if nodes.is_empty() => {}
        Err(error) => found.problems.push(Problem::incomplete(format!("modules: {error}"))),
    }
    found
}

/// Modules of a kernel whose ring was not found: none, or those of 2.4, which had no ring.
fn without_ring(kernel: &Kernel) -> Modules {
    if let Some(how) = absent::proof(kernel) {
        return Modules { how: how.to_owned(), ..Modules::default() };
    }
    if let Some(found) = chain::find(kernel) {
        return found;
    }
    let message = "the ring of modules was not found: no symbol says where it is, and nothing in \
                   the kernel's data looks like it";
    Modules { problems: vec![Problem::incomplete(message)], ..Modules::default() }
}

/// Whether a list head is at an address, as far as it can be read: other kernels may call
/// anything by its name.
fn is_head(kernel: &Kernel, head: Gva) -> bool {
    let back = |next: Gva| Gva(next.0.wrapping_add(kernel.word_len()));
    let next = kernel.read_pointer(head, "the first module");
    let last = kernel.read_pointer(back(head), "the last module");
    let leads_back = |at: Gva| kernel.read_pointer(at, "list_head").ok() == Some(head);
    // One of the two may be torn.
    next.is_ok_and(|next| leads_back(back(next))) || last.is_ok_and(leads_back)
}

/// The list heads in the ring.
fn nodes(kernel: &Kernel, head: Gva) -> (Vec<Gva>, Option<Problem>) {
    let mut nodes = Vec::new();
    let mut at = head;
    loop {
        match kernel.read_pointer(at, "the next module") {
            Ok(next) if next == head => return (nodes, None),
            Ok(next) if nodes.len() < MOST_MODULES && !nodes.contains(&next) => {
                nodes.push(next);
                at = next;
            }
            Ok(_) => {
                let message = format!("the ring of modules does not close after {at}");
                return (nodes, Some(Problem::incomplete(message)));
            }
            Err(error) => {
                let message = format!("the ring of modules ends early: {error}");
                return (nodes, Some(Problem::incomplete(message)));
            }
        }
    }
}

fn fill(kernel: &Kernel, shape: &Shape, nodes: &[Gva], found: &mut Modules) {
    for node in nodes {
        let gva = Gva(node.0.wrapping_sub(shape.list));
        match module(kernel, shape, gva) {
            Ok(Some(module)) => found.modules.push(module),
            // /proc/modules leaves out what is not set up yet.
            Ok(None) => {}
            Err(error) => found.problems.push(Problem::incomplete(format!("a module: {error}"))),
        }
    }
    let lacking = [
        ("who uses them", found.modules.iter().any(|module| module.users.is_none())),
        ("their taints", found.modules.iter().any(|module| module.taint.is_none())),
        ("their symbols", found.modules.iter().any(|module| module.symbols.is_empty())),
    ];
    for (what, _) in lacking.into_iter().filter(|(_, lacks)| *lacks) {
        let message = format!("of some modules, {what} could not be told");
        found.problems.push(Problem::note(message));
    }
}

fn module(kernel: &Kernel, shape: &Shape, gva: Gva) -> Result<Option<Module>, LinuxError> {
    let bytes = shape.read(kernel, gva)?;
    let corrupt = |why: &str| LinuxError::Corrupt {
        what: "struct module".to_owned(),
        at: gva,
        why: why.to_owned(),
    };
    let state = bytes.uint(shape.state, 4).and_then(ModuleState::of);
    let state = state.ok_or_else(|| corrupt("its state is none that there is"))?;
    if state == ModuleState::Unformed {
        return Ok(None);
    }
    let name = bytes.text(shape.name, LONGEST_NAME);
    let name = name.ok_or_else(|| corrupt("its name is not printable"))?;
    let parts = shape.parts(&bytes);
    let users = shape.references.and_then(|offset| bytes.uint(offset, 4));
    let pointer = |offset: Option<u64>| bytes.uint(offset?, kernel.word_len()).map(Gva);
    let is_null = |offset| pointer(offset).is_some_and(|pointer| pointer.0 == 0);
    Ok(Some(Module {
        gva,
        name,
        state,
        users: users.and_then(|count| u32::try_from(count).ok()?.checked_sub(shape.own_reference)),
        used_by: shape.users.as_ref().and_then(|users| users.names(kernel, shape, gva)),
        is_permanent: shape.init.is_some() && !is_null(shape.init) && is_null(shape.exit),
        taint: shape.taints.and_then(|at| bytes.uint(at, kernel.word_len())).map(taint_letters),
        version: pointer(shape.version).and_then(|at| shape::text_at(kernel, at)),
        text: sections::text(kernel, gva),
        base: shape.code(&bytes),
        symbols: symbols::of_module(kernel, shape, &bytes),
        unwind: shape.unwind.as_ref().and_then(|shape| shape.read(&bytes)),
        parts,
    }))
}
