//! From text to offsets.

use std::str::FromStr;

use super::{KernelVersion, LinuxOffsets, OffsetsError};
use crate::linux::Member;

/// `getlinuxoffsets` prints this many; missing ones at the end are 0.
const MOST_NUMBERS: usize = 14;
/// Bytes of a `comm` in all kernels.
const COMM_BYTES: u64 = 16;
/// Offsets and sizes are below this.
const LARGEST: u64 = 16 << 20;
/// From 2.4.21 on, tasks are in a list of their own.
const FIRST_WITH_THREAD_GROUP: KernelVersion = KernelVersion(2, 6, 17);
const FIRST_WITH_TGID: KernelVersion = KernelVersion(2, 6, 0);

impl FromStr for LinuxOffsets {
    type Err = OffsetsError;

    fn from_str(text: &str) -> Result<Self, OffsetsError> {
        let uncommented = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let text = uncommented.collect::<Vec<_>>().join("\n");
        if text.trim().is_empty() {
            return Err(OffsetsError::Empty);
        }
        if text.contains('=') {
            return Self::of_items(&text);
        }
        Self::of_numbers(text.trim())
    }
}

impl LinuxOffsets {
    /// The numbers of the original.
    fn of_numbers(text: &str) -> Result<Self, OffsetsError> {
        let numbers: Vec<u64> =
            text.split(',').map(|text| number(text.trim())).collect::<Result<_, _>>()?;
        if numbers.len() > MOST_NUMBERS {
            return Err(OffsetsError::TooMany { count: numbers.len() });
        }
        let is_list = |index: usize| numbers.get(index).is_some_and(|offset| *offset != 0);
        if numbers.len() > 3 && !is_list(2) && !is_list(3) {
            return Err(OffsetsError::NoList);
        }
        if let Some(large) = numbers.iter().skip(1).find(|number| **number >= LARGEST) {
            return Err(OffsetsError::TooLarge { item: format!("{large:#x}") });
        }
        let version = numbers.first().copied().and_then(KernelVersion::of_code);
        let mut offsets = Self { version, ..Self::default() };
        offsets.take_numbers(&numbers);
        Ok(offsets)
    }

    fn take_numbers(&mut self, numbers: &[u64]) {
        let is_since = |first| self.version.is_none_or(|version| version >= first);
        let (has_tgid, has_group) = (is_since(FIRST_WITH_TGID), is_since(FIRST_WITH_THREAD_GROUP));
        let at = |index: usize| numbers.get(index).copied();
        // 0 stands for what the kernel does not have.
        let present = |index: usize| at(index).filter(|offset| *offset != 0);
        self.add("task_struct", "mm", at(1), None);
        self.add("task_struct", "next_task", present(2), None);
        self.add("task_struct", "tasks", present(3), None);
        self.add("task_struct", "comm", at(4), Some(present(13).unwrap_or(COMM_BYTES)));
        self.add("task_struct", "pid", at(5), Some(4));
        // tgid is right after pid since there are groups of threads.
        self.add(
            "task_struct",
            "tgid",
            at(5).filter(|_| has_tgid).map(|pid| pid.saturating_add(4)),
            Some(4),
        );
        self.add("task_struct", "thread", at(6), None);
        self.add("mm_struct", "pgd", at(7), None);
        // In 2.4 esp0 is the first member.
        let sp0 = at(8).filter(|offset| *offset != 0 || !has_tgid);
        for name in ["sp0", "esp0", "rsp0"] {
            self.add_thread(name, at(6), sp0);
        }
        for name in ["fs", "fsbase"] {
            self.add_thread(name, at(6), present(9));
        }
        self.thread_size = present(10);
        self.add("task_struct", "group_leader", present(11).filter(|_| has_group), None);
        self.add("task_struct", "thread_group", present(12).filter(|_| has_group), None);
    }

    /// A member of `thread_struct`, also as one of the task that holds it.
    fn add_thread(&mut self, name: &str, thread: Option<u64>, offset: Option<u64>) {
        self.add("thread_struct", name, offset, None);
        let in_task = thread.and_then(|thread| Some(thread.saturating_add(offset?)));
        self.add("task_struct", &format!("thread.{name}"), in_task, None);
    }

