//! What is changed in a checkpoint, and how it is as before again.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::Result;

use super::reads::Read;
use crate::vmware::Random;

/// Most changes in a run.
const MOST_CHANGES: usize = 6;

/// Parts longer than that are searches of all memory: what is in them counts little.
const SHORT: u64 = 64 << 10;

/// Numbers at which sizes, counts, offsets and addresses break.
const EDGES: [u64; 14] = [
    0,
    1,
    u64::MAX,
    0x7f,
    0xff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    i64::MIN.cast_unsigned(),
    0xffff_8880_0000_0000,
    0xffff_ffff_8100_0000,
];

/// A file of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Which {
    State,
    Memory,
}

impl Which {
    /// By its name's ending.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "vmss" => Some(Self::State),
            "vmem" => Some(Self::Memory),
            _ => None,
        }
    }
}

/// Changes to a checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    changes: Vec<Change>,
    /// Where the state file ends.
    cut: Option<u64>,
}

#[derive(Clone, Debug)]
struct Change {
    file: Which,
    offset: u64,
    bytes: Vec<u8>,
}

impl Damage {
    /// Some changes within what is read.
    pub(super) fn random(random: &mut Random, reads: &[Read], files: &Files) -> Result<Self> {
        let mut damage = Self::default();
        let short: Vec<Read> = reads.iter().filter(|read| read.len <= SHORT).copied().collect();
        for _ in 0..=random.below(MOST_CHANGES) {
            let from = if short.is_empty() || random.below(16) == 0 { reads } else { &short };
            let Some(read) = from.get(random.below(from.len())) else { continue };
            damage.changes.push(change(random, *read, from, files)?);
        }
        if random.below(64) == 0 {
            damage.cut = Some(below(random, files.state_len));
        }
        Ok(damage)
    }
}

fn below(random: &mut Random, limit: u64) -> u64 {
    random.below(usize::try_from(limit).unwrap_or(usize::MAX)) as u64
}

fn change(random: &mut Random, read: Read, reads: &[Read], files: &Files) -> Result<Change> {
    // What begins a part is a header more often than not.
    let within = if random.below(3) == 0 { read.len.min(64) } else { read.len };
    let offset = read.offset + below(random, within);
    let word = read.offset + (offset - read.offset) / 8 * 8;
    let old = files.word(read.file, word)?;
    let edge = EDGES.get(random.below(EDGES.len())).copied().unwrap_or_default();
    let of_word = |value: u64| (word, value.to_le_bytes().to_vec());
    let (offset, bytes) = match random.below(10) {
        0 => (offset, vec![u8::try_from(random.below(256))?]),
        1 => of_word(old ^ 1 << random.below(64)),
        2 | 3 => of_word(edge),
        4 => of_word(old.wrapping_add(random.below(512) as u64).wrapping_sub(256)),
        // A pointer to somewhere else, or to where it stands.
        5 | 6 => {
            let other = reads.get(random.below(reads.len())).copied().unwrap_or(read);
            let at = other.offset + below(random, other.len) / 8 * 8;
            of_word(files.word(other.file, at)?)
        }
        7 => (word, vec![0; [8, 64, 4096].get(random.below(3)).copied().unwrap_or(8)]),
        8 => (word, vec![0xff; [4, 8, 64].get(random.below(3)).copied().unwrap_or(8)]),
        _ => (word, edge.to_le_bytes().iter().take(4).copied().collect()),
    };
    Ok(Change { file: read.file, offset, bytes })
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { file, offset, bytes } in &self.changes {
            let shown: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
            write!(f, "{file:?} {offset:#x}: {} x {}; ", bytes.len(), shown.concat())?;
        }
        self.cut.map_or(Ok(()), |len| write!(f, "State cut to {len} bytes"))
    }
}

/// A checkpoint that can be changed.
pub(super) struct Files {
    state: File,
    /// If it is a file of its own.
    memory: Option<File>,
    state_len: u64,
    memory_len: u64,
}

