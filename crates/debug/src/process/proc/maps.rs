//! `/proc/PID/maps` and `smaps` (`show_map_vma` and `show_smap` of
//! `fs/proc/task_mmu.c`).

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::ControlFlow;

use vmss2core_guest::linux::{Backing, Content, FileRun, MappedFile, Process, Vma, VmaFlags};
use vmss2core_mem::{Gpa, Gva, up_to_page};

const KIB: u64 = 1024;

/// Names of bits (`show_smap_vma_flags`).
const FLAGS: [(u64, &str); 26] = [
    (0x1, "rd"),
    (0x2, "wr"),
    (0x4, "ex"),
    (0x8, "sh"),
    (0x10, "mr"),
    (0x20, "mw"),
    (0x40, "me"),
    (0x80, "ms"),
    (0x100, "gd"),
    (0x400, "pf"),
    (0x2000, "lo"),
    (0x4000, "io"),
    (0x8000, "sr"),
    (0x1_0000, "rr"),
    (0x2_0000, "dc"),
    (0x4_0000, "de"),
    (0x10_0000, "ac"),
    (0x20_0000, "nr"),
    (0x40_0000, "ht"),
    (0x80_0000, "sf"),
    (0x200_0000, "wf"),
    (0x400_0000, "dd"),
    (0x1000_0000, "mm"),
    (0x2000_0000, "hg"),
    (0x4000_0000, "nh"),
    (0x8000_0000, "mg"),
];

/// All mappings, a line for each.
pub(super) fn maps(process: &Process) -> String {
    let column = name_column(process);
    process.vmas().iter().chain(&process.gate()).map(|vma| line(vma, column)).collect()
}

/// All mappings with what is known of their pages.
pub(super) fn smaps(process: &Process) -> String {
    let column = name_column(process);
    let mut files = Files { process, known: HashMap::new() };
    let mut text = String::new();
    for vma in process.vmas().iter().chain(&process.gate()) {
        let pages = files.pages(vma);
        text.push_str(&line(vma, column));
        for (name, bytes) in [
            ("Size:", vma.len_bytes()),
            ("Rss:", pages.present),
            ("Anonymous:", pages.anonymous),
            ("Swap:", pages.swapped),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<16}{:>8} kB", bytes / KIB);
        }
        let _ = writeln!(text, "VmFlags: {}", flags(vma.flags));
    }
    text
}

/// Where names begin goes by the kernel's word size (`seq_setwidth`).
fn name_column(process: &Process) -> usize {
    if process.kernel().linux().is_64_bit { 73 } else { 49 }
}

fn line(vma: &Vma, column: usize) -> String {
    let file = vma.file.as_ref();
    let (major, minor) = file.and_then(|file| file.device).unwrap_or_default();
    let inode = file.and_then(|file| file.inode_number).unwrap_or(0);
    let (start, end, offset) = (vma.start.0, vma.end.0, vma.offset_bytes);
    let flags = vma.flags;
    let front =
        format!("{start:08x}-{end:08x} {flags} {offset:08x} {major:02x}:{minor:02x} {inode} ");
    match vma.name.as_str() {
        "" => format!("{front}\n"),
        // A line is a mapping, whatever the guest calls its files.
        name => format!("{front:column$}{}\n", name.replace('\n', "\\012")),
    }
}

fn flags(flags: VmaFlags) -> String {
    let set = FLAGS.iter().filter(|(bit, _)| flags.contains(VmaFlags(*bit)));
    set.flat_map(|(_, name)| [*name, " "]).collect()
}

/// Bytes of a mapping.
#[derive(Default)]
struct Pages {
    present: u64,
    /// Of no file, or no longer: copied when they were written to.
    anonymous: u64,
    swapped: u64,
}

/// Tells copies of a file's pages from those of the file.
struct Files<'p> {
    process: &'p Process,
    known: HashMap<Gva, Vec<FileRun>>,
}

