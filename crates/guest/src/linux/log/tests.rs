//! Logs of all three forms, made by hand.

use std::fmt::Write as _;

use vmss2core_mem::Severity;

use super::text::{lines, unrolled};
use super::{Caller, Log, Record};
use crate::fuzzing;
use crate::linux::assert_seed;

mod found;

/// Where the memory of the tests begins; paging is off.
const MEMORY: u64 = fuzzing::LOG_MEMORY;
const LEN: usize = 0x2100;
const VARIABLES: u64 = MEMORY + 0x40;
const RING: u64 = MEMORY + 0x100;
const DESCRIPTORS: u64 = MEMORY + 0x400;
const INFOS: u64 = MEMORY + 0x800;
const TEXT: u64 = MEMORY + 0x1000;

/// Memory to write to.
struct Memory(Vec<u8>);

impl Memory {
    fn new() -> Self {
        Self(vec![0; LEN])
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at - MEMORY).unwrap();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u32(&mut self, at: u64, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// The log of one of three forms in this memory.
    fn log(self, form: u8) -> Log {
        fuzzing::log(&self.seed(form)).unwrap()
    }

    /// Seeds of fuzzing.
    fn seed(&self, form: u8) -> Vec<u8> {
        let mut bytes = vec![form];
        bytes.extend_from_slice(&self.0);
        bytes
    }
}

const RING_OF_DESCRIPTORS: u8 = 0;
const RECORDS: u8 = 1;
const CHARACTERS: u8 = 2;

const FINALIZED: u64 = 2;
const ID_MASK: u64 = u64::MAX >> 2;
/// Where the numbers of a ring begin, so that they wrap soon (`DESC0_ID`).
const COUNT_BITS: u32 = 4;
const TEXT_BITS: u32 = 10;

/// A ring buffer that is written to as the kernel does.
struct Ring {
    memory: Memory,
    tail: u64,
    next_id: u64,
    lpos: u64,
}

impl Ring {
    fn new(first_id: u64, lpos: u64) -> Self {
        let mut memory = Memory::new();
        memory.u64(MEMORY, RING);
        memory.u32(RING, COUNT_BITS);
        memory.u64(RING + 8, DESCRIPTORS);
        memory.u64(RING + 16, INFOS);
        memory.u32(RING + 48, TEXT_BITS);
        memory.u64(RING + 56, TEXT);
        Self { memory, tail: first_id, next_id: first_id, lpos }
    }

    fn descriptor(id: u64) -> u64 {
        DESCRIPTORS + id % (1 << COUNT_BITS) * 24
    }

    /// Adds a record with the block from `begin` to `next`.
    fn put(&mut self, state: u64, (begin, next): (u64, u64), text_len: usize) {
        let id = self.next_id;
        let at = Self::descriptor(id);
        self.memory.u64(at, state << 62 | id);
        self.memory.u64(at + 8, begin);
        self.memory.u64(at + 16, next);
        let info = INFOS + id % (1 << COUNT_BITS) * 88;
        self.memory.u64(info + 8, 1_500_000_000 + (id & 0xff));
        self.memory.put(info + 16, &u16::try_from(text_len).unwrap().to_le_bytes());
        self.memory.put(info + 18, &[1, 4 << 5 | 2]);
        self.memory.u32(info + 20, 0x8000_0003);
        self.next_id = (id + 1) & ID_MASK;
    }

    fn push(&mut self, text: &str) {
        let size = 1_u64 << TEXT_BITS;
        let len = (8 + text.len() as u64).next_multiple_of(8);
        let (begin, mut next) = (self.lpos, self.lpos + len);
        let mut data = begin % size;
        if begin / size != next / size {
            // A block lies in one piece: at the start if it does not fit.
            next = next / size * size + len;
            data = 0;
        }
        self.memory.u64(TEXT + data, self.next_id);
        self.memory.put(TEXT + data + 8, text.as_bytes());
        self.lpos = next;
        self.put(FINALIZED, (begin, next), text.len());
    }

    fn finished(mut self) -> Memory {
        self.memory.u64(RING + 24, self.next_id.wrapping_sub(1) & ID_MASK);
        self.memory.u64(RING + 32, self.tail);
        self.memory
    }

