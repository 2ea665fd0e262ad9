//! Logs that no symbol names.

use std::fmt::Write as _;

use super::{
    DESCRIPTORS, FINALIZED, INFOS, MEMORY, Memory, RING, TEXT, TEXT_BITS, VARIABLES, texts,
};
use crate::linux::log::Log;

/// Memory of a kernel that names nothing, its variables and log from `MEMORY` on.
fn found(memory: Memory) -> Option<Log> {
    use crate::linux::{BetterSources, Kernel};
    use crate::{Facts, KernelText, LinuxFacts};
    use std::sync::Arc;
    use vmss2core_machine::Checkpoint;
    use vmss2core_machine::paging::Root;
    use vmss2core_machine::x86::modes;
    use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

    // One large page maps the kernel where it is.
    const DIRECTORY: u64 = 0x1000;
    let mut directory = vec![0; 0x1000];
    directory[..4].copy_from_slice(&0x83_u32.to_le_bytes());
    directory[4 * 768..4 * 769].copy_from_slice(&0x83_u32.to_le_bytes());
    let mut guest = PhysicalMemory::new();
    guest.map(Gpa(DIRECTORY), 0x1000, Arc::new(directory), 0).unwrap();
    let len = memory.0.len() as u64;
    guest.map(Gpa(MEMORY), len, Arc::new(memory.0), 0).unwrap();
    let checkpoint = Checkpoint { memory: guest, ..Checkpoint::default() };
    let text = KernelText { start: Gva(0xc000_0000 + MEMORY), gpa: Gpa(MEMORY), len: 0x40 };
    let linux = LinuxFacts {
        text: Some(Found::new(text, "test")),
        kernel_root: Some(Found::new((modes::TWO_LEVEL_PSE, Root(Gpa(DIRECTORY))), "test")),
        ..LinuxFacts::default()
    };
    let facts = Facts::of(linux, "made");
    let kernel = Kernel::open(&checkpoint, &facts, BetterSources::default()).unwrap();
    kernel.log().ok()
}

/// Records as 3.13 of VyOS has them: 16 bytes, then text, on multiples of 4.
fn record(memory: &mut Memory, at: u64, head: u64, (seconds, text): (u64, &str)) -> u64 {
    let len = (head + text.len() as u64).next_multiple_of(4);
    memory.u64(at, seconds * 1_000_000_000);
    memory.u32(at + 8, u32::try_from(len | (text.len() as u64) << 16).unwrap());
    memory.u32(at + 12, 0xa600_0000);
    if head == 20 {
        memory.u32(at + 16, 1);
    }
    memory.put(at + head, text.as_bytes());
    at + len
}

#[test]
fn records_that_no_symbol_names_are_found_by_what_they_hold() {
    for head in [16, 20] {
        let mut memory = Memory::new();
        memory.u32(VARIABLES, u32::try_from(0xc000_0000 + TEXT).unwrap());
        let mut at = TEXT;
        for number in 0..12 {
            at = record(&mut memory, at, head, (number, &format!("message {number}")));
        }
        let log = found(memory).unwrap();
        assert_eq!(log.records.len(), 12, "{head}");
        assert_eq!(log.records[11].text, "message 11");
        assert_eq!((log.records[1].time_ns, log.records[1].level), (Some(1_000_000_000), Some(5)));
    }
}

#[test]
fn the_oldest_records_of_a_full_buffer_are_found_after_the_newest() {
    let mut memory = Memory::new();
    memory.u32(VARIABLES, u32::try_from(0xc000_0000 + TEXT).unwrap());
    let mut at = TEXT;
    for number in 0..40 {
        at = record(&mut memory, at, 16, (number, &format!("old message {number}")));
    }
    // Twelve newer ones at the start, the last of which ends inside of an old one.
    let mut at = TEXT;
    for number in 40..52 {
        at = record(&mut memory, at, 16, (number, &format!("a longer new one: {number}")));
    }
    let log = found(memory).unwrap();
    let texts = texts(&log);
    let new = texts.iter().position(|text| text.starts_with("a longer")).unwrap();
    assert_eq!(texts.len(), new + 12);
    assert_eq!(texts[new - 1], "old message 39");
    let first = 40 - new;
    assert_eq!(texts[0], format!("old message {first}"), "without a gap");
    assert!(log.problems.is_empty());
}

#[test]
fn characters_that_no_symbol_names_are_found_by_what_they_hold() {
    let mut text = String::new();
    for number in 0..20 {
        let _ = writeln!(text, "<6>[    0.0000{number:02}] a line of the log: {number}");
    }
    let mut memory = Memory::new();
    memory.put(TEXT, text.as_bytes());
    // No variable says how many characters there are.
    assert!(found(Memory(memory.0.clone())).is_none());
    memory.u32(VARIABLES, u32::try_from(text.len()).unwrap());
    let log = found(memory).unwrap();
    assert_eq!(log.records.len(), 20);
    assert_eq!(
        (log.records[3].level, log.records[3].text.as_str()),
        (Some(6), "a line of the log: 3")
    );
}

