//! Entry points for fuzzing; not for use.

use std::sync::Arc;

use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{AddressSpace, PagingMode, Root};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use crate::linux::{BetterSources, Kernel, Symbol, Symbols, kallsyms};
use crate::{Facts, LinuxFacts, VmcoreInfo};

/// Where [`kallsyms()`] puts the image, whose first part has no bytes.
pub const KALLSYMS_IMAGE: u64 = 0x100_0000;
/// Where it puts the bytes.
pub const KALLSYMS_TABLES: u64 = 0x120_0000;

/// Searches for a symbol table in `data`: the length of words, then a part of a
/// kernel image. Returns how many symbols it has.
pub fn kallsyms(data: &[u8]) -> usize {
    let Some((word_len, tables)) = data.split_first() else { return 0 };
    let mut memory = PhysicalMemory::new();
    let (len, bytes) = (tables.len() as u64, Arc::new(tables.to_vec()));
    if memory.map(Gpa(KALLSYMS_TABLES), len, bytes, 0).is_err() {
        return 0;
    }
    let source = kallsyms::Source {
        space: AddressSpace::new(&memory, PagingMode::IDENTITY, Root(Gpa(0))),
        word_len: if *word_len == 4 { 4 } else { 8 },
        ranges: vec![
            KALLSYMS_IMAGE..KALLSYMS_TABLES,
            KALLSYMS_TABLES..KALLSYMS_TABLES.saturating_add(len),
        ],
        known: Vec::new(),
    };
    let Some(found) = kallsyms::search(&source) else { return 0 };
    for symbol in found.value.iter() {
        let _ = found.value.address(symbol.name);
        let _ = found.value.at(symbol.address);
    }
    found.value.len()
}

/// Where [`log()`] puts memory.
pub const LOG_MEMORY: u64 = 0x10_0000;
/// Variables of a log for [`log()`], of one form at a time: the ring of
/// descriptors, records, and characters.
pub const LOG_SYMBOLS: [&[(&str, u64)]; 3] = [
    &[("prb", LOG_MEMORY)],
    &[
        ("log_buf", LOG_MEMORY + 0x40),
        ("log_buf_len", LOG_MEMORY + 0x48),
        ("log_first_idx", LOG_MEMORY + 0x4c),
        ("log_next_idx", LOG_MEMORY + 0x50),
    ],
    &[
        ("log_buf", LOG_MEMORY + 0x40),
        ("log_buf_len", LOG_MEMORY + 0x48),
        ("log_end", LOG_MEMORY + 0x4c),
        ("logged_chars", LOG_MEMORY + 0x50),
    ],
];
/// Offsets as 6.1 and 4.19 have them.
const LOG_SHAPE: &str = "\
OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\n\
OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\n\
OFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\n\
OFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\nOFFSET(prb_data_blk_lpos.begin)=0\n\
OFFSET(prb_data_blk_lpos.next)=8\nSIZE(printk_info)=88\nOFFSET(printk_info.ts_nsec)=8\n\
OFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n\
SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\n\
OFFSET(printk_log.text_len)=10\nOFFSET(printk_log.dict_len)=12\n";

/// Reads a log from `data`: which form, then memory. `None` if there is none.
pub fn log(data: &[u8]) -> Option<crate::linux::Log> {
    let (form, bytes) = data.split_first()?;
    let symbols = LOG_SYMBOLS.get(usize::from(*form % 3))?;
    let mut checkpoint = Checkpoint::default();
    let (len, bytes) = (bytes.len() as u64, Arc::new(bytes.to_vec()));
    checkpoint.memory.map(Gpa(LOG_MEMORY), len, bytes, 0).ok()?;
    let info = VmcoreInfo { text: LOG_SHAPE.to_owned(), synthesised: false };
    let linux = LinuxFacts {
        is_64_bit: true,
        kernel_root: Some(Found::new((PagingMode::IDENTITY, Root(Gpa(0))), "the data")),
        vmcoreinfo: Some(Found::new(info, "the data")),
        ..LinuxFacts::default()
    };
    let facts = Facts::of(linux, "made");
    let symbol =
        |(name, address): &(&'static str, u64)| Symbol { address: Gva(*address), kind: 'd', name };
    let symbols = Symbols::new(symbols.iter().map(symbol));
    let symbols = Some(Found::new(symbols, "the data"));
    let better = BetterSources { symbols, ..BetterSources::default() };
    let kernel = Kernel::open(&checkpoint, &facts, better).ok()?;
    let log = kernel.log().ok()?;
    let _ = kernel.stopped(Some(&log));
    Some(log)
}

/// Reads a tree of mappings and a page cache made of `data`: the root entry of each, a
/// byte that says which kind, then memory from address 0x1000 on.
pub fn process_trees(data: &[u8]) {
    crate::linux::fuzz_process_trees(data);
}

/// Walks a kernel stack made of `data`: which kind of kernel, registers, code, then
/// the stack with tables and records of tracers.
pub fn stacks(data: &[u8]) {
    let _ = crate::linux::fuzz_stacks(data);
}

/// Looks up members in types made of `data`, alone and on top of themselves.
pub fn btf(data: &[u8]) {
    use crate::linux::{Btf, Types};

    let ask = |btf: &Btf| {
        for path in ["comm", "tasks.next", "thread.sp", "table[1][2].counter", "usage.counter"] {
            let _ = btf.member("task_struct", path);
        }
        for name in ["task_struct", "atomic_t", "self", "array", "loop_t"] {
            let _ = (btf.size_of(name), btf.member(name, "x"), btf.enumerator(name));
        }
    };
    let Ok(base) = Btf::parse(data.to_vec()).map(Arc::new) else { return };
    ask(&base);
    if let Ok(split) = Btf::parse_split(base, data.to_vec()) {
        ask(&split);
    }
}

/// Reads `data` as a line of offsets.
pub fn offsets(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<crate::linux::LinuxOffsets>();
    }
}
