//! Call frame information, which has no length of its own, and may have lost parts.

use std::collections::BTreeSet;
use std::ops::Range;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use object::elf::PT_GNU_EH_FRAME;

use vmss2core_mem::range_len;

use super::image::Image;
use super::patch::{Patch, Patches};
use super::unknown::{self, FrameMachine};
use super::{MOST_BYTES, Source, take};

/// Version, encodings, pointer and count of `.eh_frame_hdr` are not longer.
const HEADER_BYTES: u64 = 32;
/// Version 1; a relative pointer of 4 bytes, a count of 4 bytes, and a table of pairs of
/// 4 bytes relative to the header: what all linkers write.
pub(super) const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const TABLE_AT: u64 = 12;
/// Entries of a table that are compared with the records.
const MOST_ENTRIES: usize = 256;
/// More records are in no file.
const MOST_RECORDS: usize = 1 << 22;
/// A record that describes nothing is not shorter.
const SHORTEST: u64 = 16;

/// `.eh_frame` as far as it can be read.
pub(super) struct Frames {
    pub(super) address: u64,
    /// Where in the file it is: a debugger that reads it finds whole records only.
    pub(super) file: Range<u64>,
    /// Distance over records that are lost.
    pub(super) patches: Vec<Patch>,
}

/// Finds it by its header.
pub(super) fn find(image: &Image<'_>, machine: FrameMachine) -> Option<Frames> {
    let address_bytes = machine.address_bytes;
    let header = image.first(PT_GNU_EH_FRAME)?;
    let bytes = take(image.source, header.offset, header.file_len.min(HEADER_BYTES))?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(header.address);
    let parsed = EhFrameHdr::new(&bytes, LittleEndian).parse(&bases, address_bytes).ok()?;
    let Pointer::Direct(address) = parsed.eh_frame_ptr() else { return None };
    let address = truncated(address, address_bytes);
    let within = image.place_of(address)?;
    let table = header.offset..header.offset.checked_add(header.file_len)?;
    let starts = starts(image.source, (header.address, &table)).into_iter();
    let starts = starts.filter_map(|at| within.start.checked_add(at.checked_sub(address)?));
    let section = Section { source: image.source, address, file: within.clone(), machine };
    let (end, patches) = section.repair(&starts.collect(), &image.code());
    (end > within.start).then_some(Frames { address, file: within.start..end, patches })
}

fn truncated(address: u64, address_bytes: u8) -> u64 {
    if address_bytes == 4 { address & 0xffff_ffff } else { address }
}

/// Addresses of the records that `.eh_frame_hdr` lists, as far as it can be read.
pub(super) fn starts(source: &dyn Source, (address, file): (u64, &Range<u64>)) -> BTreeSet<u64> {
    let mut starts = BTreeSet::new();
    let mut usual = [0; 4];
    if source.read(file.start, &mut usual).is_none() || usual != USUAL {
        return starts;
    }
    let Some(mut at) = file.start.checked_add(TABLE_AT) else { return starts };
    let mut entry = [0; 8];
    while at.checked_add(8).is_some_and(|next| next <= file.end) && starts.len() < MOST_RECORDS {
        if source.read(at, &mut entry).is_some()
            && let [_, _, _, _, a, b, c, d] = entry
        {
            let relative = i64::from(i32::from_le_bytes([a, b, c, d]));
            starts.insert(address.wrapping_add_signed(relative));
        }
        at = at.saturating_add(8);
    }
    starts
}

/// How long a table is that begins at an offset; `None` if it does not end in time.
pub(super) fn table_len(source: &dyn Source, at: u64, end: u64) -> Option<u64> {
    let mut count = [0; 4];
    source.read(at.checked_add(8)?, &mut count)?;
    let count = u64::from(u32::from_le_bytes(count)).checked_mul(8)?;
    let len = TABLE_AT.checked_add(count).filter(|len| *len > TABLE_AT)?;
    (at.checked_add(len)? <= end).then_some(len)
}

