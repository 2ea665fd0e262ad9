use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use vmss2core_guest::{Facts, LinuxFacts, VmcoreInfo};
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Found, Gpa, PAGE_SIZE, PhysicalMemory};

use super::filter::DumpLevel;
use crate::tests::support::{LONG_MODE, Scratch, guest, job, map_marked, vcpu, write, write_to};
use crate::{DumpError, Observer, Silent};

const TEXT: &str = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n";

fn facts(is_64_bit: bool) -> Facts {
    let how = "test";
    let banner = "Linux version 6.1.0-test (me@here) (gcc) #7 SMP Debian 6.1.1";
    let info = VmcoreInfo { text: TEXT.to_owned(), synthesised: false };
    let linux = LinuxFacts {
        is_64_bit,
        banner: Some(Found::new(banner.to_owned(), how)),
        release: Some(Found::new("6.1.0-test".to_owned(), how)),
        phys_base: is_64_bit.then(|| Found::new(-0xf0_0000, how)),
        vmcoreinfo: Some(Found::new(info, how)),
        ..LinuxFacts::default()
    };
    Facts::of(linux, "made")
}

/// Memory with video memory, a hole, and an end that is no multiple of anything.
fn a_guest() -> Checkpoint {
    let mut checkpoint = guest(&[(0, 300), (0x20_0000, 1000), (1 << 32, 77)]);
    checkpoint.vcpus = [vcpu(0, LONG_MODE), vcpu(1, LONG_MODE)].into();
    checkpoint
}

/// A file as an independent reader sees it.
struct Dump<'a> {
    file: &'a [u8],
    is_64_bit: bool,
    sub: usize,
    bitmap_blocks: usize,
    max_mapnr: u64,
}

