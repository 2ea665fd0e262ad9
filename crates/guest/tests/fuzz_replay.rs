//! What fuzzing starts from, and mutations of it, on the stable toolchain.

use std::path::Path;
use std::time::{Duration, Instant};

use vmss2core_guest::fuzzing;
use vmss2core_lab::vmware::{Random, mutate};

#[test]
fn broken_page_tables_end_soon() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/paging");
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{} has {} files", dir.display(), files.len());
    for (number, path) in (1..).zip(&files) {
        let original = std::fs::read(path).unwrap();
        fuzzing::paging(&original);
        let mut random = Random::new(number);
        for round in 0..300 {
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut random);
            let start = Instant::now();
            fuzzing::paging(&bytes);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(5), "{} {round}: {took:?}", path.display());
        }
    }
}
