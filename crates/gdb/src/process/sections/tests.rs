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

/// A library of 64 bits whose section headers are behind [`END`] and missing.
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

/// Names of the sections that were made.
fn names(file: &Bytes) -> Option<Vec<String>> {
    let Sections::Made(made) = Sections::of(file) else { return None };
    assert_eq!(made.len_bytes(), file.len_bytes() + made.tail.len() as u64);
    let mut whole = file.all.clone();
    whole[..made.header.len()].copy_from_slice(&made.header);
    whole.extend(&made.tail);
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
    let file = library();
    let Sections::Made(made) = Sections::of(&file) else { panic!("none") };
    assert_eq!(made.at(0), Some(&*made.header));
    assert_eq!(made.at(made.header.len() as u64), None);
    assert_eq!(made.at(made.len_bytes()), None);
    let mut whole = file.all.clone();
    whole[..made.header.len()].copy_from_slice(&made.header);
    whole.extend(&made.tail);
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
    assert!(matches!(Sections::of(&file), Sections::Own));
    // It never had any.
    let mut file = library();
    words(&mut file.all, 0x28, &[0]);
    assert!(matches!(Sections::of(&file), Sections::Own));
    let text = Bytes { all: b"#!/bin/sh".to_vec(), missing: 0..0 };
    assert!(matches!(Sections::of(&text), Sections::Own));
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
        assert!(matches!(Sections::of(&file), Sections::Lost), "{count}");
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
        assert!(matches!(Sections::of(&file), Sections::Own), "{len}");
        // The same without an end that could be read.
        let file = Bytes { all: whole.all.clone(), missing: len as u64..whole.len_bytes() };
        let _ = Sections::of(&file);
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
            let _ = Sections::of(&file);
        };
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            survive(&|file| file[at] = value);
        }
        for value in [0, 1 << 31, 1 << 63, u64::MAX - 0xfff, u64::MAX - 7, u64::MAX] {
            survive(&|file| words(file, at, &[value]));
        }
    }
}
