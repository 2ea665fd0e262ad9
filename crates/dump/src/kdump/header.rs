//! The parts of the file that come before its pages: header, sub header with
//! the notes, and where the tables lie.

use vmss2core_guest::linux::UtsName;
use vmss2core_mem::PAGE_SIZE;
use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::pipeline::Places;
use crate::DumpError;
use vmss2core_formats::kdump::{
    BLOCK, Counts, Header32, Header64, RawUts, SIGNATURE, SubHeader32, SubHeader64, VERSION,
};

/// Everything that the headers say.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) is_64_bit: bool,
    pub(super) uts: UtsName,
    /// Seconds since 1970 when the guest stopped.
    pub(super) seconds: u64,
    pub(super) cpus: u32,
    /// How pages may be compressed.
    pub(super) flags: u32,
    pub(super) level: u8,
    pub(super) phys_base: i64,
    /// As an ELF core has them.
    pub(super) notes: Vec<u8>,
    /// Where the text of VMCOREINFO lies in the notes, and its length.
    pub(super) vmcoreinfo: Option<(usize, usize)>,
    /// The highest page number, plus 1.
    pub(super) max_mapnr: u64,
}

impl Head {
    fn sub_header_len(&self) -> usize {
        if self.is_64_bit { size_of::<SubHeader64>() } else { size_of::<SubHeader32>() }
    }

    /// Where the notes lie in the file: right after the sub header.
    fn notes_offset(&self) -> u64 {
        BLOCK.saturating_add(self.sub_header_len() as u64)
    }

    fn sub_header_blocks(&self) -> u64 {
        (self.sub_header_len().saturating_add(self.notes.len()) as u64).div_ceil(BLOCK)
    }

    /// Blocks of one of the two bitmaps.
    fn bitmap_blocks(&self) -> u64 {
        self.max_mapnr.div_ceil(8).div_ceil(BLOCK)
    }

    /// Where the bitmap of existing pages lies.
    pub(super) fn present_bitmap(&self) -> u64 {
        self.sub_header_blocks().saturating_add(1).saturating_mul(BLOCK)
    }

    /// Where everything else lies in a file with so many pages.
    pub(super) fn places(&self, pages: u64) -> Result<Places, DumpError> {
        let bitmap = self.bitmap_blocks().saturating_mul(BLOCK);
        let stored_bitmap = self.present_bitmap().saturating_add(bitmap);
        let descriptors = stored_bitmap.saturating_add(bitmap);
        let zero_page = pages
            .checked_mul(24)
            .and_then(|table| table.checked_add(descriptors)?.checked_next_multiple_of(BLOCK))
            .filter(|offset| i64::try_from(*offset).is_ok())
            .ok_or(DumpError::TooLarge)?;
        Ok(Places { stored_bitmap, descriptors, zero_page })
    }

    /// The header, sub header and notes of a file with so many pages stored.
    pub(super) fn bytes(&self, written: u64) -> Result<Vec<u8>, DumpError> {
        let mut bytes =
            if self.is_64_bit { self.header64(written)? } else { self.header32(written)? };
        bytes.resize(block_len(), 0);
        if self.is_64_bit {
            bytes.extend_from_slice(self.sub_header64().as_bytes());
        } else {
            bytes.extend_from_slice(self.sub_header32()?.as_bytes());
        }
        bytes.extend_from_slice(&self.notes);
        let len = bytes.len().checked_next_multiple_of(block_len()).ok_or(DumpError::TooLarge)?;
        bytes.resize(len, 0);
        Ok(bytes)
    }

    fn header64(&self, written: u64) -> Result<Vec<u8>, DumpError> {
        let header = Header64 {
            signature: SIGNATURE,
            version: I32::new(VERSION),
            uts: raw_uts(&self.uts),
            seconds: I64::new(i64::try_from(self.seconds).unwrap_or(0)),
            counts: self.counts(written)?,
            ..Header64::new_zeroed()
        };
        Ok(header.as_bytes().to_vec())
    }

