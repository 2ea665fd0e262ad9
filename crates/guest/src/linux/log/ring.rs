//! The ring buffer of 5.10 and later (kernel/printk/printk_ringbuffer.c).
//!
//! A descriptor has a number that never repeats in practice; its place in the
//! ring is that number modulo the ring's size. Its state is in the top two bits
//! of `state_var`, the rest of which must be the number. The text is a block in
//! another ring, which begins with the descriptor's number; a block that would
//! cross the end of the ring lies at its start instead.

use vmss2core_mem::{Found, Gva, Problem};

use super::{Caller, Log, MOST_CHARACTERS, MOST_RECORDS, Record, Shape, Window, text_of};
use crate::linux::{Kernel, LinuxError};

mod learned;

pub(super) use learned::find;

/// `desc_committed`: complete, though more may yet be added to it.
const COMMITTED: u64 = 1;
/// `desc_finalized`: complete.
const FINALIZED: u64 = 2;
/// `NO_LPOS`, later `EMPTY_LINE_LPOS`: there is no block because the text is empty.
const EMPTY: u64 = 3;

/// The ring.
struct Ring {
    word: u64,
    descriptors: Array,
    infos: Array,
    count_bits: u32,
    state_offset: u64,
    begin_offset: u64,
    next_offset: u64,
    text: Gva,
    text_bits: u32,
    info: InfoShape,
    tail: u64,
    head: u64,
}

/// Items one after the other.
struct Array {
    at: Gva,
    item_len: u64,
}

impl Array {
    fn item(&self, index: u64) -> Gva {
        Gva(self.at.0.wrapping_add(index.wrapping_mul(self.item_len)))
    }
}

/// `struct printk_info`.
struct InfoShape {
    time: u64,
    text_len: u64,
    caller: Option<u64>,
}

/// Why a record is not there.
enum Lost {
    /// It is being written, or was made free again.
    NotThere,
    /// Its text was overwritten, or it is broken.
    Torn,
}

/// Reads all records of the ring that `prb` points at.
pub(super) fn read(shape: &Shape<'_>, prb: &Found<Gva>) -> Result<Log, LinuxError> {
    let at = shape.kernel.read_pointer(prb.value, "prb")?;
    let ring = Ring::open(shape, at)?;
    Ok(ring.log(shape.kernel, format!("ring buffer at {at}, {}", prb.how)))
}

/// Parts of a ring, each read from front to back.
struct Windows<'k> {
    descriptors: Window<'k>,
    infos: Window<'k>,
    texts: Window<'k>,
}

impl<'k> Windows<'k> {
    fn new(kernel: &'k Kernel) -> Self {
        let [descriptors, infos, texts] = [(); 3].map(|()| Window::new(kernel));
        Self { descriptors, infos, texts }
    }
}

impl Ring {
    fn open(shape: &Shape<'_>, at: Gva) -> Result<Self, LinuxError> {
        const RING: &str = "prb_desc_ring";
        let descriptors = at.0.wrapping_add(shape.offset("printk_ringbuffer", "desc_ring")?);
        let texts = at.0.wrapping_add(shape.offset("printk_ringbuffer", "text_data_ring")?);
        let (descriptors, texts) = (Gva(descriptors), Gva(texts));
        let place = shape.offset("prb_desc", "text_blk_lpos")?;
        let ring = Self {
            word: shape.kernel.word_len(),
            descriptors: Array {
                at: shape.pointer(descriptors, RING, "descs")?,
                item_len: shape.size("prb_desc")?,
            },
            infos: Array {
                at: shape.pointer(descriptors, RING, "infos")?,
                item_len: shape.size("printk_info")?,
            },
            count_bits: shape.u32(descriptors, RING, "count_bits")?,
            state_offset: shape.offset("prb_desc", "state_var")?,
            begin_offset: place.wrapping_add(shape.offset("prb_data_blk_lpos", "begin")?),
            next_offset: place.wrapping_add(shape.offset("prb_data_blk_lpos", "next")?),
            text: shape.pointer(texts, "prb_data_ring", "data")?,
            text_bits: shape.u32(texts, "prb_data_ring", "size_bits")?,
            info: InfoShape {
                time: shape.offset("printk_info", "ts_nsec")?,
                text_len: shape.offset("printk_info", "text_len")?,
                caller: shape.offset("printk_info", "caller_id").ok(),
            },
            tail: shape.pointer(descriptors, RING, "tail_id")?.0,
            head: shape.pointer(descriptors, RING, "head_id")?.0,
        };
        ring.is_possible().then_some(ring).ok_or_else(|| LinuxError::Corrupt {
            what: "the kernel's log".to_owned(),
            at,
            why: "its rings have impossible sizes".to_owned(),
        })
    }

    fn is_possible(&self) -> bool {
        self.count_bits < 32 && (3..32).contains(&self.text_bits)
    }

    /// All records.
    fn log(&self, kernel: &Kernel, how: String) -> Log {
        let mut log = Log { how, ..Log::default() };
        let mut windows = Windows::new(kernel);
        let (mut torn, mut characters) = (0_u64, 0_usize);
        for id in self.ids() {
            match self.record(id, &mut windows) {
                Ok(record) => {
                    characters = characters.saturating_add(record.text.len());
                    log.records.push(record);
                }
                Err(Lost::NotThere) => {}
                Err(Lost::Torn) => torn = torn.saturating_add(1),
            }
            if characters > MOST_CHARACTERS {
                let message =
                    "the kernel's log claims more text than any log has: the rest is left out";
                log.problems.push(Problem::incomplete(message));
                break;
            }
        }
        if torn > 0 {
            let message = format!("{torn} messages of the kernel's log are torn and were left out");
            log.problems.push(Problem::incomplete(message));
        }
        log
    }

