//! A kernel and a process in miniature: structures as bytes below 1 GiB, which the
//! kernel's tables map one to one, and page tables of the process's own.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::{Content, Missing, Process, Run, Vma};
use crate::linux::{BetterSources, Kernel, Member, Task, Types};
use crate::{Facts, LinuxFacts};

const RAM: u64 = 4 << 20;
const KERNEL_TABLES: u64 = 0x1000;
const MM: u64 = 0x1_0000;
const PGD: u64 = 0x2_0000;
const VMAS: u64 = 0x3_0000;
const FILE: u64 = 0x4_0000;
const MOUNT: u64 = 0x4_1000;
const DENTRIES: u64 = 0x4_2000;
const MAPPING: u64 = 0x4_3000;
const INODE: u64 = 0x4_4000;
const NODE: u64 = 0x4_5000;
const NAMES: u64 = 0x4_6000;
const PAGES: u64 = 0x10_0000;
/// Where the process's memory begins, in an address space and in memory.
const USER: u64 = 0x4000_0000;
const DATA: u64 = 0x20_0000;

const LAYOUT: &[(&str, &str, u64, u64)] = &[
    ("mm_struct", "mmap", 0, 8),
    ("mm_struct", "map_count", 8, 4),
    ("mm_struct", "pgd", 0x48, 8),
    ("vm_area_struct", "vm_start", 0, 8),
    ("vm_area_struct", "vm_end", 8, 8),
    ("vm_area_struct", "vm_next", 0x10, 8),
    ("vm_area_struct", "vm_mm", 0x18, 8),
    ("vm_area_struct", "vm_flags", 0x20, 8),
    ("vm_area_struct", "vm_ops", 0x28, 8),
    ("vm_area_struct", "vm_pgoff", 0x30, 8),
    ("vm_area_struct", "vm_file", 0x38, 8),
    ("file", "f_path.mnt", 0x10, 8),
    ("file", "f_path.dentry", 0x18, 8),
    ("file", "f_mapping", 0x20, 8),
    ("dentry", "d_hash.pprev", 0x10, 8),
    ("dentry", "d_parent", 0x18, 8),
    ("dentry", "d_name.len", 0x24, 4),
    ("dentry", "d_name.name", 0x28, 8),
    ("mount", "mnt_parent", 0x10, 8),
    ("mount", "mnt_mountpoint", 0x18, 8),
    ("mount", "mnt", 0x20, 8),
    ("vfsmount", "mnt_root", 0, 8),
    ("address_space", "host", 0, 8),
    ("address_space", "i_pages.xa_head", 0x10, 8),
    ("inode", "i_size", 0x50, 8),
    ("page", "mapping", 0x18, 8),
    ("page", "index", 0x20, 8),
];

#[derive(Debug)]
struct Layout;

impl Types for Layout {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let found = LAYOUT.iter().find(|(of, name, ..)| (*of, *name) == (structure, path))?;
        let (.., offset_bytes, size) = *found;
        Some(Member { offset_bytes, size_bytes: Some(size), bits: None })
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        (structure == "page").then_some(64)
    }
}

struct Guest {
    ram: Vec<u8>,
    vmas: u64,
    next_table: u64,
}

impl Guest {
    fn new() -> Self {
        let mut guest = Self { ram: vec![0; RAM as usize], vmas: 0, next_table: 0x5_0000 };
        // 1 GiB in one page; the array of `struct page`s where it is if not random.
        guest.set(KERNEL_TABLES, (KERNEL_TABLES + 0x1000) | 3);
        guest.set(KERNEL_TABLES + 0x1000, 0x83);
        let vmemmap = 0xffff_ea00_0000_0000_u64 >> 39 & 511;
        guest.set(KERNEL_TABLES + 8 * vmemmap, (KERNEL_TABLES + 0x2000) | 3);
        guest.set(KERNEL_TABLES + 0x2000, (KERNEL_TABLES + 0x3000) | 3);
        guest.set(KERNEL_TABLES + 0x3000, PAGES & !0x1f_ffff | 0x83);
        guest.set(MM + 0x48, PGD);
        guest
    }

    fn set(&mut self, gva: u64, value: u64) {
        self.ram[gva as usize..][..8].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, gva: u64) -> u64 {
        u64::from_le_bytes(self.ram[gva as usize..][..8].try_into().unwrap())
    }

