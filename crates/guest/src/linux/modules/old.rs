//! Members of `struct module` before 4.5, which the data shows.
//!
//! | kernel | members in this order |
//! |---|---|
//! | 2.6 to 4.4 | `module_init`, `module_core`, their sizes, sizes of the code in them |
//! | 2.6 to 2.6.32 or so | `symtab`, `num_symtab`, `strtab` |
//! | to 4.4 | `symtab`, `core_symtab`, `num_symtab` and `core_num_syms`, `strtab` |
//! | 2.6 to 2.6.35 | `modules_which_use_me`, `waiter`, `exit` |
//! | to 4.1 | `source_list`, `target_list`, until 3.12 `waiter`, `exit` |
//!
//! Sizes were as long as pointers until 2.6.26.

use std::ops::Range;

use vmss2core_formats::elf::{Sym, Sym32, Sym64};
use vmss2core_mem::{Gva, PAGE_SIZE, Sums};
use zerocopy::FromBytes;

use super::learn::{is_list, offsets};
use super::shape::{Bytes, LARGEST_PART, Shape, SymbolsShape, Users, name_at};
use crate::linux::Kernel;

/// Names of symbols of a module that are looked at, and symbols until then: those of sections,
/// which have none, come first.
const SHOWN: u64 = 8;
const MOST_LOOKED_AT: u64 = 256;
/// No module has more.
const MOST_SYMBOLS: u64 = 1 << 20;

/// Where address and size of the code and data are, and of what has initialised the module.
pub(super) fn parts(modules: &[Bytes], word: u64) -> Option<Vec<(u64, u64)>> {
    let sizes = if word == 8 { vec![4, 8] } else { vec![4] };
    sizes.into_iter().find_map(|size| {
        let holds = |module: &Bytes, at: u64| has_parts(module, at, word, size).is_some();
        let at = offsets(modules, word, holds).next()?;
        let (init, core) = (at, at.plus(word));
        let sizes = core.plus(word);
        Some(vec![(core, sizes.plus(size)), (init, sizes)])
    })
}

/// The core has the module itself, its code is no longer than all of it, and it lies where
/// the rest does not.
fn has_parts(module: &Bytes, at: u64, word: u64, size: u64) -> Option<()> {
    let (init, core) = (module.uint(at, word)?, module.uint(at.plus(word), word)?);
    let number = |index: u64| module.uint(at.plus(word.times(2)).plus(size.times(index)), size);
    let (init_len, core_len, init_code, core_code) =
        (number(0)?, number(1)?, number(2)?, number(3)?);
    let is_in = core <= module.at.0 && module.at.0 < core.checked_add(core_len)?;
    let is_init = if init == 0 { init_len == 0 } else { init.is_multiple_of(PAGE_SIZE) };
    let are_sizes = core_len < LARGEST_PART && init_len < LARGEST_PART;
    let is_it = is_in
        && is_init
        && are_sizes
        && core != 0
        && core.is_multiple_of(PAGE_SIZE)
        && core_code <= core_len
        && (init_code <= init_len || init == 0);
    is_it.then_some(())
}

