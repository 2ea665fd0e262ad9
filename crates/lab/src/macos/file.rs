//! Mach-O files of 64 bits (`mach-o/loader.h`, `mach-o/nlist.h`).

use crate::bytes::Bytes;

const PAGE: u64 = 0x1000;
const MAGIC_64: u64 = 0xfeed_facf;
const CPU_X86_64: u64 = 0x0100_0007;
const CPU_SUBTYPE: u64 = 3;
const SEGMENT_64: u64 = 0x19;
const SYMTAB: u64 = 2;
const UUID: u64 = 0x1b;
/// Section type and attributes of code: `S_ATTR_PURE_INSTRUCTIONS | S_ATTR_SOME_INSTRUCTIONS`.
const CODE: u64 = 0x8000_0400;
/// `N_SECT | N_EXT`.
const DEFINED: u8 = 0x0f;

/// A Mach-O file in the making. Each segment has one section of its own size; the first
/// begins with the header.
#[derive(Clone, Debug)]
pub struct MachFile {
    /// `MH_EXECUTE` and the like.
    pub filetype: u64,
    /// Where it is linked.
    pub base: u64,
    /// Its identity.
    pub uuid: [u8; 16],
    /// Segment, section, and what is in it; the first lies after one page of header.
    pub(super) parts: Vec<Part>,
    /// Names with the address that they have where it is linked.
    pub symbols: Vec<(&'static str, u64)>,
}

/// One segment.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) segment: &'static str,
    pub(super) section: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Distance from the base, and offset in the file.
    at: u64,
    len: u64,
    /// Where the section begins.
    skip: u64,
}

fn pages(len: u64) -> u64 {
    len.div_ceil(PAGE) * PAGE
}

impl MachFile {
    /// Distance of the section of a segment from the base.
    pub(super) fn section(&self, segment: &str) -> u64 {
        let places = self.places();
        let mut all = self.parts.iter().zip(places);
        all.find(|(part, _)| part.segment == segment).map_or(0, |(_, place)| place.at + place.skip)
    }

    /// Length from the base to the end of the last segment, without `__LINKEDIT`.
    pub(super) fn len(&self) -> u64 {
        self.places().last().map_or(0, |place| place.at + place.len)
    }

    fn places(&self) -> Vec<Place> {
        let mut at = 0;
        let place = |part: &Part| {
            let skip = if at == 0 { PAGE } else { 0 };
            let len = pages(skip + part.bytes.len() as u64);
            at += len;
            Place { at: at - len, len, skip }
        };
        self.parts.iter().map(place).collect()
    }

    /// The file's bytes, its segments and sections moved by `slide` from where it is
    /// linked. All of it lies in memory as it does in the file.
    pub fn bytes(&self, slide: u64) -> Vec<u8> {
        let mut commands = Bytes::default();
        let mut out = Bytes::default();
        for (part, place) in self.parts.iter().zip(self.places()) {
            self.segment_command(&mut commands, part, place, slide);
            out.put(place.at + place.skip, &part.bytes);
            out.put(place.at + place.len - 1, &[0]);
        }
        let (names, list) = self.symbol_table();
        let link = self.len();
        let link_len = names.len() + list.len();
        segment(
            &mut commands,
            "__LINKEDIT",
            (self.base + slide + link, pages(link_len)),
            (link, link_len),
            0,
        );
        let at = commands.len();
        let count = self.symbols.len() as u64;
        commands.u32(at, SYMTAB).u32(at + 4, 24).u32(at + 8, link).u32(at + 12, count);
        commands.u32(at + 16, link + list.len()).u32(at + 20, names.len());
        let at = commands.len();
        commands.u32(at, UUID).u32(at + 4, 24).put(at + 8, &self.uuid);
        out.put(link, &list.0).put(link + list.len(), &names.0);
        let total = pages(out.len());
        out.put(total - 1, &[0]);
        let count = self.parts.len() as u64 + 3;
        out.u32(0, MAGIC_64).u32(4, CPU_X86_64).u32(8, CPU_SUBTYPE).u32(12, self.filetype);
        out.u32(16, count).u32(20, commands.len()).u32(24, 1).put(32, &commands.0);
        out.0
    }

    fn segment_command(&self, out: &mut Bytes, part: &Part, place: Place, slide: u64) {
        let start = self.base + slide + place.at;
        let at = out.len();
        segment(out, part.segment, (start, place.len), (place.at, place.len), 1);
        let section = at + 72;
        let offset = place.at + place.skip;
        out.put(section, part.section.as_bytes()).put(section + 16, part.segment.as_bytes());
        out.u64(section + 32, start + place.skip).u64(section + 40, part.bytes.len() as u64);
        out.u32(section + 48, offset).u32(section + 52, 12).u32(section + 76, 0);
        if part.section == "__text" {
            out.u32(section + 64, CODE);
        }
    }

    /// The names and the list of symbols.
    fn symbol_table(&self) -> (Bytes, Bytes) {
        let (mut names, mut list) = (Bytes(vec![0]), Bytes::default());
        let places = self.places();
        for (name, value) in &self.symbols {
            let at = list.len();
            let offset = value - self.base;
            let within = |place: &Place| (place.at..place.at + place.len).contains(&offset);
            let section = places.iter().position(within).unwrap_or_default() + 1;
            let section = u8::try_from(section).unwrap_or_default();
            list.u32(at, names.len());
            list.put(at + 4, &[DEFINED, section, 0, 0]).u64(at + 8, *value);
            let end = names.len();
            names
                .put(end, b"_")
                .put(end + 1, name.as_bytes())
                .put(end + 1 + name.len() as u64, &[0]);
        }
        (names, list)
    }
}

/// Appends the command of a segment with so many sections, whose room follows.
fn segment(out: &mut Bytes, name: &str, memory: (u64, u64), file: (u64, u64), sections: u64) {
    let at = out.len();
    let protection = match name {
        "__TEXT" | "__KLD" => 5,
        "__LINKEDIT" => 1,
        _ => 3,
    };
    out.u32(at, SEGMENT_64).u32(at + 4, 72 + 80 * sections).put(at + 8, name.as_bytes());
    out.u64(at + 24, memory.0).u64(at + 32, memory.1).u64(at + 40, file.0).u64(at + 48, file.1);
    out.u32(at + 56, protection).u32(at + 60, protection).u32(at + 64, sections).u32(at + 68, 0);
}
