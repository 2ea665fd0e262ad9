//! Writes a machine's checkpoint to a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::bundle::{self, Named};
use super::configuration;
use super::machine::Machine;
use super::shape::{Companion, Delivery, Shape};
use super::{guestdump, state};

/// Name of a memory file that came without its own.
const UUID: &str = "5f2a1c9e-7b3d-4e60-8a11-0c29d4e85b77";

/// Summary of a file that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The state file, or its first piece, or the bundle.
    pub state: PathBuf,
    /// The memory file, or its first piece, if there is one to name.
    pub memory: Option<PathBuf>,
    /// Every file.
    pub files: Vec<PathBuf>,
}

/// Writes `machine` to `dir` as `stem` with the endings that `shape` asks for.
pub fn write_checkpoint(
    machine: &Machine,
    shape: &Shape,
    dir: &Path,
    stem: &str,
) -> Result<Written> {
    let parts = state::parts(machine, shape, stem)?;
    let mut files = vec![(format!("{stem}.{}", shape.extension()), parts.state.contents)];
    if let Some(memory) = parts.memory {
        let name = match shape.companion {
            Companion::SameName => format!("{stem}.vmem"),
            Companion::Uuid => UUID.to_owned(),
        };
        files.push((name, memory));
    }
    deliver(&files, shape.delivery, dir)
}

/// Writes a `debug.guest` of this version and its memory to `dir`.
pub fn write_guest_dump(
    machine: &Machine,
    version: u32,
    delivery: Delivery,
    dir: &Path,
) -> Result<Written> {
    let state = guestdump::guest_dump(machine, version)?;
    let files = [("debug.guest".to_owned(), state), ("debug.vmem".to_owned(), machine.ram.clone())];
    deliver(&files, delivery, dir)
}

/// Writes the `.vmx` and the `.vmsd` that belong beside `stem`.
pub fn write_configuration(
    machine: &Machine,
    shape: &Shape,
    dir: &Path,
    stem: &str,
) -> Result<(PathBuf, PathBuf)> {
    let (vmx, vmsd) = (dir.join("guest.vmx"), dir.join("guest.vmsd"));
    std::fs::write(&vmx, configuration::vmx(machine, stem, shape.extension()))?;
    std::fs::write(&vmsd, configuration::vmsd(stem, shape.extension()))?;
    Ok((vmx, vmsd))
}

/// Writes files the way they are handed over. The first is the state.
pub fn deliver(files: &[Named], delivery: Delivery, dir: &Path) -> Result<Written> {
    match delivery {
        Delivery::Plain => write_each(files, dir),
        Delivery::Gzip => {
            let gzip = |(name, contents): &Named| -> Result<Named> {
                Ok((format!("{name}.gz"), bundle::gzip(contents)?))
            };
            write_each(&files.iter().map(gzip).collect::<Result<Vec<_>>>()?, dir)
        }
        Delivery::Fragments(count) => {
            let first = |(name, _): &Named| dir.join(format!("{name}.FRAG-00000"));
            let pieces: Vec<Named> =
                files.iter().flat_map(|(name, c)| bundle::fragments(name, c, count)).collect();
            let written = write_each(&pieces, dir)?;
            Ok(Written { memory: files.get(1).map(first), ..written })
        }
        Delivery::Folder(count) => {
            let written = write_each(&bundle::folder(files, count)?, &dir.join("esx-host"))?;
            Ok(Written { state: dir.join("esx-host"), memory: None, ..written })
        }
        Delivery::Bundle(count) => {
            let entries = bundle::folder(files, count)?.into_iter();
            let entries: Vec<Named> = entries.map(|(n, c)| (format!("esx-host/{n}"), c)).collect();
            let packed = bundle::gzip(&bundle::tar(&entries)?)?;
            write_each(&[("esx-host.tgz".to_owned(), packed)], dir)
        }
    }
}

fn write_each(files: &[Named], dir: &Path) -> Result<Written> {
    let mut paths = Vec::new();
    for (name, contents) in files {
        let path = dir.join(name);
        let parent = path.parent().context("a file without a folder")?;
        std::fs::create_dir_all(parent)?;
        contents.write_to(&path)?;
        paths.push(path);
    }
    let state = paths.first().cloned().context("no file to write")?;
    Ok(Written { state, memory: paths.get(1).cloned(), files: paths })
}
