//! The mappings of a process, as plain data and as a page.
//!
//! The member names are the JSON members; `docs/schema/maps-1.json` describes them.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::linux::{Counts, Process, Vma, VmaFlags};
use vmss2core_mem::Problem;

use crate::core::MemoryCounts;
use crate::info::{Hex, ProblemInfo};
use crate::page::{Answer, Column, Page};

const KIB: u64 = 1024;
/// Where bytes are, in the order of the columns.
const KINDS: [Kind; 6] = [
    ("memory", |memory| memory.present),
    ("zero", |memory| memory.zero),
    ("cache", |memory| memory.page_cache),
    (ZRAM, |memory| memory.compressed),
    ("swapped", |memory| memory.swapped),
    ("missing", |memory| memory.missing),
];
const ZRAM: &str = "zram";

type Kind = (&'static str, fn(&MemoryCounts) -> u64);

/// The mappings of a process.
#[derive(Clone, Debug, Serialize)]
pub struct MapsReport {
    /// Number of the process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its word size, 32 or 64.
    pub bits: u8,
    /// By address.
    pub mappings: Vec<MappingInfo>,
    /// Bytes of all mappings by where they are.
    pub totals: MemoryCounts,
    /// Missing, odd or broken parts.
    pub problems: Vec<ProblemInfo>,
    #[serde(skip)]
    as_proc: bool,
    /// Where names begin in a line of `/proc/PID/maps`: it depends on the kernel's
    /// word size (`show_vma_header_prefix`, `seq_setwidth`).
    #[serde(skip)]
    name_column: usize,
}

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappingInfo {
    /// First address.
    pub start: Hex,
    /// First address after it.
    pub end: Hex,
    /// As `r-xp`.
    pub permissions: String,
    /// Where in the file it begins.
    pub offset: Hex,
    /// Numbers of the file system, major and minor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Number of the file's inode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Path of the file, or a name like `[heap]`, or nothing.
    pub name: String,
    /// Bytes by where they are.
    #[serde(flatten)]
    pub memory: MemoryCounts,
}

impl MapsReport {
    /// The report about a process.
    pub fn new(process: &Process, problems: &[Problem]) -> Self {
        let mut totals = Counts::default();
        let gate = process.gate();
        let mappings = process.vmas().iter().chain(&gate).map(|vma| {
            // What the process cannot read has no bytes to be anywhere.
            let is_read = vma.flags.contains(VmaFlags::READ) || gate.as_ref() != Some(vma);
            let counts = if is_read { process.counts(vma) } else { Counts::default() };
            totals.add(counts);
            mapping_info(vma, counts)
        });
        Self {
            pid: process.task().pid,
            comm: process.task().comm.clone(),
            bits: if process.is_32_bit() { 32 } else { 64 },
            mappings: mappings.collect(),
            totals: totals.into(),
            problems: ProblemInfo::all(problems),
            as_proc: false,
            name_column: if process.kernel().linux().is_64_bit { 73 } else { 49 },
        }
    }

    /// The lines of `/proc/PID/maps`.
    pub fn as_proc(self) -> Self {
        Self { as_proc: true, ..self }
    }

    /// How much of each mapping is where, in KiB.
    fn table(&self, page: &mut Page<'_>) {
        let width = self.mappings.iter().map(|one| one.prefix().len()).max().unwrap_or(0);
        // Most guests have no zram device: its column is there only if there is something in it.
        let with_zram = self.totals.compressed > 0;
        let kinds = || KINDS.iter().filter(|(head, _)| with_zram || *head != ZRAM);
        let sizes = kinds().map(|(head, _)| Column::right(head, 8).after("  "));
        let name = Column::left("", 0).after("  ");
        let columns: Vec<Column> =
            [Column::left("KiB:", width)].into_iter().chain(sizes).chain([name]).collect();
        let row = |prefix: String, memory: MemoryCounts, name: String| {
            let sizes = kinds().map(|(_, bytes)| bytes(&memory).div_ceil(KIB).to_string());
            let cells = [prefix].into_iter().chain(sizes).chain([name]);
            cells.map(Cow::from).collect::<Vec<Cow<'_, str>>>()
        };
        let mappings =
            self.mappings.iter().map(|one| row(one.prefix(), one.memory, one.name.clone()));
        let totals = row(format!("{} mappings", self.mappings.len()), self.totals, String::new());
        page.table(&columns, mappings.chain([totals]));
    }

    fn lines_of_proc(&self, page: &mut Page<'_>) {
        let width = self.name_column;
        for mapping in &self.mappings {
            let prefix = mapping.prefix();
            match mapping.name.as_str() {
                "" => page.line(&format!("{prefix} ")),
                // As `seq_path` has it.
                name => page.line(&format!("{prefix:width$}{}", name.replace('\n', "\\012"))),
            }
        }
    }
}

impl Answer for MapsReport {
    const SCHEMA: &'static str = "vmss2core/maps/1";

    fn page(&self, page: &mut Page<'_>) {
        if self.as_proc {
            self.lines_of_proc(page);
        } else {
            self.table(page);
        }
    }
}

impl MappingInfo {
    fn prefix(&self) -> String {
        let (major, minor) = self.device.unwrap_or_default();
        format!(
            "{:08x}-{:08x} {} {:08x} {major:02x}:{minor:02x} {}",
            self.start.0,
            self.end.0,
            self.permissions,
            self.offset.0,
            self.inode.unwrap_or(0)
        )
    }
}

fn mapping_info(vma: &Vma, counts: Counts) -> MappingInfo {
    let file = vma.file.as_ref();
    MappingInfo {
        start: Hex(vma.start.0),
        end: Hex(vma.end.0),
        permissions: vma.flags.to_string(),
        offset: Hex(vma.offset_bytes),
        device: file.and_then(|file| file.device),
        inode: file.and_then(|file| file.inode_number),
        name: vma.name.clone(),
        memory: counts.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_text;

    fn report() -> MapsReport {
        let mapping = |start, end, name: &str| MappingInfo {
            start: Hex(start),
            end: Hex(end),
            permissions: "r-xp".into(),
            offset: Hex(0x26000),
            device: Some((0, 2)),
            inode: Some(287),
            name: name.into(),
            memory: MemoryCounts { present: 4096, missing: 8192, ..MemoryCounts::default() },
        };
        let nameless =
            MappingInfo { device: None, inode: None, ..mapping(0x40_0000, 0x40_1000, "") };
        MapsReport {
            pid: 92,
            comm: "mt".into(),
            bits: 64,
            mappings: vec![
                nameless,
                mapping(0x7eff_4c7d_2000, 0x7eff_4c92_8000, "/lib/libc.so.6"),
                mapping(0x7fff_0000_0000, 0x7fff_0000_1000, "/lib/\u{1b}[2J"),
            ],
            totals: MemoryCounts::default(),
            problems: Vec::new(),
            as_proc: false,
            name_column: 73,
        }
    }

    #[test]
    fn lines_of_proc_are_as_the_kernel_has_them() {
        let mut out = Vec::new();
        write_text(&report().as_proc(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap(), "00400000-00401000 r-xp 00026000 00:00 0 ");
        assert_eq!(
            lines.next().unwrap(),
            "7eff4c7d2000-7eff4c928000 r-xp 00026000 00:02 287                        \
             /lib/libc.so.6"
        );
    }

    #[test]
    fn names_cannot_reach_the_terminal_and_counts_are_kib() {
        let mut out = Vec::new();
        write_text(&report(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}'));
        let libc = text.lines().find(|line| line.contains("libc")).unwrap();
        let words: Vec<&str> = libc.split_whitespace().collect();
        assert_eq!(words[5..], ["4", "0", "0", "0", "8", "/lib/libc.so.6"]);
    }
}
