//! Name in `/proc/PID/maps` of a mapping that has no file.
//!
//! As `get_vma_name` in `fs/proc/task_mmu.c` does.

use std::ops::Range;

use vmss2core_mem::Gva;

use super::super::{Kernel, Object};
use super::areas::Area;

/// `ANON_VMA_NAME_MAX_LEN`, and more than any name of the kernel's own has.
const MAX_NAME: usize = 80;

/// Which memory without a file has a name, which changed over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// None, in 2.4.
    Nameless,
    /// Of the heap what has all of it (to 2.6.29 and later).
    WholeHeap,
    /// All parts of the heap.
    Parts,
}

impl Style {
    /// The style of the kernel, whose stacks have a mark at their end from 2.6.30 on.
    pub(super) fn of(kernel: &Kernel, marks_stacks: bool) -> Self {
        let layout = kernel.layout();
        let at = |path| Some(layout.member("dentry", path)?.value.offset_bytes);
        // A name began with its text in 2.4, with its length since.
        let is_of_2_4 =
            at("d_name.name").zip(at("d_name.len")).is_some_and(|(name, len)| name < len);
        match (is_of_2_4, marks_stacks) {
            (true, _) => Self::Nameless,
            (false, false) => Self::WholeHeap,
            (false, true) => Self::Parts,
        }
    }
}

/// Where a process has its heap and its stack.
#[derive(Debug)]
pub(super) struct Names<'r> {
    kernel: &'r Kernel,
    style: Style,
    start_brk: Option<u64>,
    brk: Option<u64>,
    start_stack: Option<u64>,
    /// `vm_special_mapping.name`.
    special_name: u64,
    /// `anon_vma_name.name`.
    anon_name: u64,
    /// Before 6.2 only what has no file can have a name: where that pointer would be,
    /// others have something else.
    anon_name_shares_room: bool,
    /// The mapping at AT_SYSINFO_EHDR of the auxiliary vector.
    vdso: Option<Range<u64>>,
}

impl<'r> Names<'r> {
    /// `vdso` is where the program was told that its vDSO is, `areas` are all mappings.
    pub(super) fn of(
        kernel: &'r Kernel,
        style: Style,
        mm: Object<'_>,
        vdso: Option<u64>,
        areas: &[Area],
    ) -> Self {
        let vdso = areas.iter().find(|area| Some(area.start) == vdso);
        let at =
            |structure, member| Some(kernel.layout().member(structure, member)?.value.offset_bytes);
        let pointer = |member| mm.pointer(member).ok().map(|gva| gva.0);
        Self {
            kernel,
            style,
            start_brk: pointer("start_brk"),
            brk: pointer("brk"),
            start_stack: pointer("start_stack"),
            // Both lie there in all kernels that have them.
            special_name: at("vm_special_mapping", "name").unwrap_or(0),
            anon_name: at("anon_vma_name", "name").unwrap_or(4),
            anon_name_shares_room: at("vm_area_struct", "shared")
                == at("vm_area_struct", "anon_name"),
            vdso: vdso.map(|area| area.start..area.end),
        }
    }

    /// Whether mappings without a file have an offset too, as until 2.6.29.
    pub(super) fn shows_offsets(&self) -> bool {
        self.style != Style::Parts
    }

    /// The name of a mapping that has no file.
    pub(super) fn of_area(&self, area: &Area) -> String {
        let known = || self.special(area).or_else(|| self.by_address_of_vdso(area));
        let known = known().or_else(|| self.heap_or_stack(area).map(str::to_owned));
        let given = || Some(format!("[anon:{}]", self.given(area)?));
        known.or_else(given).unwrap_or_default()
    }

    /// The name that shared memory was given with `prctl(PR_SET_VMA)`.
    pub(super) fn of_shared(&self, area: &Area) -> Option<String> {
        let name = self.given(area).filter(|_| !self.anon_name_shares_room)?;
        Some(format!("[anon_shmem:{name}]"))
    }

    /// Mappings of the kernel's own carry their name: `[vdso]`, `[vvar]`.
    fn special(&self, area: &Area) -> Option<String> {
        if area.operations == Some(0) || area.private_data == 0 {
            return None;
        }
        let at = area.private_data.wrapping_add(self.special_name);
        let name = self.kernel.read_pointer(Gva(at), "vm_special_mapping.name").ok()?;
        let name = self.text(name)?;
        (name.starts_with('[') && name.ends_with(']')).then_some(name)
    }

    /// Where that is not known, as before 3.16: the program was told where its vDSO is.
    fn by_address_of_vdso(&self, area: &Area) -> Option<String> {
        let vdso = self.vdso.as_ref().filter(|_| area.operations != Some(0))?;
        if area.start == vdso.start {
            return Some("[vdso]".into());
        }
        // The kernel maps its data next to the code that reads it.
        let is_vvar = area.end == vdso.start || area.start == vdso.end;
        (is_vvar && area.flags.0 & 7 == 1).then(|| "[vvar]".into())
    }

    fn heap_or_stack(&self, area: &Area) -> Option<&'static str> {
        let heap = self.start_brk.zip(self.brk);
        let is_heap = |(start, end): (u64, u64)| match self.style {
            Style::Nameless => false,
            Style::WholeHeap => area.start <= start && area.end >= end,
            Style::Parts => area.start <= end && area.end >= start && start < end,
        };
        if heap.is_some_and(is_heap) {
            return Some("[heap]");
        }
        if self.style == Style::Nameless {
            return None;
        }
        let stack = self.start_stack?;
        (area.start <= stack && stack <= area.end).then_some("[stack]")
    }

    fn given(&self, area: &Area) -> Option<String> {
        if area.anon_name == 0 {
            return None;
        }
        self.text(Gva(area.anon_name.wrapping_add(self.anon_name))).filter(|name| !name.is_empty())
    }

    fn text(&self, gva: Gva) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_NAME {
            let at = Gva(gva.0.checked_add(bytes.len() as u64)?);
            match u8::try_from(self.kernel.read_uint(at, 1, "name").ok()?).ok()? {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
