#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::ops::Range;

use object::{Object, ObjectSection, ObjectSymbol};

use super::*;

/// Bytes of which some are missing.
struct Bytes {
    all: Vec<u8>,
    missing: Range<u64>,
}

impl Source for Bytes {
    fn len_bytes(&self) -> u64 {
        self.all.len() as u64
    }

    fn available(&self, offset: u64) -> u64 {
        let end = self.len_bytes();
        let end = if offset < self.missing.start {
            self.missing.start
        } else if offset < self.missing.end {
            offset
        } else {
            end
        };
        end.saturating_sub(offset)
    }

    fn missing(&self, offset: u64) -> u64 {
        let is_in = self.missing.contains(&offset);
        if is_in { self.missing.end - offset } else { 0 }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        if self.available(offset) < buf.len() as u64 {
            return None;
        }
        let start = usize::try_from(offset).ok()?;
        buf.copy_from_slice(self.all.get(start..start.checked_add(buf.len())?)?);
        Some(())
    }
}

const TEXT: usize = 0x1000;
const DYNAMIC: usize = 0x2000;
const HASH: usize = 0x2100;
const NAMES: usize = 0x2200;
const SYMBOLS: usize = 0x2300;
const FRAME_HEADER: usize = 0x2400;
const FRAMES: usize = 0x2410;
const END: usize = 0x3000;

