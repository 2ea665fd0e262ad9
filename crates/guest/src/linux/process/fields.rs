//! Several members of a structure with one read: there may be a hundred thousand
//! of them.

use vmss2core_mem::{Gva, little_endian};

use super::super::{Kernel, LinuxError, Member};

/// No structure that is read here is longer.
const MAX_LEN: u64 = 4096;

/// Where members of a structure lie; `None` for one that is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<const N: usize> {
    structure: &'static str,
    members: [Option<Member>; N],
    word_len: u64,
    len: usize,
}

impl<const N: usize> Fields<N> {
    /// Looks up members, each by its name or several, as [`super::super::Object`]
    /// takes them.
    pub(super) fn of(kernel: &Kernel, structure: &'static str, paths: [&str; N]) -> Self {
        let word_len = kernel.word_len();
        let members = paths.map(|path| {
            let names: Vec<&str> = path.split('|').collect();
            Some(kernel.layout().any_member(structure, &names)?.value)
        });
        let members = members.map(|member| member.filter(|found| end(found, word_len) <= MAX_LEN));
        let ends = members.iter().flatten().map(|member| end(member, word_len));
        let len = usize::try_from(ends.max().unwrap_or(0)).unwrap_or(0);
        Self { structure, members, word_len, len }
    }

    /// Reads the members of the structure at `gva`.
    pub(super) fn read(&self, kernel: &Kernel, gva: Gva) -> Result<[Option<u64>; N], LinuxError> {
        let mut bytes = vec![0; self.len];
        kernel.read(gva, &mut bytes, self.structure)?;
        Ok(self.members.map(|member| {
            let member = member?;
            let at = usize::try_from(member.offset_bytes).ok()?;
            let len = usize::try_from(size(&member, self.word_len)).ok()?;
            Some(little_endian(bytes.get(at..at.checked_add(len)?)?))
        }))
    }
}

/// A member whose size is not known is taken as long as a pointer; of a longer one
/// (an array, a union) the first word is taken.
fn size(member: &Member, word_len: u64) -> u64 {
    match member.size_bytes {
        Some(size @ (1 | 2 | 4 | 8)) => size,
        _ => word_len,
    }
}

fn end(member: &Member, word_len: u64) -> u64 {
    member.offset_bytes.saturating_add(size(member, word_len))
}

/// The words of a structure, for layouts that no source need say because they
/// are the same in all kernels.
pub(super) fn word(bytes: &[u8], at: usize, word_len: usize) -> Option<u64> {
    Some(little_endian(bytes.get(at..at.checked_add(word_len)?)?))
}