    /// Numbers of the descriptors that are in use, oldest first.
    fn ids(&self) -> impl Iterator<Item = u64> {
        let (tail, mask) = (self.tail, self.id_mask());
        let in_use = (self.head.wrapping_sub(tail) & mask).saturating_add(1);
        let count = in_use.min(1_u64.unbounded_shl(self.count_bits)).min(MOST_RECORDS);
        // Of an impossible range, the end is likelier to be right: it changes last.
        let skipped = in_use.saturating_sub(count);
        (0..count).map(move |index| tail.wrapping_add(skipped).wrapping_add(index) & mask)
    }

    /// All bits of a word but the two of the state.
    fn id_mask(&self) -> u64 {
        if self.word == 8 { u64::MAX >> 2 } else { u64::from(u32::MAX >> 2) }
    }

    /// The place of a descriptor in the ring.
    fn index(&self, id: u64) -> u64 {
        id & !u64::MAX.unbounded_shl(self.count_bits)
    }

    /// A word of a descriptor.
    fn word(&self, id: u64, offset: u64, descriptors: &mut Window<'_>) -> Option<u64> {
        let at = self.descriptors.item(self.index(id));
        descriptors.uint(Gva(at.0.wrapping_add(offset)), self.word)
    }

    /// The bits of a descriptor's state; `None` if it has another number.
    fn state(&self, id: u64, descriptors: &mut Window<'_>) -> Option<u64> {
        let state = self.word(id, self.state_offset, descriptors)?;
        let bits = if self.word == 8 { state >> 62 } else { state >> 30 };
        (state & self.id_mask() == id).then_some(bits)
    }

    fn is_complete(&self, id: u64, descriptors: &mut Window<'_>) -> bool {
        self.state(id, descriptors).is_some_and(|bits| [COMMITTED, FINALIZED].contains(&bits))
    }

    fn record(&self, id: u64, windows: &mut Windows<'_>) -> Result<Record, Lost> {
        let Windows { descriptors, infos, texts } = windows;
        if self.word(id, self.state_offset, descriptors).is_none() {
            return Err(Lost::Torn);
        }
        if !self.is_complete(id, descriptors) {
            return Err(Lost::NotThere);
        }
        let mut word = |offset: u64| self.word(id, offset, descriptors).ok_or(Lost::Torn);
        let block = (word(self.begin_offset)?, word(self.next_offset)?);
        let mut record = self.info(self.infos.item(self.index(id)), infos).ok_or(Lost::Torn)?;
        record.text = self.text(id, block, usize::from(record.text_len), texts)?;
        Ok(record.into())
    }

    fn info(&self, at: Gva, window: &mut Window<'_>) -> Option<Info> {
        let mut uint = |offset: u64, len| window.uint(Gva(at.0.wrapping_add(offset)), len);
        // text_len: u16, facility: u8, flags: 5 bits, level: 3 bits.
        let packed = uint(self.info.text_len, 4)?;
        let [low, high, facility, level] = u32::try_from(packed).ok()?.to_le_bytes();
        let caller = self.info.caller.and_then(|offset| uint(offset, 4));
        Some(Info {
            time_ns: uint(self.info.time, 8)?,
            text_len: u16::from_le_bytes([low, high]),
            facility,
            level: level >> 5,
            caller: caller.and_then(|id| u32::try_from(id).ok()).map(Caller::of),
            text: String::new(),
        })
    }

    /// The text of the block from `begin` to `next`.
    fn text(
        &self,
        id: u64,
        (begin, next): (u64, u64),
        len: usize,
        window: &mut Window<'_>,
    ) -> Result<String, Lost> {
        if begin & next & 1 != 0 {
            let is_empty = (begin, next) == (EMPTY, EMPTY);
            return if is_empty { Ok(String::new()) } else { Err(Lost::NotThere) };
        }
        let size = 1_u64.unbounded_shl(self.text_bits);
        let (start, end) = (begin & size.saturating_sub(1), next & size.saturating_sub(1));
        let wraps = begin >> self.text_bits != next >> self.text_bits && end != 0;
        let (start, end) = match (wraps, end) {
            (true, end) => (0, end),
            (false, 0) => (start, size),
            (false, end) => (start, end),
        };
        let block_len = end.checked_sub(start).and_then(|len| len.checked_sub(self.word));
        let block_len = usize::try_from(block_len.ok_or(Lost::Torn)?).unwrap_or(usize::MAX);
        let at = self.text.0.wrapping_add(start);
        if window.uint(Gva(at), self.word).ok_or(Lost::Torn)? & self.id_mask() != id {
            return Err(Lost::Torn);
        }
        let text = window.get(Gva(at.wrapping_add(self.word)), len.min(block_len));
        text.map(text_of).ok_or(Lost::Torn)
    }
}

/// `struct printk_info`, and the text that goes with it.
struct Info {
    time_ns: u64,
    text_len: u16,
    facility: u8,
    level: u8,
    caller: Option<Caller>,
    text: String,
}

impl From<Info> for Record {
    fn from(info: Info) -> Self {
        Self {
            time_ns: Some(info.time_ns),
            level: Some(info.level),
            facility: Some(info.facility),
            caller: info.caller,
            text: info.text,
        }
    }
}
