//! Layouts that VMCOREINFO states: `OFFSET(page.flags)=0`, `SIZE(page)=64`.
//!
//! Kernels state there what makedumpfile needs. A series of patches of June 2026
//! adds the members of `task_struct` and `mm_struct` that debuggers need.

use std::collections::HashMap;

use crate::VmcoreInfo;
use crate::linux::{Member, Types};

/// Values that a VMCOREINFO text states.
#[derive(Debug, Default)]
pub(in crate::linux) struct Stated {
    members: HashMap<(String, String), u64>,
    sizes: HashMap<String, u64>,
}

impl Stated {
    /// The offsets and sizes of a text; `None` if it has none of the former.
    pub(in crate::linux) fn of(info: &VmcoreInfo) -> Option<Self> {
        let mut stated = Self::default();
        for (key, value) in info.text.lines().filter_map(|line| line.split_once('=')) {
            let Ok(value) = value.trim().parse() else { continue };
            if let Some((structure, path)) = inside(key, "OFFSET").and_then(|m| m.split_once('.')) {
                stated.members.insert((structure.to_owned(), path.to_owned()), value);
            } else if let Some(structure) = inside(key, "SIZE") {
                stated.sizes.insert(structure.to_owned(), value);
            }
        }
        (!stated.members.is_empty()).then_some(stated)
    }
}

/// The text in the brackets after a word.
fn inside<'t>(key: &'t str, word: &str) -> Option<&'t str> {
    key.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')
}

impl Types for Stated {
    fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let offset = self.members.get(&(structure.to_owned(), path.to_owned()))?;
        Some(Member { offset_bytes: *offset, size_bytes: None, bits: None })
    }

    fn size_of(&self, structure: &str) -> Option<u64> {
        self.sizes.get(structure).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(text: &str) -> Option<Stated> {
        Stated::of(&VmcoreInfo { text: text.to_owned(), synthesised: false })
    }

    #[test]
    fn offsets_and_sizes_are_read() {
        let stated = stated(
            "OSRELEASE=7.3\nSIZE(page)=64\nOFFSET(task_struct.tasks)=2208\n\
             OFFSET(task_struct.thread.sp)=x\nOFFSET(list_head)=8\n",
        );
        let stated = stated.unwrap();
        assert_eq!(stated.member("task_struct", "tasks").unwrap().offset_bytes, 2208);
        assert_eq!(stated.member("task_struct", "thread.sp"), None);
        assert_eq!(stated.size_of("page"), Some(64));
    }

    #[test]
    fn a_text_without_offsets_is_no_source() {
        assert!(stated("OSRELEASE=7.3\nSIZE(page)=64\n").is_none());
    }
}
