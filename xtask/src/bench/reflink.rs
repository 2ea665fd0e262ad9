//! On a file system with reflinks the memory is cloned, not copied. Needs root:
//! it mounts an image of its own, in a folder of its own, and removes both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::inputs::Input;
use super::measure::{self, shell};
use super::table::Row;
use super::{Bench, RUNS};

/// One row per file system, or none with a sentence why.
pub(super) fn rows(bench: &Bench, input: &Input) -> Result<Vec<Row>> {
    if !is_root()? {
        println!("reflinks not measured: mounting a file system needs root");
        return Ok(Vec::new());
    }
    ["xfs", "btrfs"].into_iter().map(|kind| row(bench, input, kind)).collect()
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn row(bench: &Bench, input: &Input, kind: &'static str) -> Result<Row> {
    let mount = Mount::new(&bench.dir, kind)?;
    let copy = |from: &Path| -> Result<PathBuf> {
        let to = mount.point.join(from.file_name().context("a file has a name")?);
        shell(&format!("cp '{}' '{}'", from.display(), to.display()))?;
        Ok(to)
    };
    let input = Input { state: copy(&input.state)?, memory: copy(&input.memory)?, ..*input };
    let out = mount.point.join("out.core");
    let before = mount.used_bytes()?;
    let mut costs = Vec::new();
    for _ in 0..RUNS {
        shell("sync")?;
        costs.push(measure::run(&bench.convert(&input, "elf-physical", &out), &bench.dir)?);
    }
    let extra_mib = mount.used_bytes()?.saturating_sub(before) >> 20;
    Ok(Row {
        what: format!("-M, 4 GiB on {kind}, {extra_mib} MiB of extra disk"),
        ours: measure::best(costs)?,
        data_bytes: input.data_bytes,
        peer: None,
        target: "under 0.2 s, no extra disk",
    })
}

/// A file system in an image, mounted until dropped.
struct Mount {
    image: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn new(dir: &Path, kind: &str) -> Result<Self> {
        let (image, point) = (dir.join(format!("{kind}.img")), dir.join(kind));
        File::create(&image)?.set_len(10 << 30)?;
        fs::create_dir_all(&point)?;
        shell(&format!("mkfs.{kind} -q -f '{}' 2> /dev/null", image.display()))?;
        shell(&format!("mount -o loop '{}' '{}'", image.display(), point.display()))?;
        Ok(Self { image, point })
    }

    fn used_bytes(&self) -> Result<u64> {
        shell("sync")?;
        let output = Command::new("df").args(["--output=used", "-B1"]).arg(&self.point).output()?;
        ensure!(output.status.success(), "df failed");
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().nth(1).context("df printed no number")?.trim().parse()?)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing more can be done about a failure here than to show it.
        let unmounted = shell(&format!("umount '{}'", self.point.display()));
        let removed = unmounted.and_then(|()| Ok(fs::remove_file(&self.image)?));
        if let Err(error) = removed {
            eprintln!("cleaning up {}: {error:#}", self.point.display());
        }
    }
}