/// What makes a checkpoint sound again.
pub(super) struct Undo {
    changes: Vec<Change>,
}

impl Files {
    pub(super) fn open(state: &Path, memory: Option<&Path>) -> io::Result<Self> {
        let open = |path| File::options().read(true).write(true).open(path);
        let (state, memory) = (open(state)?, memory.map(open).transpose()?);
        let len = |file: &File| file.metadata().map(|found| found.len());
        let (state_len, memory_len) = (len(&state)?, memory.as_ref().map_or(Ok(0), len)?);
        Ok(Self { state, memory, state_len, memory_len })
    }

    fn file(&self, which: Which) -> (&File, u64) {
        match which {
            Which::State => (&self.state, self.state_len),
            Which::Memory => (self.memory.as_ref().unwrap_or(&self.state), self.memory_len),
        }
    }

    /// The little-endian word at `offset`; zero after the end.
    fn word(&self, which: Which, offset: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let (file, _) = self.file(which);
        let _ = file.read_at(&mut bytes, offset)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Damages the files, within their lengths.
    pub(super) fn apply(&self, damage: &Damage) -> io::Result<Undo> {
        let mut changes = Vec::new();
        for Change { file: which, offset, bytes } in &damage.changes {
            let (file, len) = self.file(*which);
            let room = usize::try_from(len.saturating_sub(*offset)).unwrap_or(usize::MAX);
            let bytes = bytes.get(..room).unwrap_or(bytes);
            let mut old = vec![0; bytes.len()];
            file.read_exact_at(&mut old, *offset)?;
            file.write_all_at(bytes, *offset)?;
            changes.push(Change { file: *which, offset: *offset, bytes: old });
        }
        if let Some(cut) = damage.cut {
            let mut tail = vec![0; usize::try_from(self.state_len - cut).unwrap_or_default()];
            self.state.read_exact_at(&mut tail, cut)?;
            self.state.set_len(cut)?;
            changes.push(Change { file: Which::State, offset: cut, bytes: tail });
        }
        Ok(Undo { changes })
    }

    /// Undoes it, the last change first.
    pub(super) fn restore(&self, undo: Undo) -> io::Result<()> {
        undo.changes.into_iter().rev().try_for_each(|change| {
            self.file(change.file).0.write_all_at(&change.bytes, change.offset)
        })
    }

    /// Lengths and times of the last change.
    pub(super) fn stamps(&self) -> io::Result<[(u64, i64, i64); 2]> {
        let of = |file: &File| {
            file.metadata().map(|found| (found.len(), found.mtime(), found.mtime_nsec()))
        };
        Ok([of(&self.state)?, of(self.memory.as_ref().unwrap_or(&self.state))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_damaged_is_sound_again() {
        let dir = tempfile::tempdir().unwrap();
        let (state, memory) = (dir.path().join("vm.vmss"), dir.path().join("vm.vmem"));
        let bytes: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        std::fs::write(&state, &bytes).unwrap();
        std::fs::write(&memory, &bytes).unwrap();
        let files = Files::open(&state, Some(&memory)).unwrap();
        let reads = [
            Read { file: Which::State, offset: 0, len: 20_000 },
            Read { file: Which::Memory, offset: 19_990, len: 10 },
        ];
        let mut differed = 0;
        for seed in 0..200 {
            let damage = Damage::random(&mut Random::new(seed), &reads, &files).unwrap();
            let again = Damage::random(&mut Random::new(seed), &reads, &files).unwrap();
            assert_eq!(damage.to_string(), again.to_string());
            let undo = files.apply(&damage).unwrap();
            differed += usize::from(std::fs::read(&state).unwrap() != bytes);
            files.restore(undo).unwrap();
            assert!(std::fs::read(&state).unwrap() == bytes, "seed {seed}");
            assert!(std::fs::read(&memory).unwrap() == bytes, "seed {seed}");
        }
        assert!(differed > 50, "{differed}");
    }
}