/// Whether the first functions that a table lists are where it says: their records say
/// the same, where they can be read. `place` says where in the file an address is.
pub(super) fn lists_functions(
    source: &dyn Source,
    (address, file): (u64, &Range<u64>),
    place: &dyn Fn(u64) -> Option<u64>,
) -> bool {
    let relative = |at: u64| {
        let mut bytes = [0; 4];
        source.read(at, &mut bytes)?;
        Some(i64::from(i32::from_le_bytes(bytes)))
    };
    let entries = (file.start.saturating_add(TABLE_AT)..file.end).step_by(8).take(MOST_ENTRIES);
    let agrees = |at: u64| {
        let code = address.checked_add_signed(relative(at)?)?;
        let record = address.checked_add_signed(relative(at.saturating_add(4))?)?;
        // After the length and the distance to what it has in common with others.
        let begin = record.checked_add(8)?;
        Some(begin.checked_add_signed(relative(place(begin)?)?)? == code)
    };
    let mut known = entries.filter_map(agrees).peekable();
    known.peek().is_some() && known.all(|agrees| agrees)
}

/// Where `.eh_frame` is, as far as that is known.
pub(super) struct Section<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) address: u64,
    pub(super) file: Range<u64>,
    pub(super) machine: FrameMachine,
}

impl Section<'_> {
    /// Offset after the last record that can be used, or after the terminator, and what
    /// goes over those that are lost: of the `code` that they described nothing is said
    /// any more. `starts` are offsets at which records are known to begin.
    pub(super) fn repair(&self, starts: &BTreeSet<u64>, code: &[Range<u64>]) -> (u64, Vec<Patch>) {
        let Walked { end, room, patches } = self.walk(starts);
        let covered = room.and_then(|room| self.cover(code, &room, (end, &patches)));
        match covered {
            Some((end, more)) => (end, [patches, more].concat()),
            None => (end, patches),
        }
    }

    fn walk(&self, starts: &BTreeSet<u64>) -> Walked {
        let (source, within) = (self.source, &self.file);
        let return_address = self.machine.return_address;
        let mut repair = Repair { source, return_address, patches: Vec::new() };
        let (mut common, mut others) = (BTreeSet::new(), Vec::new());
        let (mut room, mut at): (Option<Range<u64>>, _) = (None, within.start);
        let mut end = at;
        for _ in 0..MOST_RECORDS {
            if at >= within.end {
                break;
            }
            if let Some(Record { len_bytes, kind }) = record(source, at, within.end) {
                let next = at.saturating_add(len_bytes);
                (at, end) = (next, next);
                match kind {
                    Kind::Last => break,
                    Kind::Common => {
                        common.insert(next.saturating_sub(len_bytes));
                    }
                    Kind::Of(of) => others.push((next.saturating_sub(len_bytes)..next, of)),
                }
                continue;
            }
            // What follows the part that is missing.
            let missing = at.saturating_add(source.available(at)).min(within.end);
            let after = missing.saturating_add(source.missing(missing)).min(within.end);
            let next = starts.range(after..).next().filter(|next| **next < within.end);
            let lost = at..next.copied().unwrap_or(after);
            if after == missing || lost.end.saturating_sub(at) < SHORTEST {
                break;
            }
            if room.as_ref().is_none_or(|room| range_len(room) < range_len(&lost)) {
                room = Some(lost.clone());
            }
            let Some(next) = next else { break };
            repair.fill(lost);
            at = *next;
        }
        Walked { end, room, patches: repair.without_common(&common, &others) }
    }

    /// Puts records for code that no other describes where others are lost.
    fn cover(
        &self,
        code: &[Range<u64>],
        room: &Range<u64>,
        (end, patches): (u64, &[Patch]),
    ) -> Option<(u64, Vec<Patch>)> {
        let bytes = self.read(end, patches)?;
        let unknown = unknown::undescribed(code, (self.address, &bytes), self.machine);
        if unknown.is_empty() {
            return None;
        }
        let address = self.address.checked_add(room.start.checked_sub(self.file.start)?)?;
        // After them comes the rest of what is lost, or the terminator.
        let free = usize::try_from(range_len(room).checked_sub(SHORTEST)?).ok()?;
        let mut records = unknown::eh_frame(&unknown, address, free, self.machine)?;
        let next = room.start.checked_add(records.len() as u64)?;
        if room.start < end {
            let (source, return_address) = (self.source, self.machine.return_address);
            let mut rest = Repair { source, return_address, patches: Vec::new() };
            rest.fill(next..room.end);
            rest.patches.push(Patch::given(room.start, records));
            return Some((end, rest.patches));
        }
        records.extend([0; 4]);
        Some((next.checked_add(4)?, vec![Patch::given(room.start, records)]))
    }

    /// The records up to an offset, as they are served.
    fn read(&self, end: u64, patches: &[Patch]) -> Option<Vec<u8>> {
        let len_bytes = end.checked_sub(self.file.start).filter(|len| *len <= MOST_BYTES)?;
        let patches = Patches::of(patches.to_vec());
        let mut bytes = vec![0; usize::try_from(len_bytes).ok()?];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let offset = self.file.start.checked_add(u64::try_from(done).ok()?)?;
            let copied = match patches.copy(offset, rest) {
                Ok(copied) => copied,
                Err(own) => {
                    self.source.read(offset, rest.get_mut(..own)?)?;
                    own
                }
            };
            done = done.checked_add(copied.max(1))?;
        }
        Some(bytes)
    }
}

