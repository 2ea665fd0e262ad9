//! The command that somebody meant.

use clap::CommandFactory;
use strsim::osa_distance;

use crate::args::Cli;

/// Words of other tools for what commands here do.
const ELSEWHERE: &[(&str, &str)] = &[
    ("backtrace", "bt"),
    ("dump", "convert"),
    ("foreach", "bt"),
    ("gcore", "core"),
    ("kallsyms", "symbols"),
    ("lldb", "gdb"),
    ("log", "dmesg"),
    ("lsmod", "modules"),
    ("mod", "modules"),
    ("processes", "ps"),
    ("pslist", "ps"),
    ("serve", "gdb"),
    ("stack", "bt"),
    ("stacks", "bt"),
    ("sym", "symbols"),
    ("tasks", "ps"),
    ("version", "--version"),
    ("vmmap", "maps"),
];

/// What to type instead of a word that is no command: one that is spelt alike, or does
/// what other tools call so.
pub(crate) fn meant(word: &str) -> Option<String> {
    let alias = ELSEWHERE.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours);
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    // A transposition or one letter in three or four.
    let most = word.chars().count().div_ceil(4).max(1);
    let alike = names
        .map(|name| (osa_distance(word, name), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance);
    let name = alias.or(alike.map(|(_, name)| name))?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelt_alike_or_called_so_elsewhere_is_meant() {
        for (typed, want) in [
            ("inof", Some("info")),
            ("convrt", Some("convert")),
            ("pslist", Some("ps")),
            ("dump", Some("convert")),
            ("log", Some("dmesg")),
            ("version", Some("--version")),
            ("backtrace", Some("bt")),
            ("moduels", Some("modules")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(meant(typed).as_deref(), want, "{typed}");
        }
    }
}
