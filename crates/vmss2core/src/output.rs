//! stdout is for data, stderr for talk.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anyhow::Context;
use terminal_size::{Width, terminal_size};
use vmss2core_answers::{Forms, Look, printable};
use vmss2core_dump::Existing;
use vmss2core_mem::{Problem, Severity};

use crate::args::{Style, Talk};

/// Where data goes. The caller flushes it, so that an error is not lost.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Prints an answer.
pub(crate) fn answer(answer: &impl Forms, style: Style) -> anyhow::Result<()> {
    let mut out = stdout();
    let written = match style {
        Style::Text => answer.write_text_as(look(&io::stdout()), &mut out),
        Style::Json => answer.write_json(&mut out),
    };
    written.and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Says an answer for people; if nobody can hear it, that is no error.
pub(crate) fn tell(answer: &impl Forms) {
    let _ = answer.write_text_as(look(&io::stderr()), &mut io::stderr().lock());
}

/// What reads a stream: a terminal of some width, or a program, which wants whole lines.
fn look(stream: &impl IsTerminal) -> Look {
    if !stream.is_terminal() {
        return Look { columns: None, colour: false };
    }
    let columns = terminal_size().map_or(80, |(Width(columns), _)| columns.max(40));
    Look { columns: Some(columns.into()), colour: has_colour() }
}

/// By the conventions of no-color.org and terminals that have none.
fn has_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Where large pieces of data go.
#[cfg(unix)]
pub(crate) fn unbuffered_stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;

    Ok(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Where large pieces of data go.
#[cfg(not(unix))]
pub(crate) fn unbuffered_stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Rule for a file that has the name of an output: one that the user typed, or
/// one that nobody did.
pub(crate) fn existing(overwrite: bool, is_typed: bool) -> Existing {
    match (overwrite, is_typed) {
        (false, _) => Existing::Stays,
        (true, true) => Existing::IsReplaced,
        (true, false) => Existing::IsReplacedUnlessLink,
    }
}

/// Says something on stderr. What it quotes may come from a hostile file, so
/// only line breaks get through; if nobody can hear it, that is no error.
pub(crate) fn talk(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "{}", printable(line));
    }
}

/// Says one line. It names what a guest has named, which may have line breaks in it:
/// they are escaped too, or a guest could write lines of its own.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

impl Talk {
    /// Says what something was found by to who wants to hear it.
    pub(crate) fn found_by(self, what: &str) {
        if !what.is_empty() {
            self.how(&format!("found by {what}"));
        }
    }

    /// Says what a reader or a writer had to work around; to who wants to hear little,
    /// only what is wrong.
    pub(crate) fn problems<'a>(self, all: impl IntoIterator<Item = &'a Problem>) {
        match self {
            Self::Little => serious_problems(all),
            Self::Normal | Self::Much => problems(all),
        }
    }

    /// Says how to open a file that was written.
    pub(crate) fn hints(self, lines: &[String]) {
        if self != Self::Little {
            hints(lines);
        }
    }

    /// Says how something was found to who wants to hear it.
    pub(crate) fn how(self, how: &str) {
        if self == Self::Much {
            line(&format!("vmss2core: {how}"));
        }
    }
}

/// Says what a reader or a writer had to work around.
pub(crate) fn problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) {
    for problem in problems {
        line(&format!("vmss2core: {problem}"));
    }
}

/// Says those of them that someone who works with the guest should hear of.
pub(crate) fn serious_problems<'a>(all: impl IntoIterator<Item = &'a Problem>) {
    problems(all.into_iter().filter(|problem| problem.severity > Severity::Note));
}

/// Says how to open a file that was written.
pub(crate) fn hints(hints: &[String]) {
    if hints.is_empty() {
        return;
    }
    talk("to open it:");
    for hint in hints {
        line(&format!("  {hint}"));
    }
}
