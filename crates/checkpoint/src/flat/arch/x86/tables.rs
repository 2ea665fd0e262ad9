//! Which layout makes an image's page tables hold together.
//!
//! Pages are scanned for roots of x86 page tables by their structure alone: a
//! page of pointers with some in the kernel's half, or the four pointers of PAE.
//! From each root the pointers are followed under every layout, and a pointer is
//! good if what it leads to looks like a table. Under a wrong layout the pointers
//! above the hole lead to arbitrary pages; in an image that was cut off they lead
//! beyond its end.

use std::collections::{HashMap, HashSet};

use vmss2core_machine::x86::entry::{ADDRESS, LARGE, PRESENT, WRITE};
use vmss2core_mem::PAGE_SIZE;

use crate::OpenError;
use crate::flat::evidence::Evidence;
use crate::flat::layout::Layout;
use crate::source::{Source, is_zero};

/// Bytes read at a time.
const CHUNK: u64 = 1 << 20;

/// Bytes of an image that are scanned at most; kernels keep their tables near
/// the start of memory, or of what lies above the hole.
const MAX_SCANNED: u64 = 8 << 30;

/// Roots that it takes at least to call the case clear, with one layout ahead by
/// [`CLEAR_LEAD`]. All of a system lead to its kernel's tables, so that as many show
/// whether some of those are missing.
const ENOUGH_ROOTS: u64 = 4;

/// Pointers by which one layout must be ahead of all others.
const CLEAR_LEAD: i128 = 64;

/// Tables beyond the end that are kept in mind.
const MOST_BEYOND: usize = 1 << 16;

/// Tables followed from one root under one layout.
const MAX_TABLES: u32 = 2048;

/// Zero in every present entry of the systems known: addresses over 64 TiB,
/// bits that only some systems use, protection keys.
const NEVER_SET: u64 = 0x7bff_c000_0000_0000;

/// Evidence for each of `layouts`, in their order.
pub(in crate::flat) fn survey(
    source: &Source,
    layouts: &[Layout],
) -> Result<Vec<Evidence>, OpenError> {
    let mut walks: Vec<Walk<'_>> = layouts.iter().map(|layout| Walk::new(source, layout)).collect();
    for at in chunks(source.len, layouts) {
        let len = CHUNK.min(source.len.saturating_sub(at));
        let mut chunk = vec![0; usize::try_from(len).unwrap_or_default()];
        source.read(at, &mut chunk)?;
        for page in chunk.as_chunks::<4096>().0.iter().filter(|page| !is_zero(*page)) {
            for root in roots(page) {
                for walk in &mut walks {
                    walk.follow(&root)?;
                }
            }
        }
        if is_clear(&walks) {
            break;
        }
    }
    Ok(walks.into_iter().map(Walk::finish).collect())
}

