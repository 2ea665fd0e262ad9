//! Archives and pieces: what support bundles are made of.

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::contents::Contents;
use super::memory::copy;

/// A file of an archive or of a folder.
pub type Named = (String, Contents);

/// Gzip'd contents.
pub fn gzip(contents: &Contents) -> Result<Contents> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    copy(contents, &mut encoder)?;
    Ok(encoder.finish()?.into())
}

/// A POSIX archive of regular files, names over 100 bytes the GNU way.
pub fn tar(files: &[Named]) -> Result<Contents> {
    let mut out = Contents::default();
    for (name, contents) in files {
        if name.len() > 100 {
            let mut long = name.as_bytes().to_vec();
            long.push(0);
            tar_entry(&mut out, "././@LongLink", b'L', &long.into())?;
        }
        tar_entry(&mut out, name, b'0', contents)?;
    }
    let end = out.len() + 1024;
    out.grow_to(end);
    Ok(out)
}

fn tar_entry(out: &mut Contents, name: &str, kind: u8, contents: &Contents) -> Result<()> {
    out.push_bytes(&tar_header(name, kind, contents.len())?);
    out.push(contents);
    let end = out.len().next_multiple_of(512);
    out.grow_to(end);
    Ok(())
}

/// Field by field at its offset. The sum is taken with its own field as blanks.
fn tar_header(name: &str, kind: u8, len: u64) -> Result<Vec<u8>> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| -> Result<()> {
        let field = header.get_mut(at..at + bytes.len()).context("field outside the header")?;
        field.copy_from_slice(bytes);
        Ok(())
    };
    put(0, name.as_bytes().get(..100).unwrap_or(name.as_bytes()))?;
    put(100, b"0000644\x000000000\x000000000\0")?;
    put(124, format!("{len:011o}\0").as_bytes())?;
    put(136, b"00000000000\0")?;
    put(148, b"        ")?;
    put(156, &[kind])?;
    put(257, b"ustar\x0000")?;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field = header.get_mut(148..156).context("sum outside the header")?;
    field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// `contents` in `count` pieces of unequal length, named as a bundle names them.
pub fn fragments(name: &str, contents: &Contents, count: usize) -> Vec<Named> {
    let count = count.max(1) as u64;
    let each = (contents.len() / count).max(1);
    let mut at = 0;
    let piece = |number: u64| {
        let rest = contents.len() - at;
        let len = if number + 1 == count { rest } else { (each - number % 2).min(rest) };
        let piece = contents.slice(at, len);
        at += len;
        (format!("{name}.FRAG-{number:05}"), piece)
    };
    (0..count).map(piece).collect()
}

/// The folder of a bundle, its entries relative to it: the pieces of a gzip'd
/// archive of `files` under the odd name that bundles give it, and the script.
pub(super) fn folder(files: &[Named], count: usize) -> Result<Vec<Named>> {
    let inner: Vec<Named> = files
        .iter()
        .map(|(name, contents)| (format!("vmfs/volumes/4b1e/a guest (1)/{name}"), contents.clone()))
        .collect();
    let archive = gzip(&tar(&inner)?)?;
    let path = "vmfs/volumes/4b1e/a guest (1)/debug-hung-vm_vmfsvolumes4b1eaguest1vmx-suspend.txt";
    let script = format!("#!/bin/sh\ncat \"{path}\".FRAG-* > \"{path}\"\n");
    let mut entries = vec![("reconstruct.sh".to_owned(), Contents::from(script.into_bytes()))];
    entries.push(("commands/uname_-a.txt".to_owned(), Contents::from(b"VMkernel\n".to_vec())));
    entries.extend(fragments(path, &archive, count));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The system's own tar is the judge.
    #[test]
    fn tar_lists_and_unpacks_what_we_pack() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/x (1).vmss", "a".repeat(120));
        let files = vec![
            ("short".to_owned(), b"one".to_vec().into()),
            (long.clone(), vec![7; 1000].into()),
        ];
        let path = dir.path().join("a.tgz");
        gzip(&tar(&files).unwrap()).unwrap().write_to(&path).unwrap();
        let run = Command::new("tar").arg("xzf").arg(&path).arg("-C").arg(dir.path()).status();
        assert!(run.unwrap().success());
        assert_eq!(std::fs::read(dir.path().join("short")).unwrap(), b"one");
        assert_eq!(std::fs::read(dir.path().join(long)).unwrap(), vec![7; 1000]);
    }

    #[test]
    fn pieces_join_to_the_whole() {
        let whole: Vec<u8> = (0..=249).cycle().take(1000).collect();
        for count in [1, 2, 12] {
            let pieces = fragments("f", &whole.clone().into(), count);
            assert_eq!(pieces.len(), count);
            let joined: Vec<u8> = pieces.iter().flat_map(|(_, c)| c.bytes().unwrap()).collect();
            assert_eq!(joined, whole);
        }
        assert_eq!(fragments("f", &whole.into(), 12)[11].0, "f.FRAG-00011");
    }
}
