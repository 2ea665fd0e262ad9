//! ELF files: recognised, so that the refusal can say what they are.

use crate::format::{Case, Format, Recognition};
use crate::{OpenError, Opened};

/// ELF, of whatever kind.
pub(crate) struct ElfCore;

/// `e_type` of a core file.
const ET_CORE: u16 = 4;

impl Format for ElfCore {
    fn name(&self) -> &'static str {
        "elf"
    }

    fn recognise(&self, head: &[u8]) -> Option<Recognition> {
        head.starts_with(b"\x7fELF").then_some(Recognition::Refused)
    }

    fn open(&self, case: Case<'_>) -> Result<Opened, OpenError> {
        let mut header = [0; 18];
        case.lead.source.read(0, &mut header)?;
        let [.., low, high] = header;
        // `e_ident[EI_DATA]`: 2 is big-endian.
        let kind = if header[5] == 2 { [high, low] } else { [low, high] };
        let looks = if u16::from_le_bytes(kind) == ET_CORE {
            "it is an ELF core already, which debuggers open as it is"
        } else {
            "it is an ELF program or library"
        };
        Err(OpenError::NotACheckpoint { path: case.lead.source.path, looks: looks.to_owned() })
    }
}
