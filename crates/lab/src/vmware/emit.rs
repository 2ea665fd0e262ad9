//! Lays out a state file: header, group table, tag stream.
//!
//! Built from numbers after the published description of the format, not from
//! the reader's structures: the reader is judged by what this writes, so the
//! two must not share a mistake.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::contents::Contents;

/// Width of positions and block lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// 64-bit layout, 80-byte entries.
    Wide,
    /// 32-bit layout with 72-byte entries.
    Narrow72,
    /// 32-bit block lengths, but 80-byte entries with 64-bit positions.
    Narrow80,
}

impl Table {
    /// Bytes of one table entry.
    pub fn entry_len(self) -> u64 {
        if self == Self::Narrow72 { 72 } else { 80 }
    }
}

/// One named value.
#[derive(Clone, Debug)]
pub struct Item {
    name: Vec<u8>,
    indices: Vec<u32>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Inline(Vec<u8>),
    Block(Block),
    Verbatim(Vec<u8>),
}

/// A value too large for a tag.
#[derive(Clone, Debug)]
pub struct Block {
    /// 62 for compressed, 63 for plain.
    pub kind: u8,
    /// Length once decompressed.
    pub len_in_memory: u64,
    /// The data start at a multiple of this; 1 for no padding.
    pub alignment: u64,
    /// The bytes in the file.
    pub data: Contents,
}

impl Item {
    /// A value of up to 61 bytes.
    pub fn inline(name: &str, indices: &[u32], value: &[u8]) -> Self {
        let body = Body::Inline(value.to_vec());
        Self { name: name.into(), indices: indices.to_vec(), body }
    }

    /// A 4-byte value.
    pub fn word(name: &str, indices: &[u32], value: u32) -> Self {
        Self::inline(name, indices, &value.to_le_bytes())
    }

    /// An 8-byte value.
    pub fn quad(name: &str, indices: &[u32], value: u64) -> Self {
        Self::inline(name, indices, &value.to_le_bytes())
    }

    /// A plain block without padding.
    pub fn plain_block(name: &str, indices: &[u32], data: impl Into<Contents>) -> Self {
        let data = data.into();
        Self::block(
            name,
            indices,
            Block { kind: 63, len_in_memory: data.len(), alignment: 1, data },
        )
    }

    /// Any block.
    pub fn block(name: &str, indices: &[u32], block: Block) -> Self {
        Self { name: name.into(), indices: indices.to_vec(), body: Body::Block(block) }
    }

    /// Bytes put into the stream as they are, for streams that break the rules.
    pub fn verbatim(bytes: &[u8]) -> Self {
        Self { name: Vec::new(), indices: Vec::new(), body: Body::Verbatim(bytes.to_vec()) }
    }

    /// Its name, as far as it is text.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    fn mark(&self, group: &str) -> String {
        let name = self.name();
        let mut mark = format!("{group}/{name}");
        for index in &self.indices {
            mark = format!("{mark}[{index}]");
        }
        mark
    }
}

/// A group of items.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its name, at most 64 bytes.
    pub name: String,
    /// Its content.
    pub items: Vec<Item>,
}

impl Group {
    /// A group of these items.
    pub fn new(name: &str, items: Vec<Item>) -> Self {
        Self { name: name.into(), items }
    }
}

/// A laid out state file, and where things came to lie in it.
#[derive(Clone, Debug, Default)]
pub struct Emitted {
    /// The file.
    pub contents: Contents,
    /// Offset of each tag ("cpu/rip\[0\]"), of each block's data (the same with
    /// "/data" after it), of each table entry ("table/cpu"), and of each
    /// group's terminator ("cpu/end").
    pub marks: BTreeMap<String, u64>,
}

/// What a state file begins with.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// First four bytes.
    pub magic: u32,
    /// Format version, which no reader looks at.
    pub version: u32,
    /// Layout of table and blocks.
    pub table: Table,
}

/// Lays out the whole file.
pub fn emit(header: Header, groups: &[Group]) -> Result<Emitted> {
    let mut out = Emitted::default();
    let table_len = groups.len() as u64 * header.table.entry_len();
    out.contents.push_bytes(&vec![0; usize::try_from(12 + table_len)?]);
    let mut front = Vec::new();
    for word in [header.magic, header.version, u32::try_from(groups.len())?] {
        front.extend_from_slice(&word.to_le_bytes());
    }
    for group in groups {
        out.marks.insert(format!("table/{}", group.name), front.len() as u64);
        let start = out.contents.len();
        out.group(group, header.table)?;
        let size = out.contents.len() - start;
        front.extend_from_slice(&table_entry(header.table, &group.name, start, size)?);
    }
    out.contents.patch(0, &front);
    Ok(out)
}

fn table_entry(table: Table, name: &str, position: u64, size: u64) -> Result<Vec<u8>> {
    ensure!(name.len() <= 64, "group name of {} bytes", name.len());
    let mut entry = name.as_bytes().to_vec();
    entry.resize(64, 0);
    for number in [position, size] {
        match table {
            Table::Narrow72 => entry.extend_from_slice(&u32::try_from(number)?.to_le_bytes()),
            Table::Wide | Table::Narrow80 => entry.extend_from_slice(&number.to_le_bytes()),
        }
    }
    Ok(entry)
}

