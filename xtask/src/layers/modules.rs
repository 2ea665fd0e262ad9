//! Modules of one crate that know nothing of each other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::library::code;
use super::paths::paths;

/// Modules of a source directory that are to be kept apart.
struct Apart {
    source: &'static str,
    /// None of these uses another one.
    modules: &'static [&'static str],
    /// What they share, which uses none of them.
    shared: &'static [&'static str],
}

const APART: &[Apart] = &[
    Apart {
        source: "crates/guest/src",
        modules: &["windows", "macos", "linux"],
        shared: &["scan"],
    },
    Apart {
        source: "crates/dump/src",
        modules: &["elf", "kdump", "windbg", "raw", "process"],
        shared: &[
            "arch", "choice", "elf_core", "engine", "error", "files", "job", "output", "views",
        ],
    },
];

/// Lines of such modules that name what they must not know.
pub(super) fn wrong_lines(root: &Path) -> Result<Vec<String>> {
    let found = APART.iter().map(|apart| apart.wrong_lines(root));
    Ok(found.collect::<Result<Vec<_>>>()?.concat())
}

impl Apart {
    fn wrong_lines(&self, root: &Path) -> Result<Vec<String>> {
        let source = root.join(self.source);
        let mut wrong = Vec::new();
        for module in self.modules.iter().chain(self.shared) {
            let others: Vec<&str> =
                self.modules.iter().copied().filter(|other| other != module).collect();
            for file in files_of(&source, module)? {
                wrong.extend(named(&source, &file, &others)?);
            }
        }
        Ok(wrong)
    }
}

fn named(source: &Path, file: &Path, others: &[&str]) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let below = file.strip_prefix(source).unwrap_or(file);
    let paths = paths(&code(&text), below);
    let wrong = paths.iter().filter_map(|(number, path)| {
        let other = others.iter().find(|other| path.first() == Some(*other))?;
        Some(format!("{}:{number}: uses crate::{other}", file.display()))
    });
    let mut wrong: Vec<String> = wrong.collect();
    wrong.dedup();
    Ok(wrong)
}

/// `NAME.rs` and all below `NAME`.
fn files_of(source: &Path, module: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![source.join(module)];
    let file = source.join(module).with_extension("rs");
    found.extend(file.exists().then_some(file));
    while let Some(dir) = left.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let path = entry?.path();
            match path.extension() {
                _ if path.is_dir() => left.push(path),
                Some(extension) if extension == "rs" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    anyhow::ensure!(!found.is_empty(), "{} has no module {module}", source.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOY: Apart = Apart { source: "src", modules: &["one", "two"], shared: &["both"] };

    /// What is said of a crate with these files.
    fn wrong(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("src/one.rs", ""), ("src/two/mod.rs", ""), ("src/both.rs", "")].iter().chain(files)
        {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let wrong = TOY.wrong_lines(dir.path()).unwrap();
        let below = format!("{}/", dir.path().display());
        wrong.into_iter().map(|line| line.replace(&below, "")).collect()
    }

    #[test]
    fn a_format_that_uses_another_is_found() {
        for line in [
            "use crate::two::Thing;",
            "use crate::{Job, two};",
            "use crate::{\n    Job,\n    two::{A, B},\n};",
            "use super::two;",
            "fn f() { crate::two::f() }",
        ] {
            assert_eq!(wrong(&[("src/one.rs", line)]).len(), 1, "{line}");
        }
        let from_below = [("src/two/a/b.rs", "\nuse super::super::super::one;")];
        assert_eq!(wrong(&from_below), ["src/two/a/b.rs:2: uses crate::one"]);
        assert_eq!(
            wrong(&[("src/both.rs", "use crate::one;")]),
            ["src/both.rs:1: uses crate::one"]
        );
    }

    #[test]
    fn what_may_be_used_is_no_violation() {
        let line = "use crate::both::two;\nuse crate::{both, two_more};\npub(crate) mod a;\n\
                    use super::both;\n// crate::two\n#[cfg(test)]\nmod tests { use crate::two; }\n";
        assert_eq!(wrong(&[("src/one.rs", line)]), [""; 0]);
        assert_eq!(wrong(&[("src/two/a.rs", "use super::one;\nuse crate::two;")]), [""; 0]);
    }
}
