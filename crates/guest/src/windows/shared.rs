//! `KUSER_SHARED_DATA`: a page that every Windows has at the same address, and
//! the proof that page tables are a Windows kernel's.
//!
//! Offsets are the same in all versions, 32 and 64 bits: `KUSER_SHARED_DATA` of
//! the public windows-sys definitions (`Win32::System::Kernel`).

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::Gva;

use super::SharedData;

const KERNEL_64: Gva = Gva(0xffff_f780_0000_0000);
const KERNEL_32: Gva = Gva(0xffdf_0000);
/// Where programs see it, also under page tables that hide the kernel.
const USER: Gva = Gva(0x7ffe_0000);

const INTERRUPT_TIME: usize = 0x8;
const SYSTEM_TIME: usize = 0x14;
const TIME_ZONE_BIAS: usize = 0x20;
const SYSTEM_ROOT: usize = 0x30;
/// 260 units of UTF-16.
const SYSTEM_ROOT_LEN: usize = 520;
const BUILD: usize = 0x260;
const PRODUCT: usize = 0x264;
const MAJOR: usize = 0x26c;
const MINOR: usize = 0x270;
const BOOT_ID: usize = 0x2c4;
const SUITE: usize = 0x2d0;
const PROCESSORS: usize = 0x3c0;
const LEN: usize = 0x3c4;

/// The years 2001 and 2101 in 100 ns since 1601.
const PLAUSIBLE_TIME: std::ops::Range<u64> = 126_227_808_000_000_000..157_784_544_000_000_000;

/// The page at the kernel's address in these page tables; `None` if they are not
/// those of a Windows kernel. Pages in transition prove nothing here.
pub(super) fn of_kernel(space: &AddressSpace) -> Option<SharedData> {
    at(space, if space.mode().is_64_bit() { KERNEL_64 } else { KERNEL_32 })
}

/// The page at the address that programs see.
pub(super) fn of_program(space: &AddressSpace) -> Option<SharedData> {
    at(space, USER)
}

fn at(space: &AddressSpace, gva: Gva) -> Option<SharedData> {
    let mut page = [0; LEN];
    space.read(gva, &mut page).ok()?;
    parse(&Page(&page))
}

fn parse(page: &Page<'_>) -> Option<SharedData> {
    let (major, minor) = (page.u32(MAJOR)?, page.u32(MINOR)?);
    let product = page.u32(PRODUCT)?;
    let system_time = page.time(SYSTEM_TIME)?;
    let system_root = page.system_root()?;
    let is_sound = matches!(major, 5 | 6 | 10)
        && (1..=3).contains(&product)
        && PLAUSIBLE_TIME.contains(&system_time);
    is_sound.then_some(())?;
    let is_10 = major >= 10;
    Some(SharedData {
        system_root,
        major,
        minor,
        build: page.u32(BUILD).filter(|_| is_10).map(|build| build & 0xffff),
        product,
        suite: page.u32(SUITE)?,
        system_time,
        interrupt_time: page.time(INTERRUPT_TIME).unwrap_or(0),
        time_zone_bias: page.time(TIME_ZONE_BIAS).unwrap_or(0).cast_signed(),
        boot_id: page.u32(BOOT_ID).filter(|_| is_10),
        processors: page.u32(PROCESSORS).filter(|_| (major, minor) >= (6, 1)),
    })
}

struct Page<'a>(&'a [u8; LEN]);

impl Page<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    /// A `KSYSTEM_TIME`, whose high half is there twice: they differ while it is
    /// written.
    fn time(&self, at: usize) -> Option<u64> {
        let (words, _) = self.0.get(at..)?.first_chunk::<12>()?.as_chunks();
        let [low, high, again] = *words.first_chunk()?;
        let [low, high, again] = [low, high, again].map(u32::from_le_bytes);
        (high == again).then_some(u64::from(high) << 32 | u64::from(low))
    }

    /// A path such as `C:\Windows`, ended by a zero.
    fn system_root(&self) -> Option<String> {
        let bytes = self.0.get(SYSTEM_ROOT..)?.get(..SYSTEM_ROOT_LEN)?;
        let units = bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let text = String::from_utf16(&units).ok()?;
        let mut letters = text.chars();
        let drive = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic());
        (drive && letters.next() == Some(':') && letters.next() == Some('\\')).then_some(text)
    }
}
