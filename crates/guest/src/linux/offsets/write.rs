//! From what is known of a kernel to text that [`LinuxOffsets`] is parsed from.

use std::fmt;

use super::KernelVersion;
use super::known::KNOWN;
use crate::linux::{Layout, Member};

/// One thing that is known of a layout, written as an item of that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutItem {
    /// Name of the structure.
    pub structure: &'static str,
    /// The known fact.
    pub what: Known,
    /// Who says so.
    pub how: String,
}

/// A known fact about a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Where a member lies.
    Member(&'static str, Member),
    /// Its size in bytes.
    Size(u64),
}

impl fmt::Display for LayoutItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let structure = self.structure;
        match self.what {
            Known::Size(size) => write!(f, "sizeof:{structure}={size:#x}"),
            Known::Member(path, member) => {
                write!(f, "{structure}.{path}={:#x}", member.offset_bytes)?;
                if let Some(size) = member.size_bytes {
                    write!(f, ":{size}")?;
                    if let Some((shift, width)) = member.bits {
                        write!(f, "@{shift}+{width}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Everything that this program asks layouts for and that these know.
pub fn known_layout(layout: &Layout) -> Vec<LayoutItem> {
    let mut items = Vec::new();
    for &(structure, paths) in KNOWN {
        if let Some(size) = layout.size_of(structure) {
            items.push(LayoutItem { structure, what: Known::Size(size.value), how: size.how });
        }
        items.extend(paths.iter().filter_map(|path| {
            let member = layout.member(structure, path)?;
            Some(LayoutItem { structure, what: Known::Member(path, member.value), how: member.how })
        }));
    }
    items
}

/// The 14 numbers, as `getlinuxoffsets` prints them, or what is missing for them.
pub fn line(
    layout: &Layout,
    version: KernelVersion,
    is_64_bit: bool,
) -> Result<String, &'static str> {
    let member = |structure, path| layout.member(structure, path).map(|found| found.value);
    let needed = |structure, path, name| -> Result<u64, &'static str> {
        Ok(member(structure, path).ok_or(name)?.offset_bytes)
    };
    let offset = |structure, path| member(structure, path).map_or(0, |member| member.offset_bytes);
    let task = |path| offset("task_struct", path);
    let tasks = task("tasks");
    // A kernel with both, 2.4.21 to 2.5, is asked by its list.
    let next_task =
        if tasks == 0 { needed("task_struct", "next_task", "task_struct.tasks")? } else { 0 };
    let comm = member("task_struct", "comm").ok_or("task_struct.comm")?;
    let thread = task("thread");
    let in_thread = |own, in_task| {
        member("thread_struct", own)
            .map(|member| member.offset_bytes)
            .or_else(|| member("task_struct", in_task)?.offset_bytes.checked_sub(thread))
            .unwrap_or(0)
    };
    let fs = if is_64_bit {
        in_thread("fsbase|fs", "thread.fsbase|thread.fs")
    } else {
        in_thread("fs", "thread.fs")
    };
    let numbers = [
        version.code(),
        needed("task_struct", "mm", "task_struct.mm")?,
        next_task,
        tasks,
        comm.offset_bytes,
        needed("task_struct", "pid", "task_struct.pid")?,
        thread,
        needed("mm_struct", "pgd", "mm_struct.pgd")?,
        in_thread("sp0|esp0|rsp0", "thread.sp0|thread.esp0|thread.rsp0"),
        fs,
        thread_size(layout, is_64_bit),
        task("group_leader"),
        task("thread_group"),
        comm.size_bytes.unwrap_or(16),
    ];
    Ok(numbers.map(|number| format!("{number:#x}")).join(","))
}

/// THREAD_SIZE, which only `thread_union` shows: its `stack` is an array of that
/// size. Without it, what x86 has since 3.15.
fn thread_size(layout: &Layout, is_64_bit: bool) -> u64 {
    let shown = layout.size_of("thread_union").map(|size| size.value);
    shown.unwrap_or(if is_64_bit { 0x4000 } else { 0x2000 })
}