    /// Adds a mapping after the others.
    fn vma(&mut self, start: u64, end: u64, file: u64) -> u64 {
        let vma = VMAS + 0x100 * self.vmas;
        let before = if self.vmas == 0 { MM } else { vma - 0x100 + 0x10 };
        self.set(before, vma);
        for (at, value) in [(0, start), (8, end), (0x18, MM), (0x20, 3), (0x38, file)] {
            self.set(vma + at, value);
        }
        self.set(vma + 0x28, u64::from(file != 0));
        self.vmas += 1;
        self.set(MM + 8, self.vmas);
        vma
    }

    /// Sets the entry for a page, or for 2 MiB.
    fn entry(&mut self, gva: u64, entry: u64, level: u32) {
        let mut table = PGD;
        for shift in [39, 30, 21, 12].into_iter().take(5 - level as usize) {
            let at = table + 8 * (gva >> shift & 511);
            if shift == 12 + 9 * (level - 1) {
                self.set(at, entry);
                return;
            }
            if self.get(at) == 0 {
                self.set(at, self.next_table | 7);
                self.next_table += 0x1000;
            }
            table = self.get(at) & !0xfff;
        }
    }

    /// `/dir/name`, of 3 pages and a bit, of which the cache has the second.
    fn file(&mut self) {
        let (root, dir, name) = (DENTRIES, DENTRIES + 0x100, DENTRIES + 0x200);
        for (dentry, parent, text) in [(root, root, "/"), (dir, root, "dir"), (name, dir, "name")] {
            let at = NAMES + (dentry - DENTRIES);
            self.ram[at as usize..][..text.len()].copy_from_slice(text.as_bytes());
            self.set(dentry + 0x10, 1);
            self.set(dentry + 0x18, parent);
            self.set(dentry + 0x20, (text.len() as u64) << 32);
            self.set(dentry + 0x28, at);
        }
        self.set(MOUNT + 0x10, MOUNT);
        self.set(MOUNT + 0x20, root);
        for (at, value) in [(0x10, MOUNT + 0x20), (0x18, name), (0x20, MAPPING)] {
            self.set(FILE + at, value);
        }
        self.set(MAPPING, INODE);
        self.set(INODE + 0x50, 3 * 4096 + 1);
        self.set(MAPPING + 0x10, NODE | 2);
        let frame = (DATA >> 12) + 9;
        // Where the kernel's own mapping of the array leads.
        let page = 64 * frame;
        self.set(NODE + 0x28 + 8, 0xffff_ea00_0000_0000 + page);
        let page = (PAGES & !0x1f_ffff) + page;
        self.set(page + 0x18, MAPPING);
        self.set(page + 0x20, 1);
    }

    fn ask<T>(self, question: impl FnOnce(&Process) -> T) -> T {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), RAM, Arc::new(self.ram), 0).unwrap();
        let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
        let root = (modes::FOUR_LEVEL, Root(Gpa(KERNEL_TABLES)));
        let linux = LinuxFacts {
            is_64_bit: true,
            kernel_root: Some(Found::new(root, "test")),
            ..LinuxFacts::default()
        };
        let facts = Facts::of(linux, "made");
        let layout: Arc<dyn Types> = Arc::new(Layout);
        let types = vec![Found::new(layout, "test")];
        let better = BetterSources { types, ..BetterSources::default() };
        let kernel = Kernel::open(&checkpoint, &facts, better).unwrap();
        question(&Process::of(&kernel, &task()).unwrap())
    }
}

fn task() -> Task {
    Task {
        gva: Gva(0),
        tid: 1,
        pid: 1,
        ppid: None,
        uid: None,
        gid: None,
        comm: "test".into(),
        long_name: None,
        state: None,
        mm: Some(Gva(MM)),
        is_kernel_thread: false,
        stack: None,
        start_ns: None,
        cpu: None,
        on_vcpu: None,
    }
}

fn ranges(process: &Process) -> Vec<(u64, u64)> {
    process.vmas().iter().map(|vma: &Vma| (vma.start.0, vma.end.0)).collect()
}

fn run(gva: u64, len_bytes: u64, content: Content) -> Run {
    Run { gva: Gva(gva), len_bytes, content }
}

