//! Builds state files from numbers. Shares no layout with the reader: what is
//! wrong there cannot hide here.

/// Bytes of a value and how they are stored.
#[derive(Clone)]
enum Data {
    Inline(Vec<u8>),
    Block { kind: u16, in_file: Vec<u8>, in_memory: u64, align: usize },
}

/// One tag.
#[derive(Clone)]
pub(super) struct Tag {
    name: Vec<u8>,
    indices: Vec<u32>,
    data: Data,
}

impl Tag {
    pub(super) fn value(name: &str, indices: &[u32], value: &[u8]) -> Self {
        assert!(value.len() < 62);
        let data = Data::Inline(value.to_vec());
        Self { name: name.as_bytes().to_vec(), indices: indices.to_vec(), data }
    }

    pub(super) fn u32(name: &str, indices: &[u32], value: u32) -> Self {
        Self::value(name, indices, &value.to_le_bytes())
    }

    pub(super) fn u64(name: &str, indices: &[u32], value: u64) -> Self {
        Self::value(name, indices, &value.to_le_bytes())
    }

    pub(super) fn block(name: &str, indices: &[u32], bytes: &[u8]) -> Self {
        Self::any_block(name, indices, 63, bytes, bytes.len() as u64)
    }

    /// A block that says it is compressed.
    pub(super) fn packed(name: &str, indices: &[u32], bytes: &[u8], in_memory: u64) -> Self {
        Self::any_block(name, indices, 62, bytes, in_memory)
    }

    pub(super) fn any_block(
        name: &str,
        indices: &[u32],
        kind: u16,
        bytes: &[u8],
        in_memory: u64,
    ) -> Self {
        let data = Data::Block { kind, in_file: bytes.to_vec(), in_memory, align: 1 };
        Self { name: name.as_bytes().to_vec(), indices: indices.to_vec(), data }
    }

    /// Pads a block so that its data start at a multiple of `to`.
    pub(super) fn aligned(mut self, to: usize) -> Self {
        if let Data::Block { align, .. } = &mut self.data {
            *align = to;
        }
        self
    }

    fn write(&self, wide_blocks: bool, out: &mut Vec<u8>) {
        let size = match &self.data {
            Data::Inline(value) => u16::try_from(value.len()).unwrap(),
            Data::Block { kind, .. } => *kind,
        };
        let name_len = u16::try_from(self.name.len()).unwrap();
        let count = u16::try_from(self.indices.len()).unwrap();
        assert!(name_len < 256 && count < 4);
        out.extend((name_len * 256 + count * 64 + size).to_le_bytes());
        out.extend(&self.name);
        for index in &self.indices {
            out.extend(index.to_le_bytes());
        }
        match &self.data {
            Data::Inline(value) => out.extend(value),
            Data::Block { in_file, in_memory, align, .. } => {
                block(in_file, *in_memory, *align, wide_blocks, out);
            }
        }
    }
}

fn block(in_file: &[u8], in_memory: u64, align: usize, wide: bool, out: &mut Vec<u8>) {
    for size in [in_file.len() as u64, in_memory] {
        if wide {
            out.extend(size.to_le_bytes());
        } else {
            out.extend(u32::try_from(size).unwrap().to_le_bytes());
        }
    }
    let pad = (out.len() + 2).next_multiple_of(align) - (out.len() + 2);
    out.extend(u16::try_from(pad).unwrap().to_le_bytes());
    out.resize(out.len() + pad, 0xee);
    out.extend(in_file);
}

/// A whole file.
#[derive(Clone)]
pub(super) struct State {
    pub(super) magic: u32,
    /// 80, or 72 for old files.
    pub(super) entry_len: usize,
    pub(super) wide_blocks: bool,
    pub(super) groups: Vec<(String, Vec<Tag>)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self { magic: 0xbed2_bed2, entry_len: 80, wide_blocks: true, groups: Vec::new() }
    }

    pub(super) fn group(mut self, name: &str, tags: Vec<Tag>) -> Self {
        self.groups.push((name.to_owned(), tags));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let table_len = self.entry_len * self.groups.len();
        let mut out = vec![0; 12 + table_len];
        let mut table = Vec::new();
        for (name, tags) in &self.groups {
            let start = out.len();
            for tag in tags {
                tag.write(self.wide_blocks, &mut out);
            }
            out.extend([0, 0]);
            let mut entry = name.as_bytes().to_vec();
            entry.resize(64, 0);
            for number in [start, out.len() - start] {
                if self.entry_len == 80 {
                    entry.extend((number as u64).to_le_bytes());
                } else {
                    entry.extend(u32::try_from(number).unwrap().to_le_bytes());
                }
            }
            table.extend(entry);
        }
        let count = u32::try_from(self.groups.len()).unwrap();
        out.splice(..12, [self.magic, 8, count].map(u32::to_le_bytes).concat());
        out.splice(12..12 + table_len, table);
        out
    }
}

/// `regionsCount` and the tags of regions given as (first page, image page,
/// pages), in this order.
pub(super) fn regions(regions: &[(u32, u32, u32)]) -> Vec<Tag> {
    let count = u32::try_from(regions.len()).unwrap();
    let mut tags = vec![Tag::u32("regionsCount", &[], count)];
    for (i, (ppn, page, pages)) in (0..).zip(regions) {
        tags.push(Tag::u32("regionPPN", &[i], *ppn));
        tags.push(Tag::u32("regionPageNum", &[i], *page));
        tags.push(Tag::u32("regionSize", &[i], *pages));
    }
    tags
}
