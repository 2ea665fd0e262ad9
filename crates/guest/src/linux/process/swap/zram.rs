//! zram: a swap device in memory, whose pages are compressed (`drivers/block/zram`).

use vmss2core_mem::{Gva, PAGE_SIZE, low_bits};

use super::codec::{Codec, Page};
use super::types::{self, ModuleTypes};
use super::zsmalloc::Pool;
use crate::linux::{Kernel, Member};

/// `ZRAM_MAX_COMPS`.
const MOST_METHODS: u64 = 4;
/// `CRYPTO_MAX_ALG_NAME`.
const LONGEST_NAME: u64 = 128;
/// The numbers of flags that an entry of the table may have; the lowest is how many bits
/// the length of an object has.
const FLAGS: [&str; 5] = ["ZRAM_LOCK", "ZRAM_SAME", "ZRAM_ENTRY_LOCK", "ZRAM_WB", "ZRAM_HUGE"];

/// A device.
#[derive(Debug)]
pub(super) struct Zram {
    table: u64,
    pages: u64,
    entry_len: u64,
    handle: Member,
    flags: Member,
    len_bits: u32,
    same: u64,
    huge: Option<u64>,
    written_back: Option<u64>,
    /// Number of the lower of two bits with the number of the method.
    method_bit: Option<u64>,
    methods: Vec<Codec>,
    pool: Pool,
}

/// Content of an entry of the table.
pub(super) enum Slot {
    /// A page.
    Page(Box<Page>),
    /// It holds nothing.
    Empty,
    /// A page that cannot be read, and why.
    Unreadable(String),
}

impl Zram {
    /// The device that a `struct zram` is of; else why it cannot be read.
    pub(super) fn of(kernel: &Kernel, zram: Gva) -> Result<Self, String> {
        let unknown = |what: &str| format!("{what} of the zram driver is not known");
        let types =
            ModuleTypes::of(kernel, &["zram", "zsmalloc"]).ok_or_else(|| unknown("the layout"))?;
        let member = |structure: &str, path: &str| {
            types.member(structure, path).ok_or_else(|| unknown(&format!("{structure}.{path}")))
        };
        let value = |path: &str| {
            let member = member("zram", path)?;
            types::read(kernel, zram.0, &member).ok_or_else(|| format!("zram.{path} is unreadable"))
        };
        let flag = |name: &str| types.enumerator(name);
        let len_bits = FLAGS.iter().filter_map(|name| flag(name)).min();
        let pool = Gva(value("mem_pool")?);
        Ok(Self {
            table: value("table")?,
            pages: value("disksize")? / PAGE_SIZE,
            entry_len: types
                .size_of("zram_table_entry")
                .ok_or_else(|| unknown("the size of zram_table_entry"))?,
            handle: member("zram_table_entry", "handle|element")?,
            flags: member("zram_table_entry", "flags|attr.flags|value")?,
            len_bits: len_bits
                .and_then(|bits| u32::try_from(bits).ok())
                .filter(|bits| *bits < 32)
                .ok_or_else(|| unknown("ZRAM_SAME"))?,
            same: flag("ZRAM_SAME").ok_or_else(|| unknown("ZRAM_SAME"))?,
            huge: flag("ZRAM_HUGE"),
            written_back: flag("ZRAM_WB"),
            method_bit: flag("ZRAM_COMP_PRIORITY_BIT1"),
            methods: methods(kernel, &types, zram)?,
            pool: Pool::of(kernel, &types, pool).ok_or_else(|| unknown("the allocator"))?,
        })
    }

