//! A structure in the kernel's memory, read member by member.

use vmss2core_mem::Gva;

use super::{Kernel, LinuxError, Member};

/// A structure of the kernel at an address. Members are named as in
/// [`super::Types`]; where a member had other names, `a|b` tries one after the
/// other.
#[derive(Clone, Copy, Debug)]
pub struct Object<'k> {
    kernel: &'k Kernel,
    gva: Gva,
    structure: &'static str,
}

impl<'k> Object<'k> {
    pub(super) fn new(kernel: &'k Kernel, gva: Gva, structure: &'static str) -> Self {
        Self { kernel, gva, structure }
    }

    /// Where it lies.
    pub fn gva(&self) -> Gva {
        self.gva
    }

    /// Whether the place of a member is known.
    pub fn has(&self, path: &str) -> bool {
        self.member(path).is_ok()
    }

    /// Where a member lies in it.
    pub fn member(&self, path: &str) -> Result<Member, LinuxError> {
        let place = self.kernel.layout().place(self.structure, path);
        place.ok_or_else(|| LinuxError::UnknownMember {
            structure: self.structure.to_owned(),
            member: path.to_owned(),
        })
    }

    /// The address of a member.
    pub fn address_of(&self, path: &str) -> Result<Gva, LinuxError> {
        Ok(Gva(self.gva.0.wrapping_add(self.member(path)?.offset_bytes)))
    }

    /// A number, of the size that the layout says, or of 4 bytes.
    pub fn uint(&self, path: &str) -> Result<u64, LinuxError> {
        let member = self.member(path)?;
        let at = Gva(self.gva.0.wrapping_add(member.offset_bytes));
        let size_bytes = member.size_bytes.unwrap_or(4);
        let value = self.kernel.read_uint(at, size_bytes, &self.name_of(path))?;
        Ok(match member.bits {
            Some((shift, width)) => value.unbounded_shr(shift.into()) & low(width),
            None => value,
        })
    }

    /// A pointer, or a number as long as one.
    pub fn pointer(&self, path: &str) -> Result<Gva, LinuxError> {
        self.kernel.read_pointer(self.address_of(path)?, &self.name_of(path))
    }

    /// The structure that a pointer leads to; `None` for a null pointer.
    pub fn follow(
        &self,
        path: &str,
        structure: &'static str,
    ) -> Result<Option<Object<'k>>, LinuxError> {
        let gva = self.pointer(path)?;
        Ok((gva.0 != 0).then_some(Object { gva, structure, ..*self }))
    }

    /// An embedded structure.
    pub fn embedded(&self, path: &str, structure: &'static str) -> Result<Object<'k>, LinuxError> {
        Ok(Object { gva: self.address_of(path)?, structure, ..*self })
    }

    /// Characters up to a NUL, at most as many as the member has, or 16.
    pub fn text(&self, path: &str) -> Result<String, LinuxError> {
        let member = self.member(path)?;
        let len = usize::try_from(member.size_bytes.unwrap_or(16)).unwrap_or(16).min(4096);
        let mut bytes = vec![0; len];
        self.kernel.read(self.address_of(path)?, &mut bytes, &self.name_of(path))?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
        bytes.truncate(end);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn name_of(&self, path: &str) -> String {
        format!("{}.{path}", self.structure)
    }
}

/// A mask of the lowest bits.
fn low(width: u8) -> u64 {
    1_u64.checked_shl(width.into()).map_or(u64::MAX, |bit| bit.saturating_sub(1))
}
