//! The debugger data block (`KDDEBUGGER_DATA64`): in the open, or encoded as
//! 64-bit Windows 8 and later keep it while no debugger is attached. 32-bit kernels
//! lead to it (`version`); elsewhere it is searched for.

use vmss2core_mem::{Found, Gva};

use super::image::MAX_LEN;
use super::view::{View, element};
use super::{Kdbg, KdbgEncoding, KernelImage, list, pe};

mod code;
pub mod fields;
mod keys;
mod physical;
mod places;
#[cfg(test)]
mod tests;
mod version;

use code::{Distances, TAG};
pub(super) use physical::scan_memory;
use places::Place;
pub(super) use version::VersionBlock;

/// How many blocks are looked at, and how many windows for the image of zero.
const MAX_BLOCKS: u32 = 1 << 16;
const MAX_WINDOWS: u32 = 1 << 20;
/// Elements of the list of debugger data that are looked at: components of the
/// kernel may add blocks of their own.
const MAX_LISTED: usize = 64;
const WINDOW_LEN: usize = code::WINDOW * 8;

/// The block that the list of a version block has.
pub(super) fn of_version(
    view: &View,
    image: Option<&KernelImage>,
    version: &Found<VersionBlock>,
) -> Option<Found<Kdbg>> {
    let search = Search { view, image };
    let listed = list::walk(view, version.value.list, MAX_LISTED).entries;
    let blocks = listed.into_iter().filter_map(|gva| search.plain_at(gva));
    let found = { blocks }.find(|kdbg| search.is_sound(kdbg))?;
    Some(Found::new(found, format!("list of debugger data ({})", version.how)))
}

/// The block: at the address that the user gave, else in the kernel's data;
/// without an image, in what is mapped where kernels are.
pub(super) fn find(
    view: &View,
    image: Option<&KernelImage>,
    given: Option<Gva>,
) -> Option<Found<Kdbg>> {
    let search = Search { view, image };
    if let Some(gva) = given {
        return search.given(gva);
    }
    places::tiers(view, image).iter().find_map(|tier| {
        search.plain(tier).or_else(|| match image {
            Some(image) => search.encoded_for(image.base, tier),
            None => search.encoded(tier),
        })
    })
}

struct Search<'a> {
    view: &'a View,
    image: Option<&'a KernelImage>,
}

impl Search<'_> {
    /// A block in the open; better one that the list of blocks leads back to.
    fn plain(&self, places: &[Place]) -> Option<Found<Kdbg>> {
        let mut left = MAX_BLOCKS;
        let mut other = None;
        let linked = places::search(self.view, places, &mut |start, bytes| {
            memchr::memmem::find_iter(bytes, b"KDBG").find_map(|tag| {
                let gva = start.checked_add((tag as u64).checked_sub(fields::OWNER_TAG as u64)?)?;
                left = left.checked_sub(1)?;
                let kdbg = self.plain_at(gva).filter(|kdbg| self.is_sound(kdbg))?;
                if kdbg.is_linked(self.view) {
                    return Some(kdbg);
                }
                other.get_or_insert(kdbg);
                None
            })
        });
        linked.or(other).map(|kdbg| Found::new(kdbg, "search of the kernel's data for its tag"))
    }

    /// The block in the open at an address.
    fn plain_at(&self, gva: Gva) -> Option<Kdbg> {
        let number = |offset: usize| self.view.uint(gva.checked_add(offset as u64)?, 4);
        let len = u32::try_from(number(fields::SIZE)?).ok()?;
        // A compiler may align its 64-bit members as 32-bit ones.
        let is_block = gva.0.is_multiple_of(self.view.word_len())
            && number(fields::OWNER_TAG)? == u64::from(TAG)
            && code::is_length(len);
        let plain = self.view.bytes(gva, usize::try_from(len).ok().filter(|_| is_block)?)?;
        Some(Kdbg { gva, plain, encoding: None })
    }

    /// An encoded block of a kernel whose base is known. Only 64-bit ones encode.
    fn encoded_for(&self, base: Gva, places: &[Place]) -> Option<Found<Kdbg>> {
        if self.view.word_len() != 8 {
            return None;
        }
        let distances = Distances::of(base.0);
        let found = places::search(self.view, places, &mut |start, bytes| {
            let words = code::words(bytes);
            (0..words.len()).step_by(2).find_map(|at| {
                let [_, _, tag, encoded] = *words.get(at..)?.first_chunk()?;
                if !distances.allow(tag, encoded) {
                    return None;
                }
                let encoding = code::by_known_word(encoded, base.0, tag)?;
                self.sound_at(element(start, at as u64, 8)?, encoding)
            })
        });
        found
            .map(|kdbg| Found::new(kdbg, "search of the kernel's data for an encoding of its base"))
    }

    /// An encoded block of a kernel of which nothing is known: the commonest word
    /// of a block is the image of zero.
    fn encoded(&self, places: &[Place]) -> Option<Found<Kdbg>> {
        if self.view.word_len() != 8 {
            return None;
        }
        let mut left = MAX_WINDOWS;
        let found = places::search(self.view, places, &mut |start, bytes| {
            let words = code::words(bytes);
            (0..words.len()).step_by(2).find_map(|at| {
                let window = words.get(at..)?;
                let window = window.get(..code::WINDOW).unwrap_or(window);
                if !code::may_begin(window) {
                    return None;
                }
                left = left.checked_sub(1)?;
                let zero = code::image_of_zero(window)?;
                let encoding = code::by_known_word(zero, 0, *window.get(2)?)?;
                self.sound_at(element(start, at as u64, 8)?, encoding)
            })
        });
        found.map(|kdbg| Found::new(kdbg, "search of mapped data for an encoding of zero"))
    }

    fn sound_at(&self, gva: Gva, encoding: KdbgEncoding) -> Option<Kdbg> {
        let kdbg = self.decoded(gva, encoding).filter(|kdbg| self.is_sound(kdbg))?;
        Some(self.with_keys(kdbg, encoding))
    }

    /// The decoded block at an address.
    fn decoded(&self, gva: Gva, encoding: KdbgEncoding) -> Option<Kdbg> {
        let word = self.view.uint(gva.checked_add(fields::OWNER_TAG as u64)?, 8)?;
        let decode = |word| code::decode(word, encoding.rotation, encoding.constant);
        let len = u32::try_from(decode(word) >> 32).ok().filter(|len| code::is_length(*len))?;
        let stored = self.view.bytes(gva, usize::try_from(len).ok()?)?;
        let plain = code::words(&stored).into_iter().flat_map(|word| decode(word).to_le_bytes());
        Some(Kdbg { gva, plain: plain.collect(), encoding: Some(encoding) })
    }

    fn with_keys(&self, kdbg: Kdbg, encoding: KdbgEncoding) -> Kdbg {
        let keys = kdbg.kern_base(self.view).and_then(|base| {
            let image = self.image.filter(|image| image.base == base);
            keys::find(self.view, &places::variables(self.view, image, base), encoding)
        });
        Kdbg { encoding: Some(KdbgEncoding { keys, ..encoding }), ..kdbg }
    }

    /// The block at the address that the user gave, which is believed.
    fn given(&self, gva: Gva) -> Option<Found<Kdbg>> {
        let how = format!("address {gva}, as given");
        if let Some(kdbg) = self.plain_at(gva) {
            return Some(Found::new(kdbg, how));
        }
        let words = code::words(&self.view.prefix(gva, WINDOW_LEN));
        let [_, _, tag, base] = *words.first_chunk()?;
        let by_base = self.image.and_then(|image| code::by_known_word(base, image.base.0, tag));
        let by_zero = || code::by_known_word(code::image_of_zero(&words)?, 0, tag);
        let encoding = by_base.or_else(by_zero)?;
        let kdbg = self.decoded(gva, encoding)?;
        Some(Found::new(self.with_keys(kdbg, encoding), how))
    }

    /// Whether the block is that of this kernel as it is now, no old copy.
    fn is_sound(&self, kdbg: &Kdbg) -> bool {
        let base = kdbg.kern_base(self.view);
        base.is_some_and(|base| {
            self.image.is_none_or(|image| image.base == base)
                && kdbg.fits(self.view, self.image, base)
        })
    }
}

