//! What modules may use: `__ksymtab`, the only names that a kernel without kallsyms has, as
//! those of 2.4 (`/proc/ksyms`).
//!
//! An entry is an address and a pointer to the name (`struct module_symbol`, since 2.6
//! `struct kernel_symbol`; include/linux/module.h, export.h); since 4.19 of most processors
//! the distances to both from where they are written, since 5.4 with a third one, which leads
//! to the name of a namespace, as a rule an empty one. Names of
//! 2.4 end in a checksum (`_R` or `_Rsmp_` and eight digits) if modules have versions.

use vmss2core_mem::{Found, Gva, little_endian};

use super::Source;
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

/// How an entry is written.
#[derive(Clone, Copy)]
enum Form {
    /// Two pointers.
    Pointers,
    /// So many distances of four bytes.
    Distances(usize),
}

/// The symbols, if there are enough.
pub(super) fn find(source: &Source) -> Option<Found<Symbols>> {
    [Form::Pointers, Form::Distances(2), Form::Distances(3)].into_iter().find_map(|form| {
        let found = entries(source, form);
        (found.len() >= FEWEST).then_some(())?;
        let symbols = found.iter().map(|(address, name)| Symbol {
            address: *address,
            kind: 'T',
            name: without_version(name),
        });
        let how = "names that modules may use (__ksymtab); no kallsyms were found";
        Some(Found::new(Symbols::new(symbols).without_others(), how))
    })
}

/// Names with addresses, of all runs of entries.
fn entries(source: &Source, form: Form) -> Vec<(Gva, String)> {
    let mut found = Vec::new();
    for range in &source.ranges {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let bytes = source.bytes_up_to(Gva(range.start), len.min(MOST_SEARCHED));
        let image = Image { start: range.start, bytes: &bytes };
        image.runs(source, form, &mut found);
    }
    found
}

/// A piece of the image.
struct Image<'b> {
    start: u64,
    bytes: &'b [u8],
}

impl Image<'_> {
    fn runs(&self, source: &Source, form: Form, found: &mut Vec<(Gva, String)>) {
        let word_len = usize::try_from(source.word_len).unwrap_or(8);
        let (step, len) = match form {
            Form::Pointers => (word_len, word_len.saturating_mul(2)),
            Form::Distances(count) => (4, count.saturating_mul(4)),
        };
        let mut at = 0;
        while at < self.bytes.len() && found.len() < MOST {
            let mut run = Vec::new();
            let mut next = at;
            while let Some(entry) = self.entry(source, form, next)
                && run.len() < MOST
            {
                run.push(entry);
                next = next.saturating_add(len);
            }
            let strings = run.iter().filter(|(address, _)| self.name(address.0).is_some()).count();
            if run.len() < FEWEST_IN_A_ROW || strings > run.len() / 2 {
                at = at.saturating_add(step);
                continue;
            }
            found.append(&mut run);
            at = next;
        }
    }

    fn entry(&self, source: &Source, form: Form, at: usize) -> Option<(Gva, String)> {
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
        let lowest = source.ranges.first()?.start;
        let is_inside = (lowest..lowest.saturating_add(LONGEST_IMAGE)).contains(&address);
        let name = is_inside.then(|| self.name(name)).flatten()?;
        Some((Gva(address), name))
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

    /// The identifier at an address.
    fn name(&self, at: u64) -> Option<String> {
        let start = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let head = self.bytes.get(start..)?;
        let head = head.get(..LONGEST_NAME.min(head.len()))?;
        let name = head.get(..memchr::memchr(0, head)?)?;
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$".contains(byte);
        let is_name = name.len() > 1
            && name.iter().all(is_letter)
            && !name.first().is_some_and(u8::is_ascii_digit)
            // A name begins after the one before, or after what fills up.
            && start.checked_sub(1).and_then(|at| self.bytes.get(at)) == Some(&0);
        is_name.then(|| String::from_utf8_lossy(name).into_owned())
    }
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