#[test]
fn every_kind_of_page_is_told_from_the_others() {
    let mut guest = Guest::new();
    let large = USER + (4 << 20);
    guest.vma(USER, USER + 0x8000, 0);
    guest.vma(large, large + (2 << 20), 0);
    guest.entry(USER + 0x1000, DATA | 7, 1);
    // Inaccessible, its address inverted; the next page in memory.
    guest.entry(USER + 0x2000, !(DATA + 0x1000) & 0x000f_ffff_ffff_f000 | 0x100, 1);
    guest.entry(USER + 0x3000, (!5_u64 << 14 >> 5) | 2 << 59, 1);
    guest.entry(USER + 0x4000, RAM | 7, 1);
    guest.entry(USER + 0x5000, 31 << 59 | (!2_u64 << 14 >> 5), 1);
    guest.entry(large, DATA & !0x1f_ffff | 0x87, 2);
    guest.ask(|process| {
        assert_eq!(process.problems(), []);
        let runs = process.runs(&process.vmas()[0]);
        let expected = [
            run(USER, 0x1000, Content::Zero),
            run(USER + 0x1000, 0x2000, Content::Memory(Gpa(DATA))),
            run(USER + 0x3000, 0x1000, Content::Swapped { area: 2, page: 5 }),
            run(USER + 0x4000, 0x1000, Content::Missing(Missing::OutsideMemory)),
            run(USER + 0x5000, 0x1000, Content::Missing(Missing::Special)),
            run(USER + 0x6000, 0x2000, Content::Zero),
        ];
        assert_eq!(runs, expected);
        let runs = process.runs(&process.vmas()[1]);
        assert_eq!(runs, [run(large, 2 << 20, Content::Memory(Gpa(DATA & !0x1f_ffff)))]);
        assert!(process.read(Gva(USER + 0xfff), &mut [0; 2]).is_ok());
        let error = process.read(Gva(USER + 0x2fff), &mut [0; 2]).unwrap_err();
        assert!(error.to_string().contains("swapped out to area 2"), "{error}");
    });
}

#[test]
fn what_was_never_touched_costs_nothing() {
    let mut guest = Guest::new();
    let end = USER + (100 << 40);
    guest.vma(USER, end, 0);
    guest.entry(USER + (50 << 40), DATA | 7, 1);
    guest.ask(|process| {
        let runs = process.runs(&process.vmas()[0]);
        assert_eq!(runs.len(), 3);
        assert_eq!(runs[1], run(USER + (50 << 40), 0x1000, Content::Memory(Gpa(DATA))));
    });
}

#[test]
fn page_tables_that_lead_in_a_circle_are_left_out() {
    let mut guest = Guest::new();
    guest.vma(USER, 1 << 47, 0);
    for slot in 0..256 {
        guest.set(PGD + 8 * slot, PGD | 7);
    }
    guest.ask(|process| {
        let runs = process.runs(&process.vmas()[0]);
        assert!(runs.len() < 3000, "{}", runs.len());
        let counts = process.counts(&process.vmas()[0]);
        assert!(counts.missing > 1 << 40, "{counts:?}");
    });
}

#[test]
fn pages_of_a_file_come_from_its_cache() {
    let mut guest = Guest::new();
    guest.file();
    guest.vma(USER, USER + 0x6000, FILE);
    guest.ask(|process| {
        assert_eq!(process.problems(), []);
        let vma = &process.vmas()[0];
        assert_eq!(vma.name, "/dir/name");
        let missing = |at, len, why| run(USER + at, len, Content::Missing(why));
        let cached = Content::PageCache(Gpa(DATA + 0x9000));
        let expected = [
            missing(0, 0x1000, Missing::NotCached),
            run(USER + 0x1000, 0x1000, cached),
            missing(0x2000, 0x2000, Missing::NotCached),
            missing(0x4000, 0x2000, Missing::BehindTheFile),
        ];
        assert_eq!(process.runs(vma), expected);
        let file = vma.file.as_ref().unwrap();
        let runs: Vec<_> = process
            .file_runs(file)
            .unwrap()
            .iter()
            .map(|run| (run.offset_bytes, run.len_bytes))
            .collect();
        assert_eq!(runs, [(0, 0x1000), (0x1000, 0x1000), (0x2000, 0x1001)]);
        assert!(process.read_file(file, 0x1000, 4).is_some());
        assert!(process.read_file(file, 0xfff, 4).is_none());
    });
}

