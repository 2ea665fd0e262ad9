//! The kernel's log, in the three forms that it has had.
//!
//! | kernel | form |
//! |---|---|
//! | to 3.4 | characters in a ring ([`text`]) |
//! | 3.5 to 5.9 | records one after the other ([`records`]) |
//! | 5.10 | a ring of descriptors and a ring of texts ([`ring`]) |
//!
//! VMCOREINFO tells where it is and how it is made; else the symbol table and
//! the layouts of structures do, or it is found by what it holds
//! ([`search`]). Nothing in it is believed: what is torn or
//! makes no sense is left out, and `problems` says so.

use std::fmt::Write as _;

use vmss2core_mem::Gva;

use super::{Kernel, LinuxError};
use crate::VmcoreInfo;
use crate::model::{Caller, Log, Record};

mod records;
mod ring;
mod search;
#[cfg(test)]
mod tests;
mod text;
mod variables;
mod window;

use window::Window;

/// More records than this are no log's: the largest buffer that can be set has
/// room for fewer.
const MOST_RECORDS: u64 = 1 << 22;
/// Most characters of all texts together.
const MOST_CHARACTERS: usize = 256 << 20;

impl Kernel {
    /// The kernel's log. Best effort: what is torn is left out, and `problems`
    /// says so.
    pub fn log(&self) -> Result<Log, LinuxError> {
        let shape =
            Shape { kernel: self, info: self.linux().vmcoreinfo.as_ref().map(|i| &i.value) };
        let named = if let Ok(prb) = self.symbol("prb") {
            ring::read(&shape, &prb)
        } else if self.symbol("log_first_idx").is_ok() {
            records::read(&shape)
        } else {
            // Neither is there: older than both, or nothing is known at all.
            text::read(&shape)
        };
        named.or_else(|error| search::read(&shape).ok_or(error))
    }
}

/// Where members of the log's structures are.
struct Shape<'k> {
    kernel: &'k Kernel,
    info: Option<&'k VmcoreInfo>,
}

impl Shape<'_> {
    /// Bytes from the start of a structure to a member.
    fn offset(&self, structure: &'static str, member: &'static str) -> Result<u64, LinuxError> {
        let said = self.info.and_then(|info| info.get(&format!("OFFSET({structure}.{member})")));
        let offset = said.and_then(|said| said.parse().ok()).or_else(|| {
            let found = self.kernel.layout().member(structure, member)?;
            Some(found.value.offset_bytes)
        });
        offset.ok_or_else(|| LinuxError::UnknownMember {
            structure: structure.to_owned(),
            member: member.to_owned(),
        })
    }

    /// Size of a structure.
    fn size(&self, structure: &'static str) -> Result<u64, LinuxError> {
        let said = self.info.and_then(|info| info.get(&format!("SIZE({structure})")));
        let size = said.and_then(|said| said.parse().ok());
        let size = size.or_else(|| Some(self.kernel.layout().size_of(structure)?.value));
        // A structure without any size would make every loop over it endless.
        size.filter(|size| *size > 0).ok_or_else(|| LinuxError::UnknownMember {
            structure: structure.to_owned(),
            member: "its size".to_owned(),
        })
    }

    /// The pointer in a member.
    fn pointer(
        &self,
        at: Gva,
        structure: &'static str,
        member: &'static str,
    ) -> Result<Gva, LinuxError> {
        let at = at.0.wrapping_add(self.offset(structure, member)?);
        self.kernel.read_pointer(Gva(at), &format!("{structure}.{member}"))
    }

    /// The `unsigned int` in a member.
    fn u32(
        &self,
        at: Gva,
        structure: &'static str,
        member: &'static str,
    ) -> Result<u32, LinuxError> {
        let at = at.0.wrapping_add(self.offset(structure, member)?);
        let value = self.kernel.read_uint(Gva(at), 4, &format!("{structure}.{member}"))?;
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

/// Text from the guest as UTF-8; what is not is written as `\xNN`, as the
/// kernel itself has it in `/dev/kmsg`.
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
