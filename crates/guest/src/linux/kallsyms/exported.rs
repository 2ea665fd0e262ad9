//! What modules may use: `__ksymtab`, the only names that a kernel without kallsyms has, as
//! those of 2.4 (`/proc/ksyms`).
//!
//! An entry is an address and a pointer to the name (`struct module_symbol`, since 2.6
//! `struct kernel_symbol`; include/linux/module.h, export.h); since 4.19 of most processors
//! the distances to both from where they are written, since 5.4 with a third one, which leads
//! to the name of a namespace, as a rule an empty one. Linkers then put a name that others end
//! in into one of these. Names of 2.4 end in a checksum (`_R` or `_Rsmp_` and eight digits) if
//! modules have versions.

use vmss2core_mem::{Found, Gva, little_endian};

use super::Source;
use crate::linux::discovery::Bounds;
use crate::linux::{Symbol, Symbols};

/// No kernel lets modules use fewer.
const FEWEST: usize = 100;
/// Entries that follow each other, of which chance makes no more.
const FEWEST_IN_A_ROW: usize = 8;
/// More are malice.
const MOST: usize = 1 << 17;
/// Longest name (`MODULE_NAME_LEN`, 64 less a word, held all names for long).
const LONGEST_NAME: usize = 128;
/// Variables lie no farther after the beginning of an image.
const LONGEST_IMAGE: u64 = 256 << 20;
/// Bytes of a range that are searched.
const MOST_SEARCHED: usize = 64 << 20;

/// Variables of processors have no addresses but offsets into each one's part on x86-64 up to
/// 6.14; it is no longer.
const LONGEST_PER_CPU: u64 = 1 << 20;

/// Bytes of names between two runs: of entries that no run has.
const LONGEST_GAP: u64 = 1024;

/// How an entry is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Two pointers.
    Pointers,
    /// So many distances of four bytes.
    Distances(usize),
}

/// The symbols, if there are enough, in a kernel with these bounds.
pub(super) fn find(source: &Source, bounds: Option<Bounds>) -> Option<Found<Symbols>> {
    [Form::Pointers, Form::Distances(2), Form::Distances(3)].into_iter().find_map(|form| {
        let found = entries(source, form);
        (found.len() >= FEWEST).then_some(())?;
        let symbols = found.iter().map(|entry| Symbol {
            address: Gva(entry.address),
            kind: kind(entry.address, form, bounds),
            name: without_version(&entry.name),
        });
        let how = "names that modules may use (__ksymtab); no kallsyms were found";
        Some(Found::new(Symbols::new(symbols).without_others(), how))
    })
}

/// The letter that `nm` prints for what is at an address: `?` where that is not known.
fn kind(address: u64, form: Form, bounds: Option<Bounds>) -> char {
    let Some(bounds) = bounds else { return '?' };
    match address {
        0..LONGEST_PER_CPU => 'A',
        _ if bounds.code().contains(&address) => 'T',
        _ if bounds.code_end.0 <= address && address < bounds.data_end.0 => 'D',
        // Old kernels have variables with a value after `_edata` as well.
        _ if form != Form::Pointers && address >= bounds.data_end.0 => 'B',
        _ => '?',
    }
}

/// What modules may use.
struct Entry {
    address: u64,
    name: String,
    /// Where that is.
    name_at: u64,
    /// Nothing lies before the name that it could be the end of.
    is_whole: bool,
}

/// Names with addresses, of all runs of entries whose names lie together.
fn entries(source: &Source, form: Form) -> Vec<Entry> {
    let mut found: Vec<Vec<Entry>> = Vec::new();
    for range in &source.ranges {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let bytes = source.bytes_up_to(Gva(range.start), len.min(MOST_SEARCHED));
        let image = Image { start: range.start, bytes: &bytes };
        image.runs(source, form, &mut found);
    }
    with_names_together(found)
}

/// The names of the tables are a section of their own. Other tables of names and addresses,
/// as drivers have them, name them elsewhere.
fn with_names_together(mut runs: Vec<Vec<Entry>>) -> Vec<Entry> {
    runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
    let place = |run: &[Entry]| {
        let places = || run.iter().map(|entry| entry.name_at);
        Some(places().min()?..=places().max()?)
    };
    let Some(mut block) = runs.first().and_then(|longest| place(longest)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut is_growing = true;
    while is_growing {
        let mut others = Vec::new();
        is_growing = false;
        for run in runs {
            let Some(names) = place(&run) else { continue };
            let is_near = *names.start() <= block.end().saturating_add(LONGEST_GAP)
                && *block.start() <= names.end().saturating_add(LONGEST_GAP);
            if is_near {
                block = *block.start().min(names.start())..=*block.end().max(names.end());
                found.extend(run);
                is_growing = true;
            } else {
                others.push(run);
            }
        }
        runs = others;
    }
    found
}

/// A piece of the image.
struct Image<'b> {
    start: u64,
    bytes: &'b [u8],
}

