//! State files made by hand, byte by byte, and read back.

#![expect(clippy::single_range_in_vec_init, reason = "a list of ranges may have one")]

mod build;
mod facts;
mod layout;
mod map;
mod mutation;
mod processors;
mod products;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmss2core_mem::{Gpa, MemoryError, PhysicalMemory, ReadAt, Severity};

use self::build::{State, Tag};
use super::*;

fn source(name: &str, bytes: Vec<u8>) -> Source {
    Source {
        path: PathBuf::from(name),
        len: bytes.len() as u64,
        bytes: Arc::new(bytes),
        found: "given".to_owned(),
        host_files: Vec::new(),
    }
}

fn open_state(bytes: Vec<u8>) -> Result<StateFile, VmwareError> {
    StateFile::open(&source("x.vmss", bytes))
}

/// Without a directory for temporary files.
fn no_spill() -> OpenOptions {
    OpenOptions::default()
}

/// Opens a state file with a companion of `memory` bytes.
fn opened(state: &State, memory: Option<Vec<u8>>) -> Opened {
    let memory = memory.map(|bytes| source("x.vmem", bytes));
    open_state(state.bytes()).unwrap().into_opened(memory, &no_spill()).unwrap()
}

/// The messages of the problems of one severity.
fn problems(opened: &Opened, severity: Severity) -> Vec<String> {
    let problems = opened.checkpoint.about.problems.iter().filter(|p| p.severity == severity);
    problems.map(|p| p.message.clone()).collect()
}

fn has_problem(opened: &Opened, severity: Severity, words: &[&str]) -> bool {
    problems(opened, severity).iter().any(|m| words.iter().all(|word| m.contains(word)))
}

/// An image whose every page starts with its own number.
fn numbered_pages(count: u32) -> Vec<u8> {
    let page = |n: u32| [n.to_le_bytes().to_vec(), vec![0xcc; 4092]].concat();
    (0..count).flat_map(page).collect()
}

/// The number that starts the page at `gpa`; `None` if it is absent.
fn page_number(memory: &PhysicalMemory, gpa: u64) -> Option<u32> {
    match memory.read_u32(Gpa(gpa)) {
        Ok(number) => Some(number),
        Err(MemoryError::NotPresent { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Like a file that is mostly a hole: zeroes with some bytes at the front and
/// some at `tail_start`.
struct Sparse {
    head: Vec<u8>,
    tail_start: u64,
    tail: Vec<u8>,
    bytes_read: AtomicU64,
}

impl Sparse {
    fn new(head: Vec<u8>) -> Self {
        Self { head, tail_start: u64::MAX, tail: Vec::new(), bytes_read: AtomicU64::new(0) }
    }
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes_read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        for (at, byte) in (offset..).zip(buf.iter_mut()) {
            let (part, at) = match at.checked_sub(self.tail_start) {
                Some(at) => (&self.tail, at),
                None => (&self.head, at),
            };
            let held = usize::try_from(at).ok().and_then(|at| part.get(at));
            *byte = held.copied().unwrap_or_default();
        }
        Ok(())
    }
}
