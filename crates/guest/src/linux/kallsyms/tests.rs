//! Tables of every layout, written by an encoder of its own.

#![allow(clippy::cast_possible_truncation, reason = "the numbers of the tests are small")]

use std::sync::Arc;

use vmss2core_machine::paging::{AddressSpace, PagingMode, Root};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::{Source, search};
use crate::fuzzing;
use crate::linux::discovery::Bounds;
use crate::linux::{Symbols, assert_seed};

/// Where the image of the tests begins; paging is off, so physically too.
const IMAGE: u64 = fuzzing::KALLSYMS_IMAGE;
/// Where the tables begin in it.
const TABLES: u64 = fuzzing::KALLSYMS_TABLES;
/// Where the banner is.
const BANNER: u64 = IMAGE + 0x10_0000;
const COUNT: u32 = 6000;

/// Differences between kernels.
#[derive(Clone, Copy, Debug)]
struct Layout {
    word: u64,
    marker_len: usize,
    /// Three bytes for each symbol before the tokens, after, or nowhere.
    sequences: Sequences,
    addresses: Addresses,
    /// Address tables come after the tokens.
    is_behind: bool,
    /// Bytes of `num_syms` with what pads it.
    count_len: usize,
    /// A name of more than 127 tokens.
    has_long_name: bool,
    names: Names,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    /// In tokens.
    Compressed,
    /// As they are, and no tokens.
    Whole,
    /// Without what each shares with the one before; no types, markers or tokens.
    Stems,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sequences {
    None,
    BeforeTokens,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Addresses {
    Absolute,
    FromBase,
    PercpuOrBase,
    Place,
}

const OLD: Layout = Layout {
    word: 8,
    marker_len: 8,
    sequences: Sequences::None,
    addresses: Addresses::Absolute,
    is_behind: false,
    count_len: 8,
    has_long_name: false,
    names: Names::Compressed,
};

/// The layouts that there have been, by the first kernel that has each.
const LAYOUTS: [(&str, Layout); 15] = [
    ("2.6.10", OLD),
    ("2.6.10, 32-bit", Layout { word: 4, marker_len: 4, count_len: 4, ..OLD }),
    ("4.6", Layout { addresses: Addresses::PercpuOrBase, ..OLD }),
    (
        "4.6, 32-bit",
        Layout { word: 4, marker_len: 4, count_len: 4, addresses: Addresses::FromBase, ..OLD },
    ),
    ("4.20", Layout { marker_len: 4, addresses: Addresses::PercpuOrBase, ..OLD }),
    (
        "6.1",
        Layout { marker_len: 4, addresses: Addresses::PercpuOrBase, has_long_name: true, ..OLD },
    ),
    (
        "6.2",
        Layout {
            marker_len: 4,
            addresses: Addresses::PercpuOrBase,
            sequences: Sequences::BeforeTokens,
            has_long_name: true,
            ..OLD
        },
    ),
    (
        "6.2, 32-bit",
        Layout {
            word: 4,
            marker_len: 4,
            count_len: 4,
            addresses: Addresses::FromBase,
            sequences: Sequences::BeforeTokens,
            has_long_name: true,
            ..OLD
        },
    ),
    (
        "6.4",
        Layout {
            marker_len: 4,
            addresses: Addresses::PercpuOrBase,
            is_behind: true,
            has_long_name: true,
            ..OLD
        },
    ),
    (
        "6.15",
        Layout {
            marker_len: 4,
            addresses: Addresses::FromBase,
            is_behind: true,
            has_long_name: true,
            ..OLD
        },
    ),
    (
        "7.0",
        Layout {
            marker_len: 4,
            addresses: Addresses::Place,
            is_behind: true,
            count_len: 4,
            has_long_name: true,
            ..OLD
        },
    ),
    ("2.6.0", Layout { names: Names::Stems, ..OLD }),
    ("2.6.0, 32-bit", Layout { word: 4, count_len: 4, names: Names::Stems, ..OLD }),
    ("OpenWrt's 2.6", Layout { names: Names::Whole, ..OLD }),
    ("OpenWrt's 4.14", Layout { addresses: Addresses::PercpuOrBase, names: Names::Whole, ..OLD }),
];

/// Address, type and name of the symbols of the tests, sorted.
fn symbols(layout: &Layout) -> Vec<(u64, char, String)> {
    let mut symbols = Vec::new();
    if layout.addresses == Addresses::PercpuOrBase {
        symbols.extend((0..40).map(|number| (number * 64, 'A', format!("percpu_{number}"))));
    }
    symbols.push((IMAGE, 'T', "_text".to_owned()));
    symbols.push((IMAGE, 'T', "_stext".to_owned()));
    while symbols.len() < COUNT as usize - 1 {
        let number = symbols.len() as u64;
        let kind = if number.is_multiple_of(3) { 't' } else { 'T' };
        symbols.push((IMAGE + number * 16, kind, format!("function_number_{number}_of_many")));
    }
    if layout.has_long_name
        && let Some(symbol) = symbols.get_mut(3000)
    {
        // Characters that are tokens of their own: one token each.
        symbol.2 = "QZ".repeat(150);
    }
    symbols.push((BANNER, 'D', "linux_banner".to_owned()));
    if layout.names == Names::Stems {
        for symbol in &mut symbols {
            symbol.1 = 't';
        }
    }
    symbols
}

/// Tokens of the tests: each character is one; some more stand for words.
fn tokens() -> Vec<String> {
    let words = ["function_", "number_", "_of_many", "percpu_"];
    (0..256_usize)
        .map(|token| match token.checked_sub(128).and_then(|index| words.get(index)) {
            Some(word) => (*word).to_owned(),
            None if (0x21..0x7f).contains(&token) => char::from(token as u8).to_string(),
            None => format!("unused{token}"),
        })
        .collect()
}

fn compressed(kind: char, name: &str) -> Vec<u8> {
    let tokens = tokens();
    let mut rest = format!("{kind}{name}");
    let mut bytes = Vec::new();
    while !rest.is_empty() {
        let token = (128..132).find(|token| rest.starts_with(&tokens[*token]));
        let token = token.unwrap_or(usize::from(rest.as_bytes()[0]));
        rest.drain(..tokens[token].len());
        bytes.push(token as u8);
    }
    if bytes.len() < 128 {
        bytes.insert(0, bytes.len() as u8);
    } else {
        let len = bytes.len();
        bytes.splice(0..0, [(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]);
    }
    bytes
}

/// Writes tables one after the other.
struct Writer {
    bytes: Vec<u8>,
    align: usize,
}

impl Writer {
    fn at(&self) -> u64 {
        TABLES + self.bytes.len() as u64
    }

    fn align(&mut self) {
        self.align_to(self.align);
    }

    fn align_to(&mut self, align: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
    }

    fn number(&mut self, value: u64, len: usize) {
        self.bytes.extend_from_slice(&value.to_le_bytes()[..len]);
    }
}

fn write_addresses(writer: &mut Writer, layout: &Layout, symbols: &[(u64, char, String)]) {
    let word = layout.word as usize;
    for (address, ..) in symbols {
        match layout.addresses {
            Addresses::Absolute => writer.number(*address, word),
            Addresses::FromBase => writer.number(address - IMAGE, 4),
            Addresses::PercpuOrBase if *address < IMAGE => writer.number(*address, 4),
            Addresses::PercpuOrBase => writer.number((IMAGE - 1).wrapping_sub(*address), 4),
            Addresses::Place => {
                let here = writer.at();
                writer.number(address.wrapping_sub(here), 4);
            }
        }
    }
    writer.align();
    if matches!(layout.addresses, Addresses::FromBase | Addresses::PercpuOrBase) {
        writer.number(IMAGE, word);
    }
}

/// The tables of a kernel.
fn encode(layout: &Layout) -> Vec<u8> {
    encode_symbols(layout, &symbols(layout))
}

/// The tables of a kernel that has no symbol of its banner.
fn encode_functions(layout: &Layout) -> Vec<u8> {
    let symbols = symbols(layout);
    encode_symbols(layout, &symbols[..symbols.len() - 1])
}

fn encode_symbols(layout: &Layout, symbols: &[(u64, char, String)]) -> Vec<u8> {
    let align = if layout.addresses == Addresses::Place { 4 } else { layout.word as usize };
    let mut writer = Writer { bytes: b"something else in front".to_vec(), align };
    writer.align_to(8);
    if !layout.is_behind {
        write_addresses(&mut writer, layout, symbols);
    }
    writer.number(symbols.len() as u64, layout.count_len);
    let mut markers = Vec::new();
    let start = writer.bytes.len();
    for (index, (_, kind, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push(writer.bytes.len() - start);
        }
        match layout.names {
            Names::Compressed => writer.bytes.extend(compressed(*kind, name)),
            Names::Whole => {
                writer.bytes.push(name.len() as u8 + 1);
                writer.bytes.extend(format!("{kind}{name}").bytes());
            }
            Names::Stems => {
                let last = index.checked_sub(1).map_or("", |last| &symbols[last].2);
                let pairs = name.bytes().zip(last.bytes());
                let shared = pairs.take_while(|(one, other)| one == other).count();
                writer.bytes.push(shared as u8);
                writer.bytes.extend(format!("{}\0", &name[shared..]).bytes());
            }
        }
    }
    writer.align();
    if layout.names == Names::Stems {
        return writer.bytes;
    }
    for marker in markers {
        writer.number(marker as u64, layout.marker_len);
    }
    writer.align();
    if layout.names == Names::Whole {
        return writer.bytes;
    }
    if layout.sequences == Sequences::BeforeTokens {
        writer.bytes.extend((0..symbols.len() * 3).map(|byte| (byte * 7) as u8));
        writer.align();
    }
    write_tokens(&mut writer);
    if layout.is_behind {
        write_addresses(&mut writer, layout, symbols);
        writer.bytes.extend((0..symbols.len() * 3).map(|byte| (byte * 7) as u8));
    }
    writer.bytes
}

fn write_tokens(writer: &mut Writer) {
    let mut index = Vec::new();
    let start = writer.bytes.len();
    for token in tokens() {
        index.push(writer.bytes.len() - start);
        writer.bytes.extend_from_slice(token.as_bytes());
        writer.bytes.push(0);
    }
    writer.align();
    for position in index {
        writer.number(position as u64, 2);
    }
    writer.align();
}

fn image(tables: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x28_0000];
    let banner = b"Linux version 6.1.0 (a@b) #1\n\0";
    let at = (BANNER - IMAGE) as usize;
    image[at..at + banner.len()].copy_from_slice(banner);
    let at = (TABLES - IMAGE) as usize;
    image[at..at + tables.len()].copy_from_slice(tables);
    image
}

fn memory(image: Vec<u8>) -> PhysicalMemory {
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(IMAGE), image.len() as u64, Arc::new(image), 0).unwrap();
    memory
}

fn source(memory: &PhysicalMemory, layout: &Layout) -> Source {
    Source {
        space: AddressSpace::new(memory, PagingMode::IDENTITY, Root(Gpa(0))),
        word_len: layout.word,
        ranges: vec![IMAGE..TABLES, TABLES..memory.end().0],
        known: vec![("_text", Gva(IMAGE))],
    }
}

fn found(image: Vec<u8>, layout: &Layout) -> Option<Symbols> {
    let memory = memory(image);
    search(&source(&memory, layout)).map(|found| found.value)
}

fn assert_all(layout: &Layout, found: &Symbols, what: &str) {
    let wanted = symbols(layout);
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (found, (address, kind, name)) in found.iter().zip(&wanted) {
        assert_eq!(
            (found.address.0, found.kind, found.name),
            (*address, *kind, name.as_str()),
            "{what}"
        );
    }
}

#[test]
fn every_layout_is_found_and_decoded() {
    for (kernel, layout) in LAYOUTS {
        let found = found(image(&encode(&layout)), &layout);
        assert_all(&layout, &found.unwrap_or_else(|| panic!("{kernel}: not found")), kernel);
    }
}

#[test]
fn a_kernel_that_lists_functions_only_is_found_by_its_text() {
    for (kernel, layout) in LAYOUTS {
        let memory = memory(image(&encode(&layout)));
        let source = Source { known: Vec::new(), ..source(&memory, &layout) };
        assert_all(&layout, &search(&source).expect(kernel).value, kernel);
    }
}

#[test]
fn an_address_table_whose_known_symbols_are_elsewhere_is_refused() {
    for (kernel, layout) in LAYOUTS {
        let memory = memory(image(&encode(&layout)));
        let known = vec![("_stext", Gva(IMAGE + 0x1000))];
        let source = Source { known, ..source(&memory, &layout) };
        assert!(search(&source).is_none(), "{kernel}");
    }
}

#[test]
fn tables_that_are_cut_off_are_refused() {
    for (kernel, layout) in LAYOUTS {
        let whole = encode(&layout);
        // What comes last, three bytes a symbol, is not needed.
        let needed = whole.len() - if layout.is_behind { 3 * COUNT as usize } else { 0 };
        for len in (0..needed).step_by(20_011) {
            let mut cut = whole.clone();
            cut[len..].fill(0);
            let symbols = found(image(&cut), &layout);
            assert!(symbols.is_none(), "{kernel} with {len} of {needed} bytes");
        }
    }
}

#[test]
fn a_count_that_is_absurd_costs_nothing() {
    for (kernel, layout) in LAYOUTS {
        let tables = encode(&layout);
        let symbols = symbols(&layout);
        let (_, kind, name) = &symbols[0];
        let mut count = symbols.len().to_le_bytes()[..layout.count_len].to_vec();
        match layout.names {
            Names::Compressed => count.extend(compressed(*kind, name)),
            Names::Whole => count.push(name.len() as u8 + 1),
            Names::Stems => count.extend(format!("\0{name}\0").bytes()),
        }
        for absurd in [u32::MAX, 1 << 31, 2 << 20, COUNT + 1, 0] {
            let mut tables = tables.clone();
            let at = memchr::memmem::find(&tables, &count).unwrap();
            tables[at..at + 4].copy_from_slice(&absurd.to_le_bytes());
            assert!(found(image(&tables), &layout).is_none(), "{kernel} {absurd}");
        }
    }
}

#[test]
fn names_that_claim_to_be_long_are_refused() {
    let (_, layout) = LAYOUTS[5];
    let mut tables = encode(&layout);
    // Every token becomes one of 60 characters.
    let at = memchr::memmem::find(&tables, b"0\x001\x002\0").unwrap();
    let end = tables.len();
    tables[at + 600..end - 700].fill(b'x');
    assert!(found(image(&tables), &layout).is_none());
}

/// A variable of each processor, and where such are.
const PER_CPU: (u64, u64) = (150, 0x1_f440);
/// A name that is the end of another, as far as that goes.
const END: (u64, u64) = (160, 4);

/// Entries of `__ksymtab` in each form that they have had, and names.
fn exported_by(form: &str, word: u64, with_version: bool) -> Vec<u8> {
    let name = |number: u64| {
        let version = format!("_R1b7d40{:02x}", number % 256);
        format!("function_{number}{}", if with_version { &version } else { "" })
    };
    let len = match form {
        "pointers" => 2 * word,
        "two distances" => 8,
        _ => 12,
    };
    let mut writer = Writer { bytes: vec![0; 64], align: 8 };
    let mut name_at = TABLES + 64 + 300 * len + 16;
    for number in 0..300 {
        let is_per_cpu = number == PER_CPU.0 && word == 8;
        let address = if is_per_cpu { PER_CPU.1 } else { IMAGE + number * 64 };
        let is_end = number == END.0 && form != "pointers";
        let own_name_at = if is_end { name_at + END.1 } else { name_at };
        if form == "pointers" {
            writer.number(address, word as usize);
            writer.number(own_name_at, word as usize);
        } else {
            let place = writer.at();
            writer.number(address.wrapping_sub(place), 4);
            writer.number(own_name_at.wrapping_sub(place + 4), 4);
        }
        if form == "three distances" {
            // The NUL before the first name is an empty name of a namespace.
            let empty = TABLES + 64 + 300 * len + 15;
            let distance = if number % 2 == 0 { 0 } else { empty.wrapping_sub(writer.at()) };
            writer.number(distance, 4);
        }
        name_at += name(number).len() as u64 + 1;
    }
    writer.bytes.extend([0; 16]);
    for number in 0..300 {
        writer.bytes.extend(format!("{}\0", name(number)).bytes());
    }
    writer.bytes
}

#[test]
fn a_kernel_without_kallsyms_names_what_modules_may_use() {
    for (form, word, with_version) in [
        ("pointers", 4, true),
        ("pointers", 4, false),
        ("pointers", 8, false),
        ("two distances", 8, false),
        ("three distances", 8, false),
    ] {
        let memory = memory(image(&exported_by(form, word, with_version)));
        let source = source(&memory, &Layout { word, ..OLD });
        assert!(search(&source).is_none(), "{form}");
        let at = |number: u64| Gva(IMAGE + number * 64);
        let bounds = Bounds { start: at(0), code_end: at(100), data_end: at(200), end: at(400) };
        let found = super::exported::find(&source, Some(bounds)).expect(form).value;
        assert_eq!(found.len(), 300, "{form}");
        let name = if form == "pointers" { "function_160" } else { "tion_160" };
        assert_eq!(found.address(name), Some(at(160)), "{form}");
        let kind = |number| found.at(at(number)).map(|(symbol, _)| symbol.kind);
        let last = if form == "pointers" { '?' } else { 'B' };
        assert_eq!([kind(7), kind(120), kind(250)], [Some('T'), Some('D'), Some(last)], "{form}");
        let per_cpu = found.at(Gva(PER_CPU.1)).map(|(symbol, _)| (symbol.name, symbol.kind));
        let expected = (word == 8).then_some(("function_150", 'A'));
        assert_eq!(per_cpu, expected, "{form}");
        assert_eq!(found.address("function_7"), Some(Gva(IMAGE + 7 * 64)), "{form}");
        // What lies after an exported function may be another, which has no name here.
        assert!(found.at(Gva(IMAGE + 7 * 64)).is_some_and(|(one, _)| one.name == "function_7"));
        assert_eq!(found.at(Gva(IMAGE + 7 * 64 + 1)), None);
    }
}

/// As the files of 2.4's `/proc` are listed: a name and a function, of names that others end in.
#[test]
fn functions_beside_ends_of_names_are_no_exported_symbols() {
    let mut bytes = exported_by("pointers", 4, false);
    let table = TABLES + bytes.len().next_multiple_of(4) as u64;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut writer = Writer { bytes, align: 4 };
    for number in 0..20 {
        writer.number(IMAGE + 0x8000 + number * 64, 4);
        writer.number(table + 20 * 8 + 2 * (number % 2) + number * 8, 4);
    }
    for number in 0..20 {
        writer.bytes.extend(format!("a_nam{number:02}\0").bytes());
    }
    let memory = memory(image(&writer.bytes));
    let source = source(&memory, &Layout { word: 4, ..OLD });
    let found = super::exported::find(&source, None).unwrap().value;
    assert_eq!(found.len(), 300);
}

/// As drivers of 2.4 have them: a function and a name, which is a whole one.
#[test]
fn functions_whose_names_lie_elsewhere_are_no_exported_symbols() {
    let mut bytes = exported_by("pointers", 4, false);
    bytes.resize(bytes.len().next_multiple_of(4) + 4096, 0);
    let table = TABLES + bytes.len() as u64;
    let mut writer = Writer { bytes, align: 4 };
    for number in 0..20 {
        writer.number(IMAGE + 0x8000 + number * 64, 4);
        writer.number(table + 20 * 8 + number * 8, 4);
    }
    for number in 0..20 {
        writer.bytes.extend(format!("a_nam{number:02}\0").bytes());
    }
    let memory = memory(image(&writer.bytes));
    let source = source(&memory, &Layout { word: 4, ..OLD });
    let found = super::exported::find(&source, None).unwrap().value;
    assert_eq!(found.len(), 300);
}

#[test]
fn names_with_others_beside_them_are_no_exported_symbols() {
    // Pairs of pointers to names, as arrays of strings are.
    let mut writer = Writer { bytes: vec![0; 64], align: 8 };
    for number in 0..600 {
        writer.number(TABLES + 64 + 600 * 8 + 8 + number * 8, 8);
    }
    writer.bytes.extend([0; 8]);
    for number in 0..600 {
        writer.bytes.extend(format!("nam_{number:03}\0").bytes());
    }
    let memory = memory(image(&writer.bytes));
    assert!(super::exported::find(&source(&memory, &OLD), None).is_none());
}

#[test]
fn seeds_of_fuzzing_are_current() {
    for (name, index) in [("4.6-32-bit", 3), ("6.2", 6), ("7.0", 10)] {
        let (_, layout) = LAYOUTS[index];
        let mut seed = vec![layout.word as u8];
        seed.extend(encode_functions(&layout));
        // Memory has whole pages.
        seed.resize(1 + (seed.len() - 1).next_multiple_of(4096), 0);
        assert_eq!(fuzzing::kallsyms(&seed), symbols(&layout).len() - 1, "{name}");
        assert_seed("kallsyms", name, &seed);
    }
}
