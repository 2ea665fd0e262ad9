//! Modules of 2.4: a chain from the latest one to the kernel's own `struct module`.
//!
//! Layout: include/linux/module.h of 2.4. The kernel's own one is a variable of it, without
//! a name and a size, with all that modules may use as its symbols. Nothing names the
//! variable where the chain begins (`module_list`): it is what leads over most modules to
//! the kernel's own. A module begins with its `struct module`, at the beginning of a page.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gva, PAGE_SIZE, Problem, Sums};

use super::shape::{Bytes, LARGEST_PART, name_at};
use super::{LONGEST_NAME, MOST_MODULES, Module, ModuleState, Modules};
use crate::linux::kallsyms::without_version;
use crate::linux::words::{image_range, visit_chunks};
use crate::linux::{Kernel, LinuxError, Symbol, Symbols};

/// Kernels let modules use more than so many symbols.
const FEWEST_SYMBOLS: u64 = 50;
const MOST_SYMBOLS: u64 = 1 << 16;
/// Members after `ex_table_end` are optional; the kernel takes modules with 16 words more
/// than the nine that it knows.
const OPTIONAL_WORDS: u64 = 9 + 16;
/// `MOD_RUNNING`, `MOD_DELETED`, `MOD_INITIALIZING`.
const RUNNING: u64 = 1;
const DELETED: u64 = 2;
const INITIALIZING: u64 = 64;
/// Words that show at a glance whether something may be the kernel's own: `size_of_struct`,
/// `next`, `name`, `size`, `uc`, `flags`.
const OWN_WORDS: u64 = 6;

/// The modules; `None` if the kernel has no `struct module` of its own that ends a chain.
pub(super) fn find(kernel: &Kernel) -> Option<Modules> {
    let image = image_range(kernel)?;
    let layout = Layout { word: kernel.word_len() };
    let own = own(kernel, layout, &image)?;
    let mut chains = Chains { kernel, layout, own, known: HashMap::new() };
    let mut first = None;
    let is_whole = visit_chunks(kernel, &image, 1, &mut |_, words| {
        let ends = words.iter().filter_map(|lead| Some((chains.len(*lead)?, *lead)));
        first = first.max(ends.max());
        ControlFlow::Continue(())
    });
    let how = format!("chain of modules that ends at the kernel's own at {}", Gva(own));
    let mut found = Modules { how, ..Modules::default() };
    match first {
        Some((_, first)) => chains.modules(first, &mut found),
        None => found.problems.push(Problem::incomplete("nothing leads to the chain of modules")),
    }
    if !is_whole {
        let message = "parts of the kernel cannot be read: the first modules may be missing";
        found.problems.push(Problem::incomplete(message));
    }
    Some(found)
}

