//! Which modules of its crate a file names.

use std::path::Path;

/// The paths that these lines name from the crate's root on, each with the number of
/// its line. `file` is where they come from, below the source directory.
pub(super) fn paths<'t>(lines: &[(usize, &'t str)], file: &Path) -> Vec<(usize, Vec<&'t str>)> {
    let tokens: Vec<(usize, &str)> = lines
        .iter()
        .flat_map(|(number, line)| tokens(line).map(|token| (*number, token)))
        .collect();
    let module_depth = depth(file);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((number, token)) = tokens.get(at) {
        let rest = &tokens[at..];
        let leads_on = rest.get(1).is_some_and(|(_, next)| *next == "::");
        // Above the file's own module lies what `super` leads to; the root has no name.
        let ups =
            rest.chunks(2).take_while(|pair| matches!(pair, [(_, "super"), (_, "::")])).count();
        let reaches_root = (*token == "crate" && leads_on) || (ups != 0 && ups == module_depth);
        at += if reaches_root {
            let skipped = 2 * ups.max(1);
            skipped + tree(&rest[skipped..], &mut Vec::new(), *number, &mut found)
        } else {
            (2 * ups).max(1)
        };
    }
    found
}

/// How many modules lie above what is in a file, the root included.
fn depth(file: &Path) -> usize {
    let folders = file.components().count().saturating_sub(1);
    let is_own_module = file.file_name().is_some_and(|name| name != "mod.rs" && name != "lib.rs");
    folders + usize::from(is_own_module)
}

/// Collects the paths of a use tree; returns how many tokens it has.
fn tree<'t>(
    tokens: &[(usize, &'t str)],
    path: &mut Vec<&'t str>,
    line: usize,
    found: &mut Vec<(usize, Vec<&'t str>)>,
) -> usize {
    let above = path.len();
    let mut at = 0;
    while let Some((number, token)) = tokens.get(at) {
        match *token {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| *token != "}") {
                    at += tree(&tokens[at..], path, *number, found).max(1);
                    // Another name for it, and the comma.
                    let ends = |(_, token): &&(usize, &str)| !matches!(*token, "," | "}");
                    at += tokens[at..].iter().take_while(ends).count();
                    at += usize::from(tokens.get(at).is_some_and(|(_, token)| *token == ","));
                }
                path.truncate(above);
                return at + 1;
            }
            "::" => {}
            name if path.len() == above || tokens[at - 1].1 == "::" => path.push(name),
            _ => break,
        }
        at += 1;
    }
    found.push((tokens.first().map_or(line, |(number, _)| *number), path.clone()));
    path.truncate(above);
    at
}

/// Names, `::`, and every other sign by itself.
pub(super) fn tokens(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let name = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let len = match name {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next()?.len_utf8(),
            len => len,
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        Some(token)
    })
}