impl Image<'_> {
    fn runs(&self, source: &Source, form: Form, found: &mut Vec<Vec<Entry>>) {
        let word_len = usize::try_from(source.word_len).unwrap_or(8);
        let (step, len) = match form {
            Form::Pointers => (word_len, word_len.saturating_mul(2)),
            Form::Distances(count) => (4, count.saturating_mul(4)),
        };
        let (mut at, mut count) = (0, 0_usize);
        while at < self.bytes.len() && count < MOST {
            let mut run = Vec::new();
            let mut next = at;
            while let Some(entry) = self.entry(source, form, next)
                && run.len() < MOST
            {
                run.push(entry);
                next = next.saturating_add(len);
            }
            if !self.are_exported(source, &run) {
                at = at.saturating_add(step);
                continue;
            }
            count = count.saturating_add(run.len());
            found.push(run);
            at = next;
        }
    }

    /// Whether so many entries in a row are no pairs of other things: most addresses are in the
    /// image and no names themselves, and most names are no ends of others.
    fn are_exported(&self, source: &Source, run: &[Entry]) -> bool {
        let count = |is: &dyn Fn(&&Entry) -> bool| run.iter().filter(is).count();
        let names = count(&|entry| self.name(entry.address).is_some_and(|name| name.is_whole));
        let are_most = |count: usize| count.saturating_mul(2) >= run.len();
        run.len() >= FEWEST_IN_A_ROW
            && names <= run.len() / 2
            && are_most(count(&|entry| entry.is_whole))
            && are_most(count(&|entry| is_in_image(source, entry.address)))
    }

    fn entry(&self, source: &Source, form: Form, at: usize) -> Option<Entry> {
        let (address, name) = match form {
            Form::Pointers => {
                let len = usize::try_from(source.word_len).ok()?;
                (self.number(at, len)?, self.number(at.checked_add(len)?, len)?)
            }
            Form::Distances(count) => {
                let third = at.checked_add(8).filter(|_| count > 2);
                third.is_none_or(|at| self.is_namespace(at)).then_some(())?;
                (self.target(at)?, self.target(at.checked_add(4)?)?)
            }
        };
        let is_per_cpu = source.word_len == 8 && address < LONGEST_PER_CPU;
        let is_possible = is_per_cpu || is_in_image(source, address);
        let found = is_possible.then(|| self.name(name)).flatten()?;
        // Where pointers lead to them, linkers left names alone; tables of functions have others.
        (found.is_whole || form != Form::Pointers).then_some(())?;
        Some(Entry { address, ..found })
    }

    fn number(&self, at: usize, len: usize) -> Option<u64> {
        self.bytes.get(at..at.checked_add(len)?).map(little_endian)
    }

    /// What a distance leads to.
    fn target(&self, at: usize) -> Option<u64> {
        let distance = u32::try_from(self.number(at, 4)?).ok()?.cast_signed();
        let place = self.start.checked_add(at as u64)?;
        (distance != 0).then(|| place.wrapping_add_signed(distance.into()))
    }

    /// Whether a distance leads to the name of a namespace, or to none.
    fn is_namespace(&self, at: usize) -> bool {
        if self.number(at, 4) == Some(0) {
            return true;
        }
        let place = self.target(at).and_then(|place| place.checked_sub(self.start));
        let place = place.and_then(|place| usize::try_from(place).ok());
        let first = place.and_then(|place| self.bytes.get(place));
        first.is_some_and(|first| *first == 0 || first.is_ascii_uppercase())
    }

    /// The identifier at an address, of nothing yet.
    fn name(&self, at: u64) -> Option<Entry> {
        let start = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let head = self.bytes.get(start..)?;
        let head = head.get(..LONGEST_NAME.min(head.len()))?;
        let name = head.get(..memchr::memchr(0, head)?)?;
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$".contains(byte);
        let is_name = name.len() > 1
            && name.iter().all(is_letter)
            && !name.first().is_some_and(u8::is_ascii_digit);
        is_name.then(|| Entry {
            address: 0,
            name: String::from_utf8_lossy(name).into_owned(),
            name_at: at,
            // A name begins after the one before, or after what fills up.
            is_whole: start.checked_sub(1).and_then(|at| self.bytes.get(at)) == Some(&0),
        })
    }
}

fn is_in_image(source: &Source, address: u64) -> bool {
    let lowest = source.ranges.first().map_or(u64::MAX, |range| range.start);
    (lowest..lowest.saturating_add(LONGEST_IMAGE)).contains(&address)
}

/// A name without the checksum of its type.
pub(in crate::linux) fn without_version(name: &str) -> &str {
    let Some((start, digits)) = name.rsplit_once("_R") else { return name };
    let digits = digits.strip_prefix("smp_").unwrap_or(digits);
    let is_sum = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_sum { start } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_no_part_of_a_name() {
        for (name, plain) in [
            ("printk_R1b7d4074", "printk"),
            ("schedule_Rsmp_4292364c", "schedule"),
            ("unregister_Rx", "unregister_Rx"),
            ("panic", "panic"),
        ] {
            assert_eq!(without_version(name), plain);
        }
    }
}
