//! The tag stream: every group is a sequence of named values.
//!
//! Source: the public readers; where they differ, the one by the format's own
//! authors decides (block pads count, the size on disk is what to skip, a tag
//! whose flags are 0 but which has a name is an empty value). A tag:
//!
//! ```text
//! u16  name length << 8 | index count << 6 | value size, all 0 ends the group
//! u8   name[name length]
//! u32  index[index count]
//! u8   value[value size]          up to 61; 62 and 63 announce a block instead
//! ```

use std::collections::BTreeMap;

use vmss2core_mem::Problem;
use zerocopy::FromBytes;

use super::error::VmwareError;
use super::groups::VmwareGroup;
use super::problems::Problems;
use super::raw::{BlockHeader32, BlockHeader64, SIZE_BLOCK, SIZE_COMPRESSED};
use super::window::Window;
use crate::inventory::{Item, ItemKind};
use crate::source::Source;

/// Blocks up to this size are read along with their tag.
const MAX_VALUE: u64 = 64;
/// Tags of all groups together; the largest real files have some ten thousand.
const MAX_ITEMS: usize = 1 << 19;
/// Bytes that the items may take in memory.
const MAX_ITEM_BYTES: usize = 128 << 20;

/// Everything that was found in all groups.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) items: Vec<Item>,
    pub(super) problems: Problems,
    /// How many groups could not be walked to their end.
    pub(super) broken: usize,
    /// Groups that the end of the file has cut, or that lie after it.
    pub(super) cut: Vec<CutGroup>,
}

/// A group that is not all there, because the file ends too early.
pub(super) struct CutGroup {
    pub(super) name: String,
    /// Whether its start is there.
    pub(super) in_part: bool,
    /// Where it ends by its own word.
    pub(super) end: u64,
}

/// Form of block headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockForm {
    Wide,
    Narrow,
}

/// Reads all tags of `groups`. Damage ends a group, not the walk.
pub(super) fn walk(
    source: &Source,
    groups: &[VmwareGroup],
    blocks: BlockForm,
) -> Result<Walk, VmwareError> {
    let mut walker = Walker {
        window: Window::new(source),
        blocks,
        walked: BTreeMap::new(),
        item_bytes: 0,
        walk: Walk::default(),
    };
    for group in groups {
        walker.group(group)?;
    }
    Ok(walker.walk)
}

struct Walker<'a> {
    window: Window<'a>,
    blocks: BlockForm,
    /// File ranges that were walked, start to end.
    walked: BTreeMap<u64, u64>,
    item_bytes: usize,
    walk: Walk,
}

/// The element at one place of the stream.
enum Step {
    /// A tag, and where the next one starts.
    Tag(Item, u64),
    /// The end of the group.
    End,
    /// Nothing that can be read; why not.
    Broken(String),
    /// The file ends; where.
    FileEnds(String),
}

