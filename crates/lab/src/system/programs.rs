//! The programs that such a guest runs, built with the compilers of their languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt;
use crate::cache;
use crate::command::succeed;
use crate::programs::{self, Programs};

const LIMIT: Duration = Duration::from_mins(5);

/// What is linked against the root's C library, and what needs none.
const DYNAMIC: (&str, &str) = ("crowd", include_str!("../../programs/production/crowd.c"));
const STATIC: [(&str, &str); 3] = [
    ("eater", include_str!("../../programs/production/eater.c")),
    ("swapped", include_str!("../../programs/production/swapped.c")),
    ("witness", include_str!("../../programs/production/witness.c")),
];
const RUST: &str = include_str!("../../programs/production/threads.rs");
const GO: &str = include_str!("../../programs/production/threads.go");

/// Go's compiler, which is unpacked, not installed.
const GO_PACKAGES: [&str; 2] = ["golang-1.19-go/bookworm", "golang-1.19-src/bookworm"];
const GO_ROOT: &str = "usr/lib/go-1.19";

/// The folder with all programs, and `liblab.so`.
pub(super) fn build() -> Result<PathBuf> {
    let lab = Programs::build(true)?;
    let name = cache::versioned("programs/system", &recipe());
    cache::once(&name, |dir| {
        for (name, text) in STATIC {
            programs::compile_alone(dir, name, text)?;
        }
        let (name, text) = DYNAMIC;
        programs::compile_linked(dir, name, text)?;
        build_rust(dir)?;
        build_go(dir)?;
        for name in ["mt", "t32", "liblab.so"] {
            fs::copy(lab.dir.join(name), dir.join(name))?;
        }
        Ok(())
    })
}

/// Everything that decides about what the programs do.
pub(super) fn recipe() -> String {
    format!("{DYNAMIC:?} {STATIC:?} {RUST} {GO} {GO_PACKAGES:?} {}", Programs::recipe())
}

/// One that needs no library and is placed anywhere nevertheless.
fn build_rust(dir: &Path) -> Result<()> {
    fs::write(dir.join("threads.rs"), RUST)?;
    let mut rustc = Command::new("rustc");
    rustc.current_dir(dir).args(["-O", "-g", "-C", "target-feature=+crt-static"]);
    succeed(rustc.args(["--edition", "2024", "-o", "rust", "threads.rs"]), LIMIT)
        .context("compiling a program in Rust")?;
    Ok(())
}

fn build_go(dir: &Path) -> Result<()> {
    fs::write(dir.join("threads.go"), GO)?;
    let work = tempfile::tempdir_in(dir)?;
    apt::unpack(&GO_PACKAGES, &[], work.path())?;
    let root = work.path().join(GO_ROOT);
    let mut go = Command::new(root.join("bin/go"));
    go.current_dir(dir).args(["build", "-o", "go", "threads.go"]);
    go.env("GOROOT", &root).env("GOCACHE", work.path().join("cache"));
    go.env("GOPATH", work.path().join("path")).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    succeed(&mut go, LIMIT).context("compiling a program in Go")?;
    Ok(())
}
