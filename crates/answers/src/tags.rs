//! Everything that a state file holds, item by item.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use vmss2core_checkpoint::{Inventory, Item, ItemKind};
use vmss2core_mem::little_endian;

use crate::info::Hex;
use crate::page::{Answer, Column, Page};
use crate::text::text_width;

/// A longer block is not looked at.
const MAX_TEXT: u64 = 512;

/// Bytes of a longer value that the text form shows.
const SHOWN_BYTES: usize = 16;

/// All items of a state file, in file order.
#[derive(Clone, Copy, Serialize)]
pub struct TagsReport<'a> {
    /// The items.
    pub tags: Tags<'a>,
}

/// The items, each described when it is its turn: a file may have millions, with long
/// names.
#[derive(Clone, Copy)]
pub struct Tags<'a>(&'a Inventory);

impl Tags<'_> {
    fn iter(&self) -> impl Iterator<Item = TagInfo> {
        self.0.items.iter().map(|item| tag_info(self.0, item))
    }
}

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagInfo {
    /// How it is asked for: `group/name[i][j]`.
    pub tag: String,
    /// Group that it stands in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its indices.
    pub indices: Vec<u32>,
    /// How its data are stored: `value`, `block` or `compressed block`.
    pub kind: &'static str,
    /// File offset of its data.
    pub offset: Hex,
    /// Bytes that it takes in the file.
    pub size_in_file: u64,
    /// Bytes that it has once decompressed.
    pub size_in_memory: u64,
    /// The value as a little-endian number, if it has 1, 2, 4 or 8 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Hex>,
    /// The value as text, if it is short and looks like text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes of a short value in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

impl<'a> TagsReport<'a> {
    /// The report about the items of a state file.
    pub fn new(inventory: &'a Inventory) -> Self {
        Self { tags: Tags(inventory) }
    }
}

impl Answer for TagsReport<'_> {
    const SCHEMA: &'static str = "vmss2core/tags/1";

    fn page(&self, page: &mut Page<'_>) {
        const WIDEST: usize = 32;
        let items = self.tags.0.items.iter();
        let width = items.map(|item| text_width(&item.to_string()).min(WIDEST)).max().unwrap_or(0);
        let columns = [
            Column::left("offset", 12),
            Column::right("size", 10),
            Column::left("tag", width.max(3)).after("  "),
            Column::left("value", 0).after("  "),
        ];
        let row = |tag: TagInfo| {
            let (offset, size) = (format!("{:#012x}", tag.offset.0), tag.size_in_file.to_string());
            let value = shown(&tag);
            [offset.into(), size.into(), tag.tag.into(), value.into()]
        };
        page.table(&columns, self.tags.iter().map(row));
    }
}

fn tag_info(inventory: &Inventory, item: &Item) -> TagInfo {
    let value = item.value.as_deref();
    let number = value.and_then(number);
    let text = match value {
        Some(value) => text(value).filter(|_| number.is_none()),
        // Products write their names into blocks of 256 bytes.
        None => inventory.read(item, MAX_TEXT).ok().as_deref().and_then(text),
    };
    TagInfo {
        tag: item.to_string(),
        group: item.group.clone(),
        name: item.name.clone(),
        indices: item.indices.clone(),
        kind: kind_name(item.kind),
        offset: Hex(item.offset),
        size_in_file: item.size_in_file,
        size_in_memory: item.size_in_memory,
        number: number.map(Hex),
        text,
        bytes: value.map(hex_bytes),
    }
}

fn kind_name(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Value => "value",
        ItemKind::Block => "block",
        ItemKind::CompressedBlock => "compressed block",
        _ => "other",
    }
}

fn number(value: &[u8]) -> Option<u64> {
    if !matches!(value.len(), 1 | 2 | 4 | 8) {
        return None;
    }
    Some(little_endian(value))
}

/// The value without zeroes at its end, if all of it can be printed.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().rposition(|byte| *byte != 0)?;
    let text = std::str::from_utf8(value.get(..=end)?).ok()?;
    text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t').then(|| text.to_owned())
}

fn hex_bytes(value: &[u8]) -> String {
    let mut digits = String::with_capacity(value.len().saturating_mul(2));
    for byte in value {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

fn shown(tag: &TagInfo) -> String {
    match (tag.number, &tag.text, &tag.bytes) {
        (Some(Hex(number)), ..) if number < 10 => number.to_string(),
        (Some(Hex(number)), ..) if u32::try_from(number).is_ok() => {
            format!("{number:#x} ({number})")
        }
        (Some(number), ..) => number.to_string(),
        (None, Some(text), _) => format!("\"{text}\""),
        (None, None, Some(bytes)) => spaced(bytes),
        (None, None, None) if tag.size_in_file == tag.size_in_memory => format!("({})", tag.kind),
        (None, None, None) => format!("({}, {} bytes unpacked)", tag.kind, tag.size_in_memory),
    }
}

/// Hexadecimal digits as bytes with blanks, cut short.
fn spaced(digits: &str) -> String {
    let bytes: Vec<String> = digits
        .as_bytes()
        .chunks(2)
        .take(SHOWN_BYTES)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    let more = if digits.len() > 2 * SHOWN_BYTES { " ..." } else { "" };
    bytes.join(" ") + more
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::write_text;

    fn item(name: &str, indices: &[u32], value: &[u8]) -> Item {
        Item {
            group: "cpu".into(),
            name: name.into(),
            indices: indices.into(),
            kind: ItemKind::Value,
            offset: 0x2077,
            size_in_file: value.len() as u64,
            size_in_memory: value.len() as u64,
            value: Some(value.into()),
        }
    }

    fn lines(items: Vec<Item>) -> Vec<String> {
        let mut out = Vec::new();
        let source = Arc::new(Vec::new());
        write_text(&TagsReport::new(&Inventory::new(items, source)), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn numbers_text_and_bytes_are_told_apart() {
        let shown = lines(vec![
            item("cpu:numVCPUs", &[], &[2, 0, 0, 0]),
            item("rip", &[0], &0xffff_ffff_8100_1234_u64.to_le_bytes()),
            item("vendor", &[], b"GenuineIntel\0\0\0\0"),
            item("IDTR", &[0], &[0xff, 0x0f, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff]),
            item("hostile", &[1, 2], b"\x1b[2Jxyz"),
        ]);
        assert!(shown[0].ends_with("  2") && shown[0].contains("cpu/cpu:numVCPUs "));
        assert!(shown[1].ends_with("  0xffffffff81001234") && shown[1].contains("cpu/rip[0]"));
        assert!(shown[2].ends_with("  \"GenuineIntel\""));
        assert!(shown[3].ends_with("  ff 0f 00 00 00 00 00 fe ff ff"));
        assert!(
            shown[4].contains("cpu/hostile[1][2]") && shown[4].ends_with("1b 5b 32 4a 78 79 7a")
        );
    }

    #[test]
    fn a_block_without_a_value_says_what_it_is() {
        let mut block = item("Memory", &[0, 0], &[]);
        (block.value, block.kind) = (None, ItemKind::CompressedBlock);
        (block.size_in_file, block.size_in_memory) = (100, 4096);
        assert!(lines(vec![block])[0].ends_with("(compressed block, 4096 bytes unpacked)"));
    }

    #[test]
    fn names_cannot_reach_the_terminal() {
        let shown = lines(vec![item("\u{1b}]0;x\u{7}", &[], &[1])]);
        assert!(shown[0].contains("\\u{1b}]0;x\\u{7}"));
    }
}
