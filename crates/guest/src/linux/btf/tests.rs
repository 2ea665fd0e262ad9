//! BTF made by hand, some of it broken.

use std::sync::Arc;

use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::raw::kind;
use super::{Btf, BtfError, search};
use crate::KernelText;
use crate::linux::{Member, Types};

/// Writes BTF, type by type; the first has number 1.
#[derive(Default)]
struct Maker {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Maker {
    fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn add(&mut self, name: &str, info: (u8, usize, bool), size_or_id: u32, extra: &[u32]) -> u32 {
        let (kind, vlen, kflag) = info;
        let name = self.name(name);
        let info = u32::from(kind) << 24 | u32::try_from(vlen).unwrap() | u32::from(kflag) << 31;
        for word in [name, info, size_or_id].iter().chain(extra) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(name, (kind::INT, 0, false), size, &[size * 8])
    }

    /// Members are name, type, offset in bits, and width for a bit field.
    fn aggregate(
        &mut self,
        kind: u8,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32, u32)],
    ) -> u32 {
        let kflag = members.iter().any(|member| member.3 > 0);
        let mut extra = Vec::new();
        for (name, ty, offset, width) in members {
            extra.extend([self.name(name), *ty, offset | width << 24]);
        }
        self.add(name, (kind, members.len(), kflag), size, &extra)
    }

    fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32, u32)]) -> u32 {
        self.aggregate(kind::STRUCT, name, size, members)
    }

    fn bytes(&self) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let (types, strings) = (len(&self.types), len(&self.strings));
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }

    fn btf(&self) -> Btf {
        Btf::parse(self.bytes()).unwrap()
    }
}

fn whole(offset_bytes: u64, size: u64) -> Member {
    Member { offset_bytes, size_bytes: Some(size), bits: None }
}

/// Types of a kernel, some of which these name too.
fn kernel() -> Maker {
    let mut maker = Maker::new();
    let long = maker.int("long unsigned int", 8);
    let int = maker.int("int", 4);
    let character = maker.int("char", 1);
    let comm = maker.add("", (kind::ARRAY, 0, false), 0, &[character, int, 16]);
    let pointer = maker.add("", (kind::PTR, 0, false), 0, &[]);
    let list =
        maker.structure("list_head", 16, &[("next", pointer, 0, 0), ("prev", pointer, 64, 0)]);
    let counter = maker.structure("", 4, &[("counter", int, 0, 0)]);
    let atomic = maker.add("atomic_t", (kind::TYPEDEF, 0, false), counter, &[]);
    let constant = maker.add("", (kind::CONST, 0, false), atomic, &[]);
    let volatile = maker.add("", (kind::VOLATILE, 0, false), constant, &[]);
    let counters = maker.add("", (kind::ARRAY, 0, false), 0, &[volatile, int, 4]);
    let table = maker.add("", (kind::ARRAY, 0, false), 0, &[counters, int, 3]);
    let inner = maker.aggregate(kind::UNION, "", 8, &[("rcu", long, 0, 0), ("on_cpu", int, 0, 0)]);
    let outer = maker.structure("", 16, &[("first", long, 0, 0), ("", inner, 64, 0)]);
    let thread = maker.structure("thread_struct", 16, &[("sp", long, 64, 0)]);
    maker.structure(
        "task_struct",
        256,
        &[
            ("", outer, 64, 0),
            ("tasks", list, 192, 0),
            ("comm", comm, 320, 0),
            ("thread", thread, 448, 0),
            ("table", table, 576, 0),
            ("usage", volatile, 960, 0),
            ("low", int, 992, 3),
            ("high", int, 995, 30),
        ],
    );
    maker
}

