//! Fates of pages that a process has no longer in memory of its own.
//!
//! A swap entry names an area and a page in it (`include/linux/swapops.h`). The page may
//! be in memory nevertheless: in the swap cache, which is newer than all else, or in a
//! zram device, compressed. What is on a disk is not in the checkpoint.
//!
//! All members come from type information: without that, no page is said to be anywhere
//! but swapped out.

mod cache;
mod codec;
mod lzo;
mod types;
mod zram;
mod zsmalloc;

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE};

use super::super::{Kernel, Object};
use super::file::Files;
use cache::SwapCache;
pub(in crate::linux) use codec::Page;
use zram::{Slot, Zram};

/// `MAX_SWAPFILES` is 32 less what is reserved.
const MOST_AREAS: u64 = 32;

/// The swap areas of a guest.
#[derive(Debug, Default)]
pub(in crate::linux) struct SwapAreas {
    areas: Vec<Option<Area>>,
    cache: Option<SwapCache>,
}

#[derive(Debug)]
struct Area {
    device: Device,
    /// The path of the file or of the device, in the guest.
    path: Option<String>,
    /// A bit for each page that is all zeroes and was therefore not written (6.12).
    zeroes: Option<Gva>,
    pages: u64,
}

#[derive(Debug)]
enum Device {
    Zram(Box<Zram>),
    /// A zram device that cannot be read, and why.
    Unreadable(String),
    /// A disk.
    Elsewhere,
}

/// Where the bytes of a page are that was swapped out.
pub(in crate::linux) enum Swapped {
    /// In memory, as if it had not been.
    Memory(Gpa),
    /// It has only zeroes.
    Zeroes,
    /// In memory, compressed.
    Compressed(Box<Page>),
    /// Not in the checkpoint, or not readable, and why.
    Lost(String),
}

impl SwapAreas {
    /// Looks at all areas; none if type information or symbols are missing.
    pub(in crate::linux) fn of(kernel: &Kernel) -> Self {
        let Some(table) = table(kernel) else { return Self::default() };
        let cache = SwapCache::of(kernel);
        let area = |index: u64| {
            let at = Gva(table.0.checked_add(index.saturating_mul(kernel.word_len()))?);
            let info = kernel.read_pointer(at, "swap_info").ok().filter(|info| info.0 != 0)?;
            Some(Area::of(kernel, kernel.object(info, "swap_info_struct"), cache.is_some()))
        };
        Self { areas: (0..MOST_AREAS).map(area).collect(), cache }
    }

    /// A user's name for an area.
    pub(in crate::linux) fn place(&self, area: u8) -> String {
        self.path(area).map_or_else(|| format!("area {area}"), str::to_owned)
    }

    /// The path of an area's file, as the guest's `/proc/swaps` has it.
    pub(in crate::linux) fn path(&self, area: u8) -> Option<&str> {
        self.areas.get(usize::from(area))?.as_ref()?.path.as_deref()
    }

    /// The fate of a page of an area.
    pub(in crate::linux) fn page(&self, kernel: &Kernel, area: u8, page: u64) -> Swapped {
        let lost = || Swapped::Lost(format!("swapped out to {}", self.place(area)));
        let known = self.areas.get(usize::from(area)).and_then(Option::as_ref);
        let Some(known) = known.filter(|known| page < known.pages) else { return lost() };
        if let Some(gpa) = self.cache.as_ref().and_then(|cache| cache.page(kernel, area, page)) {
            return Swapped::Memory(gpa);
        }
        if known.is_zeroes(kernel, page) {
            return Swapped::Zeroes;
        }
        match &known.device {
            Device::Elsewhere => lost(),
            Device::Unreadable(why) => Swapped::Lost(why.clone()),
            Device::Zram(zram) => match zram.slot(kernel, page) {
                Slot::Page(page) => Swapped::Compressed(page),
                Slot::Empty => Swapped::Lost("its zram device holds nothing of it".into()),
                Slot::Unreadable(why) => Swapped::Lost(why),
            },
        }
    }
}

/// `swap_info`, if type information says what it leads to.
fn table(kernel: &Kernel) -> Option<Gva> {
    kernel.layout().size_of("swap_info_struct")?;
    Some(kernel.symbol("swap_info").ok()?.value)
}

impl Area {
    fn of(kernel: &Kernel, info: Object<'_>, has_cache: bool) -> Self {
        let device = match zram(kernel, info) {
            None => Device::Elsewhere,
            // What is in the swap cache is newer than what the device has.
            Some(_) if !has_cache => Device::Unreadable(
                "in a zram device, but where the swap cache has newer pages is not known".into(),
            ),
            Some(zram) => match Zram::of(kernel, zram) {
                Ok(zram) => Device::Zram(Box::new(zram)),
                Err(why) => Device::Unreadable(format!("in a zram device, compressed: {why}")),
            },
        };
        let zeroes = info.pointer("zeromap").ok().filter(|map| map.0 != 0);
        let file = info.pointer("swap_file").ok().filter(|file| file.0 != 0);
        let file = file.map(|file| Files::new(kernel).at(file));
        let path = file.map(|file| file.path.clone()).filter(|path| !path.is_empty());
        Self { device, path, zeroes, pages: info.uint("max").unwrap_or(0) }
    }

    fn is_zeroes(&self, kernel: &Kernel, page: u64) -> bool {
        let bit = || {
            let at = Gva(self.zeroes?.0.checked_add(page / 8)?);
            Some(kernel.read_uint(at, 1, "swap_info_struct.zeromap").ok()? >> (page % 8) & 1)
        };
        bit() == Some(1)
    }
}

/// The `struct zram` of the device that an area is on as a whole.
fn zram(kernel: &Kernel, info: Object<'_>) -> Option<Gva> {
    let on_device = kernel.layout().enumerator("SWP_BLKDEV")?.value;
    let flags = info.uint("flags").ok()?;
    (flags & u64::try_from(on_device).ok()? != 0).then_some(())?;
    let disk = info.follow("bdev", "block_device").ok()??.follow("bd_disk", "gendisk").ok()??;
    let name = disk.text("disk_name").ok()?;
    let is_zram = name.strip_prefix("zram").is_some_and(|number| number.parse::<u32>().is_ok());
    is_zram.then(|| disk.pointer("private_data").ok())?
}

impl Kernel {
    /// The page with that number of a swap area, if it is in memory, compressed.
    pub(in crate::linux) fn compressed_page(
        &self,
        area: u8,
        page: u64,
    ) -> Result<Box<Page>, String> {
        match self.swap_areas().page(self, area, page) {
            Swapped::Compressed(page) => Ok(page),
            Swapped::Lost(why) => Err(why),
            Swapped::Memory(_) | Swapped::Zeroes => Err("it is not compressed".into()),
        }
    }

    /// Fills `buf` with what follows `skip` bytes after the beginning of a page of a swap
    /// area, page by page.
    pub(in crate::linux) fn read_compressed(
        &self,
        (area, page): (u8, u64),
        skip: u64,
        buf: &mut [u8],
    ) -> Result<(), String> {
        let (mut at, mut rest) = (skip, buf);
        while !rest.is_empty() {
            let bytes = self.compressed_page(area, page.wrapping_add(at / PAGE_SIZE))?;
            let start = usize::try_from(at % PAGE_SIZE).unwrap_or(0);
            let from = bytes.get(start..).unwrap_or_default();
            let len = from.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(len);
            head.copy_from_slice(from.get(..len).unwrap_or_default());
            (at, rest) = (at.saturating_add(len as u64), tail);
        }
        Ok(())
    }
}
