//! What the data of a kernel shows of its pages, where it does not say what makedumpfile needs.
//!
//! Nothing is assumed of a flag's number or an offset. The array of `struct page` is where pages
//! of files that processes map say which page of which file they are, or where the lists of
//! free pages lead. Flags that pages of files and of processes have, and no page of the kernel,
//! mark both; a page of a process says so by bit 0 of `mapping` (since 2.6.7), one of a file by
//! the `address_space` that it leads to, whose inode leads back. A page of which that does not
//! hold counts as the kernel's.

use std::collections::{BTreeMap, HashMap, HashSet};

use vmss2core_mem::{Gva, PAGE_SIZE};

use super::evidence::{self, Evidence};
use super::fields::{Fields, Uses};
use super::memory_map::MemoryMap;
use super::owners::Owners;
use super::zones::FreeLists;
use super::{PageClass, Parts, Untold, free_lists};
use crate::linux::{Kernel, Learned, LinuxError, PageArray, members_of_pages};

/// `struct page` has 32 to 64 bytes, more with options for developers.
const PAGE_LENS: std::ops::RangeInclusive<u64> = 32..=128;
/// Fewer pages prove nothing.
const FEWEST_USERS: usize = 16;
const FEWEST_OF_KERNEL: usize = 8;
/// Lower bits of `flags` are such; upper ones number zones, nodes and sections.
const FLAGS: u64 = (1 << 17) - 1;
/// How much of a node is searched for what it says of its array, and how many words after its
/// address are its first page and how many it has.
const NODE_LEN: u64 = 256 << 10;
const NODE_WORDS: u64 = 16;

/// What the array was found to be.
pub(super) struct Array {
    pub(super) map: MemoryMap,
    pub(super) page_len: u64,
    pub(super) mapping: Option<u64>,
    pub(super) free: Option<HashMap<u64, u64>>,
}

/// What can be told of pages.
pub(super) fn find(kernel: &Kernel) -> Result<Parts, LinuxError> {
    let evidence = Evidence::of(kernel);
    let array = stated(kernel).or_else(|| learned(kernel, &evidence));
    let array = array.ok_or(LinuxError::UnknownPageArray)?;
    let mut untold = Vec::new();
    let (fields, users) = match Fields::of(kernel) {
        Ok(fields) => (fields, None),
        Err(_) => learned_fields(kernel, &array, &evidence, &mut untold),
    };
    let users = users.unwrap_or_default();
    let free_blocks = array.free.or_else(|| free_blocks(kernel, &fields, array.map, &evidence));
    if free_blocks.is_none() {
        let why = "the kernel's lists of them were not found";
        untold.push(Untold { class: PageClass::Free, why: unknown("are free", why) });
    }
    let told = |class| untold.iter().all(|one| one.class != class);
    if !told(PageClass::User) && !told(PageClass::PrivateCache) && !told(PageClass::Free) {
        return Err(untold.pop().map_or(LinuxError::UnknownPageArray, |one| one.why));
    }
    let free_blocks = free_blocks.unwrap_or_default();
    Ok(Parts { fields, map: array.map, free_blocks, users, untold })
}

/// Fields with the flags that pages of files and processes are told by; where these have
/// none, the frames that processes map.
fn learned_fields(
    kernel: &Kernel,
    array: &Array,
    evidence: &Evidence,
    untold: &mut Vec<Untold>,
) -> (Fields, Option<HashSet<u64>>) {
    let mut miss = |class, what, why| untold.push(Untold { class, why: unknown(what, why) });
    miss(PageClass::Cache, "hold nothing but a file", "no flag is known to say so");
    let has_owners = Owners::of(kernel).is_some();
    let (uses, users) = match marks(kernel, array, evidence) {
        Ok(mask) => (Uses::Learned { mask }, None),
        Err(why) => {
            let is_old = have_no_mapping(kernel, array, evidence);
            let users = is_old.then(|| evidence::frames_of_processes(kernel)).flatten();
            if users.is_none() {
                miss(PageClass::User, "are of processes", why);
            }
            let is_owned = is_old && has_owners && array.mapping.is_some();
            (if is_owned { Uses::Owned } else { Uses::Untold }, users)
        }
    };
    if uses == Uses::Untold || !has_owners {
        let why = "what leads from them to files was not found";
        miss(PageClass::PrivateCache, "are of files", why);
    }
    let mapping = array.mapping.and_then(|at| usize::try_from(at).ok());
    (Fields::new(kernel, array.page_len, mapping, uses), users)
}