/// Whether scanning on would change nothing.
fn is_clear(walks: &[Walk<'_>]) -> bool {
    let best = walks.iter().max_by_key(|walk| walk.evidence.weight());
    let Some(best) = best.map(|walk| walk.evidence) else { return true };
    let near = |walk: &&Walk<'_>| walk.evidence.weight().saturating_add(CLEAR_LEAD) > best.weight();
    match walks {
        [_] => best.roots >= ENOUGH_ROOTS,
        _ => best.roots >= ENOUGH_ROOTS && walks.iter().filter(near).count() == 1,
    }
}

/// The chunks to scan, by turns from the start of the image and from where
/// memory goes on above the hole.
fn chunks(len: u64, layouts: &[Layout]) -> impl Iterator<Item = u64> {
    let middle = (layouts.first().map_or(len, Layout::low_len) / CHUNK).saturating_mul(CHUNK);
    let from = move |start: u64, end: u64| {
        (0_u64..)
            .map(move |i| start.saturating_add(i.saturating_mul(CHUNK)))
            .take_while(move |at| *at < end)
    };
    let (mut low, mut high) = (from(0, middle), from(middle, len));
    let turns = (0..).map_while(move |turn| {
        if turn % 2 == 0 {
            low.next().or_else(|| high.next())
        } else {
            high.next().or_else(|| low.next())
        }
    });
    turns.take(usize::try_from(MAX_SCANNED / CHUNK).unwrap_or(usize::MAX))
}

/// A set of pointers that can be the root of page tables.
struct Root {
    pointers: Vec<u64>,
    /// Levels of pointers below, down to the tables that map single pages.
    levels: u32,
}

/// The roots that `page` can hold.
fn roots(page: &[u8; 4096]) -> Vec<Root> {
    let entries = entries(page);
    if let Some(root) = long_mode_root(&entries) {
        return vec![root];
    }
    entries.chunks_exact(4).filter_map(pae_root).collect()
}

fn entries(page: &[u8; 4096]) -> Vec<u64> {
    page.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

/// A page whose entries are all nothing or pointers to tables, some of them in
/// the upper half: every system maps its kernel there.
fn long_mode_root(entries: &[u64]) -> Option<Root> {
    let used = || entries.iter().filter(|entry| **entry != 0);
    let is_pointer = |entry: &u64| is_table_pointer(*entry) && entry & WRITE != 0;
    let kernel_half = entries.get(256..)?.iter().any(|entry| *entry != 0);
    let plausible = kernel_half && used().count() <= 400 && used().all(is_pointer);
    plausible.then(|| Root { pointers: used().map(|entry| entry & ADDRESS).collect(), levels: 2 })
}

/// Four pointers of PAE: in them the bits for rights are reserved and zero; emulated
/// processors set that of access nevertheless.
fn pae_root(entries: &[u64]) -> Option<Root> {
    const FREE_BITS: u64 = 0x0000_000f_ffff_fe39;
    let valid =
        |entry: &u64| entry & PRESENT != 0 && entry & !FREE_BITS == 0 && entry & ADDRESS != 0;
    let distinct = entries.iter().collect::<HashSet<_>>().len() == 4;
    (distinct && entries.iter().all(valid))
        .then(|| Root { pointers: entries.iter().map(|e| e & ADDRESS).collect(), levels: 1 })
}

fn is_table_pointer(entry: u64) -> bool {
    entry & (PRESENT | LARGE) == PRESENT && entry & NEVER_SET == 0
}

/// Whether `entries` can be a table at all: some are present, and all of those
/// are plausible.
fn looks_like_table(entries: &[u64]) -> bool {
    let mut present = entries.iter().filter(|entry| *entry & PRESENT != 0).peekable();
    present.peek().is_some() && present.all(|entry| entry & NEVER_SET == 0)
}

/// Following roots under one layout.
struct Walk<'a> {
    source: &'a Source,
    layout: &'a Layout,
    /// Tables counted already, by offset: processes share the kernel's.
    seen: HashSet<u64>,
    /// How many flawless roots lead to each table beyond the end.
    beyond: HashMap<u64, u32>,
    evidence: Evidence,
}

impl<'a> Walk<'a> {
    fn new(source: &'a Source, layout: &'a Layout) -> Self {
        let (seen, beyond, evidence) = (HashSet::new(), HashMap::new(), Evidence::default());
        Self { source, layout, seen, beyond, evidence }
    }

    /// Counts what `root` leads to, unless it leads to nothing and so was none.
    fn follow(&mut self, root: &Root) -> Result<(), OpenError> {
        let mut tally = Tally { budget: MAX_TABLES, ..Tally::default() };
        for pointer in &root.pointers {
            self.descend(*pointer, root.levels, &mut tally)?;
        }
        if tally.good < 4 {
            return Ok(());
        }
        // One stray entry in a real root is possible; chance hits are not nearly
        // as good.
        let is_good = tally.bad.saturating_mul(8) <= tally.good;
        let is_cut = !tally.beyond.is_empty() && tally.beyond.len() as u64 == tally.bad;
        if is_good {
            self.evidence.good = self.evidence.good.saturating_add(tally.good);
            self.evidence.bad = self.evidence.bad.saturating_add(tally.bad);
        }
        self.evidence.roots = self.evidence.roots.saturating_add(u64::from(is_good || is_cut));
        if is_cut {
            self.note_beyond(&tally);
        } else if is_good {
            self.seen.extend(tally.seen);
        }
        Ok(())
    }

    fn note_beyond(&mut self, tally: &Tally) {
        for gpa in tally.beyond.iter().take(MOST_BEYOND.saturating_sub(self.beyond.len())) {
            let roots = self.beyond.entry(*gpa).or_default();
            *roots = roots.saturating_add(1);
        }
    }

    /// A page beyond the end is a table if more than one root leads there: all of a
    /// system share its kernel's.
    fn finish(self) -> Evidence {
        let shared = self.beyond.into_iter().filter(|(_, roots)| *roots > 1);
        Evidence { beyond: shared.map(|(gpa, _)| gpa).min(), ..self.evidence }
    }

    fn descend(&self, gpa: u64, levels: u32, tally: &mut Tally) -> Result<(), OpenError> {
        if tally.budget == 0 {
            return Ok(());
        }
        tally.budget = tally.budget.saturating_sub(1);
        let inside = |offset: &u64| self.source.len.saturating_sub(*offset) >= PAGE_SIZE;
        let Some(offset) = self.layout.offset(gpa).filter(inside) else {
            let is_new = gpa < self.layout.end() || tally.beyond.insert(gpa);
            tally.bad = tally.bad.saturating_add(u64::from(is_new));
            return Ok(());
        };
        let mut page = [0; 4096];
        self.source.read(offset, &mut page)?;
        // Linux prepares tables that nothing uses yet, and most of memory is
        // zero anyway: such a page speaks neither for nor against.
        if is_zero(&page) || !tally.seen.insert(offset) {
            return Ok(());
        }
        let entries = entries(&page);
        if !looks_like_table(&entries) {
            tally.bad = tally.bad.saturating_add(1);
            return Ok(());
        }
        tally.good = tally.good.saturating_add(1);
        // What is shared with another root is proved, and was followed there.
        if levels == 0 || self.seen.contains(&offset) {
            return Ok(());
        }
        for entry in entries.iter().filter(|entry| is_table_pointer(**entry)) {
            self.descend(entry & ADDRESS, levels.saturating_sub(1), tally)?;
        }
        Ok(())
    }
}

/// Tables that one root leads to.
#[derive(Default)]
struct Tally {
    good: u64,
    bad: u64,
    /// Of the bad ones, where those lead that lead beyond the end.
    beyond: HashSet<u64>,
    budget: u32,
    seen: HashSet<u64>,
}