impl Walker<'_> {
    fn group(&mut self, group: &VmwareGroup) -> Result<(), VmwareError> {
        let start = group.position;
        if start >= self.window.len() {
            self.cut(group);
            return Ok(());
        }
        let before = self.walked.range(..=start).next_back();
        if before.is_some_and(|(_, &end)| start < end) {
            let message = format!("it starts at {start:#x}, within another group");
            self.broken(group, &message);
            return Ok(());
        }
        let mut at = start;
        loop {
            if self.is_full() {
                self.broken(group, "the file has more tags than this program reads");
                break;
            }
            // The size might have been stated without the terminator.
            let end = stated_end(group);
            if at > end || at == end && self.window.u16(at)? != Some(0) {
                self.broken(group, &format!("it goes on after its end at {at:#x}"));
                break;
            }
            match self.tag(group, at)? {
                Step::Tag(item, next) => {
                    at = next;
                    self.push(item);
                }
                Step::End => {
                    self.check_size(group);
                    break;
                }
                Step::Broken(why) => {
                    self.broken(group, &why);
                    break;
                }
                Step::FileEnds(_) if stated_end(group) > self.window.len() => {
                    self.cut(group);
                    break;
                }
                Step::FileEnds(place) => {
                    self.broken(group, &place);
                    break;
                }
            }
        }
        // What a damaged tag swallowed of the next group is read again there.
        self.walked.insert(start, at.min(stated_end(group)));
        Ok(())
    }

    fn cut(&mut self, group: &VmwareGroup) {
        self.walk.broken = self.walk.broken.saturating_add(1);
        let (name, in_part) = (group.name.clone(), group.position < self.window.len());
        let end = group.position.saturating_add(group.size);
        self.walk.cut.push(CutGroup { name, in_part, end });
    }

    /// A stated end past that of the file, which has the real one before it.
    fn check_size(&mut self, group: &VmwareGroup) {
        let (end, len) = (group.position.saturating_add(group.size), self.window.len());
        if end > len {
            self.walk.problems.push(Problem::warning(format!(
                "group {} claims to end at {end:#x}, the file ends at {len:#x}",
                group.name
            )));
        }
    }

    fn is_full(&self) -> bool {
        self.walk.items.len() >= MAX_ITEMS || self.item_bytes >= MAX_ITEM_BYTES
    }

    fn push(&mut self, item: Item) {
        let value = item.value.as_ref().map_or(0, Vec::len);
        let lens = [size_of::<Item>(), item.group.len(), item.name.len(), value];
        self.item_bytes = lens.into_iter().fold(self.item_bytes, usize::saturating_add);
        self.walk.items.push(item);
    }

    fn broken(&mut self, group: &VmwareGroup, why: &str) {
        self.walk.broken = self.walk.broken.saturating_add(1);
        let message = format!("group {} is not read to its end: {why}", group.name);
        self.walk.problems.push(Problem::incomplete(message));
    }

    fn tag(&mut self, group: &VmwareGroup, at: u64) -> Result<Step, VmwareError> {
        let Some(word) = self.window.u16(at)? else { return Ok(ends(at, "where a tag is due")) };
        let [flags, name_len] = word.to_le_bytes();
        if word == 0 {
            return Ok(Step::End);
        }
        if name_len == 0 {
            return Ok(Step::Broken(format!("the tag at {at:#x} has no name")));
        }
        let mut next = at.saturating_add(2);
        let Some(name) = self.window.bytes(next, usize::from(name_len))? else {
            return Ok(ends(at, "in the tag"));
        };
        let name = String::from_utf8_lossy(name).into_owned();
        next = next.saturating_add(u64::from(name_len));
        let Some(indices) = self.indices(next, usize::from(flags >> 6 & 3))? else {
            return Ok(ends(at, "in the tag"));
        };
        next = next.saturating_add((indices.len() as u64).saturating_mul(4));
        let item = Item {
            group: group.name.clone(),
            name,
            indices,
            kind: ItemKind::Value,
            offset: next,
            size_in_file: 0,
            size_in_memory: 0,
            value: None,
        };
        match flags & 0x3f {
            SIZE_COMPRESSED => self.block(item, ItemKind::CompressedBlock),
            SIZE_BLOCK => self.block(item, ItemKind::Block),
            size => self.value(item, size),
        }
    }

    fn indices(&mut self, at: u64, count: usize) -> Result<Option<Vec<u32>>, VmwareError> {
        let bytes = self.window.bytes(at, count.saturating_mul(4))?;
        let words = |b: &[u8]| b.as_chunks().0.iter().map(|&w| u32::from_le_bytes(w)).collect();
        Ok(bytes.map(words))
    }

    fn value(&mut self, mut item: Item, size: u8) -> Result<Step, VmwareError> {
        let Some(value) = self.window.bytes(item.offset, usize::from(size))? else {
            return Ok(ends(item.offset, &format!("in the value of {}", item.name)));
        };
        item.value = Some(value.to_vec());
        item.size_in_file = u64::from(size);
        item.size_in_memory = u64::from(size);
        let next = item.offset.saturating_add(u64::from(size));
        Ok(Step::Tag(item, next))
    }

    fn block(&mut self, mut item: Item, kind: ItemKind) -> Result<Step, VmwareError> {
        let Some(header) = self.block_header(item.offset)? else {
            return Ok(ends(item.offset, &format!("in the header of block {}", item.name)));
        };
        item.kind = kind;
        item.offset = item.offset.saturating_add(header.len);
        item.size_in_file = header.size_in_file;
        item.size_in_memory = header.size_in_memory;
        let next = item.offset.checked_add(header.size_in_file);
        if next.is_none_or(|next| next > self.window.len()) {
            return Ok(self.cut_block(item));
        }
        if kind == ItemKind::Block && header.size_in_file <= MAX_VALUE {
            let len = usize::try_from(header.size_in_file).unwrap_or_default();
            item.value = self.window.bytes(item.offset, len)?.map(<[u8]>::to_vec);
        }
        Ok(Step::Tag(item, next.unwrap_or(u64::MAX)))
    }

    /// A block that runs past the end of the file stays listed, so that the
    /// part of a memory image that is there can be used.
    fn cut_block(&mut self, item: Item) -> Step {
        let (offset, size, len) = (item.offset, item.size_in_file, self.window.len());
        let why = format!(
            "block {} of {size:#x} bytes at {offset:#x} runs past the end of the file at {len:#x}",
            item.name
        );
        self.push(item);
        Step::FileEnds(why)
    }

    fn block_header(&mut self, at: u64) -> Result<Option<BlockHeader>, VmwareError> {
        let len = match self.blocks {
            BlockForm::Wide => size_of::<BlockHeader64>(),
            BlockForm::Narrow => size_of::<BlockHeader32>(),
        };
        let form = self.blocks;
        Ok(self.window.bytes(at, len)?.and_then(|bytes| BlockHeader::decode(form, bytes)))
    }
}

/// A block's header in either form.
struct BlockHeader {
    size_in_file: u64,
    size_in_memory: u64,
    /// Bytes of the header with its pad.
    len: u64,
}

impl BlockHeader {
    fn decode(form: BlockForm, bytes: &[u8]) -> Option<Self> {
        let (size_in_file, size_in_memory, pad_len) = match form {
            BlockForm::Wide => {
                let raw = BlockHeader64::read_from_bytes(bytes).ok()?;
                (raw.size_in_file.get(), raw.size_in_memory.get(), raw.pad_len.get())
            }
            BlockForm::Narrow => {
                let raw = BlockHeader32::read_from_bytes(bytes).ok()?;
                let sizes = (raw.size_in_file.get(), raw.size_in_memory.get());
                (u64::from(sizes.0), u64::from(sizes.1), raw.pad_len.get())
            }
        };
        let len = (bytes.len() as u64).saturating_add(u64::from(pad_len));
        Some(Self { size_in_file, size_in_memory, len })
    }
}

/// Where a group says that it ends. Products say it always, but 0 is taken as
/// unknown.
fn stated_end(group: &VmwareGroup) -> u64 {
    match group.size {
        0 => u64::MAX,
        size => group.position.saturating_add(size),
    }
}

fn ends(at: u64, place: &str) -> Step {
    Step::FileEnds(format!("the file ends {place} at {at:#x}"))
}