/// Whether `mapping` of pages of processes is null, as it is before 2.6.7. That is certain
/// too of kernels whose tasks are in no list (2.4).
fn have_no_mapping(kernel: &Kernel, array: &Array, evidence: &Evidence) -> bool {
    let Some(mapping) = array.mapping else {
        return kernel.layout().place("task_struct", "next_task").is_some();
    };
    let is_null = |frame: &&u64| word(kernel, array, **frame, mapping) == Some(0);
    let count = evidence.anonymous.iter().filter(is_null).count();
    count >= FEWEST_USERS && count >= most_of(evidence.anonymous.len())
}

/// A word of the `struct page` of a frame.
fn word(kernel: &Kernel, array: &Array, frame: u64, at: u64) -> Option<u64> {
    let page = array.map.page(kernel, frame)?;
    kernel.read_pointer(Gva(page.0.checked_add(at)?), "struct page").ok().map(|word| word.0)
}

/// Blocks of free pages, by what is stated or by the form of their lists.
fn free_blocks(
    kernel: &Kernel,
    fields: &Fields,
    map: MemoryMap,
    evidence: &Evidence,
) -> Option<HashMap<u64, u64>> {
    let by_form = || {
        let MemoryMap::Flat { base, page_len } = map else { return None };
        let array = PageArray { base: base.0, len_bytes: page_len };
        let blocks = FreeLists::find(kernel, base.0).blocks(array, frames(kernel))?;
        are_unused(&blocks, evidence).then_some(blocks)
    };
    fields.free_blocks(kernel, &map).ok().or_else(by_form)
}

/// How many frames memory has, from 0 on.
fn frames(kernel: &Kernel) -> u64 {
    kernel.memory().end().0.div_ceil(PAGE_SIZE)
}

fn unknown(what: &'static str, why: &'static str) -> LinuxError {
    LinuxError::UnknownPages { what, why }
}

/// The array that VMCOREINFO or types describe.
fn stated(kernel: &Kernel) -> Option<Array> {
    let page_len = Fields::page_len(kernel).ok()?;
    let map = MemoryMap::of(kernel, page_len).ok()?;
    let mapping = kernel.layout().place("page", "mapping").map(|member| member.offset_bytes);
    Some(Array { map, page_len, mapping, free: None })
}

