//! The ring of a kernel that does not say where it is or how it is made, found by what it
//! holds.
//!
//! `struct printk_ringbuffer` is a variable of the kernel: sizes, pointers to the arrays, the
//! numbers of the newest and the oldest descriptor. Each of these has its number, as the text
//! that goes with it has, and their messages are counted one by one.
//!
//! There are two where the kernel made a larger one at boot (`setup_log_buf`): the first keeps
//! what was logged until then. `prb` points at the one in use.

use vmss2core_mem::{Gva, Sums, little_endian};

use super::{Array, InfoShape, Log, Ring, Windows};
use crate::linux::log::variables::Variables;
use crate::linux::{Kernel, arch};

/// Words before the ring of texts: later kernels remember one descriptor more.
const BEFORE_TEXTS: [usize; 2] = [5, 6];
/// Words that are looked at.
const WORDS: usize = 10;
/// Descriptors of the smallest and the largest ring, as a power of two.
const COUNT_BITS: std::ops::RangeInclusive<u64> = 4..=24;
/// Bytes of its texts.
const TEXT_BITS: std::ops::RangeInclusive<u64> = 8..=31;
/// Fewer messages are no log.
const FEWEST: usize = 8;
/// Descriptors that are looked at, and messages that show how the ring is made.
const LOOKED_AT: usize = 256;
const SHOWN: usize = 32;
/// Bytes that a `struct printk_info` can have.
const INFO_LENS: std::ops::Range<u64> = 24..512;

/// The messages of the ring in use.
pub(in crate::linux::log) fn find(kernel: &Kernel, variables: &Variables) -> Option<Log> {
    let mut windows = Windows::new(kernel);
    let mut rings = Vec::new();
    for (start, bytes) in &variables.pieces {
        each_possible(bytes, variables.word_len, &mut |into, words| {
            let ring = BEFORE_TEXTS
                .into_iter()
                .find_map(|texts| Ring::of(kernel, words, texts)?.proven(&mut windows));
            rings.extend(ring.map(|ring| (Gva(start.plus(into)), ring)));
        });
    }
    let (at, ring) = in_use(kernel, variables, rings)?;
    let how = format!("ring buffer at {at}, which a variable of the kernel leads to");
    Some(ring.log(kernel, how))
}

/// Shows all words that follow what can be the size of a ring, and where it lies.
fn each_possible(bytes: &[u8], word_len: u64, visit: &mut dyn FnMut(u64, &[u64; WORDS])) {
    let Ok(len) = usize::try_from(word_len) else { return };
    let firsts = (0..).step_by(len).zip(bytes.chunks_exact(len).map(little_endian));
    for (at, _) in firsts.filter(|(_, first)| COUNT_BITS.contains(first)) {
        let mut words = [0; WORDS];
        let rest = bytes.get(at..).unwrap_or_default().chunks_exact(len).map(little_endian);
        words.iter_mut().zip(rest).for_each(|(word, value)| *word = value);
        visit(at as u64, &words);
    }
}

/// The ring that `prb` points at: by its name, or as nothing points at one that is no more used.
fn in_use(
    kernel: &Kernel,
    variables: &Variables,
    mut rings: Vec<(Gva, Ring)>,
) -> Option<(Gva, Ring)> {
    let named = kernel.symbol("prb").and_then(|at| kernel.read_pointer(at.value, "prb")).ok();
    rings.retain(|(at, _)| match named {
        Some(named) => *at == named,
        None => variables.words().any(|word| word == at.0),
    });
    let found = rings.pop();
    // Which of two is in use is not known.
    found.filter(|_| rings.is_empty())
}

impl Ring {
    /// As these words have it, if they can be a ring whose texts are described from that word on.
    fn of(kernel: &Kernel, words: &[u64; WORDS], texts: usize) -> Option<Self> {
        let &[count_bits, descriptors, infos, head, tail, ..] = words;
        let &[text_bits, text, text_head, text_tail] = words.get(texts..)?.first_chunk()?;
        let word = kernel.word_len();
        let half = arch::kernel_half(kernel.space().mode());
        let are_pointers = [descriptors, infos, text]
            .into_iter()
            .all(|at| half.contains(&at) && at.is_multiple_of(4));
        let ring = Self {
            word,
            // State, and where its text begins and ends.
            descriptors: Array { at: Gva(descriptors), item_len: word.times(3) },
            infos: Array { at: Gva(infos), item_len: 0 },
            count_bits: u32::try_from(count_bits).ok()?,
            state_offset: 0,
            begin_offset: word,
            next_offset: word.times(2),
            text: Gva(text),
            text_bits: u32::try_from(text_bits).ok().filter(|_| TEXT_BITS.contains(&text_bits))?,
            info: InfoShape { time: 8, text_len: 16, caller: Some(20) },
            tail,
            head,
        };
        let mask = ring.id_mask();
        let in_use = head.wrapping_sub(tail) & mask;
        let text_len = text_head.wrapping_sub(text_tail) & (mask << 2 | 3);
        (are_pointers
            && head | tail <= mask
            && in_use.unbounded_shr(ring.count_bits) == 0
            && text_len <= 1_u64.unbounded_shl(ring.text_bits))
        .then_some(ring)
    }

    /// The ring, if what it leads to says that it is one.
    fn proven(self, windows: &mut Windows<'_>) -> Option<Self> {
        let descriptors = &mut windows.descriptors;
        let first = self.ids().take(LOOKED_AT);
        let ids = first.filter(|id| self.is_complete(*id, descriptors)).take(SHOWN);
        let ids: Vec<u64> = ids.collect();
        let len = INFO_LENS.step_by(4).find(|len| self.counts_on(&ids, *len, windows))?;
        let ring = Self { infos: Array { item_len: len, ..self.infos }, ..self };
        let whole = ids.iter().filter(|id| ring.record(**id, windows).is_ok()).count();
        (whole >= FEWEST && whole.saturating_mul(2) >= ids.len()).then_some(ring)
    }

    /// Whether messages of so many bytes are counted as their descriptors are.
    fn counts_on(&self, ids: &[u64], len: u64, windows: &mut Windows<'_>) -> bool {
        let infos = Array { item_len: len, ..self.infos };
        let mut ahead = ids.iter().map(|id| {
            let number = windows.infos.uint(infos.item(self.index(*id)), 8)?;
            Some(number.wrapping_sub(*id) & self.id_mask())
        });
        let first = ahead.next().flatten();
        ids.len() >= FEWEST && first.is_some() && ahead.all(|other| other == first)
    }
}
