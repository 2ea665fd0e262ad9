//! Helpers of this crate's tests: small builders of files, independent of
//! the readers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::OpenOptions;
use crate::source::Source;

/// A source in memory.
pub(crate) fn source(path: &str, bytes: Vec<u8>) -> Source {
    let len = bytes.len() as u64;
    Source {
        path: path.into(),
        bytes: Arc::new(bytes),
        len,
        found: "given".to_owned(),
        host_files: Vec::new(),
    }
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

/// A VMware state file of one processor, with a map of one region of `pages`
/// pages, or none if that is 0; with the memory inside if there is any.
pub(crate) fn vmware_state(pages: u32, memory: &[u8]) -> Vec<u8> {
    let mut map = Vec::new();
    if pages > 0 {
        map.extend(tag("regionsCount", &[], &1_u32.to_le_bytes()));
        for (name, value) in [("regionPPN", 0), ("regionPageNum", 0), ("regionSize", pages)] {
            map.extend(tag(name, &[0], &value.to_le_bytes()));
        }
    }
    if !memory.is_empty() {
        map.extend([0xbf, 6]);
        map.extend(b"Memory");
        map.extend([0; 8]);
        for len in [memory.len() as u64; 2] {
            map.extend(len.to_le_bytes());
        }
        map.extend([0; 2]);
        map.extend(memory);
    }
    let cpu = [tag("cpu:numVCPUs", &[], &1_u32.to_le_bytes()), tag("rip", &[0], &[1; 8])].concat();
    groups(&[("cpu", cpu), ("memory", map)])
}

/// A snapshot without memory: no processors, no map.
pub(crate) fn vmware_disk_snapshot() -> Vec<u8> {
    groups(&[("Snapshot", tag("cfgFile", &[], b"x"))])
}

fn tag(name: &str, indices: &[u32], value: &[u8]) -> Vec<u8> {
    let word = u8::try_from(indices.len() << 6 | value.len()).unwrap();
    let mut tag = vec![word, u8::try_from(name.len()).unwrap()];
    tag.extend(name.as_bytes());
    tag.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
    tag.extend(value);
    tag
}

fn groups(groups: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut file =
        [0xbed2_bed2_u32, 8, u32::try_from(groups.len()).unwrap()].map(u32::to_le_bytes).concat();
    let mut at = file.len() + 80 * groups.len();
    for (name, body) in groups {
        let mut entry = name.as_bytes().to_vec();
        entry.resize(64, 0);
        entry.extend((at as u64).to_le_bytes());
        entry.extend((body.len() as u64 + 2).to_le_bytes());
        file.extend(entry);
        at += body.len() + 2;
    }
    for (_, body) in groups {
        file.extend(body);
        file.extend([0; 2]);
    }
    file
}