impl Emitted {
    /// Where a tag, a block's data or a table entry lies.
    pub fn mark(&self, name: &str) -> Result<u64> {
        let found = self.marks.get(name).copied();
        found.ok_or_else(|| anyhow::anyhow!("the file has no {name}"))
    }

    fn group(&mut self, group: &Group, table: Table) -> Result<()> {
        for item in &group.items {
            self.marks.insert(item.mark(&group.name), self.contents.len());
            self.item(item, &group.name, table)?;
        }
        self.marks.insert(format!("{}/end", group.name), self.contents.len());
        self.contents.push_bytes(&[0, 0]);
        Ok(())
    }

    fn item(&mut self, item: &Item, group: &str, table: Table) -> Result<()> {
        match &item.body {
            Body::Verbatim(bytes) => self.contents.push_bytes(bytes),
            Body::Inline(value) => {
                self.tag(item, u8::try_from(value.len())?)?;
                self.contents.push_bytes(value);
            }
            Body::Block(block) => {
                self.tag(item, block.kind)?;
                self.block_header(block, table)?;
                self.marks.insert(format!("{}/data", item.mark(group)), self.contents.len());
                self.contents.push(&block.data);
            }
        }
        Ok(())
    }

    fn tag(&mut self, item: &Item, size: u8) -> Result<()> {
        ensure!(size < 64 && item.indices.len() < 4, "a tag of size {size} cannot be written");
        let indices = u8::try_from(item.indices.len())? << 6;
        self.contents.push_bytes(&[indices | size, u8::try_from(item.name.len())?]);
        self.contents.push_bytes(&item.name);
        for index in &item.indices {
            self.contents.push_bytes(&index.to_le_bytes());
        }
        Ok(())
    }

    fn block_header(&mut self, block: &Block, table: Table) -> Result<()> {
        for len in [block.data.len(), block.len_in_memory] {
            match table {
                Table::Wide => self.contents.push_bytes(&len.to_le_bytes()),
                Table::Narrow72 | Table::Narrow80 => {
                    self.contents.push_bytes(&u32::try_from(len)?.to_le_bytes());
                }
            }
        }
        let unpadded = self.contents.len() + 2;
        let pad = unpadded.next_multiple_of(block.alignment) - unpadded;
        self.contents.push_bytes(&u16::try_from(pad)?.to_le_bytes());
        self.contents.push_bytes(&vec![0; usize::try_from(pad)?]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the format's description, byte for byte.
    #[test]
    fn the_worked_example_comes_out_as_published() {
        let cpu = Group::new(
            "cpu",
            vec![
                Item::word("cpu:numVCPUs", &[], 1),
                Item::quad("rip", &[0], 0x1122_3344_5566_7788),
                Item::word("eip", &[0], 0x5566_7788),
            ],
        );
        let memory = Group::new(
            "memory",
            vec![
                Item::word("align_mask", &[0, 0], 0xffff),
                Item::word("regionsCount", &[], 1),
                Item::word("regionPPN", &[0], 0),
                Item::word("regionPageNum", &[0], 0),
                Item::word("regionSize", &[0], 0x4000),
            ],
        );
        let header = Header { magic: 0xbed2_bed2, version: 8, table: Table::Wide };
        let out = emit(header, &[cpu, memory]).unwrap();
        let bytes = out.contents.bytes().unwrap();
        assert_eq!(bytes.len(), 0x148);
        assert_eq!(bytes[..12], [0xd2, 0xbe, 0xd2, 0xbe, 8, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[0x4c..0x54], 0xac_u64.to_le_bytes());
        assert_eq!(bytes[0x54..0x5c], 0x32_u64.to_le_bytes());
        assert_eq!(bytes[0x9c..0xa4], 0xde_u64.to_le_bytes());
        assert_eq!(bytes[0xa4..0xac], 0x6a_u64.to_le_bytes());
        assert_eq!(&bytes[0xac..0xba], b"\x04\x0ccpu:numVCPUs");
        assert_eq!(&bytes[0xbe..0xc7], b"\x48\x03rip\0\0\0\0");
        assert_eq!(&bytes[0xde..0xea], b"\x84\x0aalign_mask");
        assert_eq!(out.mark("memory/regionSize[0]").unwrap(), 0x132);
        assert_eq!(bytes[0x146..], [0, 0]);
    }

    #[test]
    fn an_aligned_block_starts_where_it_should_in_either_width() {
        for (table, header_len) in [(Table::Wide, 18), (Table::Narrow72, 10)] {
            let data = Contents::from(vec![1, 2, 3]);
            let block = Block { kind: 63, len_in_memory: 3, alignment: 0x1_0000, data };
            let group = Group::new("memory", vec![Item::block("Memory", &[0, 0], block)]);
            let header = Header { magic: 0xbed2_bed2, version: 8, table };
            let out = emit(header, &[group]).unwrap();
            assert_eq!(out.mark("memory/Memory[0][0]/data").unwrap(), 0x1_0000);
            let bytes = out.contents.bytes().unwrap();
            let tag = usize::try_from(out.mark("memory/Memory[0][0]").unwrap()).unwrap();
            assert_eq!(bytes[tag..tag + 2], [0xbf, 6]);
            let pad_field = tag + 2 + 6 + 8 + header_len - 2;
            let pad = u16::from_le_bytes(bytes[pad_field..pad_field + 2].try_into().unwrap());
            assert_eq!(pad_field + 2 + usize::from(pad), 0x1_0000);
        }
    }
}