#[test]
fn a_page_of_another_file_is_not_taken() {
    let mut guest = Guest::new();
    guest.file();
    let page = (PAGES & !0x1f_ffff) + 64 * ((DATA >> 12) + 9);
    guest.set(page + 0x18, MAPPING + 0x100);
    guest.vma(USER + 0x1000, USER + 0x2000, FILE);
    guest.set(VMAS + 0x30, 1);
    guest.ask(|process| {
        let runs = process.runs(&process.vmas()[0]);
        assert_eq!(runs[0].content, Content::Missing(Missing::Cache));
    });
}

#[test]
fn names_that_lead_in_a_circle_are_left_out() {
    // A directory in itself by way of another, and a mount on itself by way of another.
    let circle_of_names = |guest: &mut Guest| guest.set(DENTRIES + 0x118, DENTRIES + 0x200);
    let circle_of_mounts = |guest: &mut Guest| {
        let other = MOUNT + 0x100;
        guest.set(MOUNT + 0x10, other);
        guest.set(MOUNT + 0x18, DENTRIES + 0x200);
        guest.set(other + 0x10, MOUNT);
        guest.set(other + 0x18, DENTRIES + 0x200);
        guest.set(other + 0x20, DENTRIES);
    };
    for spoil in [circle_of_names as fn(&mut Guest), circle_of_mounts] {
        let mut guest = Guest::new();
        guest.file();
        guest.vma(USER, USER + 0x1000, FILE);
        spoil(&mut guest);
        guest.ask(|process| {
            assert_eq!(process.vmas()[0].name, "");
            let problem = process.problems().first().unwrap().to_string();
            assert!(problem.contains("does not end"), "{problem}");
        });
    }
}

#[test]
fn files_without_a_name_say_so() {
    let mut guest = Guest::new();
    guest.file();
    guest.vma(USER, USER + 0x1000, FILE);
    guest.set(DENTRIES + 0x210, 0);
    guest.ask(|process| assert_eq!(process.vmas()[0].name, "/dir/name (deleted)"));
    let mut guest = Guest::new();
    guest.file();
    guest.vma(USER, USER + 0x1000, FILE);
    guest.set(DENTRIES + 0x218, DENTRIES + 0x200);
    guest.ask(|process| assert_eq!(process.vmas()[0].name, "/name (deleted)"));
}

#[test]
fn what_a_torn_list_lacks_comes_from_the_page_tables() {
    let loops = |guest: &mut Guest, last: u64| guest.set(last + 0x10, VMAS);
    let foreign = |guest: &mut Guest, last: u64| guest.set(last + 0x18, MM + 8);
    let wild = |guest: &mut Guest, last: u64| guest.set(last + 8, 0);
    for (spoil, known) in [(loops as fn(&mut Guest, u64), 3), (foreign, 2), (wild, 2)] {
        let mut guest = Guest::new();
        guest.vma(USER, USER + 0x1000, 0);
        guest.vma(USER + 0x2000, USER + 0x3000, 0);
        let last = guest.vma(USER + 0x4000, USER + 0x5000, 0);
        for page in [0, 2, 4, 6] {
            guest.entry(USER + page * 0x1000, (DATA + page * 0x1000) | 7, 1);
        }
        spoil(&mut guest, last);
        guest.ask(|process| {
            let expected =
                [0, 2, 4, 6].map(|page| (USER + page * 0x1000, USER + page * 0x1000 + 0x1000));
            assert_eq!(ranges(process), expected);
            let problem = process.problems().last().unwrap().to_string();
            let added = format!("{} mappings were put together", 4 - known);
            assert!(problem.contains(&added), "{problem}");
        });
    }
}

#[test]
fn a_list_that_the_kernel_counts_otherwise_is_said_to_be_so() {
    let mut guest = Guest::new();
    guest.vma(USER, USER + 0x1000, 0);
    guest.set(MM + 8, 7);
    guest.ask(|process| {
        let problem = process.problems().first().unwrap().to_string();
        assert!(problem.contains("1 mappings were found, but the kernel counts 7"), "{problem}");
    });
}

#[test]
fn what_has_no_memory_is_refused() {
    let guest = Guest::new();
    guest.ask(|process| {
        let task = Task { mm: None, ..task() };
        assert!(Process::of(process.kernel(), &task).is_err());
    });
}
