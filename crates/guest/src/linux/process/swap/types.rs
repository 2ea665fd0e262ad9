//! Members of structures that modules have, from the type information of those.

use std::sync::Arc;

use vmss2core_mem::{Gva, low_bits};

use crate::linux::{Btf, Kernel, Member, Types};

/// The types of some modules, and of the kernel, which may have them built in.
#[derive(Debug)]
pub(super) struct ModuleTypes {
    sources: Vec<Arc<Btf>>,
}

impl ModuleTypes {
    /// `None` if the kernel has no type information. A module without any is left out.
    pub(super) fn of(kernel: &Kernel, modules: &[&str]) -> Option<Self> {
        let base = kernel.btf()?.value.clone();
        let listed = kernel.module_btfs().unwrap_or_default();
        let wanted = listed.iter().filter(|btf| modules.contains(&btf.module.as_str()));
        let parsed = wanted.filter_map(|btf| {
            let bytes = btf.read(kernel).ok()?;
            Btf::parse_split(base.clone(), bytes).ok().map(Arc::new)
        });
        let mut sources: Vec<Arc<Btf>> = parsed.collect();
        sources.push(base.clone());
        Some(Self { sources })
    }

    /// Where a member lies; `a|b` tries one name after the other.
    pub(super) fn member(&self, structure: &str, path: &str) -> Option<Member> {
        path.split('|')
            .find_map(|path| self.sources.iter().find_map(|types| types.member(structure, path)))
    }

    pub(super) fn size_of(&self, structure: &str) -> Option<u64> {
        self.sources.iter().find_map(|types| types.size_of(structure))
    }

    /// The value of an enumeration's constant.
    pub(super) fn enumerator(&self, name: &str) -> Option<u64> {
        let value = self.sources.iter().find_map(|types| types.enumerator(name))?;
        u64::try_from(value).ok()
    }
}

/// A number in a structure; of what has another size than numbers, the first word.
pub(super) fn read(kernel: &Kernel, structure: u64, member: &Member) -> Option<u64> {
    let at = structure.checked_add(member.offset_bytes)?;
    let size = member.size_bytes.filter(|size| (1..=8).contains(size)).unwrap_or(8);
    let value = kernel.read_uint(Gva(at), size, "zram").ok()?;
    let Some((shift, width)) = member.bits else { return Some(value) };
    Some(value.unbounded_shr(shift.into()) & low_bits(width.into()))
}