/// Where the kernel's own `struct module` lies.
fn own(kernel: &Kernel, layout: Layout, image: &Range<u64>) -> Option<u64> {
    let mut own = None;
    let step = usize::try_from(layout.word).ok()?;
    visit_chunks(kernel, image, OWN_WORDS, &mut |start, words| {
        let windows = words.windows(usize::try_from(OWN_WORDS).unwrap_or(1));
        let mut places = (start..).step_by(step).zip(windows);
        own = places
            .find(|(at, words)| layout.may_be_own(words) && layout.is_own(kernel, image, *at))
            .map(|(at, _)| at);
        if own.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    own
}

/// The address of a variable or function that a kernel of 2.4 lets modules use: cheaper than
/// its symbol, for which all forms of symbol tables are looked for.
pub(in crate::linux) fn exported_by_kernel(kernel: &Kernel, name: &str) -> Option<Gva> {
    let layout = Layout { word: kernel.word_len() };
    let own = layout.read(kernel, own(kernel, layout, &image_range(kernel)?)?)?;
    let count = own.uint(layout.before(6), 4)?.min(MOST_SYMBOLS);
    let table = own.uint(layout.after(6), layout.word)?;
    let mut entries = (0..count).map(|index| table.plus(index.times(layout.word.times(2))));
    let is_it = |entry: &u64| {
        let found = layout.symbol_name(kernel, *entry);
        found.is_some_and(|found| without_version(&found) == name)
    };
    kernel.read_pointer(Gva(entries.find(is_it)?), "module_symbol").ok()
}

/// Whether a page begins with a module as 2.4 has them.
pub(super) fn is_module(kernel: &Kernel, page: u64) -> bool {
    Layout { word: kernel.word_len() }.module(kernel, page).is_some()
}

/// Where members are, by the bytes of a word.
#[derive(Clone, Copy)]
struct Layout {
    word: u64,
}

impl Layout {
    /// Offset of a member after so many words, for those before the two numbers.
    fn before(self, words: u64) -> u64 {
        self.word.times(words)
    }

    /// The same for those after `nsyms` and `ndeps`, which have four bytes each.
    fn after(self, words: u64) -> u64 {
        self.word.times(words).plus(8)
    }

    fn sizes(self) -> Range<u64> {
        let fewest = self.after(13);
        fewest..fewest.plus(self.word.times(OPTIONAL_WORDS)).plus(1)
    }

    fn may_be_own(self, words: &[u64]) -> bool {
        matches!(words, [size, 0, _, 0, 1, flags]
            if self.sizes().contains(size) && flags & (RUNNING | DELETED) == RUNNING)
    }

    fn read(self, kernel: &Kernel, at: u64) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(self.after(13)).ok()?];
        kernel.space().read(Gva(at), &mut bytes).ok()?;
        Some(Bytes { at: Gva(at), bytes })
    }

    /// Whether it is the kernel's own one.
    fn is_own(self, kernel: &Kernel, image: &Range<u64>, at: u64) -> bool {
        let is_own = || {
            let own = self.read(kernel, at)?;
            let word = |offset| own.uint(offset, self.word);
            let count = own.uint(self.before(6), 4)?;
            let (name, table) = (word(self.before(2))?, word(self.after(6))?);
            let last = table.checked_add(count.minus(1).times(self.word.times(2)))?;
            let is_it = (FEWEST_SYMBOLS..MOST_SYMBOLS).contains(&count)
                && own.uint(self.before(6).plus(4), 4)? == 0
                && image.contains(&name)
                && kernel.read_uint(Gva(name), 1, "module.name").ok()? == 0
                && [table, last].iter().all(|at| self.is_symbol(kernel, image, *at));
            is_it.then_some(())
        };
        is_own().is_some()
    }

    /// Whether a `struct module_symbol` of the kernel's own is there.
    fn is_symbol(self, kernel: &Kernel, image: &Range<u64>, at: u64) -> bool {
        let value = kernel.read_pointer(Gva(at), "module_symbol");
        value.is_ok_and(|value| image.contains(&value.0))
            && self.symbol_name(kernel, at).is_some_and(|name| is_identifier(&name))
    }

    fn symbol_name(self, kernel: &Kernel, at: u64) -> Option<String> {
        let name = kernel.read_pointer(Gva(at.checked_add(self.word)?), "module_symbol").ok()?;
        name_at(kernel, name)
    }

    /// The module at an address, with its name and its size.
    fn module(self, kernel: &Kernel, at: u64) -> Option<(Bytes, String, u64)> {
        (at != 0 && at.is_multiple_of(PAGE_SIZE)).then_some(())?;
        let module = self.read(kernel, at)?;
        let size = module.uint(self.before(3), self.word)?;
        let name = module.uint(self.before(2), self.word)?;
        let is_module = self.sizes().contains(&module.uint(0, self.word)?)
            && (self.after(13)..LARGEST_PART).contains(&size)
            && (at..at.checked_add(size)?).contains(&name);
        let name = is_module.then(|| name_at(kernel, Gva(name)))??;
        let is_name = name.len() < LONGEST_NAME.times(2) && is_identifier(&name);
        is_name.then_some((module, name, size))
    }
}

fn is_identifier(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte))
}

/// How many modules there are from an address to the kernel's own one.
struct Chains<'k> {
    kernel: &'k Kernel,
    layout: Layout,
    own: u64,
    /// By address of a module; `None` for what leads elsewhere.
    known: HashMap<u64, Option<usize>>,
}

