//! Thousands of damaged files: none may panic, hang or make up much memory.

use std::time::{Duration, Instant};

use super::build::regions;
use super::*;

/// A fixed sequence, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Edges more often than the middle.
        let edges = [0, 1, 0x3e, 0x3f, 0x7f, 0x80, 0xbe, 0xbf, 0xff];
        let any = self.below(256);
        if any.is_multiple_of(2) {
            edges[self.below(edges.len())]
        } else {
            u8::try_from(any).unwrap()
        }
    }
}

fn packed() -> Vec<u8> {
    let zeroes = [0x20, 0, 0xe0, 255, 255, 255, 222, 0];
    let header = |sizes: [u64; 2]| sizes.map(u64::to_le_bytes).concat();
    [header([997, 8]), zeroes.to_vec(), header([100, 100]), vec![7; 100]].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let cpu = vec![
        Tag::u32("cpu:numVCPUs", &[], 1),
        Tag::u64("rip", &[0], 0xffff_ffff_8100_0000),
        Tag::block("gpregs", &[0], &[0x80; 128]),
        Tag::block("CR64", &[0], &[1; 72]),
        Tag::block("IDTR", &[0], &[2; 10]),
        Tag::u32("S", &[0, 1], 0x10),
    ];
    let mut plain = regions(&[(0, 0, 1), (0x100, 1, 1)]);
    plain.push(Tag::block("Memory", &[0, 0], &numbered_pages(2)));
    let vmx = Tag::block("cfgFile", &[], b"displayName = \"x\"\n");
    let wide =
        State::new().group("cpu", cpu.clone()).group("memory", plain).group("Snapshot", vec![vmx]);
    let compressed = State::new()
        .group("memory", vec![Tag::packed("Memory", &[0, 0], &packed(), 1097)])
        .group("cpu", cpu.clone());
    let old = State::new().group("cpu", cpu).group("memory", regions(&[(0, 0, 2)]));
    let old = State { magic: 0xbed0_bed0, entry_len: 72, wide_blocks: false, ..old };
    [wide, compressed, old].iter().map(State::bytes).collect()
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, vec![random.byte(); 9])),
            2 => drop(bytes.drain(at..(at + 5).min(bytes.len()))),
            3 => {
                let end = (at + 8).min(bytes.len());
                let byte = random.byte();
                bytes[at..end].fill(byte);
            }
            _ if at < bytes.len() => bytes[at] = random.byte(),
            _ => {}
        }
    }
}

/// Uses everything that can be got out of a file.
fn exercise(bytes: Vec<u8>, options: &OpenOptions) {
    let Ok(file) = open_state(bytes) else { return };
    let _ = (file.has_memory(), file.expected_memory_len(), file.vmx_text());
    let memory = source("x.vmem", numbered_pages(2));
    let Ok(opened) = file.into_opened(Some(memory), options) else { return };
    let inventory = opened.inventory.unwrap();
    for item in inventory.pictures() {
        let _ = inventory.picture(item);
    }
    for item in &inventory.items {
        assert!(item.value.as_ref().is_none_or(|value| value.len() <= 64));
        let _ = inventory.read(item, 1 << 16);
    }
    let mut page = [0; 4096];
    for segment in opened.checkpoint.memory.segments() {
        let _ = opened.checkpoint.memory.read(segment.start(), &mut page);
    }
    assert!(opened.checkpoint.vcpus.len() <= 4096);
}

#[test]
fn damaged_files_neither_panic_nor_hang() {
    let (_dir, options) = crate::testing::spilling();
    let mut random = Random(2024);
    for seed in seeds() {
        exercise(seed.clone(), &options);
        for round in 0..4000 {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut random);
            let start = Instant::now();
            exercise(bytes, &options);
            assert!(start.elapsed() < Duration::from_secs(2), "round {round}");
        }
    }
}

#[test]
fn very_many_regions_in_descending_order_are_mapped_quickly() {
    let map: Vec<(u32, u32, u32)> = (0..30_000).map(|n| (2 * (30_000 - n), 0, 1)).collect();
    let state = State::new().group("memory", regions(&map));
    let start = Instant::now();
    let opened = opened(&state, Some(numbered_pages(1)));
    assert_eq!(opened.checkpoint.memory.segments().len(), 30_000);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn thousands_of_problems_are_summed_up() {
    let tags = (0..2000).map(|cpu| Tag::block("gpregs", &[cpu], &[0; 70])).collect();
    let opened = opened(&State::new().group("cpu", tags), Some(numbered_pages(1)));
    let warnings = problems(&opened, Severity::Warning);
    assert!(warnings.len() < 40, "{}", warnings.len());
    assert!(warnings.iter().any(|w| w.contains("1968 more problems")), "{warnings:?}");
}

/// All groups at one place, and a file that is one long stream of tags.
#[test]
fn shared_groups_and_endless_tags_are_bounded() {
    let count = 5000_u32;
    let table = 12 + 80 * count as usize;
    let mut bytes = [0xbed2_bed2_u32, 8, count].map(u32::to_le_bytes).concat();
    for group in 0..u64::from(count) {
        let mut entry = vec![b'g'];
        entry.resize(64, 0);
        entry.extend((table as u64 + group % 3).to_le_bytes());
        entry.extend(u64::MAX.to_le_bytes());
        bytes.extend(entry);
    }
    bytes.extend([0, 1, b'x'].repeat(1_000_000));
    let start = Instant::now();
    let file = open_state(bytes).unwrap();
    assert!(file.inventory.items.len() <= 1 << 19);
    assert!(file.problems.listed().iter().any(|p| p.message.contains("more tags than")));
    assert!(file.problems.listed().len() < 100, "{}", file.problems.listed().len());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