/// The symbol table, in members of the module itself.
pub(super) fn symbols(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<SymbolsShape> {
    let word = shape.word;
    let forms = [(1, 2), (2, 3)].map(|(count, names)| (word.times(count), word.times(names)));
    // The second number of two shares a word with the first on 64 bits.
    let forms = forms.into_iter().chain((word == 4).then_some((8, 16)));
    let forms: Vec<(u64, u64)> = forms.collect();
    let place = |at: u64, (count, names): (u64, u64)| SymbolsShape {
        pointer: None,
        table: at,
        count: at.plus(count),
        names: at.plus(names),
        types: None,
    };
    forms.into_iter().find_map(|form| {
        let holds = |module: &Bytes, at: u64| {
            has_symbols(kernel, shape, module, &place(at, form)).is_some()
        };
        let at = offsets(modules, word, holds).next()?;
        Some(place(at, form))
    })
}

/// The first symbol has no name, the others have one, or none as those of sections.
fn has_symbols(kernel: &Kernel, shape: &Shape, module: &Bytes, place: &SymbolsShape) -> Option<()> {
    let parts = shape.parts(module);
    let is_inside = |at: &u64| parts.iter().any(|part: &Range<u64>| part.contains(at));
    let table = module.uint(place.table, shape.word).filter(is_inside)?;
    let names = module.uint(place.names, shape.word).filter(is_inside)?;
    let count = module.uint(place.count, 4).filter(|count| (2..MOST_SYMBOLS).contains(count))?;
    let mut named = 0_u64;
    for index in 0..count.min(MOST_LOOKED_AT) {
        if named == SHOWN {
            break;
        }
        let symbol = symbol(kernel, table, index)?;
        let name = names.checked_add(symbol.name.into())?;
        if index == 0 {
            (symbol.name == 0 && symbol.value == 0).then_some(())?;
        } else if symbol.name != 0 {
            is_inside(&name).then_some(())?;
            name_at(kernel, Gva(name))?;
            named = named.plus(1);
        }
    }
    (named > 0).then_some(())
}

fn symbol(kernel: &Kernel, table: u64, index: u64) -> Option<Sym> {
    let len = if kernel.word_len() == 8 { size_of::<Sym64>() } else { size_of::<Sym32>() };
    let mut bytes = vec![0; len];
    let at = table.checked_add(index.times(len as u64))?;
    kernel.read(Gva(at), &mut bytes, "module.symtab").ok()?;
    if kernel.word_len() == 8 {
        Some(Sym::from(Sym64::ref_from_bytes(&bytes).ok()?))
    } else {
        Some(Sym::from(Sym32::ref_from_bytes(&bytes).ok()?))
    }
}

/// The ring of users, and where `exit` is.
pub(super) fn users(kernel: &Kernel, shape: &Shape, modules: &[Bytes]) -> Option<(Users, u64)> {
    let word = shape.word;
    let in_module = |module: &Bytes, at: u64| {
        module
            .uint(at, word)
            .is_some_and(|exit| shape.parts(module).iter().any(|part| part.contains(&exit)))
    };
    // Lists, and words from the first of them to `exit`.
    let forms = [(2_u64, 4_u64), (2, 5), (1, 3)];
    forms.into_iter().find_map(|(lists, words)| {
        let exit = |at: u64| at.plus(word.times(words));
        let is_waiter = |module: &Bytes, at: u64| {
            let waiter = module.uint(at, word).unwrap_or(0);
            waiter == 0 || kernel.read_pointer(Gva(waiter), "task_struct").is_ok()
        };
        let fits = |module: &Bytes, at: u64| {
            (0..lists).all(|list| is_list(kernel, module, at.plus(word.times(2).times(list))))
                && (words == lists.times(2) || is_waiter(module, exit(at).minus(word)))
                && (module.uint(exit(at), word) == Some(0) || in_module(module, exit(at)))
        };
        let tells = |at: &u64| modules.iter().any(|module| in_module(module, exit(*at)));
        let ring = offsets(modules, word, fits).find(tells)?;
        Some((Users { ring, node: 0, user: word.times(2).times(lists) }, exit(ring)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::modules::tests::{DIRECT, Memory};

    /// A module at the end of its memory, with its parts at `at`.
    fn module(core: u64, len: u64, at: usize, word: usize, size: usize) -> Bytes {
        let mut bytes = vec![0; 0x180];
        let mut put = |at: usize, value: u64, len: usize| {
            bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        };
        put(at + word, core, word);
        for (index, value) in [0, len, 0, len / 2].into_iter().enumerate() {
            put(at + 2 * word + index * size, value, size);
        }
        Bytes { at: Gva(core + len - 0x180), bytes }
    }

    #[test]
    fn parts_are_where_a_module_finds_itself() {
        // 2.6.17 and 3.13 of 32 bits, 2.6.18 and 2.6.32 of 64.
        for (word, size) in [(4, 4), (8, 8), (8, 4)] {
            let base = if word == 4 { 0xd083_2000 } else { 0xffff_ffff_8810_0000 };
            let modules: Vec<Bytes> = [(0, 0xd00), (0x1_2000, 0x1_65b8)]
                .into_iter()
                .map(|(distance, len)| module(base + distance, len, 0xc0, word, size))
                .collect();
            let (word, size) = (word as u64, size as u64);
            let (core, sizes) = (0xc0 + word, 0xc0 + 2 * word);
            let found = parts(&modules, word);
            assert_eq!(found, Some(vec![(core, sizes + size), (0xc0, sizes)]), "{word} {size}");
        }
    }

    #[test]
    fn what_does_not_hold_the_module_is_no_part() {
        let mut other = module(0xd083_2000, 0x2000, 0xc0, 4, 4);
        other.at = Gva(0xd083_5000);
        assert_eq!(parts(&[other], 4), None);
        assert_eq!(parts(&[], 4), None);
    }

    /// A module as 2.6.17 has it, whose only name comes after those of 20 sections.
    #[test]
    fn symbols_come_after_those_of_sections_which_have_no_names() {
        const BASE: u64 = 0xc881_0000;
        const AT: u64 = 0x20_0000;
        const MODULE: u64 = AT + 0x1800;
        const HEAD: u64 = 0x12_0000;
        let mut memory = Memory::new();
        memory.map(BASE, AT, 2);
        for list in [HEAD, MODULE + 4] {
            let other = if list == HEAD { BASE + 0x1804 } else { DIRECT + HEAD };
            memory.set(list, other);
            memory.set(list + 4, other);
        }
        memory.put(MODULE + 12, b"crc16");
        let parts = [0, BASE, 0, 0x2000, 0, 0x1000];
        let symbols = [BASE + 0x1000, 22, BASE + 0x1700];
        for (word, value) in (0..).zip(parts.into_iter().chain([0, 0]).chain(symbols)) {
            memory.set(MODULE + 0xc0 + 4 * word, value);
        }
        for section in 1..22 {
            memory.put(AT + 0x1000 + 16 * section + 12, b"s\0\x01\0");
        }
        let last = AT + 0x1000 + 16 * 21;
        memory.set(last, 1);
        memory.set(last + 4, BASE + 0x10);
        memory.put(last + 12, b"T");
        memory.put(AT + 0x1701, b"crc16");
        memory.with(|kernel| {
            let found = kernel.modules();
            let module = found.modules.first().expect("a module");
            assert_eq!(module.symbols.address("crc16"), Some(Gva(BASE + 0x10)), "{found:?}");
        });
    }
}
