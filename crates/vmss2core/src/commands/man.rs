//! `man`: a manual page to stdout, or all pages to a directory.
//!
//! clap_mangen renders what is the same in every manual page. The text after
//! the options is tables and examples, whose line breaks it would lose, and it
//! does not know the second form of the command line; those are rendered here.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command, ValueHint};
use clap_mangen::Man;
use vmss2core_dump::output as file;

use super::{Arguments, Plan};
use crate::args::Global;
use crate::exit::Exit;
use crate::{args, output};

/// Print a manual page, or write all of them to a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core man | man -l -
  vmss2core man convert | man -l -
  vmss2core man --all ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The command; without one, the page of the program
    #[arg(value_name = "COMMAND", conflicts_with = "all")]
    command: Option<String>,
    /// Write vmss2core.1 and one page for each command to this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    all: Option<PathBuf>,
}

impl Arguments for ManArgs {
    fn plan(self, _global: &Global) -> Result<Box<dyn Plan>, String> {
        let mut main = args::command().disable_help_subcommand(true);
        main.build();
        let page = match &self.command {
            Some(name) => main.find_subcommand(name).ok_or_else(|| args::no_command(name))?.clone(),
            None => main.clone(),
        };
        Ok(Box::new(ManPlan { main, page, all: self.all }))
    }
}

/// Print a manual page.
#[derive(Debug)]
struct ManPlan {
    main: Command,
    page: Command,
    all: Option<PathBuf>,
}

impl Plan for ManPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        if let Some(dir) = &self.all {
            write_pages(&self.main, dir)?;
            return Ok(Exit::Done);
        }
        let mut out = output::stdout();
        write_page(&self.main, &self.page, &mut out)?;
        out.flush()?;
        if io::stdout().is_terminal() {
            let name = self.page.get_display_name().unwrap_or_default();
            let command =
                name.strip_prefix("vmss2core-").map_or_else(String::new, |it| format!(" {it}"));
            output::talk(&format!("to read it as a page: vmss2core man{command} | man -l -"));
        }
        Ok(Exit::Done)
    }
}

fn write_pages(main: &Command, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for command in std::iter::once(main).chain(main.get_subcommands()) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let path = dir.join(format!("{name}.1"));
        let mut page = Vec::new();
        write_page(main, command, &mut page)?;
        file::write_readable(&path, &page)?;
    }
    Ok(())
}

fn write_page(main: &Command, command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    write_synopsis(command, out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    after.split("\n\n").try_for_each(|block| write_block(block, out))?;
    write_see_also(main, command, out)
}

/// The program's page names those of all commands, theirs name the program's.
fn write_see_also(main: &Command, command: &Command, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, ".SH SEE ALSO")?;
    if command.get_name() != main.get_name() {
        return writeln!(out, ".BR vmss2core (1)");
    }
    let names: Vec<String> = main
        .get_subcommands()
        .filter_map(Command::get_display_name)
        .map(|name| format!(".BR {} (1)", name.replace('-', "\\-")))
        .collect();
    writeln!(out, "{}", names.join(",\n"))
}

fn write_synopsis(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let usage = command.clone().render_usage().to_string();
    let forms = usage.strip_prefix("Usage:").unwrap_or(&usage).lines().map(str::trim);
    writeln!(out, ".SH SYNOPSIS\n.nf")?;
    forms.filter(|form| !form.is_empty()).try_for_each(|form| write_line(form, out))?;
    writeln!(out, ".fi")
}

/// A block of help text: lines below a title, or a paragraph.
fn write_block(block: &str, out: &mut dyn Write) -> io::Result<()> {
    let titled =
        block.split_once('\n').and_then(|(first, rest)| Some((first.strip_suffix(':')?, rest)));
    let Some((title, lines)) = titled else {
        writeln!(out, ".PP")?;
        return block.lines().try_for_each(|line| write_line(line, out));
    };
    writeln!(out, ".SH {}\n.nf", title.to_uppercase())?;
    lines.lines().try_for_each(|line| write_line(line.strip_prefix("  ").unwrap_or(line), out))?;
    writeln!(out, ".fi")
}

/// A line with what roff would take for its own made plain.
fn write_line(line: &str, out: &mut dyn Write) -> io::Result<()> {
    let control = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    writeln!(out, "{control}{}", line.replace('\\', "\\e").replace('-', "\\-"))
}