/// The rest of the records.
struct Walked {
    end: u64,
    /// The longest part in which records are lost; at `end` if none are known after it.
    room: Option<Range<u64>>,
    patches: Vec<Patch>,
}

/// A record that is there as a whole.
struct Record {
    len_bytes: u64,
    kind: Kind,
}

enum Kind {
    /// The terminator.
    Last,
    /// The common part of several functions (CIE).
    Common,
    /// A function's (FDE), and where what it has in common with others is.
    Of(u64),
}

fn record(source: &dyn Source, at: u64, end: u64) -> Option<Record> {
    let number = |at: u64| {
        let mut bytes = [0; 4];
        source.read(at, &mut bytes)?;
        Some(u64::from(u32::from_le_bytes(bytes)))
    };
    let (head, len) = match number(at)? {
        0 => return Some(Record { len_bytes: 4, kind: Kind::Last }),
        0xffff_ffff => {
            let mut long = [0; 8];
            source.read(at.checked_add(4)?, &mut long)?;
            (12, u64::from_le_bytes(long))
        }
        len => (4, len),
    };
    let len_bytes = len.checked_add(head)?;
    let is_whole = at.checked_add(len_bytes)? <= end && source.available(at) >= len_bytes;
    is_whole.then_some(())?;
    let id = at.saturating_add(head);
    let kind = match number(id)? {
        0 => Kind::Common,
        back => Kind::Of(id.wrapping_sub(back)),
    };
    Some(Record { len_bytes, kind })
}

struct Repair<'s> {
    source: &'s dyn Source,
    return_address: u8,
    patches: Vec<Patch>,
}

impl Repair<'_> {
    /// Puts one record there that no function refers to.
    fn fill(&mut self, range: Range<u64>) {
        let len = range_len(&range).checked_sub(4).and_then(|len| u32::try_from(len).ok());
        let Some(len) = len else { return };
        let mut bytes = len.to_le_bytes().to_vec();
        // Identity, version, augmentation, factors of code and data, return address.
        bytes.extend([0, 0, 0, 0, 1, 0, 1, 0x78, self.return_address]);
        let start = range.start;
        let head = start.saturating_add(bytes.len() as u64);
        let mut at = head;
        // The rest is made of instructions that do nothing.
        while at < range.end {
            let there = self.source.available(at).min(range.end.saturating_sub(at));
            if there > 0 {
                let len = usize::try_from(there).unwrap_or(0);
                self.patches.push(Patch::given(at, vec![0; len]));
                at = at.saturating_add(there);
            } else {
                let missing = self.source.missing(at).clamp(1, range.end.saturating_sub(at));
                self.patches.push(Patch::zeroes(&(at..at.saturating_add(missing))));
                at = at.saturating_add(missing);
            }
        }
        self.patches.push(Patch::given(start, bytes));
    }

    /// Takes away functions that have lost what they have in common with others.
    fn without_common(
        mut self,
        common: &BTreeSet<u64>,
        others: &[(Range<u64>, u64)],
    ) -> Vec<Patch> {
        for (range, of) in others {
            if !common.contains(of) && range_len(range) >= SHORTEST {
                self.fill(range.clone());
            }
        }
        self.patches
    }
}
