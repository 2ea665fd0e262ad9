//! Options of the command line, of which libraries know nothing: they say what could be
//! given or chosen by its name (`mem::Setting`), and the program how that is typed.

use std::path::Path;

/// Programs of others: what follows their names, within one text, is not ours.
const FOREIGN: [&str; 21] = [
    "VBoxManage",
    "QEMU",
    "crash",
    "dmesg",
    "drgn",
    "dwarfdump",
    "gdb",
    "lldb",
    "lzop",
    "makedumpfile",
    "objcopy",
    "platform select",
    "qemu-img",
    "symbol-file",
    "thread info",
    "uname",
    "virsh",
    "vol",
    "windbg",
    "xl",
    "zstd",
];

/// Options that a library does name, in which file, and why.
const ALLOWED: [(&str, &str, &str); 1] =
    [("serve/monitor.rs", "-T", "of commands that are typed in a debugger, which are its own")];

/// Whether a library may name this option in this file.
pub(super) fn is_allowed(file: &Path, option: &str) -> bool {
    ALLOWED.iter().any(|(place, allowed, _)| file.ends_with(place) && option == *allowed)
}

/// Texts of a file, in its strings and comments, that name an option of this program;
/// each with the number of its line. Items of tests take no part.
pub(super) fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, said) in texts(text) {
        let ours = options(&said).filter(|(before, _)| !is_foreign(before));
        found.extend(ours.map(|(_, option)| (number, option.to_owned())));
    }
    found
}

fn is_foreign(before: &str) -> bool {
    FOREIGN.iter().any(|program| {
        before.match_indices(program).any(|(at, _)| {
            let after = before[at + program.len()..].chars().next();
            !before[..at].ends_with(|c: char| c.is_alphanumeric())
                && after.is_some_and(|c| !c.is_alphanumeric())
        })
    })
}

/// What looks like an option, with all that comes before it.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices('-').filter_map(move |(at, _)| {
        let (before, rest) = text.split_at(at);
        let option = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let begins_word = !before.ends_with(|c: char| c.is_alphanumeric() || "-{}/*+.".contains(c));
        let is_long = option.strip_prefix("--").is_some_and(|name| {
            name.len() > 1 && name.starts_with(|c: char| c.is_ascii_lowercase())
        });
        let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
        let is_short = letter.is_some_and(|l| l.starts_with(|c: char| c.is_ascii_alphabetic()));
        (begins_word && (is_long || is_short)).then_some((before, option))
    })
}

/// Strings and blocks of comments, each joined to one line, with the number of their first.
fn texts(text: &str) -> Vec<(usize, String)> {
    let mut texts: Vec<(usize, String)> = Vec::new();
    let mut open: Option<Open> = None;
    for (number, line) in super::library::all_code(text) {
        let trimmed = line.trim_start();
        if open != Some(Open::Literal) && trimmed.starts_with("//") {
            let said = trimmed.trim_start_matches(['/', '!']);
            match texts.last_mut() {
                Some((_, block)) if open == Some(Open::Comment) => block.push_str(said),
                _ => texts.push((number, said.to_owned())),
            }
            open = Some(Open::Comment);
            continue;
        }
        let is_open = literals(line, number, open == Some(Open::Literal), &mut texts);
        open = is_open.then_some(Open::Literal);
    }
    texts
}

/// What goes on in the next line.
#[derive(PartialEq, Eq)]
enum Open {
    Comment,
    Literal,
}

/// Collects the strings of a line; returns whether the last goes on.
fn literals(
    line: &str,
    number: usize,
    mut is_open: bool,
    texts: &mut Vec<(usize, String)>,
) -> bool {
    let mut is_escaped = false;
    let mut before = ' ';
    for c in line.trim_start().chars() {
        match (is_open, c) {
            (true, '"') if !is_escaped => is_open = false,
            (true, _) => {
                if let Some((_, said)) = texts.last_mut() {
                    said.push(c);
                }
            }
            // A character, not the start of a string.
            (false, '"') if before != '\'' => {
                is_open = true;
                texts.push((number, String::new()));
            }
            _ => {}
        }
        is_escaped = is_open && c == '\\' && !is_escaped;
        before = c;
    }
    is_open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        named(text).into_iter().map(|(_, option)| option).collect()
    }

    #[test]
    fn options_in_messages_and_comments_are_found() {
        for (text, option) in [
            ("fn f() { say(\"give --vmlinux FILE\") }", "--vmlinux"),
            ("    \"the page tables are not known; \\\n     --cr3 names others\"", "--cr3"),
            ("/// The physical view (`-M`).\nfn f() {}", "-M"),
            ("//! Of `convert`: -l and so on.", "-l"),
            ("const A: [&str; 1] = [\"-N6\"];\n// Not before --force.", "--force"),
        ] {
            assert_eq!(names(text), [option], "{text}");
        }
        assert_eq!(named("\n\nfn f() { \"a\"; \"use --port\" }")[0].0, 3);
    }

    #[test]
    fn what_others_take_and_other_hyphens_are_not() {
        for text in [
            "fn f() { say(\"gdb -c {core} --nx\"); a - b; -x; c--; }",
            "/// As `uname -r` has it, 1--2, a -- b, two-way, x-M.",
            "/// `crash`'s\n/// own --kaslr.",
            "#[cfg(test)]\nmod tests {\n    // --vmlinux\n}\n",
            "fn f() { let c = '\"'; let x = -M; }",
        ] {
            assert_eq!(names(text), [""; 0], "{text}");
        }
    }
}
