//! What the tests of this crate share: small builders of files, independent of
//! the readers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::OpenOptions;
use crate::source::Source;

/// A source in memory.
pub(crate) fn source(path: &str, bytes: Vec<u8>) -> Source {
    let len = bytes.len() as u64;
    Source { path: path.into(), bytes: Arc::new(bytes), len, found: "given".to_owned() }
}

/// Options with a temporary directory, which lives as long as its guard.
pub(crate) fn spilling() -> (tempfile::TempDir, OpenOptions) {
    let dir = tempfile::tempdir().unwrap();
    let spill_dir = Some(dir.path().to_owned());
    (dir, OpenOptions { spill_dir, ..OpenOptions::default() })
}

/// `bytes` as a gzip file of one member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a file, with its directories.
pub(crate) fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A tar file of regular members, written by the `tar` crate.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}
