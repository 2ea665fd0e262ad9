//! The notes of an ELF core: who wrote what.

use vmss2core_formats::notes::{CORE, NT_AUXV, NT_FILE, Nhdr};

use super::header::Header;
use crate::source::Source;

/// Bytes of notes that are looked at most.
const MAX_BYTES: u64 = 1 << 20;

/// A note, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Who defined its kind, without the zero after.
    pub(super) name: Vec<u8>,
    kind: u64,
}

impl Note {
    /// Whether it is one that only a program's core has: its name and arguments, its
    /// auxiliary vector, its mapped files.
    pub(super) fn is_of_process(&self) -> bool {
        self.name == CORE && [NT_AUXV, NT_FILE].map(u64::from).contains(&self.kind)
    }
}

/// The notes of a core, as far as they are in the file.
pub(super) fn read(source: &Source, header: &Header) -> Vec<Note> {
    let mut notes = Vec::new();
    for place in header.notes(source) {
        let end = place.end.min(source.len).min(place.start.saturating_add(MAX_BYTES));
        let len = usize::try_from(end.saturating_sub(place.start)).unwrap_or_default();
        let mut bytes = vec![0; len];
        if source.read(place.start, &mut bytes).is_ok() {
            notes.extend(parse(&bytes, header));
        }
    }
    notes
}

/// Each note has three numbers of 4 bytes, a name and a content, both padded to 4.
fn parse(bytes: &[u8], header: &Header) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut rest = bytes;
    while let Some((note, len)) = first(rest, header) {
        notes.push(note);
        rest = rest.get(len..).unwrap_or_default();
    }
    notes
}

/// The first note, and how long it is.
fn first(bytes: &[u8], header: &Header) -> Option<(Note, usize)> {
    const HEAD: usize = size_of::<Nhdr>();
    let number = |at| usize::try_from(header.number(bytes, at, 4)?).ok();
    let (name_len, content_len) = (number(0)?, number(4)?);
    let name = bytes.get(HEAD..HEAD.checked_add(name_len)?)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let padded = |len: usize| len.checked_next_multiple_of(4);
    let len = HEAD.checked_add(padded(name_len)?)?.checked_add(padded(content_len)?)?;
    Some((Note { name, kind: header.number(bytes, 8, 4)? }, len))
}
