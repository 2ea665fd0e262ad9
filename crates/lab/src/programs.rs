//! Builds the programs that run in the guests, with the machine's own compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache;
use crate::command::succeed;

const LIMIT: Duration = Duration::from_mins(2);

/// The sources, by file name.
const SOURCES: [(&str, &str); 8] = [
    ("lablib.h", include_str!("../programs/lablib.h")),
    ("lablib.c", include_str!("../programs/lablib.c")),
    ("mt.c", include_str!("../programs/mt.c")),
    ("st.c", include_str!("../programs/st.c")),
    ("t32.c", include_str!("../programs/t32.c")),
    ("pages.c", include_str!("../programs/pages.c")),
    ("emit.c", include_str!("../programs/emit.c")),
    ("tell.c", include_str!("../programs/tell.c")),
];

/// Programs that run in every guest and are kept beside its memory.
pub(crate) const PROGRAMS: [&str; 4] = ["mt", "st", "t32", "pages"];

/// What gcc is told: output, source, further arguments.
const BUILDS: [(&str, &str, &[&str]); 6] = [
    ("liblab.so", "lablib.c", &["-fPIC", "-shared", "-Wl,-soname=liblab.so"]),
    ("mt", "mt.c", &["-fPIE", "-pie", "-pthread", "liblab.so"]),
    ("st", "st.c", &["-static"]),
    ("pages", "pages.c", &["-static"]),
    ("emit", "emit.c", &["-static"]),
    ("tell", "tell.c", &["-static"]),
];

const FLAGS: [&str; 5] = ["-g", "-O0", "-fno-omit-frame-pointer", "-Wall", "-Werror"];

/// The built programs of one word size.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The folder with [`PROGRAMS`] (`t32` is always a 32-bit one), `liblab.so`,
    /// `emit` and `tell`.
    pub(crate) dir: PathBuf,
    /// Files of the C library that `mt` needs: where they are here, where there.
    pub(crate) libraries: Vec<(PathBuf, String)>,
}

impl Programs {
    /// Builds them, or finds them in the cache.
    pub(crate) fn build(is_64_bit: bool) -> Result<Self> {
        let word = if is_64_bit { "-m64" } else { "-m32" };
        let name = cache::versioned(&format!("programs/programs{word}"), &Self::recipe());
        let dir = cache::once(&name, |dir| compile_all(dir, word))?;
        let libraries = libraries(&dir, is_64_bit)?;
        Ok(Self { dir, libraries })
    }

    /// Everything that decides about what the programs do.
    pub(crate) fn recipe() -> String {
        format!("{SOURCES:?} {BUILDS:?} {FLAGS:?}")
    }
}

fn compile_all(dir: &Path, word: &str) -> Result<()> {
    for (name, text) in SOURCES {
        fs::write(dir.join(name), text)?;
    }
    for (output, source, more) in BUILDS {
        compile(dir, word, output, source, more)?;
    }
    compile(dir, "-m32", "t32", "t32.c", &["-static", "-pthread"])
}

/// Builds one that needs nothing, of 64 bits, from its text.
pub(crate) fn compile_alone(dir: &Path, name: &str, text: &str) -> Result<()> {
    let source = format!("{name}.c");
    fs::write(dir.join(&source), text)?;
    compile(dir, "-m64", name, &source, &["-static"])
}

/// Builds one of several threads that uses the C library, of 64 bits.
pub(crate) fn compile_linked(dir: &Path, name: &str, text: &str) -> Result<()> {
    let source = format!("{name}.c");
    fs::write(dir.join(&source), text)?;
    compile(dir, "-m64", name, &source, &["-pthread"])
}

fn compile(dir: &Path, word: &str, output: &str, source: &str, more: &[&str]) -> Result<()> {
    let mut gcc = Command::new("gcc");
    gcc.current_dir(dir).args(FLAGS).args([word, "-o", output, source]).args(more);
    succeed(&mut gcc, LIMIT).with_context(|| {
        format!("compiling {output}: gcc with gcc-multilib is needed: cargo xtask setup")
    })?;
    Ok(())
}

/// The C library and the program interpreter that `mt` names.
fn libraries(dir: &Path, is_64_bit: bool) -> Result<Vec<(PathBuf, String)>> {
    let (word, interpreter) = if is_64_bit {
        ("-m64", "/lib64/ld-linux-x86-64.so.2")
    } else {
        ("-m32", "/lib/ld-linux.so.2")
    };
    let mut gcc = Command::new("gcc");
    let libc = succeed(gcc.current_dir(dir).args([word, "-print-file-name=libc.so.6"]), LIMIT)?;
    let libc = PathBuf::from(libc.trim());
    Ok(vec![(libc, "/lib/libc.so.6".into()), (interpreter.into(), interpreter.into())])
}
