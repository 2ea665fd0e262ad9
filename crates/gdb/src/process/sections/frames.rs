//! Call frame information, which has no length of its own.

use std::ops::Range;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use object::elf::PT_GNU_EH_FRAME;

use super::image::Image;
use super::take;

/// Version, encodings, pointer and count of `.eh_frame_hdr` are not longer.
const HEADER_BYTES: u64 = 32;

/// More records are in no file.
const MOST_RECORDS: usize = 1 << 22;

/// Address of `.eh_frame`, and where in the file it is, as far as it can be read: a
/// debugger that reads it finds whole records only.
pub(super) fn find(image: &Image<'_>, address_bytes: u8) -> Option<(u64, Range<u64>)> {
    let header = image.first(PT_GNU_EH_FRAME)?;
    let bytes = take(image.source, header.offset, header.file_len.min(HEADER_BYTES))?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(header.address);
    let parsed = EhFrameHdr::new(&bytes, LittleEndian).parse(&bases, address_bytes).ok()?;
    let Pointer::Direct(address) = parsed.eh_frame_ptr() else { return None };
    let within = image.place_of(truncated(address, address_bytes))?;
    let end = walk(image, &within);
    (end > within.start).then_some((truncated(address, address_bytes), within.start..end))
}

fn truncated(address: u64, address_bytes: u8) -> u64 {
    if address_bytes == 4 { address & 0xffff_ffff } else { address }
}

/// Offset behind the last record, or behind the terminator.
fn walk(image: &Image<'_>, within: &Range<u64>) -> u64 {
    let readable = within.start.saturating_add(image.source.available(within.start));
    let end = readable.min(within.end);
    let mut at = within.start;
    for _ in 0..MOST_RECORDS {
        match record_len(image, at) {
            Some((len, is_last)) if at.checked_add(len).is_some_and(|next| next <= end) => {
                at += len;
                if is_last {
                    break;
                }
            }
            _ => break,
        }
    }
    at
}

/// Length in bytes of the record at an offset; the last one is the terminator.
fn record_len(image: &Image<'_>, at: u64) -> Option<(u64, bool)> {
    let mut short = [0; 4];
    image.source.read(at, &mut short)?;
    match u32::from_le_bytes(short) {
        0 => Some((4, true)),
        u32::MAX => {
            let mut long = [0; 8];
            image.source.read(at.checked_add(4)?, &mut long)?;
            Some((u64::from_le_bytes(long).checked_add(12)?, false))
        }
        len => Some((u64::from(len) + 4, false)),
    }
}
