//! Guests whose page cache has lost the ends of files, as it does when memory is
//! wanted: nobody but debuggers reads section headers. Or their beginnings, which are
//! read only when a program is started.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use vmss2core_lab::Guest;
use vmss2core_lab::vmware::Machine;

const PAGE_BYTES: u64 = 4096;
const PIECE: u64 = 1 << 20;

/// Entries of a node of the kernel's trees (`XA_CHUNK_SIZE`).
const NODE_SLOTS: usize = 64;

/// Sizes of `struct page`.
const PAGE_STRUCT_BYTES: [u64; 4] = [32, 40, 56, 64];

/// An entry of a page that is elsewhere, an odd number (`xa_mk_value`). The lab's
/// files live in memory, where no entry means zeroes.
const SWAPPED: [u8; 8] = [1, 0x10, 0, 0, 0, 0, 0, 0];

/// Libraries without their last page.
pub fn libraries(guest: &Guest, machine: &mut Machine) -> Result<()> {
    evict(guest, machine, &["liblab.so", "libc.so.6"])
}

/// The program `mt` too.
pub fn all(guest: &Guest, machine: &mut Machine) -> Result<()> {
    evict(guest, machine, &["liblab.so", "libc.so.6", "mt"])
}

/// The program `mt` without its first page, which it has not mapped any longer either.
pub fn header(guest: &Guest, machine: &mut Machine) -> Result<()> {
    let word = if guest.is_64_bit { 8 } else { 4 };
    let (array, _) = array_of_pages(guest, machine)?;
    let file = fs::read(guest.program("mt"))?;
    let mut first = End {
        pages: file.chunks(4096).take(2).map(<[u8]>::to_vec).zip(0..).collect(),
        frames: vec![Vec::new(); 2],
    };
    find_pages(machine, &mut first)?;
    let places = entries_of_last_page(machine, &first, word)?;
    let [second] = **places.get(&array).context("no entries of the first pages")? else {
        bail!("{places:x?} point to the second page")
    };
    machine.ram.patch(second - word as u64, SWAPPED.get(..word).unwrap_or_default());
    unmap(machine, first.frames.first().context("no first page")?, word)
}

/// Takes pages that programs may only read out of page tables, as the kernel does before
/// it takes them out of the page cache.
fn unmap(machine: &mut Machine, frames: &[u64], word: usize) -> Result<()> {
    // Present and the user's; whether it was read, is left out.
    const FLAGS: u64 = 0b101;
    const READ_ALREADY: u64 = 1 << 5;
    const NO_EXECUTE: u64 = 1 << 63;
    let mut bytes = vec![0; usize::try_from(PIECE)?];
    let mut found = Vec::new();
    for start in (0..machine.ram.len()).step_by(bytes.len()) {
        machine.ram.read(start, &mut bytes)?;
        let entries = (start..).step_by(word).zip(bytes.chunks_exact(word).map(number));
        found.extend(entries.filter_map(|(at, entry)| {
            let entry = entry & !(READ_ALREADY | NO_EXECUTE);
            let is_it = |frame: &u64| entry == ((frame * PAGE_BYTES) | FLAGS);
            frames.iter().any(is_it).then_some(at)
        }));
    }
    ensure!(!found.is_empty(), "no page table has {frames:x?}");
    for at in found {
        machine.ram.patch(at, &vec![0; word]);
    }
    Ok(())
}

/// The last pages of a file, which one node of its page cache points to.
struct End {
    /// By the content of a page, which of them it is.
    pages: BTreeMap<Vec<u8>, usize>,
    /// Numbers of the physical pages with the content of each.
    frames: Vec<Vec<u64>>,
}

impl End {
    fn of(file: &[u8]) -> Result<Self> {
        let mut pages: Vec<Vec<u8>> = file.chunks(4096).map(<[u8]>::to_vec).collect();
        pages.last_mut().context("an empty file")?.resize(4096, 0);
        let in_node = (pages.len() - 1) % NODE_SLOTS + 1;
        ensure!(in_node > 1, "the last page is alone in its node");
        let last = pages.split_off(pages.len() - in_node.min(6));
        let frames = vec![Vec::new(); last.len()];
        let pages: BTreeMap<_, _> = last.into_iter().zip(0..).collect();
        ensure!(pages.len() == frames.len(), "pages of a file are alike");
        Ok(Self { pages, frames })
    }

