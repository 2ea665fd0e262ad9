//! Modules of one crate that know nothing of each other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::library::code;

/// Folders (or files) of a source directory, none of which uses another.
const APART: &[(&str, &[&str])] = &[("crates/guest/src", &["windows", "macos", "linux"])];

/// Lines of one such module that name another.
pub(super) fn wrong_lines(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (source, modules) in APART {
        for module in *modules {
            let others: Vec<String> = modules
                .iter()
                .filter(|other| other != &module)
                .map(|m| format!("crate::{m}"))
                .collect();
            for file in files_of(&root.join(source), module)? {
                wrong.extend(named(&file, &others)?);
            }
        }
    }
    Ok(wrong)
}

fn named(file: &Path, others: &[String]) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let is_other = |line: &str, other: &str| {
        let after = line.split(other).skip(1);
        after.into_iter().any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let lines = code(&text);
    let wrong = lines.iter().flat_map(|(number, line)| {
        let used = others.iter().filter(|other| is_other(line, other));
        used.map(move |other| format!("{}:{number}: uses {other}", file.display()))
    });
    Ok(wrong.collect())
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