    /// The device's content for a page.
    pub(super) fn slot(&self, kernel: &Kernel, page: u64) -> Slot {
        let unreadable = || Slot::Unreadable("its entry in the zram device is unreadable".into());
        if page >= self.pages {
            return unreadable();
        }
        let at = page.checked_mul(self.entry_len).and_then(|skip| self.table.checked_add(skip));
        let entry = at.and_then(|at| {
            let handle = types::read(kernel, at, &self.handle)?;
            Some((handle, types::read(kernel, at, &self.flags)?))
        });
        let Some((handle, flags)) = entry else { return unreadable() };
        let above = |bit: Option<u64>| {
            let bit = bit.and_then(|bit| u32::try_from(bit).ok());
            bit.and_then(|bit| flags.checked_shr(bit)).unwrap_or(0)
        };
        let has = |bit: Option<u64>| above(bit) & 1 == 1;
        if has(self.written_back) {
            return Slot::Unreadable("zram has written it to another device".into());
        }
        if has(Some(self.same)) {
            return Slot::Page(filled(handle));
        }
        if handle == 0 {
            return Slot::Empty;
        }
        let method = above(self.method_bit) & 3;
        let len = flags & low_bits(self.len_bits);
        let found = self.stored(kernel, handle, (len, has(self.huge)), method);
        found.map_or_else(Slot::Unreadable, Slot::Page)
    }

    fn stored(
        &self,
        kernel: &Kernel,
        handle: u64,
        (len, is_huge): (u64, bool),
        method: u64,
    ) -> Result<Box<Page>, String> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.pool.read(kernel, handle, len);
        let bytes = bytes.ok_or("its object in the zram device makes no sense")?;
        if is_huge || len == size_of::<Page>() {
            let page: Result<Box<Page>, _> = bytes.into_boxed_slice().try_into();
            return page.map_err(|_| "its length in the zram device makes no sense".into());
        }
        let method = usize::try_from(method).ok().and_then(|method| self.methods.get(method));
        match method.ok_or("its compression in the zram device is not known")? {
            Codec::Other(name) => {
                Err(format!("in the zram device, compressed with {name}, which is not read"))
            }
            codec => codec
                .decompress(&bytes)
                .ok_or_else(|| "its compressed bytes in the zram device make no sense".into()),
        }
    }
}

/// A page that has the same word again and again.
fn filled(word: u64) -> Box<Page> {
    let mut page = Box::new([0; size_of::<Page>()]);
    for part in page.chunks_exact_mut(8) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    page
}

/// The methods that the device compresses with, by number: one until 6.1, four since.
fn methods(kernel: &Kernel, types: &ModuleTypes, zram: Gva) -> Result<Vec<Codec>, String> {
    let text = |at: Gva| {
        let mut bytes = Vec::new();
        for skip in 0..LONGEST_NAME {
            let at = Gva(at.0.checked_add(skip)?);
            match u8::try_from(kernel.read_uint(at, 1, "zram").ok()?).ok()? {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).ok()
    };
    let unknown = || "the compression of the zram device is not known".to_owned();
    if let Some(own) = types.member("zram", "compressor") {
        let name = text(Gva(zram.0.wrapping_add(own.offset_bytes))).ok_or_else(unknown)?;
        return Ok(vec![Codec::of(&name)]);
    }
    let names = types.member("zram", "comp_algs").ok_or_else(unknown)?;
    let count = names.size_bytes.map_or(1, |size| (size / 8).clamp(1, MOST_METHODS));
    let method = |index: u64| {
        let at = zram.0.wrapping_add(names.offset_bytes).wrapping_add(index.saturating_mul(8));
        let name =
            kernel.read_pointer(Gva(at), "zram.comp_algs").ok().filter(|name| name.0 != 0)?;
        text(name)
    };
    let named = (0..count).map(|index| method(index).unwrap_or_default());
    let dictionaries = (0..count).map(|index| has_dictionary(kernel, types, zram, index));
    Ok(named
        .zip(dictionaries)
        .map(
            |(name, has)| {
                if has {
                    Codec::Other(format!("{name} and a dictionary"))
                } else {
                    Codec::of(&name)
                }
            },
        )
        .collect())
}

/// Whether a method has a dictionary (6.12), without which nothing is decompressed.
fn has_dictionary(kernel: &Kernel, types: &ModuleTypes, zram: Gva, index: u64) -> bool {
    let params = types.member("zram", "params");
    let (Some(params), Some(len)) = (params, types.size_of("zcomp_params")) else { return false };
    let Some(dict) = types.member("zcomp_params", "dict") else { return false };
    let at = zram.0.wrapping_add(params.offset_bytes).wrapping_add(index.saturating_mul(len));
    types::read(kernel, at, &dict).is_some_and(|dict| dict != 0)
}
