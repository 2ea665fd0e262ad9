//! Command lines that cannot be meant, said in this program's voice.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command;
use crate::commands::meant;
use crate::legacy;

/// What clap has against a command line, and where to read on.
pub(crate) fn said(error: &clap::Error, argv: &[OsString]) -> String {
    let what = match (error.kind(), context(error, ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(option)) => {
            unknown_argument(error, whole_word(argv, option))
        }
        (ErrorKind::MissingRequiredArgument, _) => missing(error),
        _ => match context(error, ContextKind::InvalidSubcommand) {
            Some(word) => no_command(word),
            None => first_paragraph(error),
        },
    };
    let help = named_command(argv).map_or_else(String::new, |name| format!(" {name}"));
    format!("{what}\nvmss2core help{help} says more")
}

/// Of an option of several letters clap names the first.
fn whole_word<'a>(argv: &'a [OsString], option: &'a str) -> &'a str {
    let is_it = |word: &&str| word.starts_with(option);
    argv.iter().filter_map(|word| word.to_str()).find(is_it).unwrap_or(option)
}

/// Says that no command is called that, and which may be meant.
pub(crate) fn no_command(word: &str) -> String {
    let instead = meant(word).map_or_else(
        || "vmss2core help lists them".to_owned(),
        |command| format!("did you mean {command}?"),
    );
    format!("no command is called {word}; {instead}")
}

/// "--pid <PID|TID|NAME> or --name <NAME> is missing"
fn missing(error: &clap::Error) -> String {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::InvalidArg) else {
        return first_paragraph(error);
    };
    // Of a group: <--pid <PID|TID|NAME>|--name <NAME>>
    let name =
        |name: &String| match name.strip_prefix("<--").and_then(|rest| rest.strip_suffix('>')) {
            Some(group) => format!("--{}", group.replace("|--", " or --")),
            None => name.clone(),
        };
    let names: Vec<String> = names.iter().map(name).collect();
    format!("{} {} missing", names.join(" and "), if names.len() == 1 { "is" } else { "are" })
}

/// clap's own tip, to write `-- -v`, is not given: nobody means a file of that name.
fn unknown_argument(error: &clap::Error, option: &str) -> String {
    let hint = match context(error, ContextKind::SuggestedArg) {
        Some(alike) => format!("; did you mean {alike}?"),
        None if legacy::is_option(option) => {
            format!("; it is of the original's command line: vmss2core {option} FILE")
        }
        None => elsewhere(option).map_or_else(String::new, |where_| format!("; {where_}")),
    };
    format!("unknown option {option}{hint}")
}

/// The commands that have an option: "it belongs to vmss2core ps".
pub(crate) fn elsewhere(option: &str) -> Option<String> {
    let name = option.split('=').next().unwrap_or(option);
    let command = command();
    let with_it = command.get_subcommands().filter(|command| {
        command.get_arguments().any(|arg| {
            let long = arg.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
            let short = arg.get_short().is_some_and(|short| name == format!("-{short}"));
            long || short
        })
    });
    let names: Vec<String> =
        with_it.map(|command| format!("vmss2core {}", command.get_name())).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("it belongs to {one}")),
        [first, second] => Some(format!("it belongs to {first} and {second}")),
        [first, ..] => Some(format!("it belongs to commands such as {first}")),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.first().map(String::as_str),
        _ => None,
    }
}

/// Without its usage, which is as long as the help, and its own voice.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let ends = ["\n\nUsage:", "\n\nFor more information"].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end().to_owned()
}

/// The command that was typed.
fn named_command(argv: &[OsString]) -> Option<String> {
    let command = command();
    let is_command = |word: &&str| command.find_subcommand(word).is_some();
    argv.iter().filter_map(|word| word.to_str()).find(is_command).map(str::to_owned)
}
