//! Memory that is copied while its layout is still being worked out.

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use vmss2core_guest::Facts;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Gpa, PAGE_SIZE};

use super::{Companion, Extent, FileLayout, Literal, write_early};
use crate::tests::support::{LONG_MODE, Scratch, guest, job, marked, vcpu, write_to};
use crate::{DumpError, Job, Observer, Silent};

const PAGES: u64 = 300;

fn extents(offset: u64) -> Vec<Extent> {
    vec![Extent { offset, gpa: Gpa(0), len_bytes: PAGES * PAGE_SIZE }]
}

/// A header of 3 bytes, memory at `offset`, a page of nothing after it.
fn layout(offset: u64) -> FileLayout {
    FileLayout {
        literals: vec![Literal { offset: 0, bytes: b"abc".to_vec() }],
        extents: extents(offset),
        overlay: Vec::new(),
        len_bytes: offset + (PAGES + 1) * PAGE_SIZE,
        companions: Vec::new(),
    }
}

fn file_of(offset: u64) -> Vec<u8> {
    let mut bytes = b"abc".to_vec();
    bytes.resize(usize::try_from(offset).unwrap(), 0);
    bytes.extend(marked(0, PAGES));
    bytes.resize(bytes.len() + 4096, 0);
    bytes
}

fn write(
    scratch: &Scratch,
    expected: &[Extent],
    layout: impl FnOnce() -> Result<FileLayout, DumpError> + Send,
    observer: &dyn Observer,
) -> Result<FileLayout, DumpError> {
    let checkpoint: Checkpoint = guest(&[(0, PAGES)]);
    let facts = &Facts::default();
    let job = Job { observer, ..job(scratch, &checkpoint, &facts) };
    write_early(expected, layout, &job)
}

#[test]
fn a_right_a_wrong_and_no_expectation_end_in_the_same_file() {
    for expected in [extents(0x1000), extents(0x3000), extents(0x800), Vec::new()] {
        let scratch = Scratch::new();
        let written = write(&scratch, &expected, || Ok(layout(0x1000)), &Silent).unwrap();
        assert_eq!(written, layout(0x1000));
        assert!(fs::read(&scratch.path).unwrap() == file_of(0x1000), "{expected:?}");
        assert_eq!(scratch.file_count(), 1);
    }
}

#[test]
fn a_layout_that_fails_leaves_nothing() {
    for expected in [extents(0x1000), Vec::new()] {
        let scratch = Scratch::new();
        let failed = write(&scratch, &expected, || Err(DumpError::TooLarge), &Silent);
        assert!(matches!(failed, Err(DumpError::TooLarge)), "{failed:?}");
        assert_eq!(scratch.file_count(), 0);
    }
}

#[test]
fn memory_that_is_not_there_is_an_error_and_leaves_nothing() {
    let beyond = || {
        let mut layout = layout(0x1000);
        layout.extents[0].gpa = Gpa(1 << 30);
        layout
    };
    let scratch = Scratch::new();
    let failed = write(&scratch, &beyond().extents, || Ok(beyond()), &Silent);
    assert!(matches!(failed, Err(DumpError::Read(_))), "{failed:?}");
    assert_eq!(scratch.file_count(), 0);
}

#[test]
fn a_companion_that_is_in_the_way_stops_it() {
    let scratch = Scratch::new();
    let mut taken = scratch.path.clone().into_os_string();
    taken.push(".gdb");
    fs::write(&taken, "precious").unwrap();
    let with_companion = || {
        let companions = vec![Companion { suffix: ".gdb", text: String::new() }];
        Ok(FileLayout { companions, ..layout(0x1000) })
    };
    let failed = write(&scratch, &extents(0x1000), with_companion, &Silent);
    assert!(matches!(failed, Err(DumpError::Exists { .. })), "{failed:?}");
    assert_eq!(fs::read(&taken).unwrap(), b"precious");
    assert_eq!(scratch.file_count(), 1);
}

struct Cancelled;

impl Observer for Cancelled {
    fn progress(&self, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn cancelling_leaves_nothing_whatever_was_expected() {
    for expected in [extents(0x1000), extents(0x3000), Vec::new()] {
        let scratch = Scratch::new();
        let stopped = write(&scratch, &expected, || Ok(layout(0x1000)), &Cancelled);
        assert!(matches!(stopped, Err(DumpError::Cancelled)), "{stopped:?}");
        assert_eq!(scratch.file_count(), 0);
    }
}

/// Notes if a writer ever starts again.
#[derive(Default)]
struct Forward {
    done: AtomicU64,
    went_back: AtomicBool,
}

impl Observer for Forward {
    fn progress(&self, done: u64, _total: u64) {
        if done < self.done.swap(done, Ordering::Relaxed) {
            self.went_back.store(true, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn cores_of_64_bit_guests_are_copied_once() {
    let mut checkpoint = guest(&[(0, PAGES), (4 << 30, 9)]);
    checkpoint.vcpus = (0..16).map(|index| vcpu(index, LONG_MODE)).collect();
    for format in ["elf", "elf-physical"] {
        let (scratch, forward) = (Scratch::new(), Forward::default());
        write_to(&scratch, format, &checkpoint, &Facts::default(), "", &forward).unwrap();
        assert!(forward.done.load(Ordering::Relaxed) > 300 * 4096 - 0x2_0000, "{format}");
        assert!(!forward.went_back.load(Ordering::Relaxed), "{format}");
    }
}

/// Notes the threads that copy.
#[derive(Default)]
struct Copiers(Mutex<HashSet<ThreadId>>);

impl Observer for Copiers {
    fn progress(&self, _done: u64, _total: u64) {
        self.0.lock().unwrap().insert(thread::current().id());
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn the_caller_copies_as_signals_reach_the_main_thread_first() {
    let (scratch, copiers) = (Scratch::new(), Copiers::default());
    write(&scratch, &extents(0x1000), || Ok(layout(0x1000)), &copiers).unwrap();
    let copiers = copiers.0.into_inner().unwrap();
    assert_eq!(copiers, HashSet::from([thread::current().id()]));
}