fn number(file: &[u8], at: usize, len: usize) -> u64 {
    file[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl<'a> Dump<'a> {
    fn new(file: &'a [u8], is_64_bit: bool) -> Self {
        assert_eq!(&file[..8], b"KDUMP   ");
        assert_eq!(number(file, 8, 4), 6);
        let at = if is_64_bit { 424 } else { 412 };
        assert_eq!(number(file, at + 4, 4), 4096);
        let max_at = 4096 + if is_64_bit { 96 } else { 72 };
        let max_mapnr = number(file, max_at, 8);
        assert_eq!(number(file, at + 16, 4), max_mapnr);
        let sub = usize::try_from(number(file, at + 8, 4)).unwrap();
        let bitmap_blocks = usize::try_from(number(file, at + 12, 4)).unwrap();
        assert_eq!(bitmap_blocks as u64, 2 * max_mapnr.div_ceil(8 * 4096));
        Self { file, is_64_bit, sub, bitmap_blocks, max_mapnr }
    }

    fn count(&self, index: usize) -> u64 {
        number(self.file, if self.is_64_bit { 424 } else { 412 } + index * 4, 4)
    }

    fn name(&self, index: usize) -> &str {
        let raw = &self.file[12 + index * 65..77 + index * 65];
        let len = raw.iter().position(|byte| *byte == 0).unwrap();
        assert!(raw[len..].iter().all(|byte| *byte == 0));
        std::str::from_utf8(&raw[..len]).unwrap()
    }

    fn bits(&self, which: usize) -> Vec<u64> {
        let start = (1 + self.sub + which * self.bitmap_blocks / 2) * 4096;
        let byte = |bit: u64| self.file[start + usize::try_from(bit / 8).unwrap()];
        let room = self.bitmap_blocks as u64 / 2 * 4096 * 8;
        (0..room).filter(|bit| byte(*bit) >> (bit % 8) & 1 == 1).collect()
    }

    /// (offset, size, flags) of the pages that are stored.
    fn pages(&self) -> BTreeMap<u64, (usize, usize, u64)> {
        let start = (1 + self.sub + self.bitmap_blocks) * 4096;
        let descriptor = |(index, pfn): (usize, u64)| {
            let at = start + index * 24;
            let field = |at, len| usize::try_from(number(self.file, at, len)).unwrap();
            assert_eq!(number(self.file, at + 16, 8), 0);
            (pfn, (field(at, 8), field(at + 8, 4), number(self.file, at + 12, 4)))
        };
        self.bits(1).into_iter().enumerate().map(descriptor).collect()
    }

    fn page(&self, (offset, size, flags): (usize, usize, u64)) -> Vec<u8> {
        let raw = &self.file[offset..offset + size];
        let mut page = vec![0; 4096];
        match flags {
            0 => page.copy_from_slice(raw),
            1 => {
                let mut inflate = flate2::Decompress::new(true);
                inflate.decompress(raw, &mut page, flate2::FlushDecompress::Finish).unwrap();
                assert_eq!(inflate.total_out(), 4096);
            }
            2 => assert_eq!(lzokay::decompress::decompress(raw, &mut page).unwrap(), 4096),
            4 => page = snap::raw::Decoder::new().decompress_vec(raw).unwrap(),
            0x20 => page = zstd::bulk::decompress(raw, 4096).unwrap(),
            other => panic!("flags {other:#x}"),
        }
        page
    }
}

/// The pages of the guest that a dump must have: not the video memory.
fn expected_pages(memory: &PhysicalMemory) -> Vec<u64> {
    let pages = memory.ranges().into_iter().flat_map(|range| range.start / 4096..range.end / 4096);
    pages.filter(|pfn| !(0xa0..0xc0).contains(pfn)).collect()
}

fn assert_whole(file: &[u8], checkpoint: &Checkpoint) {
    let dump = Dump::new(file, true);
    let pfns = expected_pages(&checkpoint.memory);
    assert!(dump.bits(0) == pfns);
    assert!(dump.bits(1) == pfns);
    assert_eq!(dump.max_mapnr, pfns.last().unwrap() + 1);
    let mut zero_pages = Vec::new();
    for (pfn, place) in dump.pages() {
        let mut want = vec![0; 4096];
        checkpoint.memory.read(Gpa(pfn * 4096), &mut want).unwrap();
        assert!(dump.page(place) == want, "page {pfn:#x}");
        if want.iter().all(|byte| *byte == 0) {
            zero_pages.push(place);
        }
    }
    zero_pages.dedup();
    assert_eq!(zero_pages.len(), 1, "pages of zeroes share one");
}

#[test]
fn every_page_is_there_whatever_the_compression() {
    let checkpoint = a_guest();
    let mut lengths = Vec::new();
    for (name, flag) in [("raw", 0), ("zlib", 1), ("lzo", 2), ("snappy", 4), ("zstd", 0x20)] {
        let choices = format!("compress={name}");
        let (file, summary) = write("kdump", &checkpoint, &facts(true), &choices).unwrap();
        assert_whole(&file, &checkpoint);
        assert_eq!(Dump::new(&file, true).count(0), flag);
        assert_eq!(summary.len_bytes, file.len() as u64);
        lengths.push(file.len());
    }
    let raw = lengths.remove(0);
    assert!(lengths.iter().all(|len| *len < raw / 4), "{raw} {lengths:?}");
}

#[test]
fn the_header_says_all_that_readers_want_to_know() {
    let mut checkpoint = a_guest();
    checkpoint.about_mut().machine.suspended_unix = Some(0x6543_2100);
    let (file, _) = write("kdump", &checkpoint, &facts(true), "compress=lzo").unwrap();
    let dump = Dump::new(&file, true);
    let names: Vec<&str> = (0..6).map(|index| dump.name(index)).collect();
    let uts = ["Linux", "(none)", "6.1.0-test", "#7 SMP Debian 6.1.1", "x86_64", "(none)"];
    assert_eq!(names, uts);
    assert_eq!(number(&file, 408, 8), 0x6543_2100);
    assert_eq!(dump.count(7), expected_pages(&checkpoint.memory).len() as u64);
    assert_eq!(dump.count(9), 2);
    assert_eq!(number(&file, 4096, 8).cast_signed(), -0xf0_0000);
    let at = usize::try_from(number(&file, 4096 + 32, 8)).unwrap();
    let len = usize::try_from(number(&file, 4096 + 40, 8)).unwrap();
    // With the line that the text lacks, as the ELF core has it.
    let text = format!("{TEXT}NUMBER(phys_base)=-15728640\n");
    assert_eq!(std::str::from_utf8(&file[at..at + len]), Ok(text.as_str()));
}

/// The notes of an ELF core begin after its program headers and end with the
/// last one.
#[test]
fn the_notes_are_those_of_the_elf_core() {
    let checkpoint = a_guest();
    let (file, _) = write("kdump", &checkpoint, &facts(true), "").unwrap();
    let at = usize::try_from(number(&file, 4096 + 48, 8)).unwrap();
    let len = usize::try_from(number(&file, 4096 + 56, 8)).unwrap();
    assert_eq!(at, 4096 + 104);
    let (elf, _) = write("elf", &checkpoint, &facts(true), "").unwrap();
    let note = usize::try_from(number(&elf, 64 + 8, 8)).unwrap();
    assert_eq!(number(&elf, 64 + 32, 8), len as u64);
    assert!(file[at..at + len] == elf[note..note + len]);
}

#[test]
fn a_32_bit_guest_gets_the_headers_of_its_kernel() {
    let mut checkpoint = guest(&[(0, 2000)]);
    checkpoint.vcpus = [vcpu(0, 0)].into();
    let (file, _) = write("kdump", &checkpoint, &facts(false), "").unwrap();
    let dump = Dump::new(&file, false);
    assert_eq!(dump.name(4), "i686");
    assert_eq!(dump.count(9), 1);
    let at = usize::try_from(number(&file, 4096 + 20, 8)).unwrap();
    let len = usize::try_from(number(&file, 4096 + 28, 4)).unwrap();
    assert_eq!(&file[at..at + len], TEXT.as_bytes());
    assert_eq!(number(&file, 4096 + 32, 8), 4096 + 80);
    assert!(dump.bits(1) == expected_pages(&checkpoint.memory));
}

#[test]
fn the_file_is_the_same_for_any_number_of_threads() {
    let mut checkpoint = Checkpoint::default();
    map_marked(&mut checkpoint.memory, 0, 5000);
    let file = |threads| {
        let choices = format!("threads={threads}");
        write("kdump", &checkpoint, &facts(true), &choices).unwrap().0
    };
    let one = file(1);
    for threads in [2, 3, 16, 200] {
        assert!(file(threads) == one, "{threads} threads");
    }
}

/// Restores a file as `makedumpfile -R` does.
fn restored(flat: &[u8]) -> Vec<u8> {
    assert_eq!(&flat[..16], b"makedumpfile\0\0\0\0");
    let signed = |at: usize| i64::from_be_bytes(flat[at..at + 8].try_into().unwrap());
    assert_eq!((signed(16), signed(24)), (1, 1));
    let mut file: Vec<u8> = Vec::new();
    let mut at = 4096;
    while signed(at) != -1 {
        let (offset, size) = (signed(at), signed(at + 8));
        assert!(size > 0);
        let (offset, size) = (usize::try_from(offset).unwrap(), usize::try_from(size).unwrap());
        file.resize(file.len().max(offset + size), 0);
        file[offset..offset + size].copy_from_slice(&flat[at + 16..at + 16 + size]);
        at += 16 + size;
    }
    assert_eq!((signed(at + 8), at + 16), (-1, flat.len()));
    file
}

#[test]
fn the_flattened_form_restores_to_the_same_file() {
    let checkpoint = a_guest();
    let (direct, _) = write("kdump", &checkpoint, &facts(true), "").unwrap();
    let (flat, summary) = write("kdump", &checkpoint, &facts(true), "flatten").unwrap();
    assert_eq!(summary.len_bytes, flat.len() as u64);
    assert!(restored(&flat) == direct);

    let facts = facts(true);
    let (scratch, facts) = (Scratch::new(), &facts);
    let mut stream = Vec::new();
    let format = crate::format("kdump").unwrap().stream().unwrap();
    format.write(&job(&scratch, &checkpoint, &facts), &mut stream).unwrap();
    assert!(stream == flat);
}

/// Takes some bytes, then the reader is gone.
struct Gone(usize);

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_an_error_at_any_time() {
    let checkpoint = a_guest();
    let (scratch, facts) = (Scratch::new(), &facts(true));
    let format = crate::format("kdump").unwrap().stream().unwrap();
    for bytes in [0, 100, 4096, 5000, 20_000] {
        let ended = format.write(&job(&scratch, &checkpoint, &facts), &mut Gone(bytes));
        assert!(matches!(ended, Err(DumpError::Stream { .. })), "{bytes}: {ended:?}");
    }
}

#[test]
fn other_formats_are_no_streams() {
    for name in ["elf", "elf-linear", "elf-physical", "raw", "windbg", "windbg-bitmap"] {
        assert!(crate::format(name).unwrap().stream().is_none(), "{name}");
    }
}

#[test]
fn a_guest_without_linux_is_refused() {
    let refused = write("kdump", &a_guest(), &Facts::default(), "");
    let error = refused.unwrap_err();
    assert!(matches!(error, DumpError::NotLinux { format: "kdump", .. }));
    assert!(error.to_string().ends_with("kdump files are for Linux only"), "{error}");
}

#[test]
fn pages_of_unknown_use_are_not_left_out_unasked() {
    let checkpoint = a_guest();
    let level = |number| format!("dump-level={number}");
    // Pages of zeroes: the same file but for the number.
    let (file, _) = write("kdump", &checkpoint, &facts(true), &level(1)).unwrap();
    assert_whole(&file, &checkpoint);
    assert_eq!(number(&file, 4096 + 8, 4), 1);
    // Nothing says what the pages are used for.
    for number in [2, 4, 8, 16, 31] {
        let scratch = Scratch::new();
        let refused =
            write_to(&scratch, "kdump", &checkpoint, &facts(true), &level(number), &Silent);
        assert!(matches!(refused, Err(DumpError::NoPageClasses { .. })), "{refused:?}");
        assert_eq!(scratch.file_count(), 0);
    }
}

#[test]
fn levels_end_at_31() {
    assert_eq!(DumpLevel::new(31).map(DumpLevel::number), Some(31));
    assert_eq!(DumpLevel::new(32), None);
}

/// Stops after some portions.
struct StopAt(u64, std::sync::atomic::AtomicU64);

impl Observer for StopAt {
    fn progress(&self, done: u64, total: u64) {
        assert!(done <= total);
        self.1.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(std::sync::atomic::Ordering::Relaxed) >= self.0
    }
}

#[test]
fn stopping_leaves_nothing_at_any_time() {
    let checkpoint = a_guest();
    let total = expected_pages(&checkpoint.memory).len() as u64 * PAGE_SIZE;
    for at in [0, 1, total / 2, total] {
        let scratch = Scratch::new();
        let observer = StopAt(at, 0.into());
        let stopped = write_to(&scratch, "kdump", &checkpoint, &facts(true), "", &observer);
        assert!(matches!(stopped, Err(DumpError::Cancelled)), "{at}: {stopped:?}");
        assert_eq!(scratch.file_count(), 0);
    }
}

#[test]
fn progress_ends_at_the_total() {
    let checkpoint = a_guest();
    let observer = StopAt(u64::MAX, 0.into());
    write_to(&Scratch::new(), "kdump", &checkpoint, &facts(true), "", &observer).unwrap();
    let total = expected_pages(&checkpoint.memory).len() as u64 * PAGE_SIZE;
    assert_eq!(observer.1.into_inner(), total);
}

#[test]
fn holes_of_the_file_are_pages_of_zeroes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Data that begins and ends within pages of the guest.
    file.as_file().set_len(0x1234 + (64 << 20)).unwrap();
    for at in [0x1234, 0x1234 + (20 << 20), 0x1233 + (40 << 20)] {
        std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[7; 5000], at).unwrap();
    }
    let mut checkpoint = Checkpoint::default();
    let source = Arc::new(file.reopen().unwrap());
    checkpoint.memory.map(Gpa(1 << 20), 64 << 20, source, 0x1234).unwrap();
    let (file, _) = write("kdump", &checkpoint, &facts(true), "").unwrap();
    assert_whole(&file, &checkpoint);
}

