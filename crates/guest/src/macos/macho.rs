//! Mach-O headers in memory (`mach-o/loader.h`).

use vmss2core_mem::Gva;

use super::{Segment, Uuid};

const MAGIC_32: u32 = 0xfeed_face;
const MAGIC_64: u32 = 0xfeed_facf;
const CPU_X86: u32 = 7;
const CPU_X86_64: u32 = 0x0100_0007;
/// `MH_EXECUTE`.
pub(super) const EXECUTE: u32 = 2;
/// `MH_KEXT_BUNDLE`.
pub(super) const KEXT_BUNDLE: u32 = 11;
/// `MH_FILESET`: a collection of a kernel and extensions.
pub(super) const FILESET: u32 = 12;
/// `MH_DYLDLINK`: a program that needs the dynamic linker, so no kernel.
const DYLDLINK: u32 = 4;
const SEGMENT: u32 = 1;
const SEGMENT_64: u32 = 0x19;
const UUID: u32 = 0x1b;
const FILESET_ENTRY: u32 = 0x8000_0035;

/// Longest load commands that are read; kernels have 4 KiB.
pub(super) const MAX_COMMANDS: usize = 64 << 10;
/// Most segments of one image.
const MAX_SEGMENTS: usize = 256;
/// Bytes of the shorter header: what [`Start`] needs.
pub(super) const START_LEN: usize = 28;

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) is_64_bit: bool,
    pub(super) filetype: u32,
    flags: u32,
    commands_len: usize,
}

impl Start {
    /// The header of an x86 image; `None` if it is none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let is_64_bit = match (u32_at(bytes, 0)?, u32_at(bytes, 4)?) {
            (MAGIC_64, CPU_X86_64) => true,
            (MAGIC_32, CPU_X86) => false,
            _ => return None,
        };
        let commands_len = usize::try_from(u32_at(bytes, 20)?).ok()?;
        let start = Self {
            is_64_bit,
            filetype: u32_at(bytes, 12)?,
            flags: u32_at(bytes, 24)?,
            commands_len,
        };
        (commands_len <= MAX_COMMANDS).then_some(start)
    }

    /// Whether it may be a kernel.
    pub(super) fn may_be_kernel(self) -> bool {
        self.filetype == EXECUTE && self.flags & DYLDLINK == 0
    }

    fn header_len(self) -> usize {
        if self.is_64_bit { 32 } else { 28 }
    }

    /// Bytes of header and load commands.
    pub(super) fn len(self) -> usize {
        self.header_len().saturating_add(self.commands_len)
    }
}

/// What the load commands of an image say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) uuid: Option<Uuid>,
    pub(super) segments: Vec<Segment>,
    /// Of a collection: where its kernel is.
    pub(super) kernel: Option<Gva>,
}

impl Image {
    /// Reads the load commands; `bytes` begins with the header. A command that is no
    /// sound one ends them.
    pub(super) fn of(start: Start, bytes: &[u8]) -> Self {
        let mut image = Self::default();
        let mut rest = bytes.get(start.header_len()..start.len()).unwrap_or_default();
        while let Some((kind, command, behind)) = next_command(rest) {
            match kind {
                SEGMENT | SEGMENT_64 if image.segments.len() < MAX_SEGMENTS => {
                    image.segments.extend(segment(command));
                }
                FILESET_ENTRY => image.kernel = image.kernel.or_else(|| kernel_entry(command)),
                UUID => image.uuid = image.uuid.or_else(|| uuid(command)),
                _ => {}
            }
            rest = behind;
        }
        image
    }

    pub(super) fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

/// The kind of the first command, all of it, and what is behind it.
fn next_command(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (kind, len) = (u32_at(bytes, 0)?, usize::try_from(u32_at(bytes, 4)?).ok()?);
    let (command, behind) = bytes.split_at_checked(len)?;
    (len >= 8).then_some((kind, command, behind))
}

fn segment(command: &[u8]) -> Option<Segment> {
    let name = command.get(8..24)?;
    let (start, len_bytes) = if u32_at(command, 0)? == SEGMENT_64 {
        (u64_at(command, 24)?, u64_at(command, 32)?)
    } else {
        (u32_at(command, 24)?.into(), u32_at(command, 28)?.into())
    };
    Some(Segment { name: text(name), start: Gva(start), len_bytes })
}

fn uuid(command: &[u8]) -> Option<Uuid> {
    Some(Uuid(*command.get(8..)?.first_chunk()?))
}

/// The address of `com.apple.kernel`, if that is what the command is about.
fn kernel_entry(command: &[u8]) -> Option<Gva> {
    let name = usize::try_from(u32_at(command, 24)?).ok()?;
    let is_kernel = text(command.get(name..)?) == "com.apple.kernel";
    is_kernel.then(|| u64_at(command, 8).map(Gva))?
}

/// Text up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