impl Files<'_> {
    fn pages(&mut self, vma: &Vma) -> Pages {
        let is_private = !vma.flags.contains(VmaFlags::SHARED);
        let file = vma.file.as_deref().filter(|_| vma.backing == Backing::File && is_private);
        let process = self.process;
        let cached = file.map(|file| self.runs(file)).unwrap_or_default();
        let mut pages = Pages::default();
        let _ = process.visit_runs(vma, &mut |run| {
            match run.content {
                Content::Memory(gpa) => {
                    pages.present = pages.present.saturating_add(run.len_bytes);
                    let into = vma.offset_bytes.wrapping_add(run.gva.0.saturating_sub(vma.start.0));
                    pages.anonymous = pages.anonymous.saturating_add(match (vma.backing, file) {
                        (Backing::Anonymous, _) if is_private => run.len_bytes,
                        (_, Some(_)) => {
                            run.len_bytes.saturating_sub(same(cached, into, (gpa, run.len_bytes)))
                        }
                        _ => 0,
                    });
                }
                Content::Swapped { .. } | Content::Compressed { .. } => {
                    pages.swapped = pages.swapped.saturating_add(run.len_bytes);
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        pages
    }

    fn runs(&mut self, file: &MappedFile) -> &[FileRun] {
        let process = self.process;
        let key = file.mapping.unwrap_or(file.gva);
        self.known.entry(key).or_insert_with(|| process.file_runs(file).unwrap_or_default())
    }
}

/// How much of a piece of physical memory is what the cache has of the file there.
fn same(cached: &[FileRun], into: u64, (gpa, len): (Gpa, u64)) -> u64 {
    let end = into.saturating_add(len);
    let first =
        cached.partition_point(|run| run.offset_bytes.saturating_add(run.len_bytes) <= into);
    let behind = cached.get(first..).unwrap_or_default();
    let overlapping = behind.iter().take_while(|run| run.offset_bytes < end);
    let shared = overlapping.filter_map(|run| {
        let Content::PageCache(at) = run.content else { return None };
        // The same distance between offset and address.
        let is_same = at.0.wrapping_sub(run.offset_bytes) == gpa.0.wrapping_sub(into);
        let run_end = up_to_page(run.offset_bytes.saturating_add(run.len_bytes));
        is_same.then(|| run_end.min(end).saturating_sub(run.offset_bytes.max(into)))
    });
    shared.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn cached(offset_bytes: u64, len_bytes: u64, gpa: u64) -> FileRun {
        FileRun { offset_bytes, len_bytes, content: Content::PageCache(Gpa(gpa)) }
    }

    #[test]
    fn copies_of_pages_are_told_from_those_of_the_file() {
        let runs = [cached(0, 0x2000, 0x10_0000), cached(0x2000, 0x1800, 0x20_0000)];
        assert_eq!(same(&runs, 0x1000, (Gpa(0x10_1000), 0x1000)), 0x1000);
        assert_eq!(same(&runs, 0x1000, (Gpa(0x30_0000), 0x1000)), 0);
        // The end of the file is within its last page.
        assert_eq!(same(&runs, 0x3000, (Gpa(0x20_1000), 0x1000)), 0x1000);
        assert_eq!(same(&runs, 0x1000, (Gpa(0x10_1000), 0x2000)), 0x1000);
        assert_eq!(same(&[], 0, (Gpa(0), 0x1000)), 0);
    }

    #[test]
    fn flags_have_the_names_of_the_kernel() {
        assert_eq!(flags(VmaFlags(0x0400_0075)), "rd ex mr mw me dd ");
    }

    #[test]
    fn a_name_stays_on_its_line() {
        let file =
            MappedFile { device: Some((8, 1)), inode_number: Some(9), ..MappedFile::default() };
        let mut vma = Vma::new(Gva(0x40_0000)..Gva(0x40_1000), VmaFlags(5), Arc::new(file));
        vma.name = "/a\nb".into();
        assert_eq!(line(&vma, 49), "00400000-00401000 r-xp 00000000 08:01 9          /a\\012b\n");
    }
}
