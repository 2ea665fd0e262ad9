//! A reader of dumps that knows nothing of the writer: offsets as the format's
//! description has them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vmss2core_lab::windows::{Residence, Truth};

pub(super) struct Dump {
    file: File,
    pub(super) len: u64,
    pub(super) wide: bool,
    /// Runs of pages: (first page, pages, file offset).
    pub(super) runs: Vec<(u64, u64, u64)>,
}

impl Dump {
    pub(super) fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let mut dump = Self { file, len, wide: true, runs: Vec::new() };
        match dump.bytes(0, 8).as_slice() {
            b"PAGEDU64" => {}
            b"PAGEDUMP" => dump.wide = false,
            other => panic!("not a dump: {other:x?}"),
        }
        dump.runs = match dump.dump_type() {
            1 => dump.list(),
            5 => dump.bitmap(),
            other => panic!("dump type {other}"),
        };
        dump
    }

    pub(super) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub(super) fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub(super) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    /// A field, by its place in the wide and in the narrow header.
    pub(super) fn word(&self, wide: u64, narrow: u64) -> u64 {
        if self.wide { self.u64(wide) } else { self.u32(narrow).into() }
    }

    pub(super) fn half(&self, wide: u64, narrow: u64) -> u32 {
        self.u32(if self.wide { wide } else { narrow })
    }

    pub(super) fn dump_type(&self) -> u32 {
        self.half(0xf98, 0xf88)
    }

    pub(super) fn header(&self) -> u64 {
        if self.wide { 0x2000 } else { 0x1000 }
    }

    pub(super) fn required(&self) -> u64 {
        self.u64(0xfa0)
    }

    pub(super) fn comment(&self) -> String {
        let bytes = self.bytes(if self.wide { 0xfb0 } else { 0x820 }, 128);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    /// The header's registers.
    pub(super) fn context(&self) -> Vec<u8> {
        if self.wide { self.bytes(0x348, 0x4d0) } else { self.bytes(0x320, 0x2cc) }
    }

    fn list(&self) -> Vec<(u64, u64, u64)> {
        let (mut runs, mut offset) = (Vec::new(), self.header());
        let count = u64::from(self.half(0x88, 0x64));
        for index in 0..count {
            let first = self.word(0x98 + index * 16, 0x6c + index * 8);
            let pages = self.word(0xa0 + index * 16, 0x70 + index * 8);
            runs.push((first, pages, offset));
            offset += pages * 4096;
        }
        let pages: u64 = runs.iter().map(|(_, pages, _)| pages).sum();
        assert_eq!(self.word(0x90, 0x68), pages);
        assert_eq!(offset, self.len);
        runs
    }

    fn bitmap(&self) -> Vec<(u64, u64, u64)> {
        let at = self.header();
        assert_eq!(self.bytes(at, 8), b"FDMPDUMP");
        let (mut offset, present, bits) =
            (self.u64(at + 0x20), self.u64(at + 0x28), self.u64(at + 0x30));
        assert_eq!((offset % 4096, bits % 64), (0, 0));
        let map = self.bytes(at + 0x38, usize::try_from(bits / 8).unwrap());
        assert!(at + 0x38 + bits / 8 <= offset);
        let mut runs: Vec<(u64, u64, u64)> = Vec::new();
        for bit in 0..bits {
            if map[usize::try_from(bit / 8).unwrap()] >> (bit % 8) & 1 == 0 {
                continue;
            }
            match runs.last_mut() {
                Some((first, pages, _)) if *first + *pages == bit => *pages += 1,
                _ => runs.push((bit, 1, offset)),
            }
            offset += 4096;
        }
        assert_eq!(runs.iter().map(|(_, pages, _)| pages).sum::<u64>(), present);
        assert_eq!(offset, self.len);
        runs
    }

    /// File offset of a physical address.
    pub(super) fn offset_of(&self, pa: u64) -> Option<u64> {
        let page = pa / 4096;
        let run =
            self.runs.iter().find(|(first, pages, _)| (*first..first + pages).contains(&page));
        run.map(|(first, _, offset)| offset + (page - first) * 4096 + pa % 4096)
    }

    pub(super) fn physical(&self, pa: u64, len: usize) -> Vec<u8> {
        self.bytes(self.offset_of(pa).unwrap(), len)
    }
}

/// Where the kernel's pages are, by the list of what was mapped.
pub(super) struct Kernel {
    small: BTreeMap<u64, u64>,
    large: Vec<(u64, u64, u64)>,
}

impl Kernel {
    pub(super) fn of(truth: &Truth) -> Self {
        let (mut small, mut large) = (BTreeMap::new(), Vec::new());
        for mapping in truth.mappings.iter().filter(|mapping| mapping.root == truth.dtb) {
            if mapping.residence != Residence::Present {
                continue;
            }
            if mapping.len == 4096 {
                small.insert(mapping.va, mapping.pa);
            } else {
                large.push((mapping.va, mapping.pa, mapping.len));
            }
        }
        Self { small, large }
    }

    pub(super) fn physical(&self, va: u64) -> u64 {
        if let Some(pa) = self.small.get(&(va & !0xfff)) {
            return pa + (va & 0xfff);
        }
        let page = self.large.iter().find(|(start, _, len)| (*start..start + len).contains(&va));
        let (start, pa, _) = page.unwrap_or_else(|| panic!("{va:#x} is not mapped"));
        pa + (va - start)
    }

    /// Bytes of the kernel in a dump.
    pub(super) fn read(&self, dump: &Dump, va: u64, len: usize) -> Vec<u8> {
        let end = va + len as u64;
        let mut bytes = Vec::new();
        let mut at = va;
        while at < end {
            let next = ((at | 0xfff) + 1).min(end);
            bytes.extend(dump.physical(self.physical(at), usize::try_from(next - at).unwrap()));
            at = next;
        }
        bytes
    }

    /// Physical bytes that `len` ones at `va` are in, page by page.
    pub(super) fn ranges(&self, va: u64, len: usize) -> Vec<std::ops::Range<u64>> {
        let end = va + len as u64;
        let starts = std::iter::successors(Some(va), |at| {
            let next = (at | 0xfff) + 1;
            (next < end).then_some(next)
        });
        starts
            .map(|at| {
                let pa = self.physical(at);
                pa..pa + (((at | 0xfff) + 1).min(end) - at)
            })
            .collect()
    }
}
