//! The seeds in `fuzz/corpus` are those that the lab makes. To write them anew:
//! `UPDATE_FUZZ_CORPORA=1 cargo test -p vmss2core-lab --test fuzz_corpora`.

use std::path::Path;

use vmss2core_lab::vmware::seeds;

#[test]
fn committed_seeds_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let update = std::env::var_os("UPDATE_FUZZ_CORPORA").is_some();
    for seed in seeds().unwrap() {
        let dir = root.join(seed.target);
        let path = dir.join(format!("seed-{}", seed.name));
        if update {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &seed.bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == seed.bytes, "{} is not what the lab makes", path.display());
    }
}