/// Writes numbers of 8 bytes one after the other.
fn words(file: &mut [u8], at: usize, words: &[u64]) {
    for (index, word) in words.iter().enumerate() {
        file[at + index * 8..at + index * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
}

fn halves(file: &mut [u8], at: usize, halves: &[u32]) {
    for (index, half) in halves.iter().enumerate() {
        file[at + index * 4..at + index * 4 + 4].copy_from_slice(&half.to_le_bytes());
    }
}

/// A program header of 64 bits; memory is where the file is.
fn segment(kind: u64, flags: u64, at: usize, len: u64) -> [u64; 7] {
    [kind | flags << 32, at as u64, at as u64, at as u64, len, len, 4]
}

/// A library of 64 bits whose section headers are after [`END`] and missing.
fn library() -> Bytes {
    let mut file = vec![0; END + 0x400];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    words(&mut file, 0x10, &[0x1_003e_0003, 0, 64, END as u64]);
    halves(&mut file, 0x34, &[0x0038_0040, 0x0040_0004, 0x0001_0002]);
    let segments = [
        segment(1, 5, TEXT, 0x1000),
        segment(1, 6, DYNAMIC, 0x800),
        segment(2, 6, DYNAMIC, 0x80),
        segment(0x6474_e550, 4, FRAME_HEADER, 12),
    ];
    words(&mut file, 64, &segments.concat());
    // DT_STRTAB, DT_STRSZ, DT_SYMTAB, DT_SYMENT, DT_HASH
    let dynamic = [5, NAMES as u64, 10, 8, 6, SYMBOLS as u64, 11, 24, 4, HASH as u64];
    words(&mut file, DYNAMIC, &dynamic);
    halves(&mut file, HASH, &[1, 2, 1, 0, 0]);
    file[NAMES + 1..NAMES + 5].copy_from_slice(b"deep");
    words(&mut file, SYMBOLS + 24, &[1 | 0x12 << 32 | 77 << 48, TEXT as u64 + 8, 16]);
    // Version 1; the pointer is relative to itself, the count and table are absolute.
    file[FRAME_HEADER..FRAME_HEADER + 4].copy_from_slice(&[1, 0x1b, 3, 0x3b]);
    halves(&mut file, FRAME_HEADER + 4, &[0x10 - 4, 0]);
    halves(&mut file, FRAMES, &[12, 0, 0, 0, 8, 0, 0, 0]);
    Bytes { missing: END as u64..file.len() as u64, all: file }
}

/// The file as it is served, with zeroes for what is missing.
fn whole(file: &Bytes) -> (SectionTable, Vec<u8>) {
    let Restored { table, patches, .. } = restore(file, &|| None);
    let mut whole = file.all.clone();
    whole[file.missing.start as usize..file.missing.end as usize].fill(0);
    for patch in patches {
        whole.resize(whole.len().max(patch.end() as usize), 0);
        let bytes = match patch.bytes {
            PatchBytes::Given(bytes) => bytes,
            PatchBytes::Zeroes(len) => vec![0; len as usize],
        };
        whole[patch.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    (table, whole)
}

/// Names of the sections that were made.
fn names(file: &Bytes) -> Option<Vec<String>> {
    let (table, whole) = whole(file);
    if table != SectionTable::Made {
        return None;
    }
    let elf = object::File::parse(&*whole).unwrap();
    Some(elf.sections().map(|section| section.name().unwrap().to_owned()).collect())
}

#[test]
fn a_table_is_made_from_the_program_headers() {
    let names = names(&library()).unwrap();
    for name in [".text", ".dynamic", ".dynstr", ".dynsym", ".eh_frame_hdr", ".eh_frame", ".data"] {
        assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
    }
}

#[test]
fn symbols_are_in_the_new_sections() {
    let (_, whole) = whole(&library());
    let elf = object::File::parse(&*whole).unwrap();
    let deep = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok("deep")).unwrap();
    let section = elf.section_by_index(deep.section_index().unwrap()).unwrap();
    assert_eq!((section.name(), deep.address()), (Ok(".text"), TEXT as u64 + 8));
    let frames = elf.section_by_name(".eh_frame").unwrap();
    assert_eq!((frames.address(), frames.size()), (FRAMES as u64, 16 + 12 + 4));
}

#[test]
fn a_file_that_has_its_own_keeps_it() {
    let mut file = library();
    file.missing = 0..0;
    assert!(restore(&file, &|| None).table == SectionTable::Own);
    // It never had any.
    let mut file = library();
    words(&mut file.all, 0x28, &[0]);
    assert!(restore(&file, &|| None).table == SectionTable::Own);
    let text = Bytes { all: b"#!/bin/sh".to_vec(), missing: 0..0 };
    assert!(restore(&text, &|| None).table == SectionTable::Own);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let mut file = library();
    file.missing = SYMBOLS as u64..file.len_bytes();
    let names = names(&file).unwrap();
    assert!(names.iter().any(|name| name == ".text"), "{names:?}");
    for name in [".dynsym", ".eh_frame", ".eh_frame_hdr"] {
        assert!(!names.iter().any(|one| one == name), "{name}: {names:?}");
    }
}

/// Where, what is written there, and the section that is not made for it.
#[test]
fn nonsense_is_bounded() {
    let dynamic = |index: usize| DYNAMIC + index * 16 + 8;
    let most = u64::MAX;
    for (what, at, value, without) in [
        ("PT_DYNAMIC out of the file", 64 + 2 * 56 + 8, most - 8, ".dynsym"),
        ("PT_DYNAMIC is long", 64 + 2 * 56 + 32, most, ".nothing"),
        ("the names are nowhere", dynamic(0), most, ".dynsym"),
        ("DT_STRSZ is huge", dynamic(1), most, ".dynsym"),
        ("the symbols are nowhere", dynamic(2), 8, ".dynsym"),
        ("the symbols have another size", dynamic(3), 1, ".dynsym"),
        ("the hash table is nowhere", dynamic(4), most - 4, ".dynsym"),
        ("the hash table is huge", HASH, most, ".dynsym"),
        ("a load wraps", 64 + 8, most - 0xfff, ".nothing"),
        ("a load is huge", 64 + 32, most, ".nothing"),
        ("addresses of a load wrap", 64 + 16, most - 0xf, ".nothing"),
        ("a record is huge", FRAMES, 0xffff_fff0, ".eh_frame"),
        ("a long record is huge", FRAMES, most, ".eh_frame"),
        ("the frames are nowhere", FRAME_HEADER + 4, 0x7fff_ffff, ".eh_frame"),
    ] {
        let mut file = library();
        words(&mut file.all, at, &[value]);
        let names = names(&file);
        let names = names.unwrap_or_else(|| panic!("{what}: nothing"));
        assert!(!names.iter().any(|name| name == without), "{what}: {names:?}");
    }
    // The number of program headers.
    for count in [0, 0xffff, 4000] {
        let mut file = library();
        halves(&mut file.all, 0x38, &[0x0040_0000 | count]);
        assert!(restore(&file, &|| None).table == SectionTable::Lost, "{count}");
    }
}

#[test]
fn a_chain_of_the_newer_hash_table_ends_with_the_file() {
    let mut file = library();
    words(&mut file.all, DYNAMIC + 4 * 16, &[0x6fff_fef5]);
    // One bucket, symbols from 1 on, one word of the filter; the chain is of one.
    halves(&mut file.all, HASH, &[1, 1, 1, 0, 0, 0, 1, 3]);
    assert!(names(&file).unwrap().iter().any(|name| name == ".dynsym"));
    for (at, value) in [(0, u32::MAX), (1, 0), (2, u32::MAX), (6, u32::MAX), (6, 0)] {
        let mut bad = Bytes { all: file.all.clone(), missing: file.missing.clone() };
        halves(&mut bad.all, HASH + at * 4, &[value]);
        assert!(!names(&bad).unwrap().iter().any(|name| name == ".dynsym"), "{at} {value:#x}");
    }
    // No chain has an end.
    for at in (HASH + 28..END).step_by(4) {
        halves(&mut file.all, at, &[2]);
    }
    assert!(!names(&file).unwrap().iter().any(|name| name == ".dynsym"));
}

#[test]
fn a_file_that_is_cut_off_is_served_as_it_is() {
    let whole = library();
    for len in (0..0x200).chain([TEXT, DYNAMIC + 8, HASH + 4, SYMBOLS + 30, FRAMES + 6]) {
        let file = Bytes { all: whole.all[..len].to_vec(), missing: 0..0 };
        assert!(restore(&file, &|| None).table == SectionTable::Own, "{len}");
        // The same without an end that could be read.
        let file = Bytes { all: whole.all.clone(), missing: len as u64..whole.len_bytes() };
        let _ = restore(&file, &|| None);
    }
}

/// Any byte may be anything, and any number too.
#[test]
fn changed_bytes_are_survived() {
    let whole = library();
    let parts =
        [0..64 + 4 * 56, DYNAMIC..DYNAMIC + 0x80, HASH..HASH + 20, FRAME_HEADER..FRAMES + 40];
    for at in parts.into_iter().flatten() {
        let survive = |change: &dyn Fn(&mut [u8])| {
            let mut file = Bytes { all: whole.all.clone(), missing: whole.missing.clone() };
            change(&mut file.all);
            let _ = restore(&file, &|| None);
        };
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            survive(&|file| file[at] = value);
        }
        for value in [0, 1 << 31, 1 << 63, u64::MAX - 0xfff, u64::MAX - 7, u64::MAX] {
            survive(&|file| words(file, at, &[value]));
        }
    }
}

/// A library of 64 bits with section headers: names of its symbols and call frames in
/// two pages each, of which any may be lost.
fn with_sections(missing: Range<u64>) -> Bytes {
    const NAMES: usize = 0x3000;
    const SYMBOLS: usize = 0x5000;
    const CALLS: usize = 0x7000;
    const LIST: usize = 0x9000;
    const HEADERS: usize = 0xa000;
    const LISTED: usize = 0xa0;
    let mut file = vec![0; HEADERS + 7 * 64];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    words(&mut file, 0x10, &[0x1_003e_0003, 0, 64, HEADERS as u64]);
    halves(&mut file, 0x34, &[0x0038_0040, 0x0040_0001, 0x0005_0007]);
    words(&mut file, 64, &segment(1, 5, 0, HEADERS as u64));
    // A name in each page, and one over the border.
    for (at, name) in [(1, "first"), (0xffd, "border"), (0x1800, "last")] {
        file[NAMES + at..][..name.len()].copy_from_slice(name.as_bytes());
    }
    for (index, name) in [(1, 1_u64), (2, 0xffd), (0x120, 0x1800)] {
        words(&mut file, SYMBOLS + index * 24, &[name | 0x12 << 32 | 1 << 48, 0x1000, 16]);
    }
    // What they have in common ("zR"), and functions of 32 bytes each.
    halves(&mut file, CALLS, &[20, 0, 0x0052_7a01, 0x0110_7801, 0x1b, 0]);
    let mut list = vec![u32::from_le_bytes([1, 0x1b, 3, 0x3b]), 0, LISTED as u32];
    for at in (24..0x1fd0).step_by(32) {
        let function = 0x1000 + at as u32;
        let begin = function.wrapping_sub(CALLS as u32 + at as u32 + 8);
        halves(&mut file, CALLS + at, &[28, at as u32 + 4, begin, 16, 0, 0, 0, 0]);
        list.extend([function.wrapping_sub(LIST as u32), (CALLS + at).wrapping_sub(LIST) as u32]);
    }
    halves(&mut file, LIST, &list[..3 + 2 * LISTED]);
    let strings = b"\0.eh_frame\0.eh_frame_hdr\0.dynstr\0.dynsym\0.shstrtab\0.text\0";
    file[HEADERS - 0x100..][..strings.len()].copy_from_slice(strings);
    let header = |name: u64, kind: u64, at: usize, len: u64, link: u64, entry: u64| {
        [name | kind << 32, 2, at as u64, at as u64, len, link, 8, entry]
    };
    let headers = [
        header(1, 1, CALLS, 0x2000, 0, 0),
        header(11, 1, LIST, 12 + 8 * LISTED as u64, 0, 0),
        header(25, 3, NAMES, 0x2000, 0, 0),
        header(33, 11, SYMBOLS, 0x2000 / 24 * 24, 3, 24),
        header(41, 3, HEADERS - 0x100, strings.len() as u64, 0, 0),
        [51 + (1 << 32), 6, 0x1000, 0x1000, 0x2100, 0, 1, 0],
    ];
    words(&mut file, HEADERS + 64, &headers.concat());
    Bytes { all: file, missing }
}

fn symbol_names(whole: &[u8]) -> Vec<String> {
    let elf = object::File::parse(whole).unwrap();
    let names = elf.dynamic_symbols().map(|symbol| symbol.name().unwrap().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_page_of_names_or_symbols_costs_no_others() {
    for (missing, left) in [
        (0..0, &["first", "border", "last"][..]),
        (0x3000..0x4000, &["last"]),
        // Half of a name is none.
        (0x4000..0x5000, &["first"]),
        (0x5000..0x6000, &["last"]),
        (0x6000..0x7000, &["first", "border"]),
    ] {
        let file = with_sections(missing.clone());
        let (table, whole) = whole(&file);
        assert_eq!(symbol_names(&whole), left, "{missing:x?}");
        assert_eq!(table == SectionTable::Own, missing.is_empty(), "{missing:x?}");
    }
}

/// The functions that call frames describe, and whether they say where these return to.
fn functions(whole: &[u8]) -> Vec<(Range<u64>, bool)> {
    use gimli::UnwindSection;
    let elf = object::File::parse(whole).unwrap();
    let section = elf.section_by_name(".eh_frame").unwrap();
    let frames = gimli::EhFrame::new(section.data().unwrap(), gimli::LittleEndian);
    let bases = gimli::BaseAddresses::default().set_eh_frame(section.address());
    let (mut entries, mut functions) = (frames.entries(&bases), Vec::new());
    while let Some(entry) = entries.next().unwrap() {
        let gimli::CieOrFde::Fde(fde) = entry else { continue };
        let fde = fde.parse(gimli::EhFrame::cie_from_offset).unwrap();
        let start = fde.initial_address();
        let mut context = gimli::UnwindContext::new();
        let row = fde.unwind_info_for_address(&frames, &bases, &mut context, start).unwrap();
        let nowhere =
            matches!(row.register(gimli::Register(16)), Some(gimli::RegisterRule::Expression(_)));
        functions.push((start..start + fde.len(), !nowhere));
    }
    functions
}

#[test]
fn lost_call_frames_leave_the_others() {
    let count = |whole: &[u8]| functions(whole).iter().filter(|(_, is_known)| *is_known).count();
    let all = count(&with_sections(0..0).all);
    assert!(all > 200, "{all}");
    // The end is lost: what is before stays.
    let (table, end) = whole(&with_sections(0x8000..0x9000));
    assert_eq!(table, SectionTable::Reduced(vec![".eh_frame".to_owned()]));
    assert_eq!(count(&end), 127);
    // The beginning is lost, and what all functions have in common with it.
    let (_, start) = whole(&with_sections(0x7000..0x8000));
    assert_eq!(count(&start), 0);
}

/// Else a debugger takes any word on the stack for the caller.
#[test]
fn of_code_without_call_frames_nothing_is_said() {
    for missing in [0x7000..0x8000_u64, 0x8000..0x9000, 0x7000..0x9000, 0x7800..0x7900] {
        let (_, whole) = whole(&with_sections(missing.clone()));
        let functions = functions(&whole);
        let mut covered: Vec<Range<u64>> =
            functions.iter().map(|(range, _)| range.clone()).collect();
        covered.sort_by_key(|range| range.start);
        // Functions of 16 bytes with 16 others in between of which there was no record.
        let ends = covered.iter().map(|range| range.end);
        let starts = covered.iter().skip(1).map(|range| range.start);
        assert!(ends.zip(starts).all(|(end, start)| end <= start), "{covered:x?}");
        let unknown: u64 = functions
            .iter()
            .filter(|(_, is_known)| !is_known)
            .map(|(range, _)| range.end - range.start)
            .sum();
        let lost = (missing.end - missing.start) / 2;
        assert!(unknown >= lost, "{unknown:#x} of {lost:#x}: {covered:x?}");
    }
}

#[test]
fn a_header_is_made_from_what_is_mapped() {
    let file = with_sections(0..0x1000);
    let mapped = Mapped::whole(0xa180);
    let restored = restore(&file, &|| Some(mapped.clone()));
    assert!(restored.is_header_made);
    let mut whole = file.all.clone();
    whole[..0x1000].fill(0);
    for patch in restored.patches {
        let PatchBytes::Given(bytes) = patch.bytes else { continue };
        whole[patch.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    assert_eq!(symbol_names(&whole), ["first", "border", "last"]);
    let elf = object::File::parse(&*whole).unwrap();
    let names: Vec<_> = elf.sections().map(|section| section.name().unwrap().to_owned()).collect();
    assert_eq!(names, [".eh_frame", ".eh_frame_hdr", ".dynstr", ".dynsym", ".shstrtab", ".text"]);
}