#[test]
fn a_ring_of_characters_that_is_full_begins_after_its_newest_line() {
    const LEN: usize = 4096;
    let mut written = String::new();
    for number in 0..150 {
        let _ = writeln!(written, "<6>[  {number:3}.000000] a line of the log: {number}");
    }
    let mut ring = vec![0; LEN];
    for (at, byte) in written.bytes().enumerate() {
        ring[at % LEN] = byte;
    }
    let mut memory = Memory::new();
    memory.put(TEXT, &ring);
    let end = u32::try_from(written.len()).unwrap();
    memory.u32(VARIABLES, end);
    memory.u32(VARIABLES + 4, end);
    let log = found(memory).unwrap();
    let last = log.records.last().unwrap();
    assert_eq!(last.text, "a line of the log: 149");
    let times: Vec<_> = log.records.iter().filter_map(|record| record.time_ns).collect();
    assert!(times.is_sorted() && times.len() > 80, "{times:?}");
}

/// A ring of a 32-bit kernel with 16 descriptors.
struct SmallRing {
    /// Where its structure lies, and its parts.
    place: u64,
    descriptors: u64,
    infos: u64,
    text: u64,
    info_len: u64,
    /// Words before the ring of texts.
    before_texts: u64,
}

const IN_USE: SmallRing = SmallRing {
    place: RING,
    descriptors: DESCRIPTORS,
    infos: INFOS,
    text: TEXT,
    info_len: 88,
    before_texts: 5,
};
const OUTGROWN: SmallRing = SmallRing {
    place: RING + 0x100,
    descriptors: DESCRIPTORS + 0x100,
    infos: TEXT + 0x400,
    text: TEXT + 0xa00,
    ..IN_USE
};

impl SmallRing {
    fn pointer(at: u64) -> u32 {
        u32::try_from(0xc000_0000 + at).unwrap()
    }

    /// Puts `count` messages there, of which the last 15 are kept.
    fn put(&self, memory: &mut Memory, what: &str, count: u64) {
        const DESCRIPTORS: u64 = 16;
        let ids = count.saturating_sub(DESCRIPTORS - 1)..count;
        for id in ids.clone() {
            let text = format!("{what} {id}");
            let (at, begin) = (id % DESCRIPTORS, id % DESCRIPTORS * 0x20);
            for (word, value) in [FINALIZED << 30 | id, begin, begin + 0x20].into_iter().enumerate()
            {
                let value = u32::try_from(value).unwrap();
                memory.u32(self.descriptors + at * 12 + 4 * word as u64, value);
            }
            let info = self.infos + at * self.info_len;
            memory.u64(info, id + 7);
            memory.u64(info + 8, id * 1_000_000_000);
            memory.put(info + 16, &[u8::try_from(text.len()).unwrap(), 0, 0, 6 << 5]);
            memory.u32(self.text + begin, u32::try_from(id).unwrap());
            memory.put(self.text + begin + 4, text.as_bytes());
        }
        let (first, last) = (u32::try_from(ids.start).unwrap(), u32::try_from(count - 1).unwrap());
        let words = [4, Self::pointer(self.descriptors), Self::pointer(self.infos), last, first];
        let texts = [TEXT_BITS, Self::pointer(self.text), 0x200, 0];
        for (word, value) in (0..).zip(words).chain((self.before_texts..).zip(texts)) {
            memory.u32(self.place + 4 * word, value);
        }
    }
}

#[test]
fn a_ring_that_no_symbol_names_is_found_by_what_it_holds() {
    for (info_len, before_texts) in [(88, 5), (88, 6), (104, 6)] {
        let mut memory = Memory::new();
        let ring = SmallRing { info_len, before_texts, ..IN_USE };
        ring.put(&mut memory, "message", 40);
        // No variable leads to it.
        assert!(found(Memory(memory.0.clone())).is_none());
        memory.u32(VARIABLES, SmallRing::pointer(RING));
        let log = found(memory).unwrap();
        let expected: Vec<String> = (25..40).map(|id| format!("message {id}")).collect();
        assert_eq!(texts(&log), expected, "{info_len} {before_texts}");
        assert_eq!(log.records[0].time_ns, Some(25_000_000_000));
        assert!(log.problems.is_empty());
    }
}

#[test]
fn a_ring_that_was_outgrown_is_not_taken_for_the_log() {
    let mut memory = Memory::new();
    IN_USE.put(&mut memory, "new", 30);
    OUTGROWN.put(&mut memory, "old", 20);
    memory.u32(VARIABLES, SmallRing::pointer(RING));
    let log = found(Memory(memory.0.clone())).unwrap();
    assert_eq!(texts(&log).last(), Some(&"new 29"));
    // Two that may be in use are none.
    memory.u32(VARIABLES + 4, SmallRing::pointer(OUTGROWN.place));
    assert!(found(memory).is_none());
}

#[test]
fn a_ring_whose_texts_are_of_others_is_no_log() {
    let mut memory = Memory::new();
    IN_USE.put(&mut memory, "message", 12);
    for block in 0..16 {
        memory.u32(TEXT + block * 0x20, 0x1234);
    }
    memory.u32(VARIABLES, SmallRing::pointer(RING));
    assert!(found(memory).is_none());
}
