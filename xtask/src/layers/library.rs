//! What libraries do not do: print, exit, read the environment. The facade shares a
//! package with the program, so that no table of dependencies tells them apart; what is
//! below its `lib.rs` is looked at file by file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::options;

/// What has no place in a library.
const FORBIDDEN: [&str; 8] = [
    "println!",
    "eprintln!",
    "io::stdout",
    "io::stderr",
    "std::env::",
    "env::var",
    "env::temp_dir",
    "process::exit",
];

/// What a terminal program uses, and its library does not.
const FORBIDDEN_IN_FACADE: [&str; 4] = ["anyhow", "clap::", "indicatif", "signal_hook"];

/// Lines of a library's crate that do what libraries do not.
pub(super) fn wrong_lines(lib: &Path, is_facade: bool) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in modules(lib)? {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        for (number, line) in code(&text) {
            let also = FORBIDDEN_IN_FACADE.iter().filter(|_| is_facade);
            for what in FORBIDDEN.iter().chain(also).filter(|what| line.contains(**what)) {
                wrong.push(format!("{}:{number}: {what} in a library", file.display()));
            }
        }
        let named = options::named(&text).into_iter();
        for (number, option) in named.filter(|(_, option)| !options::is_allowed(&file, option)) {
            wrong.push(format!("{}:{number}: the option {option} in a library", file.display()));
        }
    }
    Ok(wrong)
}

/// The numbered lines of a file that are no comments, without the items of tests.
pub(super) fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = all_code(text);
    lines.retain(|(_, line)| !line.trim_start().starts_with("//"));
    lines
}

/// The numbered lines of a file without the items of tests.
pub(super) fn all_code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut is_test = false;
    for (number, line) in (1..).zip(text.lines()) {
        is_test |= line == "#[cfg(test)]";
        if !is_test {
            lines.push((number, line));
        }
        // The end of an item, as rustfmt writes it.
        is_test &= line != "}" && declared(line).is_none();
    }
    lines
}

/// A file and the modules that it declares, all the way down, without those of tests.
pub(super) fn modules(file: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut found = vec![file.to_owned()];
    let mut before = "";
    for line in text.lines() {
        let is_test = before.contains("cfg(test)") || before.contains("doc(hidden)");
        if let Some(path) = declared(line).filter(|_| !is_test).and_then(|name| below(file, name)) {
            found.extend(modules(&path)?);
        }
        before = line;
    }
    Ok(found)
}

/// The module that a line declares to be in a file of its own.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let inside = line.strip_prefix("pub(").and_then(|rest| Some(rest.split_once(") ")?.1));
    let words = inside.unwrap_or_else(|| line.trim_start_matches("pub "));
    words.strip_prefix("mod ")?.strip_suffix(';')
}

fn below(file: &Path, name: &str) -> Option<PathBuf> {
    let dir = file.parent()?;
    let dir = match file.file_stem()?.to_str()? {
        "lib" | "mod" => dir.to_owned(),
        stem => dir.join(stem),
    };
    let paths = [dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs")];
    paths.into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_prints_is_found_and_its_tests_are_not() {
        let dir = std::env::temp_dir().join(format!("vmss2core-layers-{}", std::process::id()));
        fs::create_dir_all(dir.join("below")).unwrap();
        let lib = dir.join("lib.rs");
        fs::write(&lib, "pub mod below;\n#[cfg(test)]\nmod tests;\n// println!\n").unwrap();
        fs::write(dir.join("below/mod.rs"), "pub(crate) mod deep;\n").unwrap();
        fs::write(dir.join("below/deep.rs"), "fn f() {}\nfn g() { println!(\"\") }\n").unwrap();
        fs::write(dir.join("tests.rs"), "fn f() { println!(\"\") }\n").unwrap();
        let found = wrong_lines(&lib, false).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("deep.rs:2: println! in a library"), "{found:?}");
    }
}