impl Chains<'_> {
    fn len(&mut self, first: u64) -> Option<usize> {
        if first != self.own && (first == 0 || !first.is_multiple_of(PAGE_SIZE)) {
            return None;
        }
        let mut passed = Vec::new();
        let mut at = first;
        let end = loop {
            if at == self.own {
                break Some(0);
            }
            if let Some(known) = self.known.get(&at) {
                break *known;
            }
            if passed.len() >= MOST_MODULES {
                break None;
            }
            let Some(next) = self.next(at) else { break None };
            // One that leads back to itself has no length yet.
            self.known.insert(at, None);
            passed.push(at);
            at = next;
        };
        for (module, more) in passed.iter().rev().zip(1..) {
            self.known.insert(*module, end.map(|end| end.plus(more)));
        }
        end.map(|end| end.plus(passed.len()))
    }

    fn next(&self, at: u64) -> Option<u64> {
        let (module, ..) = self.layout.module(self.kernel, at)?;
        module.uint(self.layout.before(1), self.layout.word)
    }

    fn modules(&self, first: u64, found: &mut Modules) {
        let mut at = first;
        while at != self.own {
            match self.module(at) {
                Ok((module, next)) => {
                    found.modules.push(module);
                    at = next;
                }
                Err(error) => {
                    found.problems.push(Problem::incomplete(format!("a module: {error}")));
                    break;
                }
            }
        }
    }

    /// A module, and the address of the next one.
    fn module(&self, at: u64) -> Result<(Module, u64), LinuxError> {
        let layout = self.layout;
        let corrupt = || LinuxError::Corrupt {
            what: "struct module".to_owned(),
            at: Gva(at),
            why: "it is none".to_owned(),
        };
        let (bytes, name, size) = layout.module(self.kernel, at).ok_or_else(corrupt)?;
        let word = |offset| bytes.uint(offset, layout.word).unwrap_or(0);
        let memory = at..at.plus(size);
        let symbols = self.symbols(&bytes, &memory);
        let module = Module {
            gva: Gva(at),
            state: state(word(layout.before(5))),
            base: Gva(at),
            parts: vec![memory],
            users: bytes.uint(layout.before(4), 4).and_then(users),
            used_by: self.used_by(word(layout.after(8))),
            is_permanent: false,
            taint: None,
            version: None,
            text: text(&symbols, &name),
            symbols,
            unwind: None,
            name,
        };
        Ok((module, word(layout.before(1))))
    }

    /// The symbols that it exports, `insmod`'s own included (`__insmod_...`).
    fn symbols(&self, module: &Bytes, inside: &Range<u64>) -> Symbols {
        let layout = self.layout;
        let count = module.uint(layout.before(6), 4).unwrap_or(0).min(MOST_SYMBOLS);
        let table = module.uint(layout.after(6), layout.word).unwrap_or(0);
        let entries = (0..count).map(|index| table.plus(index.times(layout.word.times(2))));
        let entry = |at: u64| {
            let value = self.kernel.read_pointer(Gva(at), "module_symbol").ok()?;
            Some((value, layout.symbol_name(self.kernel, at)?))
        };
        let entries: Vec<(Gva, String)> =
            entries.take_while(|at| inside.contains(at)).filter_map(entry).collect();
        let symbols = entries.iter().map(|(address, name)| {
            let (address, name) = (*address, without_version(name));
            Symbol { address, kind: 'T', name }
        });
        Symbols::new(symbols).without_others()
    }

    /// Names of the modules in the chain of `module_ref`.
    fn used_by(&self, first: u64) -> Option<Vec<String>> {
        let word = self.layout.word;
        let member = |at: u64, index: u64| {
            let at = Gva(at.checked_add(word.times(index))?);
            self.kernel.read_pointer(at, "module_ref").ok().map(|gva| gva.0)
        };
        let (mut names, mut at) = (Vec::new(), first);
        while at != 0 {
            (names.len() < MOST_MODULES).then_some(())?;
            let (_, name, _) = self.layout.module(self.kernel, member(at, 1)?)?;
            names.push(name);
            at = member(at, 2)?;
        }
        Some(names)
    }
}

/// A count below 0 is that of a module that says itself whether it is in use.
fn users(count: u64) -> Option<u32> {
    u32::try_from(count).ok().filter(|count| count.cast_signed() >= 0)
}

fn state(flags: u64) -> ModuleState {
    if flags & DELETED != 0 {
        ModuleState::Unloading
    } else if flags & RUNNING != 0 {
        ModuleState::Live
    } else if flags & INITIALIZING != 0 {
        ModuleState::Loading
    } else {
        ModuleState::Unformed
    }
}

