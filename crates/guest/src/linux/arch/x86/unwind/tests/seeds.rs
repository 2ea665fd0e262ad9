//! Seeds of fuzzing: stacks of every kind, which are walked to their end.

use super::*;
use crate::linux::arch::x86::unwind::fuzz::{self, at};
use crate::linux::assert_seed;

/// Records of tracers, in the data.
const RECORDS: u64 = 0x1100;

/// Memory that fuzzing reads, as it is filled.
struct Seed {
    form: u8,
    registers: [u64; 17],
    code: Vec<u8>,
    data: Vec<u8>,
}

impl Seed {
    fn new(form: u8) -> Self {
        let code = vec![0x90; fuzz::CODE_LEN as usize];
        Self { form, registers: [0; 17], code, data: vec![0; 0x1700] }
    }

    fn code(&self) -> u64 {
        fuzz::CODE[usize::from(self.form & fuzz::IS_32_BIT)]
    }

    fn data(&self) -> u64 {
        self.code() + fuzz::TO_DATA
    }

    /// Starts at an offset in the code, with pointers into the data.
    fn start(&mut self, ip: u64, sp: u64, bp: u64) {
        self.registers[0] = self.code() + ip;
        self.registers[1 + Gpr::Rsp as usize] = self.data() + sp;
        self.registers[1 + Gpr::Rbp as usize] = self.data() + bp;
    }

    fn words(&mut self, at: u64, words: &[u64]) {
        let len = if self.form & fuzz::IS_32_BIT == 0 { 8 } else { 4 };
        for (index, word) in words.iter().enumerate() {
            self.data[at as usize + index * len..][..len]
                .copy_from_slice(&word.to_le_bytes()[..len]);
        }
    }

    /// A call that ends at an offset in the code.
    fn call(&mut self, end: usize) {
        self.code[end - 2..end].copy_from_slice(&[0xff, 0xd0]);
    }

