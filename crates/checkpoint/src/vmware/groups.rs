//! Header and group table of a state file.

use std::io;

use zerocopy::FromBytes;

use super::error::VmwareError;
use super::raw::{FileHeader, GroupEntry32, GroupEntry64, Magic, NAME_LEN};
use crate::source::Source;

/// Products write about a hundred.
const MAX_GROUPS: u32 = 0x1_0000;

const HEADER_LEN: u64 = size_of::<FileHeader>() as u64;

/// One entry of the group table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VmwareGroup {
    pub(super) name: String,
    /// File offset of its first tag.
    pub(super) position: u64,
    /// Bytes of its tags with the terminator; 0 if not known.
    pub(super) size: u64,
}

/// The decoded header.
#[derive(Clone, Debug)]
pub(super) struct VmwareHeader {
    pub(super) magic: Magic,
    pub(super) version: u32,
    pub(super) groups: Vec<VmwareGroup>,
}

/// A group table entry's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Wide,
    Narrow,
}

impl Entry {
    fn len(self) -> usize {
        match self {
            Self::Wide => size_of::<GroupEntry64>(),
            Self::Narrow => size_of::<GroupEntry32>(),
        }
    }
}

pub(super) fn read_header(source: &Source) -> Result<VmwareHeader, VmwareError> {
    let not_state = || VmwareError::NotState { path: source.path.clone() };
    if source.len < HEADER_LEN {
        return Err(not_state());
    }
    let bytes = read(source, 0, HEADER_LEN)?;
    let magic = Magic::of(&bytes).ok_or_else(not_state)?;
    let header = FileHeader::read_from_bytes(&bytes).map_err(|_| not_state())?;
    let count = header.group_count.get();
    let groups = if magic.narrow {
        read_old_table(source, magic, count)?
    } else {
        read_table(source, Entry::Wide, count)?.1
    };
    Ok(VmwareHeader { magic, version: header.version.get(), groups })
}

/// The raw bytes of the table, and its groups.
type Table = (Vec<u8>, Vec<VmwareGroup>);

fn read_table(source: &Source, entry: Entry, count: u32) -> Result<Table, VmwareError> {
    let len = u64::from(count).saturating_mul(entry.len() as u64);
    let needed = HEADER_LEN.saturating_add(len);
    if needed > source.len {
        let (path, len) = (source.path.clone(), source.len);
        return Err(VmwareError::TableTooLong { path, groups: count, needed, len });
    }
    if count > MAX_GROUPS {
        return Err(VmwareError::TooManyGroups { path: source.path.clone(), groups: count });
    }
    let bytes = read(source, HEADER_LEN, len)?;
    let groups = bytes.chunks_exact(entry.len()).filter_map(|b| decode(entry, b)).collect();
    Ok((bytes, groups))
}

fn decode(entry: Entry, bytes: &[u8]) -> Option<VmwareGroup> {
    let (name, position, size) = match entry {
        Entry::Wide => {
            let raw = GroupEntry64::read_from_bytes(bytes).ok()?;
            (raw.name, raw.position.get(), raw.size.get())
        }
        Entry::Narrow => {
            let raw = GroupEntry32::read_from_bytes(bytes).ok()?;
            (raw.name, u64::from(raw.position.get()), u64::from(raw.size.get()))
        }
    };
    Some(VmwareGroup { name: text(&name), position, size })
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Nobody has published a file of the 32-bit layout, so the form of its entries
/// is judged by which one makes sense.
fn read_old_table(
    source: &Source,
    magic: Magic,
    count: u32,
) -> Result<Vec<VmwareGroup>, VmwareError> {
    let mut too_long = None;
    for entry in [Entry::Narrow, Entry::Wide] {
        match read_table(source, entry, count) {
            Ok((bytes, groups)) => {
                if makes_sense(source, entry, &bytes, &groups)? {
                    return Ok(groups);
                }
            }
            Err(error @ VmwareError::TableTooLong { .. }) => {
                too_long.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    // Too long even in its shorter form.
    let unknown = VmwareError::UnknownTable { path: source.path.clone(), magic: magic.value };
    let shortest = HEADER_LEN.saturating_add(u64::from(count).saturating_mul(72));
    Err(too_long.filter(|_| source.len < shortest).unwrap_or(unknown))
}

/// Names are text, the first group follows the table, all lie in the file and
/// begin with what can be a tag.
fn makes_sense(
    source: &Source,
    entry: Entry,
    bytes: &[u8],
    groups: &[VmwareGroup],
) -> Result<bool, VmwareError> {
    let table_end = HEADER_LEN.saturating_add(bytes.len() as u64);
    let named = bytes.chunks_exact(entry.len()).all(has_clean_name);
    if !named || groups.iter().map(|g| g.position).min() != Some(table_end) {
        return Ok(false);
    }
    for group in groups {
        if group.position.saturating_add(2) > source.len {
            return Ok(false);
        }
        let word = read(source, group.position, 2)?;
        // A name length, or the null tag of an empty group.
        let &[flags, name_len] = word.as_slice() else { return Ok(false) };
        if name_len == 0 && flags != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_clean_name(entry: &[u8]) -> bool {
    let name = entry.get(..NAME_LEN).unwrap_or_default();
    let len = name.iter().position(|&byte| byte == 0).unwrap_or_default();
    let (text, pad) = name.split_at(len);
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic) && pad.iter().all(|&byte| byte == 0)
}

fn read(source: &Source, offset: u64, len: u64) -> Result<Vec<u8>, VmwareError> {
    let error = |source_error| VmwareError::Read {
        path: source.path.clone(),
        what: "the group table",
        offset,
        source: source_error,
    };
    let len = usize::try_from(len).map_err(|_| error(io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = vec![0; len];
    source.bytes.read_exact_at(offset, &mut bytes).map_err(error)?;
    Ok(bytes)
}
