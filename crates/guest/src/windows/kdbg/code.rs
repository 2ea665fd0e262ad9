//! How Windows encodes its debugger data, taken apart without its keys.
//!
//! Word by word `D = bswap(rotl(E ^ never, never & 63) ^ flag) ^ always`, where
//! `flag` is the address of `KdpDataBlockEncoded`. Rotating and swapping keep XOR,
//! so `D = bswap(rotl(E, n)) ^ C` for one `n` of 64 and one `C`: a single known
//! word gives `C` for each `n`, and the block's tag tells the right one.

use super::super::KdbgEncoding;

/// `KDBG` as a number.
pub(super) const TAG: u32 = 0x4742_444b;
/// Words of a block that are looked at where its length is not known: those of
/// the shortest one that is encoded.
pub(super) const WINDOW: usize = 0x360 / 8;

/// Whether a block may have this length.
pub(super) fn is_length(len: u32) -> bool {
    (0x208..=0x600).contains(&len) && len.is_multiple_of(8)
}

/// A word rotated and swapped.
fn turned(word: u64, rotation: u32) -> u64 {
    word.rotate_left(rotation).swap_bytes()
}

/// A word as a debugger wants it.
pub(super) fn decode(word: u64, rotation: u32, constant: u64) -> u64 {
    turned(word, rotation) ^ constant
}

/// Rotation and constant by a word whose plain value is known; `tag` is the
/// encoded word with tag and length.
pub(super) fn by_known_word(encoded: u64, plain: u64, tag: u64) -> Option<KdbgEncoding> {
    // The constant falls out of the difference of the two words.
    let difference = encoded ^ tag;
    (0..64).find_map(|rotation| {
        let [low, high] = halves(turned(difference, rotation) ^ plain);
        (low == TAG && is_length(high)).then(|| KdbgEncoding {
            rotation,
            constant: turned(encoded, rotation) ^ plain,
            keys: None,
        })
    })
}

fn halves(word: u64) -> [u32; 2] {
    [word & 0xffff_ffff, word >> 32].map(|half| u32::try_from(half).unwrap_or_default())
}

/// How many bits differ between the first words of tag and base, for every length:
/// encoding does not change that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distances(u128);

impl Distances {
    /// Those for a kernel at this base.
    pub(super) fn of(base: u64) -> Self {
        let lengths = (0x208..=0x600_u64).step_by(8);
        Self(
            lengths
                .fold(0, |all, len| all | 1 << ((len << 32 | u64::from(TAG)) ^ base).count_ones()),
        )
    }

    /// Whether these two encoded words may be tag and base.
    pub(super) fn allow(self, tag: u64, base: u64) -> bool {
        self.0 >> (tag ^ base).count_ones() & 1 == 1
    }
}

/// Whether a block may begin with these words, if nothing is known of it: it is
/// alone in the list of blocks, or the page lists that newer Windows leaves empty
/// show.
pub(super) fn may_begin(words: &[u64]) -> bool {
    let [next, previous, tag, base, ..] = words else { return false };
    let lists = words.get(0x180 / 8..=0x1a0 / 8).unwrap_or_default();
    let alone = next == previous && *next != 0;
    let differ = tag != base && next != tag;
    differ
        && (alone
            || lists.first().is_some_and(|list| *list != 0 && list != tag && all_equal(lists)))
}

fn all_equal(words: &[u64]) -> bool {
    words.windows(2).all(|pair| matches!(pair, [a, b] if a == b))
}

/// The commonest of these words, if it is common enough to be the image of zero.
pub(super) fn image_of_zero(words: &[u64]) -> Option<u64> {
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a == b);
    let longest = runs.max_by_key(|run| run.len())?;
    (longest.len() >= words.len() / 8).then(|| longest.first().copied())?
}

/// Little-endian words.
pub(super) fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}