/// The only array that agrees with what is known of pages.
fn learned(kernel: &Kernel, evidence: &Evidence) -> Option<Array> {
    let mut lists: BTreeMap<u64, FreeLists> = BTreeMap::new();
    let mut found = candidates(kernel, evidence).into_iter().filter_map(|array| {
        let map = MemoryMap::Flat { base: Gva(array.base), page_len: array.len_bytes };
        let lists = lists.entry(array.base).or_insert_with(|| FreeLists::find(kernel, array.base));
        let free = lists.blocks(array, frames(kernel)).filter(|free| are_unused(free, evidence));
        let place = |frame| map.page(kernel, frame).map(|at| at.0);
        let mapping = members_of_pages(kernel, array.len_bytes, &place, &evidence.cached);
        let mapping = mapping.map(|(mapping, _)| mapping);
        (free.is_some() || mapping.is_some()).then_some(Array {
            map,
            page_len: array.len_bytes,
            mapping,
            free,
        })
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Arrays that may be the one for all memory.
fn candidates(kernel: &Kernel, evidence: &Evidence) -> Vec<PageArray> {
    let learned = kernel.learned().and_then(Learned::page_array);
    if let Some(array) = learned
        && is_virtual(kernel, array)
    {
        return vec![array];
    }
    let pointer = |variable| kernel.read_pointer(variable, "mem_map").ok();
    match kernel.exported_variable("mem_map").and_then(pointer) {
        Some(base) => match learned {
            Some(array) => vec![array].into_iter().filter(|array| array.base == base.0).collect(),
            None => lens(kernel).map(|len_bytes| PageArray { base: base.0, len_bytes }).collect(),
        },
        None => learned.filter(|array| is_of_node(kernel, *array, evidence)).into_iter().collect(),
    }
}

fn lens(kernel: &Kernel) -> impl Iterator<Item = u64> {
    PAGE_LENS.step_by(usize::try_from(kernel.word_len()).unwrap_or(8))
}

/// Whether an array is one by its addresses only, as all are that lie outside of the direct
/// map (`vmemmap`): for each frame there is a place in it.
fn is_virtual(kernel: &Kernel, array: PageArray) -> bool {
    let map = kernel.linux().direct_map.as_ref().map(|map| map.value.0);
    let end = kernel.memory().end().0;
    kernel.linux().is_64_bit
        && map.is_some_and(|map| !(map..map.saturating_add(end)).contains(&array.base))
}

/// Whether the first node says that this is its array, and that it goes as far as all pages
/// that are known (`node_mem_map`, `node_start_pfn`, `node_spanned_pages`).
fn is_of_node(kernel: &Kernel, array: PageArray, evidence: &Evidence) -> bool {
    let word_len = kernel.word_len();
    let Some(node) = free_lists::nodes(kernel).into_iter().next() else { return false };
    let word = |at: u64| kernel.read_pointer(Gva(at), "a node").ok().map(|word| word.0);
    let last = evidence.frames().max().unwrap_or(u64::MAX);
    let frames = frames(kernel);
    let is_it = |at: u64| {
        let start = word(at)?.checked_sub(array.base)?;
        let first = start.checked_div(array.len_bytes).filter(|first| *first < frames)?;
        start.is_multiple_of(array.len_bytes).then_some(())?;
        let next =
            || (1..NODE_WORDS).filter_map(|nth| word(at.checked_add(word_len.checked_mul(nth)?)?));
        let reaches =
            |count: u64| (last..=frames).contains(&first.saturating_add(count)) && count > 1;
        (next().any(|word| word == first) && next().any(reaches)).then_some(())
    };
    let step = usize::try_from(word_len).unwrap_or(8);
    (node.0..node.0.saturating_add(NODE_LEN)).step_by(step).any(|at| is_it(at).is_some())
}

/// Whether no page that is in use is in a block of free ones.
fn are_unused(free: &HashMap<u64, u64>, evidence: &Evidence) -> bool {
    let blocks: BTreeMap<u64, u64> = free.iter().map(|(start, order)| (*start, *order)).collect();
    let is_free = |frame: u64| {
        let block = blocks.range(..=frame).next_back();
        block.is_some_and(|(start, order)| frame.saturating_sub(*start) < 1 << order)
    };
    !evidence.frames().any(is_free)
}

/// Flags that pages of files and of processes have, but none of the kernel; or why there are
/// none.
pub(super) fn marks(
    kernel: &Kernel,
    array: &Array,
    evidence: &Evidence,
) -> Result<u64, &'static str> {
    let mapping = array.mapping.ok_or("its pages of files do not show it")?;
    let word = |frame: u64, at: u64| word(kernel, array, frame, at);
    let at = u64::try_from(Fields::flags_at(kernel)).unwrap_or(0);
    let flags =
        |frames: &[u64]| frames.iter().filter_map(|frame| word(*frame, at)).collect::<Vec<_>>();
    let cached: Vec<u64> = evidence.cached.iter().map(|page| page.frame).collect();
    let (cached, anonymous) = (flags(&cached), flags(&evidence.anonymous));
    let of_kernel = flags(&evidence.kernel);
    if cached.len().min(anonymous.len()) < FEWEST_USERS || of_kernel.len() < FEWEST_OF_KERNEL {
        return Err("too few pages are known");
    }
    let are_odd = evidence
        .anonymous
        .iter()
        .filter(|frame| word(**frame, mapping).is_some_and(|mapping| mapping & 1 == 1));
    if are_odd.count() < most_of(anonymous.len()) {
        return Err("pages of processes do not lead to their owners");
    }
    let any = of_kernel.into_iter().fold(0, |all, flags| all | flags);
    let mask = common(&cached) & common(&anonymous) & !any & FLAGS;
    if mask == 0 { Err("no flag is set in these only") } else { Ok(mask) }
}

/// Bits that nine of ten have: what has just been made has not all of them.
fn common(all: &[u64]) -> u64 {
    let has = |bit: u32| all.iter().filter(|flags| *flags >> bit & 1 == 1).count();
    (0..FLAGS.count_ones())
        .filter(|bit| has(*bit) >= most_of(all.len()))
        .fold(0, |mask, bit| mask | 1 << bit)
}

fn most_of(count: usize) -> usize {
    count.saturating_sub(count / 10)
}