    fn log(self) -> Log {
        self.finished().log(RING_OF_DESCRIPTORS)
    }
}

fn texts(log: &Log) -> Vec<&str> {
    log.records.iter().map(|record| record.text.as_str()).collect()
}

#[test]
fn a_ring_tells_text_time_level_and_caller() {
    let mut ring = Ring::new(0, 0);
    ring.push("first\nsecond line");
    ring.push("");
    let log = ring.log();
    let expected = Record {
        time_ns: Some(1_500_000_000),
        level: Some(4),
        facility: Some(1),
        caller: Some(Caller::Cpu(3)),
        text: "first\nsecond line".to_owned(),
    };
    assert_eq!(log.records.first(), Some(&expected));
    assert_eq!(texts(&log), ["first\nsecond line", ""]);
    assert!(log.problems.is_empty());
}

#[test]
fn a_ring_goes_on_at_its_start_and_over_the_last_number() {
    // Numbers wrap after 62 bits, positions after 64; the first ones of a
    // kernel are just before that.
    let mut ring = Ring::new(ID_MASK - 4, 0_u64.wrapping_sub(1 << TEXT_BITS));
    ring.lpos = ring.lpos.wrapping_add(0x180);
    let long = "x".repeat(70);
    let mut wanted = Vec::new();
    for number in 0..3 {
        let text = format!("{number} {long}");
        // No position of the test passes 2^64 itself.
        if number == 1 {
            ring.lpos = (2 << 20) - 0x40;
        }
        ring.push(&text);
        wanted.push(text);
    }
    ring.push("y");
    wanted.push("y".to_owned());
    ring.push("z");
    ring.push("after the wrap of numbers");
    wanted.extend(["z".to_owned(), "after the wrap of numbers".to_owned()]);
    ring.tail = ID_MASK - 4;
    let log = ring.log();
    assert_eq!(texts(&log), wanted);
    assert!(log.problems.is_empty(), "{:?}", log.problems);
}

#[test]
fn records_without_text_or_being_written_are_told_from_torn_ones() {
    let mut ring = Ring::new(0, 0);
    ring.push("kept");
    ring.put(FINALIZED, (3, 3), 0);
    ring.put(FINALIZED, (1, 1), 9);
    ring.put(0, (0, 0), 9);
    ring.put(3, (0, 0), 9);
    ring.push("kept too");
    let log = ring.log();
    assert_eq!(texts(&log), ["kept", "", "kept too"]);
    assert!(log.problems.is_empty());
}

#[test]
fn a_text_that_was_overwritten_is_left_out_and_said() {
    let mut ring = Ring::new(0, 0);
    ring.push("gone");
    ring.push("kept");
    ring.memory.u64(TEXT, 77);
    let log = ring.log();
    assert_eq!(texts(&log), ["kept"]);
    assert_eq!(log.problems.len(), 1);
    assert_eq!(log.problems[0].severity, Severity::Incomplete);
}

#[test]
fn a_ring_that_claims_everything_ends() {
    let mut ring = Ring::new(0, 0);
    ring.push("one");
    ring.tail = 5;
    // From 5 to 0 by way of all numbers there are: as many as the ring holds.
    let log = ring.log();
    assert_eq!(texts(&log), ["one"]);
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    assert_eq!(super::text_of(b"a\xffb\xc3\xa4"), "a\\xffbä");
}

/// A buffer of records.
struct Records {
    memory: Memory,
    at: u64,
}

impl Records {
    fn new(at: u64) -> Self {
        Self { memory: Memory::new(), at }
    }

    fn push(&mut self, text: &str, flags: u8) {
        let at = TEXT + self.at;
        let len = (16 + text.len() as u64 + 5).next_multiple_of(4);
        self.memory.u64(at, 2_000_000_000 + self.at);
        self.memory.put(at + 8, &u16::try_from(len).unwrap().to_le_bytes());
        self.memory.put(at + 10, &u16::try_from(text.len()).unwrap().to_le_bytes());
        self.memory.put(at + 12, &[5, 0, 3, 6 << 5 | flags]);
        self.memory.put(at + 16, text.as_bytes());
        self.memory.put(at + 16 + text.len() as u64, b"KEY=1");
        self.at += len;
    }

    fn finished(mut self, first: u64, buffer_len: u32) -> Memory {
        self.memory.u64(VARIABLES, TEXT);
        self.memory.u32(VARIABLES + 8, buffer_len);
        self.memory.u32(VARIABLES + 12, u32::try_from(first).unwrap());
        self.memory.u32(VARIABLES + 16, u32::try_from(self.at).unwrap());
        self.memory
    }