#[test]
fn members_are_found_wherever_they_are() {
    let btf = kernel().btf();
    for (path, want) in [
        ("tasks", Some(whole(24, 16))),
        ("tasks.prev", Some(whole(32, 8))),
        ("comm", Some(whole(40, 16))),
        ("comm[3]", Some(whole(43, 1))),
        ("first", Some(whole(8, 8))),
        ("on_cpu", Some(whole(16, 4))),
        ("thread.sp", Some(whole(64, 8))),
        ("table", Some(whole(72, 48))),
        ("table[1]", Some(whole(88, 16))),
        ("table[1][2]", Some(whole(96, 4))),
        ("table[2][3].counter", Some(whole(116, 4))),
        ("table.counter", Some(whole(72, 4))),
        ("usage.counter", Some(whole(120, 4))),
        ("low", Some(Member { offset_bytes: 124, size_bytes: Some(1), bits: Some((0, 3)) })),
        ("high", Some(Member { offset_bytes: 124, size_bytes: Some(5), bits: Some((3, 30)) })),
        ("table[3]", None),
        ("table[", None),
        ("table[x]", None),
        ("tasks[0]", None),
        ("tasks.next.next", None),
        ("nothing", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(btf.member("task_struct", path), want, "{path}");
    }
    assert_eq!(btf.member("atomic_t", "counter"), Some(whole(0, 4)));
    assert_eq!((btf.size_of("atomic_t"), btf.size_of("task_struct")), (Some(4), Some(256)));
    assert_eq!((btf.size_of("nothing"), btf.word_len(), btf.cut_short()), (None, 8, None));
}

#[test]
fn old_bit_fields_are_integers_narrower_than_their_size() {
    let mut maker = Maker::new();
    // u32: offset 3 in bits 16 to 23, width 2.
    let narrow = maker.add("unsigned int", (kind::INT, 0, false), 4, &[3 << 16 | 2]);
    maker.structure("flags", 4, &[("two", narrow, 8, 0)]);
    let want = Member { offset_bytes: 1, size_bytes: Some(1), bits: Some((3, 2)) };
    assert_eq!(maker.btf().member("flags", "two"), Some(want));
}

#[test]
fn constants_have_the_sign_that_they_were_given() {
    let mut maker = Maker::new();
    let (a, b, c) = (maker.name("A"), maker.name("B"), maker.name("C"));
    maker.add("signed", (kind::ENUM, 1, true), 4, &[a, u32::MAX]);
    maker.add("unsigned", (kind::ENUM, 1, false), 4, &[b, u32::MAX]);
    maker.add("wide", (kind::ENUM64, 1, true), 8, &[c, 1, 2]);
    let btf = maker.btf();
    assert_eq!(btf.enumerator("A"), Some(-1));
    assert_eq!(btf.enumerator("B"), Some(0xffff_ffff));
    assert_eq!(btf.enumerator("C"), Some(0x2_0000_0001));
    assert_eq!(btf.enumerator("D"), None);
}

#[test]
fn a_module_refers_to_the_kernel() {
    let base = kernel();
    let mut module = Maker { count: base.count, ..Maker::default() };
    // Its strings have the numbers after those of the kernel.
    let base_strings = u32::try_from(base.strings.len()).unwrap();
    let mut own = |name: &str| base_strings + module.name(name);
    let (name, member) = (own("own_struct"), own("task"));
    let task = base.count;
    let info = u32::from(kind::STRUCT) << 24 | 1;
    for word in [name, info, 512, member, task, 64] {
        module.types.extend_from_slice(&word.to_le_bytes());
    }
    let base = Arc::new(base.btf());
    let btf = Btf::parse_split(base.clone(), module.bytes()).unwrap();
    assert_eq!(btf.member("own_struct", "task.comm"), Some(whole(48, 16)));
    assert_eq!(btf.member("task_struct", "comm"), Some(whole(40, 16)));
    assert_eq!(base.size_of("own_struct"), None);
}

#[test]
fn types_that_contain_themselves_end() {
    let mut maker = Maker::new();
    let next = |maker: &Maker| maker.count + 1;
    let one = next(&maker);
    maker.add("loop_t", (kind::TYPEDEF, 0, false), one, &[]);
    // Twice itself: 2^depth ways to go.
    let two = next(&maker);
    maker.structure("self", 8, &[("", two, 0, 0), ("", two, 0, 0)]);
    let three = next(&maker);
    maker.add("array", (kind::ARRAY, 0, false), 0, &[three, 0, u32::MAX]);
    maker.structure("holder", 8, &[("loop", one, 0, 0), ("array", three, 0, 0), ("", one, 0, 0)]);
    maker.structure("lost", 8, &[("far", 0xffff_ffff, 0xffff_ffff, 0), ("void", 0, 0, 0)]);
    let btf = maker.btf();
    assert_eq!(btf.size_of("loop_t"), None);
    assert_eq!(btf.member("self", "x"), None);
    assert_eq!(btf.member("holder", "array.x"), None);
    assert_eq!(btf.member("holder", "array[1][1]"), None);
    assert_eq!(btf.member("holder", "loop").and_then(|member| member.size_bytes), None);
    assert_eq!(btf.member("lost", "far").and_then(|member| member.size_bytes), None);
    assert_eq!(btf.member("lost", "void").and_then(|member| member.size_bytes), None);
}

#[test]
fn what_is_cut_off_keeps_what_was_before() {
    let mut maker = kernel();
    maker.add("cut", (kind::STRUCT, 0xffff, false), 8, &[1, 1, 1]);
    let btf = maker.btf();
    assert!(btf.cut_short().is_some_and(|why| why.contains("cut off")), "{:?}", btf.cut_short());
    assert_eq!(btf.member("task_struct", "comm"), Some(whole(40, 16)));
    assert_eq!(btf.size_of("cut"), None);
}

#[test]
fn headers_that_lead_outside_are_refused() {
    let good = kernel().bytes();
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Btf::parse(bytes).unwrap_err()
    };
    assert_eq!(with(0, 0x0001_eb9e), BtfError::NotBtf);
    assert_eq!(with(4, 8), BtfError::NotBtf);
    assert_eq!(with(12, u32::MAX), BtfError::NotBtf);
    assert!(matches!(with(20, 0x1000_0000), BtfError::Outside { section: "string", .. }));
    assert_eq!(with(16, 0), BtfError::Strings);
    for len in 0..good.len() {
        assert!(Btf::parse(good[..len].to_vec()).is_err(), "{len}");
    }
}