/// Fields of every Windows that hold addresses in the kernel's image.
const IN_IMAGE: [usize; 4] =
    [fields::MODULE_LIST, fields::PROCESS_HEAD, fields::BUGCHECK_DATA, fields::PROCESSOR_BLOCK];

impl Kdbg {
    fn address(&self, view: &View, offset: usize) -> Option<Gva> {
        self.pointer(offset, view.word_len() == 8).filter(|gva| view.is_kernel(*gva))
    }

    /// `KernBase`, if it can be one.
    pub(super) fn kern_base(&self, view: &View) -> Option<Gva> {
        self.address(view, fields::KERN_BASE).filter(|base| base.page_offset() == 0)
    }

    /// `DllBase` and `SizeOfImage` of the first loaded module, which is the kernel.
    /// The entry begins with three lists.
    pub(super) fn first_module(&self, view: &View) -> Option<(Gva, u32)> {
        let head = self.address(view, fields::MODULE_LIST)?;
        let entry = view.pointer(head).filter(|entry| *entry != head)?;
        let base = view.pointer(element(entry, 6, view.word_len())?)?;
        let size = view.uint(element(entry, 8, view.word_len())?, 4)?;
        Some((base, u32::try_from(size).ok()?))
    }

    /// Both links of the list of blocks. They are as long as the kernel's own
    /// pointers: 32-bit kernels have zero where the second link of 64-bit ones is.
    fn links(&self, view: &View) -> Option<[Gva; 2]> {
        let is_64_bit = view.word_len() == 8;
        let links = if is_64_bit {
            [self.field(0)?, self.field(8)?]
        } else {
            [self.u32(0)?.into(), self.u32(4)?.into()]
        };
        let links = links.map(Gva);
        links.iter().all(|link| view.is_kernel(*link) && link.0.is_multiple_of(4)).then_some(links)
    }

    /// Whether the list of blocks leads back to this one.
    fn is_linked(&self, view: &View) -> bool {
        let links = self.links(view);
        links.and_then(|[head, _]| view.pointer(head)) == Some(self.gva)
    }

    /// Whether what the block says agrees with the kernel at `base`.
    fn fits(&self, view: &View, image: Option<&KernelImage>, base: Gva) -> bool {
        let size = image.map_or(0, |image| u64::from(image.size_bytes));
        let len = if size == 0 { MAX_LEN } else { size };
        let inside = |offset: &usize| {
            let address = self.address(view, *offset);
            address.is_some_and(|at| at.0.checked_sub(base.0).is_some_and(|rva| rva < len))
        };
        self.links(view).is_some()
            && IN_IMAGE.iter().all(inside)
            && view.uint(base, 2).is_none_or(|start| start == u64::from(pe::MZ))
            && self.first_module(view).is_none_or(|(dll, _)| dll == base)
    }
}