    fn log(self, first: u64, buffer_len: u32) -> Log {
        self.finished(first, buffer_len).log(RECORDS)
    }
}

#[test]
fn records_go_on_at_the_start_of_the_buffer() {
    let mut records = Records::new(900);
    records.push("oldest", 2);
    let end = records.at;
    records.at = 0;
    records.push("newer", 2);
    records.push("newest", 2);
    assert!(end < 1000);
    let log = records.log(900, 1000);
    assert_eq!(texts(&log), ["oldest", "newer", "newest"]);
    assert!(log.problems.is_empty(), "{:?}", log.problems);
    let first = log.records.first().unwrap();
    assert_eq!(
        (first.time_ns, first.level, first.facility),
        (Some(2_000_000_900), Some(6), Some(3))
    );
}

#[test]
fn parts_of_a_line_become_one() {
    const PREFIX: u8 = 4;
    const CONT: u8 = 8;
    const NEWLINE: u8 = 2;
    let mut records = Records::new(0);
    records.push("a", CONT | PREFIX);
    records.push("b", CONT);
    records.push("c", CONT | NEWLINE);
    records.push("next", NEWLINE | PREFIX);
    records.push("cut", CONT | PREFIX);
    records.push("off", PREFIX | NEWLINE);
    assert_eq!(texts(&records.log(0, 4096)), ["abc", "next", "cut", "off"]);
}

#[test]
fn records_that_are_torn_or_turn_in_circles_end() {
    let mut records = Records::new(0);
    records.push("kept", 2);
    records.push("torn", 2);
    let end = records.at;
    // A text longer than its record.
    records.memory.put(TEXT + end / 2 + 10, &u16::MAX.to_le_bytes());
    let log = records.log(0, 4096);
    assert_eq!(texts(&log), ["kept"]);
    assert_eq!(log.problems.len(), 1);

    // The end is inside of a record, so it is never met.
    let mut records = Records::new(0);
    for _ in 0..20 {
        records.push("round and round", 2);
    }
    records.at = 3;
    let log = records.log(0, 4096);
    assert!(log.records.len() < 200 && log.problems.len() <= 1);
}

#[test]
fn a_ring_of_characters_is_unrolled() {
    let mut text = String::new();
    for number in 0..40 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "<{}>[{:>5}.{:06}] line {number}", number % 8, number, number * 10);
    }
    text.push_str("<13>no time\n");
    let len = 256_usize;
    let mut ring = vec![0; len];
    for (at, byte) in text.bytes().enumerate() {
        ring[at % len] = byte;
    }
    let written = text.len() as u64;
    let kept = unrolled(&ring, written, written);
    assert_eq!(kept, &text.as_bytes()[text.len() - len..]);
    let records = lines(&kept);
    let [.., before, last] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((before.time_ns, before.level), (Some(39_000_390_000), Some(7)));
    assert_eq!(before.text, "line 39");
    assert_eq!((last.time_ns, last.level, last.facility), (None, Some(5), Some(1)));
    // Only the last part was logged since the buffer was cleared.
    assert_eq!(unrolled(&ring, written, 12), b"<13>no time\n");
    assert_eq!(unrolled(&ring, 5, u64::MAX).len(), 5);
}

fn characters() -> Memory {
    let mut memory = Memory::new();
    memory.put(TEXT, b"<6>[    1.000002] hello\n<4>\x1b[2J\n");
    memory.u64(VARIABLES, TEXT);
    for (index, value) in [64, 31, 31].into_iter().enumerate() {
        memory.u32(VARIABLES + 8 + 4 * index as u64, value);
    }
    memory
}

#[test]
fn a_ring_of_characters_is_read_through_its_variables() {
    assert_eq!(texts(&characters().log(CHARACTERS)), ["hello", "\u{1b}[2J"]);
}

#[test]
fn seeds_of_fuzzing_are_current() {
    let mut ring = Ring::new(ID_MASK - 1, (1 << 20) - 0x20);
    ring.push("first");
    ring.push("wraps around the end of the ring");
    ring.push("last");
    let mut records = Records::new(0);
    records.push("one", 2);
    records.push("two", 2);
    for (name, seed) in [
        ("ring", ring.finished().seed(RING_OF_DESCRIPTORS)),
        ("records", records.finished(0, 4096).seed(RECORDS)),
        ("characters", characters().seed(CHARACTERS)),
    ] {
        assert!(fuzzing::log(&seed).is_some_and(|log| log.records.len() >= 2), "{name}");
        assert_seed("log", name, &seed);
    }
}
