//! Modules of a kernel that says nothing about its structures.
//!
//! A `struct module` begins with its state, its place in the ring and its name,
//! as long as there have been rings. It names itself in the tree of addresses
//! (`mod_tree_node`, since 4.2) just after the address and size of each of its
//! parts, and it lies in one of these itself. The rest is told by what pointers
//! lead to.

use std::ops::{ControlFlow, Range};

use vmss2core_mem::{Gva, PAGE_SIZE, Sums};

use super::shape::{Bytes, LARGEST_PART, Shape, SymbolsShape, Users};
use super::unwind::UnwindShape;
use super::{LONGEST_NAME, MOST_MODULES, old};
use crate::linux::Kernel;
use crate::linux::words::{image_range, visit_chunks};

/// Bytes of a `struct module` that are looked at.
const LEN: u64 = 0x600;

/// Address and size of a part, in bytes before the module names itself:
/// `core_layout` of 64 and of 32 bits, then `mem` as it was from 6.4, and 6.13 on.
const PARTS_64: [(u64, u64); 4] = [(24, 16), (16, 8), (16, 4), (24, 4)];
const PARTS_32: [(u64, u64); 4] = [(20, 16), (16, 12), (8, 4), (12, 4)];

/// The head of the ring of modules.
pub(super) fn ring(kernel: &Kernel) -> Option<Gva> {
    let image = image_range(kernel)?;
    let mut head = None;
    visit_chunks(kernel, &image, 2, &mut |start, words| {
        head = ring_in(kernel, &image, start, words);
        if head.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    head
}

/// A ring of modules that begins in some words of the image.
fn ring_in(kernel: &Kernel, image: &Range<u64>, start: u64, words: &[u64]) -> Option<Gva> {
    let word = usize::try_from(kernel.word_len()).ok()?;
    // Modules are in memory that is mapped for them, above the image.
    let is_outside = |word: &u64| *word >= image.end && word.is_multiple_of(4);
    (start..).step_by(word).zip(words.windows(2)).find_map(|(at, pair)| {
        let [next, last] = *pair else { return None };
        let plausible = is_outside(&next) && is_outside(&last);
        (plausible && is_ring(kernel, Gva(at), Gva(next))).then_some(Gva(at))
    })
}

/// Whether all that is in a ring are modules.
fn is_ring(kernel: &Kernel, head: Gva, first: Gva) -> bool {
    let (mut before, mut at) = (head, first);
    for _ in 0..MOST_MODULES {
        if at == head {
            return before != head;
        }
        let Some(next) = next_module(kernel, at, before) else { return false };
        (before, at) = (at, next);
    }
    false
}

/// The list head after `at`, if `at` is in a module and follows `before`.
fn next_module(kernel: &Kernel, at: Gva, before: Gva) -> Option<Gva> {
    let word = kernel.word_len();
    let mut bytes = vec![0; usize::try_from(word).ok()?.times(3).plus(LONGEST_NAME)];
    kernel.space().read(Gva(at.0.checked_sub(word)?), &mut bytes).ok()?;
    let bytes = Bytes { at, bytes };
    let is_module = bytes.uint(0, 4)? <= 3
        && bytes.uint(word.times(2), word)? == before.0
        && is_name(&bytes.text(word.times(3), LONGEST_NAME)?);
    is_module.then_some(Gva(bytes.uint(word, word)?))
}

/// Whether a module may be called so.
pub(super) fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Where the members are that the modules at these list heads show.
pub(super) fn shape(kernel: &Kernel, nodes: &[Gva]) -> Option<Shape> {
    let word = kernel.word_len();
    let mut shape = Shape {
        len: LEN,
        word,
        state: 0,
        list: word,
        name: word.times(3),
        parts: Vec::new(),
        has_code_first: false,
        references: None,
        own_reference: 1,
        users: None,
        init: None,
        exit: None,
        taints: None,
        version: None,
        symbols: None,
        exports: None,
        unwind: None,
    };
    let modules: Vec<Bytes> = nodes
        .iter()
        .filter_map(|node| shape.read(kernel, Gva(node.0.checked_sub(word)?)).ok())
        .collect();
    shape.parts = if let Some(parts) = parts(&modules, word) {
        parts
    } else {
        // The part with the code is `module_core`.
        shape.has_code_first = true;
        old::parts(&modules, word)?
    };
    let found = symbols(kernel, &shape, &modules);
    shape.symbols = found.or_else(|| old::symbols(kernel, &shape, &modules));
    shape.taints = taints(kernel, &shape, &modules);
    shape.unwind = unwind(kernel, &shape, &modules);
    if let Some(ring) = users(kernel, &shape, &modules) {
        shape.users = Some(Users { ring, node: 0, user: word.times(4) });
        shape.exit = Some(ring.plus(word.times(4)));
        shape.references = Some(ring.plus(word.times(5)));
    } else if let Some((users, exit)) = old::users(kernel, &shape, &modules) {
        (shape.users, shape.exit) = (Some(users), Some(exit));
    }
    Some(shape)
}

/// Whether a list head lies there whose neighbours know it.
pub(super) fn is_list(kernel: &Kernel, module: &Bytes, offset: u64) -> bool {
    let word = kernel.word_len();
    let own = module.at.0.wrapping_add(offset);
    let neighbour = |offset| module.uint(offset, word).filter(|at| *at != 0);
    let (Some(next), Some(last)) = (neighbour(offset), neighbour(offset.plus(word))) else {
        return false;
    };
    let leads_here = |at: u64| kernel.read_pointer(Gva(at), "list_head").ok() == Some(Gva(own));
    leads_here(next.wrapping_add(word)) && leads_here(last)
}

/// `taints`, after the parts: bits, then the count of `BUG` entries, their
/// ring, which all modules are in, and their table in the module.
fn taints(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<u64> {
    const MOST_BUGS: u64 = 1 << 16;
    let word = shape.word;
    let behind = shape.parts.iter().map(|(_, size)| *size).max()?;
    let fits = |module: &Bytes, at: u64| {
        let table = module.uint(at.plus(word.times(4)), word);
        let in_module = |table: u64| shape.parts(module).iter().any(|part| part.contains(&table));
        at > behind
            && module.uint(at, word).is_some_and(|bits| bits >> 24 == 0)
            && module.uint(at.plus(word), 4).is_some_and(|count| count < MOST_BUGS)
            && table.is_some_and(|table| table == 0 || in_module(table))
            && module.uint(at.plus(word.times(2)), word)
                != Some(module.at.0.wrapping_add(at.plus(word.times(2))))
            && is_list(kernel, module, at.plus(word.times(2)))
    };
    offsets(modules, word, fits).next()
}

/// `arch`, which begins with the count of unwind entries, addresses and entries,
/// in kernels that have such tables. A module of data alone has none.
fn unwind(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<UnwindShape> {
    (shape.word == 8).then_some(())?;
    let has_none = |module: &Bytes, at: u64| module.uint(at, 4) == Some(0);
    let has_its_own = |module: &Bytes, at: u64| {
        let tables = UnwindShape::at(at).read(module);
        tables.is_some_and(|tables| tables.are_of(kernel, shape, module))
    };
    let fits = |module: &Bytes, at: u64| has_none(module, at) || has_its_own(module, at);
    let tells = |at: &u64| modules.iter().any(|module| has_its_own(module, *at));
    offsets(modules, shape.word, fits).find(tells).map(UnwindShape::at)
}

/// `source_list`, with `target_list`, `exit` and `refcnt` after it.
fn users(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<u64> {
    let word = shape.word;
    let exit = |module: &Bytes, at: u64| module.uint(at.plus(word.times(4)), word);
    let in_module = |module: &Bytes, at: u64| {
        exit(module, at)
            .is_some_and(|exit| shape.parts(module).iter().any(|part| part.contains(&exit)))
    };
    let fits = |module: &Bytes, at: u64| {
        let count = module.uint(at.plus(word.times(5)), 4);
        count.is_some_and(|count| (1..1 << 16).contains(&count))
            && (exit(module, at) == Some(0) || in_module(module, at))
            && is_list(kernel, module, at)
            && is_list(kernel, module, at.plus(word.times(2)))
    };
    // A module without an exit alone does not tell.
    let tells = |at: &u64| modules.iter().any(|module| in_module(module, *at));
    offsets(modules, word, fits).find(tells)
}

/// Offsets at which all modules have something.
pub(super) fn offsets<'m>(
    modules: &'m [Bytes],
    word: u64,
    holds: impl Fn(&Bytes, u64) -> bool + 'm,
) -> impl Iterator<Item = u64> + 'm {
    let offsets = (0..LEN.checked_div(word).unwrap_or(0)).map(move |index| index.times(word));
    offsets.filter(move |offset| {
        !modules.is_empty() && modules.iter().all(|module| holds(module, *offset))
    })
}

fn parts(modules: &[Bytes], word: u64) -> Option<Vec<(u64, u64)>> {
    let is_own = move |module: &Bytes, at| module.uint(at, word) == Some(module.at.0);
    let own: Vec<u64> = offsets(modules, word, is_own).collect();
    let forms = if word == 8 { PARTS_64 } else { PARTS_32 };
    forms.into_iter().find_map(|(base, size)| {
        let places =
            own.iter().filter_map(|at| Some((at.checked_sub(base)?, at.checked_sub(size)?)));
        let places: Vec<(u64, u64)> = places.collect();
        let holds_itself = |module: &Bytes| {
            places.iter().any(|place| {
                part(module, *place, word).is_some_and(|part| part.contains(&module.at.0))
            })
        };
        (!places.is_empty() && modules.iter().all(holds_itself)).then_some(places)
    })
}

/// A part, if it looks like one.
fn part(module: &Bytes, (base, size): (u64, u64), word: u64) -> Option<Range<u64>> {
    let (base, size) = (module.uint(base, word)?, module.uint(size, 4)?);
    let plausible = base != 0 && base % PAGE_SIZE == 0 && (1..LARGEST_PART).contains(&size);
    plausible.then_some(base..base.checked_add(size)?)
}

/// The pointer to a `struct mod_kallsyms`, which lies in the module itself:
/// symbols, their count, names and types, all in the module's memory.
fn symbols(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<SymbolsShape> {
    let word = shape.word;
    let leads_there = |module: &Bytes, at: u64| {
        let parts = shape.parts(module);
        let is_inside = |at: u64| parts.iter().any(|part| part.contains(&at));
        let Some(target) = module.uint(at, word).filter(|target| is_inside(*target)) else {
            return false;
        };
        let member = |index: u64, len| {
            kernel.read_uint(Gva(target.wrapping_add(index.times(word))), len, "mod_kallsyms").ok()
        };
        let pointers = [0, 2, 3].map(|index| member(index, word));
        let count = member(1, 4).is_some_and(|count| (1..1 << 20).contains(&count));
        count && pointers.into_iter().all(|pointer| pointer.is_some_and(is_inside))
    };
    let pointer = offsets(modules, word, leads_there).next()?;
    Some(SymbolsShape {
        pointer: Some(pointer),
        table: 0,
        count: word,
        names: word.times(2),
        types: Some(word.times(3)),
    })
}