/// Fails from an offset on.
struct Broken;

impl vmss2core_mem::ReadAt for Broken {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        buf.fill(1);
        if offset + buf.len() as u64 > 40 << 20 {
            Err(std::io::Error::other("bad"))
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_read_error_ends_all_threads_and_is_what_is_told() {
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0), 64 << 20, Arc::new(Broken), 0).unwrap();
    for threads in [1, 2, 9] {
        let scratch = Scratch::new();
        let choices = format!("threads={threads}");
        let ended = write_to(&scratch, "kdump", &checkpoint, &facts(true), &choices, &Silent);
        assert!(matches!(ended, Err(DumpError::Read(_))), "{ended:?}");
        assert_eq!(scratch.file_count(), 0);
    }
}

#[test]
fn absurd_addresses_are_refused_or_stay_small() {
    // Page numbers of 40 bits make bitmaps of 128 GiB, nearly all of it holes.
    let mut checkpoint = guest(&[(0, 4)]);
    let top = vec![1; 4096];
    checkpoint.memory.map(Gpa((1 << 44) - 4096), 4096, Arc::new(top), 0).unwrap();
    let scratch = Scratch::new();
    write_to(&scratch, "kdump", &checkpoint, &facts(true), "", &Silent).unwrap();
    let metadata = std::fs::metadata(&scratch.path).unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) < 2000);

    let mut checkpoint = guest(&[(0, 4)]);
    checkpoint.memory.map(Gpa(0u64.wrapping_sub(8192)), 4096, Arc::new(vec![1; 4096]), 0).unwrap();
    let refused = write("kdump", &checkpoint, &facts(true), "");
    assert!(refused.is_err());
}