/// Memory with the kernel's BTF after what looks like it.
fn image(parts: &[Vec<u8>]) -> (PhysicalMemory, KernelText, Vec<u64>) {
    let mut bytes = vec![0; 0x1234];
    let mut starts = Vec::new();
    for part in parts {
        starts.push(0x20_0000 + bytes.len() as u64);
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len() + 777, 0);
    }
    let len = bytes.len() as u64;
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(0x20_0000), len, Arc::new(bytes), 0).unwrap();
    let start = Gva(0xffff_ffff_8100_0000);
    (memory, KernelText { start, gpa: Gpa(0x20_0000), len }, starts)
}

#[test]
fn decoys_are_passed_over() {
    let kernel = kernel().bytes();
    let mut module = Maker::new();
    let int = module.int("int", 4);
    module.structure("some_struct", 4, &[("task_struct", int, 0, 0)]);
    let mut too_long = kernel[..24].to_vec();
    too_long[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    // A header alone, one of a module, one that leads far, one of strings only.
    let decoys = [kernel[..24].to_vec(), module.bytes(), too_long, Maker::new().bytes()];
    let mut parts = decoys.to_vec();
    parts.push(kernel.clone());
    let (memory, text, starts) = image(&parts);
    let (gpa, btf) = search::in_image(&memory, text).unwrap();
    assert_eq!((gpa.0, btf.bytes()), (starts[4], kernel.as_slice()));
    let (memory, text, _) = image(&decoys);
    assert!(search::in_image(&memory, text).is_none());
    // It must be in the image whole.
    let (memory, text, _) = image(&[kernel]);
    let cut = KernelText { len: text.len - 1000, ..text };
    assert!(search::in_image(&memory, cut).is_none());
}

#[test]
fn a_header_across_two_pieces_of_the_search_is_found() {
    let kernel = kernel().bytes();
    for before in (1 << 20) - 30..(1 << 20) + 3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(&kernel);
        let len = bytes.len() as u64;
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), len, Arc::new(bytes), 0).unwrap();
        let text = KernelText { start: Gva(0xffff_ffff_8100_0000), gpa: Gpa(0), len };
        let found = search::in_image(&memory, text).map(|(gpa, _)| gpa.0);
        assert_eq!(found, Some(before as u64));
    }
}