    fn table(&mut self, orc: Orc, ips: u64, entries: u64, list: &[Entry]) {
        for (index, entry) in (0..fuzz::ENTRIES).zip(list.iter().chain(std::iter::repeat(&list[0])))
        {
            let ip = self.data() + ips + 4 * index;
            // What is left over is about nothing.
            let target =
                if index < list.len() as u64 { entry.at } else { self.code() + fuzz::CODE_LEN };
            let distance = target.wrapping_sub(ip) as u32;
            self.data[(ips + 4 * index) as usize..][..4].copy_from_slice(&distance.to_le_bytes());
            let at = (entries + 6 * index) as usize;
            self.data[at..][..2].copy_from_slice(&entry.sp_offset.to_le_bytes());
            self.data[at + 2..][..2].copy_from_slice(&entry.bp_offset.to_le_bytes());
            self.data[at + 4..][..2].copy_from_slice(&bits(orc, entry).to_le_bytes());
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.form];
        bytes.extend(self.registers.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(&self.code);
        bytes.extend(&self.data);
        bytes
    }
}

/// From the kernel through a module, code of ftrace, code of nobody and a trampoline
/// to where a thread starts.
fn through_everything(orc: Orc, form: u8, trampoline: u64) -> Seed {
    let mut seed = Seed::new(form);
    let (code, data) = (seed.code(), seed.data());
    let own = [
        call(code, 0x10),
        Entry { at: code + 0x80, base: "", sp_offset: 0, bp: "", bp_offset: 0, kind: "end" },
        call(code + 0x140, 0x10),
    ];
    seed.table(orc, at::IPS, at::ENTRIES, &own);
    seed.table(orc, at::MODULE_IPS, at::MODULE_ENTRIES, &[call(code + 0x200, 0x10)]);
    let sp = 0x1000 - 0xf0;
    seed.start(0x10, sp, sp + 0x30);
    seed.call(0x230);
    seed.words(sp + 8, &[code + 0x230]);
    seed.words(sp + 0x18, &[code + 0x310]);
    seed.words(sp + 0x28, &[code + 0x380]);
    seed.words(sp + 0x30, &[sp, code + 0x230]);
    seed.words(sp + 0x48, &[code + trampoline]);
    seed.words(at::OPS, &[data + at::OPS + 0x10, 0]);
    seed.words(at::OPS + 0x10, &[data + at::OPS + 8, 0, code + 0x300, 0x40]);
    let record = data + RECORDS;
    seed.words(
        at::TASK,
        &[record, record + 0x40, if form & fuzz::GRAPH_OF_WORDS == 0 { 0 } else { 4 }],
    );
    seed.words(RECORDS, &[0, code + 0x90, data + sp + 0x48]);
    seed.words(RECORDS + 0x40, &[code + 0x90, 0, data + sp + 0x48, 3]);
    seed
}

fn with_frame_pointers(form: u8) -> Seed {
    let mut seed = Seed::new(form | fuzz::NO_TABLES);
    let (code, data) = (seed.code(), seed.data());
    seed.start(0x10, 0xe00, 0xe10);
    seed.call(0x20);
    seed.words(0xe10, &[data + 0xe40, code + 0x20]);
    seed.words(0xe40, &[data + 0xe80, code + 0x30]);
    if form & fuzz::IS_32_BIT == 0 {
        seed.words(0xe80, &[data + 0x1000 - 0xa8 + 1, code + 0x90]);
        seed.words(0x1000 - 0xa8, &saved(0x40_1000, USER, 0x7fff_0000));
    } else {
        seed.words(0xe80, &[(data + 0x1000 - 0x54) & 0x7fff_ffff, code + 0x90]);
        let mut words = [0; 17];
        (words[12], words[13], words[14], words[15], words[16]) =
            (0x804_8000, 0x73, 2, 0xbfff_0000, 0x7b);
        seed.words(0x1000 - 0x54, &words);
    }
    seed
}

/// Functions without frame pointers: one that has pushed a register, called by one that has
/// made room too.
fn by_code() -> Seed {
    let mut seed = Seed::new(fuzz::NO_TABLES);
    let code = seed.code();
    seed.code[0x1b..0x20].copy_from_slice(&[0xe8, 0x60, 0, 0, 0]);
    seed.code[0x80..0x8a].copy_from_slice(&[0x53, 0x48, 0x83, 0xec, 0x10, 0xe8, 0xb6, 0, 0, 0]);
    seed.code[0x140] = 0x55;
    let sp = 0x1000 - 0xa8 - 0x30;
    seed.start(0x142, sp, 0);
    seed.words(sp, &[0, code + 0x8a, 0, 0, 0xb3, code + 0x20]);
    let mut words = saved(0x40_1000, USER, 0x7fff_0000);
    words[20] = 0x2b;
    seed.words(0x1000 - 0xa8, &words);
    seed
}

/// Registers of a 32-bit kernel of the first kind, below them where a call returns to: no
/// registers of a later kind begin there.
#[test]
fn where_a_call_returns_to_is_no_part_of_registers() {
    let mut seed = Seed::new(fuzz::NO_TABLES | fuzz::IS_32_BIT);
    let code = seed.code();
    seed.call(0x20);
    seed.code[0x160] = 0xc3;
    seed.start(0x190, 0x1000 - 64, 0);
    let registers =
        [0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b, 4, 0x804_8000, 0x73, 0x202, 0xbfff_0000, 0x7b];
    seed.words(0x1000 - 60, &registers);
    seed.words(0x1000 - 64, &[code + 0x20]);
    let found = fuzz::stacks(&seed.bytes()).unwrap();
    assert_eq!(ips(&found), [code + 0x190, code + 0x20]);
    assert_eq!(found.end, StackEnd::User { ip: Gva(0x804_8000), sp: Gva(0xbfff_0000) });
}

#[test]
fn seeds_of_fuzzing_are_walked_to_their_end() {
    let rethook = through_everything(Orc::Old, 0, 0x100);
    let graph = through_everything(Orc::New, 0, 0x120);
    let words = through_everything(Orc::New, fuzz::GRAPH_OF_WORDS, 0x120);
    for (name, seed) in [("rethook", rethook), ("graph", graph), ("graph-words", words)] {
        let found = fuzz::stacks(&seed.bytes()).unwrap();
        let code = seed.code();
        let all = [0x10, 0x230, 0x310, 0x380, 0x230, 0x90].map(|at| code + at);
        assert_eq!((ips(&found), found.end), (all.to_vec(), StackEnd::Bottom), "{name}");
        assert_seed("stacks", name, &seed.bytes());
    }
    for (name, form) in [("frame-pointers", 0), ("frame-pointers-32-bit", fuzz::IS_32_BIT)] {
        let seed = with_frame_pointers(form);
        let found = fuzz::stacks(&seed.bytes()).unwrap();
        let all = [0x10, 0x20, 0x30, 0x90].map(|at| seed.code() + at);
        assert_eq!(ips(&found), all, "{name}");
        assert!(matches!(found.end, StackEnd::User { .. }), "{name}: {:?}", found.end);
        assert_seed("stacks", name, &seed.bytes());
    }
    let seed = by_code();
    let found = fuzz::stacks(&seed.bytes()).unwrap();
    assert_eq!(ips(&found), [0x142, 0x8a, 0x20].map(|at| seed.code() + at));
    assert_eq!(found.end, StackEnd::User { ip: Gva(0x40_1000), sp: Gva(0x7fff_0000) });
    assert_seed("stacks", "by-code", &seed.bytes());
}
