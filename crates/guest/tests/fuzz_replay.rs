//! What fuzzing starts from, and mutations of it, on the stable toolchain.

use std::path::Path;
use std::time::{Duration, Instant};

use vmss2core_guest::fuzzing;
use vmss2core_lab::vmware::{Random, mutate};

/// Replays the seeds of a target, and so many mutations of each.
#[expect(clippy::unwrap_used, reason = "part of the tests")]
fn replay(target: &str, seeds: usize, rounds: u32, run: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= seeds, "{} has {} files", dir.display(), files.len());
    for (number, path) in (1..).zip(&files) {
        let original = std::fs::read(path).unwrap();
        run(&original);
        let mut random = Random::new(number);
        for round in 0..rounds {
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut random);
            let start = Instant::now();
            run(&bytes);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(5), "{} {round}: {took:?}", path.display());
        }
    }
}

#[test]
fn broken_page_tables_end_soon() {
    replay("paging", 5, 300, vmss2core_machine::x86::fuzzing::paging);
}

#[test]
fn broken_symbol_tables_end_soon() {
    replay("kallsyms", 3, 60, |data| {
        fuzzing::kallsyms(data);
    });
}

#[test]
fn broken_logs_end_soon() {
    replay("log", 3, 300, |data| drop(fuzzing::log(data)));
}

#[test]
fn broken_trees_of_processes_end_soon() {
    replay("process_trees", 5, 300, fuzzing::process_trees);
}

#[test]
fn broken_stacks_end_soon() {
    replay("stacks", 5, 300, fuzzing::stacks);
}

#[test]
fn broken_types_end_soon() {
    replay("btf", 2, 300, fuzzing::btf);
}

#[test]
fn broken_offsets_end_soon() {
    replay("offsets", 3, 300, fuzzing::offsets);
}