/// `insmod` notes where sections are in symbols such as `__insmod_e100_S.text_L26080`.
fn text(symbols: &Symbols, module: &str) -> Option<Gva> {
    let note = format!("__insmod_{module}_S.text_L");
    symbols.iter().find(|symbol| symbol.name.starts_with(&note)).map(|symbol| symbol.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::modules::tests::{DIRECT, Memory};

    const OWN: u64 = 0x12_0d60;
    const TABLE: u64 = 0x13_0000;
    const NAMES: u64 = 0x14_0000;
    /// Modules are mapped above all memory.
    const MODULES: [u64; 3] = [0xc881_0000, 0xc882_0000, 0xc883_0000];

    fn entry(memory: &mut Memory, at: u64, (value, name): (u64, u64)) {
        memory.set(at, value);
        memory.set(at + 4, name);
    }

    /// A kernel that may have modules.
    fn kernel_alone() -> Memory {
        let mut memory = Memory::new();
        for (word, value) in [0x60, 0, DIRECT + NAMES, 0, 1, 17, 60].into_iter().enumerate() {
            memory.set(OWN + 4 * word as u64, value);
        }
        memory.set(OWN + 32, DIRECT + TABLE);
        for index in 0..60 {
            let name = NAMES + 0x10 + 0x20 * index;
            memory.put(name, format!("symbol_{index}_R1b7d4074").as_bytes());
            entry(&mut memory, TABLE + 8 * index, (DIRECT + 0x10_0000 + index, DIRECT + name));
        }
        memory.set(OWN + 0x60, DIRECT + OWN);
        memory
    }

    /// Three modules, the latest first; the second uses the third.
    fn guest() -> Memory {
        let mut memory = kernel_alone();
        for (index, name) in (0..).zip(["latest", "ext3", "jbd"]) {
            let (at, next) = (0x20_0000 + 0x1_0000 * index as u64, MODULES.get(index + 1));
            let base = MODULES[index];
            memory.map(base, at, 2);
            let next = next.copied().unwrap_or(DIRECT + OWN);
            for (word, value) in [0x60, next, base + 0x80, 0x1800, 0, 1, 2].into_iter().enumerate()
            {
                memory.set(at + 4 * word as u64, value);
            }
            memory.put(at + 0x80, name.as_bytes());
            memory.set(at + 32, base + 0x100);
            memory.put(at + 0x200, format!("__insmod_{name}_S.text_L4096").as_bytes());
            memory.put(at + 0x240, format!("{name}_call_Rsmp_0123abcd").as_bytes());
            entry(&mut memory, at + 0x100, (base + 0x300, base + 0x200));
            entry(&mut memory, at + 0x108, (base + 0x340, base + 0x240));
        }
        // `jbd` is used by `ext3`.
        let (jbd, reference) = (0x22_0000, MODULES[1] + 0x280);
        memory.set(jbd + 16, 1);
        memory.set(jbd + 40, reference);
        memory.set(0x21_0284, MODULES[1]);
        // What is registered somewhere leads to its module.
        memory.set(0x12_0000, MODULES[1]);
        memory.set(OWN + 0x60, MODULES[0]);
        memory
    }

    #[test]
    fn modules_of_2_4_are_a_chain_to_the_kernels_own() {
        guest().with(|kernel| {
            let found = kernel.modules();
            assert!(found.problems.is_empty(), "{:?}", found.problems);
            let names: Vec<&str> = found.modules.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["latest", "ext3", "jbd"]);
            let jbd = &found.modules[2];
            assert_eq!((jbd.size(), jbd.users, jbd.state), (0x1800, Some(1), ModuleState::Live));
            assert_eq!(jbd.used_by, Some(vec!["ext3".to_owned()]));
            assert_eq!((jbd.base, jbd.text), (Gva(MODULES[2]), Some(Gva(MODULES[2] + 0x300))));
            assert_eq!(jbd.symbols.address("jbd_call"), Some(Gva(MODULES[2] + 0x340)));
            assert_eq!(found.modules[0].used_by, Some(Vec::new()));
            // Functions between exported ones have no names.
            assert!(kernel.symbolize(Gva(MODULES[2] + 0x344)).is_none());
        });
    }

    #[test]
    fn a_chain_of_the_kernel_alone_proves_that_there_are_no_modules() {
        let mut memory = kernel_alone();
        // One that is not in the chain: it was removed just now.
        memory.map(MODULES[0], 0x20_0000, 1);
        for (word, value) in (0..).zip([0x60, DIRECT + OWN, MODULES[0] + 0x80, 0x800]) {
            memory.set(0x20_0000 + 4 * word, value);
        }
        memory.put(0x20_0080, b"loop");
        memory.with(|kernel| {
            let found = kernel.modules();
            assert!(found.modules.is_empty() && found.problems.is_empty(), "{found:?}");
            let exported = exported_by_kernel(kernel, "symbol_7");
            assert_eq!(exported, Some(Gva(DIRECT + 0x10_0007)));
            assert!(found.how.starts_with("chain of modules"), "{}", found.how);
        });
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let mut memory = guest();
        memory.set(0x22_0004, MODULES[0]);
        memory.with(|kernel| {
            let found = kernel.modules();
            assert!(found.modules.is_empty() && !found.problems.is_empty(), "{found:?}");
        });
    }

    #[test]
    fn states_are_those_of_proc_modules() {
        let states =
            [(1, "Live"), (0x15, "Live"), (3, "Unloading"), (64, "Loading"), (0, "Unformed")];
        for (flags, name) in states {
            assert_eq!(state(flags).name(), name);
        }
        assert_eq!((users(2), users(0xffff_ffff)), (Some(2), None));
    }
}