    fn header32(&self, written: u64) -> Result<Vec<u8>, DumpError> {
        let header = Header32 {
            signature: SIGNATURE,
            version: I32::new(VERSION),
            uts: raw_uts(&self.uts),
            seconds: I32::new(i32::try_from(self.seconds).unwrap_or(0)),
            counts: self.counts(written)?,
            ..Header32::new_zeroed()
        };
        Ok(header.as_bytes().to_vec())
    }

    /// The page numbers here have 32 bits; those of the sub header have 64.
    fn counts(&self, written: u64) -> Result<Counts, DumpError> {
        let low = |value: u64| U32::new(u32::try_from(value).unwrap_or(u32::MAX));
        let block_size = i32::try_from(PAGE_SIZE).map_err(|_| DumpError::TooLarge)?;
        let blocks = u32::try_from(self.bitmap_blocks().saturating_mul(2))
            .map_err(|_| DumpError::TooLarge)?;
        let sub = i32::try_from(self.sub_header_blocks()).map_err(|_| DumpError::TooLarge)?;
        Ok(Counts {
            status: U32::new(self.flags),
            block_size: I32::new(block_size),
            sub_header_blocks: I32::new(sub),
            bitmap_blocks: U32::new(blocks),
            max_mapnr: low(self.max_mapnr),
            total_ram_blocks: low(self.max_mapnr),
            written_blocks: low(written),
            // crash refuses a file of no processors.
            nr_cpus: I32::new(i32::try_from(self.cpus.max(1)).unwrap_or(i32::MAX)),
            ..Counts::new_zeroed()
        })
    }

    fn vmcoreinfo_place(&self) -> (u64, u64) {
        self.vmcoreinfo
            .map_or((0, 0), |(at, len)| (self.notes_offset().saturating_add(at as u64), len as u64))
    }

    fn sub_header64(&self) -> SubHeader64 {
        let (offset_vmcoreinfo, size_vmcoreinfo) = self.vmcoreinfo_place();
        SubHeader64 {
            phys_base: U64::new(self.phys_base.cast_unsigned()),
            dump_level: I32::new(self.level.into()),
            offset_vmcoreinfo: U64::new(offset_vmcoreinfo),
            size_vmcoreinfo: U64::new(size_vmcoreinfo),
            offset_note: U64::new(self.notes_offset()),
            size_note: U64::new(self.notes.len() as u64),
            max_mapnr_64: U64::new(self.max_mapnr),
            ..SubHeader64::new_zeroed()
        }
    }

    fn sub_header32(&self) -> Result<SubHeader32, DumpError> {
        let narrow = |value: u64| u32::try_from(value).map_err(|_| DumpError::TooLarge);
        let (offset_vmcoreinfo, size_vmcoreinfo) = self.vmcoreinfo_place();
        Ok(SubHeader32 {
            // 32-bit kernels have none.
            phys_base: U32::ZERO,
            dump_level: I32::new(self.level.into()),
            offset_vmcoreinfo: U64::new(offset_vmcoreinfo),
            size_vmcoreinfo: U32::new(narrow(size_vmcoreinfo)?),
            offset_note: U64::new(self.notes_offset()),
            size_note: U32::new(narrow(self.notes.len() as u64)?),
            max_mapnr_64: U64::new(self.max_mapnr),
            ..SubHeader32::new_zeroed()
        })
    }
}

fn block_len() -> usize {
    usize::try_from(BLOCK).unwrap_or_default()
}

/// Names of at most 64 bytes, each ended by a NUL.
fn raw_uts(uts: &UtsName) -> RawUts {
    let names =
        [&uts.sysname, &uts.nodename, &uts.release, &uts.version, &uts.machine, &uts.domainname];
    names.map(|name| {
        let mut raw = [0; 65];
        for (to, from) in raw.iter_mut().take(64).zip(name.bytes()) {
            *to = from;
        }
        raw
    })
}
