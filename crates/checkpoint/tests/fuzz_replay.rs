//! What fuzzing starts from, and mutations of it, on the stable toolchain.

#![allow(clippy::unwrap_used, reason = "a test stops where it is wrong")]

use std::path::Path;
use std::time::{Duration, Instant};

use vmss2core_checkpoint::fuzzing;
use vmss2core_lab::vmware::{Random, mutate};

fn replay(target: &str, seeds: usize, rounds: u32, entry: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= seeds, "{} has {} files", dir.display(), files.len());
    for (number, path) in (1..).zip(&files) {
        let original = std::fs::read(path).unwrap();
        let mut random = Random::new(number);
        let mut bytes = original.clone();
        for round in 0..rounds {
            let start = Instant::now();
            entry(&bytes);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(5), "{} {round}: {took:?}", path.display());
            bytes.clone_from(&original);
            mutate(&mut bytes, &mut random);
        }
    }
}

#[test]
fn broken_state_files_end_soon() {
    replay("state_file", 18, 300, fuzzing::state_file);
}

#[test]
fn broken_containers_end_soon() {
    replay("container", 3, 1000, fuzzing::container);
}

#[test]
fn broken_streams_end_soon() {
    replay("fastlz", 6, 1000, fuzzing::fastlz);
}

#[test]
fn broken_archives_end_soon() {
    let dir = tempfile::tempdir().unwrap();
    replay("archive", 5, 200, |bytes| fuzzing::archive(bytes, dir.path()));
}
