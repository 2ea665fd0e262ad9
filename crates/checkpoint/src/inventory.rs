//! Everything that a state file holds, item by item.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use vmss2core_mem::ReadAt;

use crate::codec;

/// The eight bytes that every PNG file begins with.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The last chunk of a PNG file: no data, its type, its checksum.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
/// Screenshots of several screens have a few MiB.
const MAX_PNG: u64 = 64 << 20;

/// How an item's data lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ItemKind {
    /// A short value within the item itself.
    Value,
    /// A block of plain bytes.
    Block,
    /// A block that says it is compressed.
    CompressedBlock,
}

/// One named value of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Group it stands in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its indices, none to three.
    pub indices: Vec<u32>,
    /// How its data are stored.
    pub kind: ItemKind,
    /// File offset of its data.
    pub offset: u64,
    /// Bytes it takes in the file.
    pub size_in_file: u64,
    /// Bytes it has once decompressed; the same as `size_in_file` if plain.
    pub size_in_memory: u64,
    /// The value itself where it is at most 64 bytes and plain.
    pub value: Option<Vec<u8>>,
}

impl Item {
    /// The value as a little-endian number, if it has one to eight bytes.
    pub fn number(&self) -> Option<u64> {
        let value = self.value.as_deref().filter(|v| !v.is_empty())?;
        let mut bytes = [0; 8];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(u64::from_le_bytes(bytes))
    }

    fn is_plain(&self) -> bool {
        // Products mark some plain blocks as compressed; equal sizes tell.
        self.kind != ItemKind::CompressedBlock || self.size_in_file == self.size_in_memory
    }
}

/// Prints `group/name[i][j]`, the form that [`Inventory::named`] takes.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)?;
        self.indices.iter().try_for_each(|index| write!(f, "[{index}]"))
    }
}

/// All items of a state file, in file order.
#[derive(Clone)]
pub struct Inventory {
    /// The items.
    pub items: Vec<Item>,
    source: Arc<dyn ReadAt>,
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inventory({} items)", self.items.len())
    }
}

impl Inventory {
    /// An inventory whose data lie in `source`.
    pub fn new(items: Vec<Item>, source: Arc<dyn ReadAt>) -> Self {
        Self { items, source }
    }

    /// The items of one group, in file order.
    pub fn group(&self, group: &str) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.group == group)
    }

    /// The first item with these names and indices.
    pub fn find(&self, group: &str, name: &str, indices: &[u32]) -> Option<&Item> {
        self.group(group).find(|item| item.name == name && item.indices == indices)
    }

    /// The first item that prints as `path`: `group/name[i][j]`.
    pub fn named(&self, path: &str) -> Option<&Item> {
        let (group, _) = path.split_once('/')?;
        self.group(group).find(|item| item.to_string() == path)
    }

    /// Copies the bytes of `item` as they lie in the file.
    pub fn copy_to(&self, item: &Item, out: &mut dyn Write) -> io::Result<()> {
        let mut buf = [0; 16 * 1024];
        let mut done = 0_u64;
        while done < item.size_in_file {
            let len = usize::try_from(item.size_in_file.saturating_sub(done))
                .map_or(buf.len(), |n| n.min(buf.len()));
            let (chunk, _) = buf.split_at_mut(len);
            self.source.read_exact_at(item.offset.saturating_add(done), chunk)?;
            out.write_all(chunk)?;
            done = done.saturating_add(len as u64);
        }
        Ok(())
    }

    /// The bytes of `item`, decompressed. Fails with
    /// [`io::ErrorKind::FileTooLarge`] if there are more than `limit`, and with
    /// [`io::ErrorKind::InvalidData`] if no known compression fits.
    pub fn read(&self, item: &Item, limit: u64) -> io::Result<Vec<u8>> {
        if let Some(value) = &item.value {
            return Ok(value.clone());
        }
        let packed = self.read_packed(item, limit)?;
        if item.is_plain() {
            return Ok(packed);
        }
        let expanded = to_len(item.size_in_memory, limit)?;
        let expanded = codec::expand(packed, expanded);
        expanded
            .map(|(bytes, _)| bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn read_packed(&self, item: &Item, limit: u64) -> io::Result<Vec<u8>> {
        let len = to_len(item.size_in_file, limit)?;
        // The last byte first: a size beyond the file's end costs no memory.
        if let Some(last) = item.size_in_file.checked_sub(1) {
            self.source.read_exact_at(item.offset.saturating_add(last), &mut [0])?;
        }
        let mut bytes = vec![0; len];
        self.source.read_exact_at(item.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The items that hold a PNG picture: screenshots of the machine's console,
    /// under whatever name. Large compressed blocks are not looked into.
    pub fn pictures(&self) -> Vec<&Item> {
        let blocks = self.items.iter().filter(|item| item.kind != ItemKind::Value);
        blocks.filter(|item| item.size_in_memory <= MAX_PNG && self.is_png(item)).collect()
    }

    fn is_png(&self, item: &Item) -> bool {
        if item.is_plain() {
            let mut head = [0; PNG_SIGNATURE.len()];
            let len = item.size_in_file.min(item.size_in_memory);
            return len > head.len() as u64
                && self.source.read_exact_at(item.offset, &mut head).is_ok()
                && head == PNG_SIGNATURE;
        }
        self.read(item, MAX_PNG).is_ok_and(|bytes| bytes.starts_with(PNG_SIGNATURE))
    }

    /// The PNG file in `item`, without what may follow it in the block. `None`
    /// if it is none, or has no end.
    pub fn picture(&self, item: &Item) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = self.read(item, MAX_PNG)?;
        let end =
            memchr::memmem::find(&bytes, PNG_END).filter(|_| bytes.starts_with(PNG_SIGNATURE));
        Ok(end.map(|end| {
            bytes.truncate(end.saturating_add(PNG_END.len()));
            bytes
        }))
    }
}

fn to_len(size: u64, limit: u64) -> io::Result<usize> {
    usize::try_from(size)
        .ok()
        .filter(|_| size <= limit)
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}
