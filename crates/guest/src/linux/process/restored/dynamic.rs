//! Dynamic symbols, which have no length of their own.

use std::collections::BTreeMap;
use std::ops::Range;

use object::LittleEndian;
use object::elf::{
    DT_GNU_HASH, DT_HASH, DT_NULL, DT_STRSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, DynamicTag,
    PT_DYNAMIC,
};
use object::pod;
use object::read::elf::{Dyn, FileHeader, GnuHashTable, HashTable};

use vmss2core_mem::range_len;

use super::image::Image;
use super::{MOST_BYTES, take};

/// Symbols as the dynamic section describes them.
pub(super) struct Dynamic {
    /// Where in the file their names are.
    pub(super) names: Range<u64>,
    pub(super) names_address: u64,
    /// The symbols as they are in the file.
    pub(super) symbols: Vec<u8>,
}

impl Dynamic {
    /// `None` if any of it cannot be read.
    pub(super) fn of<E: FileHeader<Endian = LittleEndian>>(image: &Image<'_>) -> Option<Self> {
        let values = values::<E>(image)?;
        let value = |tag: DynamicTag| values.get(&tag.0).copied();
        let names_address = value(DT_STRTAB)?;
        let names = image.place_of(names_address)?;
        let names = names.start..names.start.checked_add(value(DT_STRSZ)?)?.min(names.end);
        if image.source.available(names.start) < range_len(&names) {
            return None;
        }
        let size = size_of::<E::Sym>() as u64;
        if value(DT_SYMENT).is_some_and(|said| said != size) {
            return None;
        }
        let count = value(DT_HASH)
            .and_then(|address| by_hash::<E>(image, address))
            .or_else(|| by_gnu_hash::<E>(image, value(DT_GNU_HASH)?))?;
        let table = image.place_of(value(DT_SYMTAB)?)?;
        let len = u64::from(count).saturating_mul(size);
        if len > range_len(&table) {
            return None;
        }
        let symbols = take(image.source, table.start, len)?;
        Some(Self { names, names_address, symbols })
    }
}

/// The first value of each tag.
fn values<E: FileHeader<Endian = LittleEndian>>(image: &Image<'_>) -> Option<BTreeMap<i64, u64>> {
    let segment = image.first(PT_DYNAMIC)?;
    let bytes = take(image.source, segment.offset, segment.file_len)?;
    let count = bytes.len().checked_div(size_of::<E::Dyn>()).unwrap_or(0);
    let entries = pod::slice_from_bytes::<E::Dyn>(&bytes, count).ok()?.0;
    let mut values = BTreeMap::new();
    for entry in entries.iter().take_while(|entry| entry.tag(LittleEndian) != DT_NULL) {
        values.entry(entry.tag(LittleEndian).0).or_insert(entry.val(LittleEndian));
    }
    Some(values)
}

/// Bytes from an address on, as far as a table can reach.
fn table_at(image: &Image<'_>, address: u64) -> Option<Vec<u8>> {
    let range = image.place_of(address)?;
    let len = range_len(&range).min(image.source.available(range.start)).min(MOST_BYTES);
    take(image.source, range.start, len)
}

/// The old table has a chain for each symbol.
fn by_hash<E: FileHeader<Endian = LittleEndian>>(image: &Image<'_>, address: u64) -> Option<u32> {
    let bytes = table_at(image, address)?;
    Some(HashTable::<E>::parse(LittleEndian, &bytes).ok()?.symbol_table_length())
}

/// The last chain of the newer one ends with the last symbol.
fn by_gnu_hash<E: FileHeader<Endian = LittleEndian>>(
    image: &Image<'_>,
    address: u64,
) -> Option<u32> {
    let bytes = table_at(image, address)?;
    GnuHashTable::<E>::parse(LittleEndian, &bytes).ok()?.symbol_table_length(LittleEndian)
}
