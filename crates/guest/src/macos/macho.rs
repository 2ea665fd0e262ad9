//! Mach-O headers in memory (`mach-o/loader.h`).

use std::mem::offset_of;

use vmss2core_formats::macho::{
    CPU_TYPE_X86, CPU_TYPE_X86_64, FilesetEntryCommand, HEADER_64_LEN, LC_FILESET_ENTRY,
    LC_SEGMENT, LC_SEGMENT_64, LC_UUID, LoadCommand, MH_DYLDLINK, MH_MAGIC, MH_MAGIC_64,
    MachHeader, SegmentCommand, SegmentCommand64, UuidCommand,
};
pub(super) use vmss2core_formats::macho::{
    MH_EXECUTE as EXECUTE, MH_FILESET as FILESET, MH_KEXT_BUNDLE as KEXT_BUNDLE,
};
use vmss2core_mem::Gva;

use super::{Segment, Uuid};

/// Longest load commands that are read; kernels have 4 KiB.
pub(super) const MAX_COMMANDS: usize = 64 << 10;
/// Most segments of one image.
const MAX_SEGMENTS: usize = 256;
/// Bytes of the shorter header: what [`Start`] needs.
pub(super) const START_LEN: usize = size_of::<MachHeader>();

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
        let header = |at| u32_at(bytes, at);
        let is_64_bit = match (
            header(offset_of!(MachHeader, magic))?,
            header(offset_of!(MachHeader, cputype))?,
        ) {
            (MH_MAGIC_64, CPU_TYPE_X86_64) => true,
            (MH_MAGIC, CPU_TYPE_X86) => false,
            _ => return None,
        };
        let commands_len = usize::try_from(header(offset_of!(MachHeader, sizeofcmds))?).ok()?;
        let start = Self {
            is_64_bit,
            filetype: header(offset_of!(MachHeader, filetype))?,
            flags: header(offset_of!(MachHeader, flags))?,
            commands_len,
        };
        (commands_len <= MAX_COMMANDS).then_some(start)
    }

    /// Whether it may be a kernel.
    pub(super) fn may_be_kernel(self) -> bool {
        self.filetype == EXECUTE && self.flags & MH_DYLDLINK == 0
    }

    fn header_len(self) -> usize {
        if self.is_64_bit { HEADER_64_LEN } else { size_of::<MachHeader>() }
    }

    /// Bytes of header and load commands.
    pub(super) fn len(self) -> usize {
        self.header_len().saturating_add(self.commands_len)
    }
}

/// The load commands of an image.
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
                LC_SEGMENT | LC_SEGMENT_64 if image.segments.len() < MAX_SEGMENTS => {
                    image.segments.extend(segment(command));
                }
                LC_FILESET_ENTRY => image.kernel = image.kernel.or_else(|| kernel_entry(command)),
                LC_UUID => image.uuid = image.uuid.or_else(|| uuid(command)),
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

/// The kind of the first command, all of it, and what is after it.
fn next_command(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (kind, len) = (u32_at(bytes, 0)?, usize::try_from(u32_at(bytes, 4)?).ok()?);
    let (command, behind) = bytes.split_at_checked(len)?;
    (len >= size_of::<LoadCommand>()).then_some((kind, command, behind))
}

fn segment(command: &[u8]) -> Option<Segment> {
    let name = command.get(offset_of!(SegmentCommand64, segname)..)?.first_chunk::<16>()?;
    let (start, len_bytes) = if u32_at(command, 0)? == LC_SEGMENT_64 {
        let at = |at| u64_at(command, at);
        (at(offset_of!(SegmentCommand64, vmaddr))?, at(offset_of!(SegmentCommand64, vmsize))?)
    } else {
        let at = |at| u32_at(command, at).map(u64::from);
        (at(offset_of!(SegmentCommand, vmaddr))?, at(offset_of!(SegmentCommand, vmsize))?)
    };
    Some(Segment { name: text(name), start: Gva(start), len_bytes })
}

fn uuid(command: &[u8]) -> Option<Uuid> {
    Some(Uuid(*command.get(offset_of!(UuidCommand, uuid)..)?.first_chunk()?))
}

/// The address of `com.apple.kernel`, if that is what the command is about.
fn kernel_entry(command: &[u8]) -> Option<Gva> {
    let name = usize::try_from(u32_at(command, offset_of!(FilesetEntryCommand, entry_id))?).ok()?;
    let is_kernel = text(command.get(name..)?) == "com.apple.kernel";
    let address = u64_at(command, offset_of!(FilesetEntryCommand, vmaddr));
    is_kernel.then(|| address.map(Gva))?
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