    /// Where the kernel's array of pages begins if these are the entries of its pages.
    fn array(&self, entries: &[u64], page_struct: u64) -> Option<u64> {
        let (last, frames) = (entries.last()?, self.frames.last()?);
        let bases = frames.iter().map(|frame| last.wrapping_sub(frame * page_struct));
        bases.into_iter().find(|base| {
            entries.iter().zip(&self.frames).all(|(entry, frames)| {
                let is_it = |frame: &u64| base.wrapping_add(frame * page_struct) == *entry;
                frames.is_empty() || frames.iter().any(is_it)
            })
        })
    }

    /// Forgets where pages are that are everywhere, such as empty ones.
    fn without_common_pages(mut self) -> Result<Self> {
        for frames in self.frames.iter_mut().filter(|frames| frames.len() > 4) {
            frames.clear();
        }
        let known = self.frames.iter().filter(|frames| !frames.is_empty()).count();
        let last = self.frames.last().is_some_and(|frames| !frames.is_empty());
        ensure!(known > 1 && last, "pages are not in memory: {:x?}", self.frames);
        Ok(self)
    }
}

/// The size of the kernel's structures of pages, and where their array begins.
type Array = (u64, u64);

/// By name, where the entry of the last page is.
type Places = BTreeMap<&'static str, BTreeMap<Array, Vec<u64>>>;

/// The array of pages, and where the entries of last pages are.
fn array_of_pages(guest: &Guest, machine: &Machine) -> Result<(Array, Places)> {
    let word = if guest.is_64_bit { 8 } else { 4 };
    let mut places = BTreeMap::new();
    for name in ["liblab.so", "libc.so.6", "mt"] {
        let file = fs::read(guest.program(name)).with_context(|| format!("reading {name}"))?;
        let mut end = End::of(&file)?;
        find_pages(machine, &mut end)?;
        let end = end.without_common_pages()?;
        places.insert(name, entries_of_last_page(machine, &end, word)?);
    }
    // Pages in a row look like those of any file. The real array is the same for all,
    // and its place is a round one.
    let of_first = places.values().next().context("no files")?;
    let round = if guest.is_64_bit { 1 << 30 } else { PAGE_BYTES };
    let is_common = |array: &&Array| {
        array.1.is_multiple_of(round) && places.values().all(|places| places.contains_key(*array))
    };
    let arrays: Vec<Array> = of_first.keys().filter(is_common).copied().collect();
    let [array] = *arrays else { bail!("not one array of pages: {arrays:x?}") };
    Ok((array, places))
}

/// Takes the last page of each file out of the page cache.
fn evict(guest: &Guest, machine: &mut Machine, names: &[&str]) -> Result<()> {
    let word = if guest.is_64_bit { 8 } else { 4 };
    let (array, places) = array_of_pages(guest, machine)?;
    for name in names {
        let places = places.get(name).and_then(|places| places.get(&array));
        let [place] = **places.context("no such file")? else {
            bail!("{name}: {places:x?} point to its last page")
        };
        machine.ram.patch(place, SWAPPED.get(..word).unwrap_or_default());
    }
    Ok(())
}

fn find_pages(machine: &Machine, end: &mut End) -> Result<()> {
    let mut page = vec![0; 4096];
    for at in (0..machine.ram.len()).step_by(4096) {
        machine.ram.read(at, &mut page)?;
        if let Some(which) = end.pages.get(&page) {
            end.frames.get_mut(*which).context("no such page")?.push(at / PAGE_BYTES);
        }
    }
    Ok(())
}

/// Where in memory the entry of the last page is, by the array that it would mean.
fn entries_of_last_page(
    machine: &Machine,
    end: &End,
    word: usize,
) -> Result<BTreeMap<Array, Vec<u64>>> {
    let (count, mut found) = (end.frames.len(), BTreeMap::<Array, Vec<u64>>::new());
    let mut bytes = vec![0; usize::try_from(PIECE)? + word * (count - 1)];
    for start in (0..machine.ram.len()).step_by(usize::try_from(PIECE)?) {
        machine.ram.read(start, &mut bytes)?;
        let words: Vec<u64> = bytes.chunks_exact(word).map(number).collect();
        for (index, entries) in words.windows(count).enumerate() {
            if !entries.iter().all(|entry| *entry >> (word * 8 - 1) == 1) {
                continue;
            }
            for size in PAGE_STRUCT_BYTES {
                if let Some(base) = end.array(entries, size) {
                    let place = start + ((index + count - 1) * word) as u64;
                    found.entry((size, base)).or_default().push(place);
                }
            }
        }
    }
    Ok(found)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