    fn add(&mut self, structure: &str, path: &str, offset: Option<u64>, size: Option<u64>) {
        if let Some(offset_bytes) = offset {
            let member = Member { offset_bytes, size_bytes: size, bits: None };
            self.members.insert((structure.to_owned(), path.to_owned()), member);
        }
    }

    /// `key=value` items.
    fn of_items(text: &str) -> Result<Self, OffsetsError> {
        let mut offsets = Self::default();
        let items = text.split(|c: char| c == ',' || c.is_whitespace());
        for item in items.filter(|item| !item.is_empty()) {
            offsets.take_item(item)?;
        }
        Ok(offsets)
    }

    fn take_item(&mut self, item: &str) -> Result<(), OffsetsError> {
        let not_an_item = || OffsetsError::Item { item: item.to_owned() };
        let (key, value) = item.split_once('=').ok_or_else(not_an_item)?;
        if key == "version" {
            self.version = Some(version(value).ok_or_else(not_an_item)?);
        } else if key == "thread_size" {
            self.thread_size = Some(bounded(number(value)?, item)?);
        } else if let Some(structure) = key.strip_prefix("sizeof:") {
            self.sizes.insert(long_name(structure).to_owned(), bounded(number(value)?, item)?);
        } else {
            let (structure, path) = key.split_once('.').ok_or_else(not_an_item)?;
            if structure.is_empty() || path.is_empty() {
                return Err(not_an_item());
            }
            let member = member(value)?.ok_or_else(not_an_item)?;
            bounded(member.offset_bytes, item)?;
            bounded(member.size_bytes.unwrap_or(0), item)?;
            self.members.insert((long_name(structure).to_owned(), path.to_owned()), member);
        }
        Ok(())
    }
}

/// A size or offset, if a structure can have such.
fn bounded(size: u64, item: &str) -> Result<u64, OffsetsError> {
    let is_possible = size < LARGEST;
    is_possible.then_some(size).ok_or_else(|| OffsetsError::TooLarge { item: item.to_owned() })
}

/// `OFFSET[:SIZE[@SHIFT+WIDTH]]`; `None` if the part after the colon is not that.
fn member(text: &str) -> Result<Option<Member>, OffsetsError> {
    let (offset, rest) = match text.split_once(':') {
        Some((offset, rest)) => (offset, Some(rest)),
        None => (text, None),
    };
    let offset_bytes = number(offset)?;
    let Some(rest) = rest else {
        return Ok(Some(Member { offset_bytes, size_bytes: None, bits: None }));
    };
    let (size, bits) = match rest.split_once('@') {
        Some((size, bits)) => (size, Some(bits)),
        None => (rest, None),
    };
    let size_bytes = Some(number(size)?);
    let bits = match bits {
        Some(text) => match field(text) {
            Some(bits) => Some(bits),
            None => return Ok(None),
        },
        None => None,
    };
    Ok(Some(Member { offset_bytes, size_bytes, bits }))
}

/// `SHIFT+WIDTH`.
fn field(text: &str) -> Option<(u8, u8)> {
    let (shift, width) = text.split_once('+')?;
    let (shift, width) = (shift.parse().ok()?, width.parse().ok()?);
    (shift < 8 && (1..=64).contains(&width)).then_some((shift, width))
}

/// A number in C's syntax; an octal one is not meant.
fn number(text: &str) -> Result<u64, OffsetsError> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    // `from_str_radix` would accept a sign.
    let is_number = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    let value = u64::from_str_radix(digits, radix).ok().filter(|_| is_number);
    value.ok_or_else(|| OffsetsError::Number { text: text.to_owned() })
}

/// `6.1.0`, or the code that stands for it.
fn version(text: &str) -> Option<KernelVersion> {
    if text.contains('.') {
        return KernelVersion::of_release(text);
    }
    KernelVersion::of_code(number(text).ok()?)
}

/// The structures that are named most have short names.
fn long_name(structure: &str) -> &str {
    match structure {
        "task" => "task_struct",
        "mm" => "mm_struct",
        "vma" => "vm_area_struct",
        "thread" => "thread_struct",
        other => other,
    }
}
