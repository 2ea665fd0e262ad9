//! The form for people: plain text, for a terminal or a file.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::escape::{safe, safe_but_tabs};
use crate::page::{Align, Answer, Column, Form, Page};

/// How text is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of a line; without, no line is broken: programs search such text.
    pub columns: Option<usize>,
    /// What matters most is coloured.
    pub colour: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { columns: Some(80), colour: false }
    }
}

/// Red and bold, and back, as ECMA-48 has it.
const RED: (&str, &str) = ("\x1b[1;31m", "\x1b[0m");
/// Column in which values start.
const VALUES: usize = 13;
/// Indent of everything that belongs to a part.
const INDENT: usize = 2;

/// Writes an answer for people, for 80 columns.
pub fn write_text(answer: &impl Answer, out: &mut dyn Write) -> io::Result<()> {
    write_text_as(answer, Look::default(), out)
}

/// Writes an answer for people.
pub fn write_text_as(answer: &impl Answer, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Text { out, look, indent: 0, line: String::new() };
    let mut page = Page::new(&mut text);
    answer.page(&mut page);
    page.written()
}

/// Characters that plain text has for a string, with what it must escape.
pub(crate) fn text_width(text: &str) -> usize {
    safe(text).chars().count()
}

/// Whatever comes from a guest or a checkpoint is escaped here, and only here.
struct Text<'o> {
    out: &'o mut dyn Write,
    look: Look,
    indent: usize,
    /// The row that is being made: tables have up to millions, and this is kept for the next.
    line: String,
}

impl Form for Text<'_> {
    fn headline(&mut self, text: &str) -> io::Result<()> {
        if !self.look.colour {
            return self.wrapped(text, 0, INDENT);
        }
        let mut plain = Vec::new();
        let mut inner = Text { out: &mut plain, look: self.look, indent: 0, line: String::new() };
        inner.wrapped(text, 0, INDENT)?;
        let (on, off) = RED;
        let plain = String::from_utf8_lossy(&plain);
        plain.lines().try_for_each(|line| writeln!(self.out, "{on}{line}{off}"))
    }

    fn part(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.indent = INDENT;
        self.wrapped(&format!("{name:<VALUES$}{value}"), 0, VALUES)
    }

    fn field(&mut self, name: &str, value: &str) -> io::Result<()> {
        let width = VALUES.saturating_sub(INDENT);
        self.wrapped(&format!("{name:<width$}{value}"), INDENT, VALUES)
    }

    fn paragraph(&mut self, text: &str) -> io::Result<()> {
        self.wrapped(text, 0, VALUES)
    }

    fn item(&mut self, text: &str) -> io::Result<()> {
        self.wrapped(text, INDENT, INDENT.saturating_mul(2))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{:1$}{2}", "", self.indent, safe(text))
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "      {}", safe(text))
    }

    fn preformatted(&mut self, text: &str) -> io::Result<()> {
        text.split('\n').try_for_each(|line| writeln!(self.out, "{}", safe_but_tabs(line)))
    }

    fn head(&mut self, columns: &[Column]) -> io::Result<()> {
        if columns.iter().all(|column| column.head.is_empty()) {
            return Ok(());
        }
        let heads: Vec<Cow<'_, str>> = columns.iter().map(|column| column.head.into()).collect();
        self.row(columns, &heads)
    }

    fn row(&mut self, columns: &[Column], cells: &[Cow<'_, str>]) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        push_blanks(line, self.indent);
        for (index, (column, cell)) in columns.iter().zip(cells).enumerate() {
            line.push_str(if index == 0 { "" } else { column.gap });
            let cell = safe(cell);
            let blanks = column.width.saturating_sub(cell.chars().count());
            let (before, after) = match column.align {
                Align::Left => (0, blanks),
                Align::Right => (blanks, 0),
            };
            push_blanks(line, before);
            line.push_str(&cell);
            push_blanks(line, after);
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }

    fn commands(&mut self, purpose: &str, commands: &[String]) -> io::Result<()> {
        self.line(&format!("# {purpose}"))?;
        commands.iter().try_for_each(|command| self.line(command))
    }

    fn gap(&mut self) -> io::Result<()> {
        self.indent = 0;
        writeln!(self.out)
    }
}

fn push_blanks(line: &mut String, count: usize) {
    line.extend(std::iter::repeat_n(' ', count));
}

impl Text<'_> {
    /// Breaks text at blanks to stay within the width. A word that is longer than a
    /// line stays whole.
    fn wrapped(&mut self, text: &str, first: usize, rest: usize) -> io::Result<()> {
        let text = safe(text);
        let mut line = " ".repeat(first);
        let mut fresh = true;
        for word in text.split_inclusive(' ') {
            let len = word.trim_end().chars().count();
            let columns = line.chars().count().saturating_add(len);
            if !fresh && self.look.columns.is_some_and(|most| columns > most) {
                writeln!(self.out, "{}", line.trim_end())?;
                line = " ".repeat(rest);
            }
            line.push_str(word);
            fresh = false;
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::escape::is_unsafe;

    const HOSTILE: &str = "a\u{1b}[2J\u{202e}\n\tz";

    /// Says hostile strings in every way that a page has.
    #[derive(Serialize)]
    struct Hostile;

    impl Answer for Hostile {
        const SCHEMA: &'static str = "vmss2core/hostile/1";

        fn page(&self, page: &mut Page<'_>) {
            page.headline(HOSTILE);
            page.paragraph(HOSTILE);
            page.line(HOSTILE);
            page.note(HOSTILE);
            let columns = [Column::left("head", 30), Column::right("", 0).after("\t")];
            page.table(&columns, [[HOSTILE, HOSTILE].map(Cow::from)]);
            page.part(HOSTILE, HOSTILE);
            page.field(HOSTILE, Some(HOSTILE));
            page.field(HOSTILE, None);
            page.item(HOSTILE);
            page.commands(HOSTILE, &[HOSTILE.to_owned()]);
        }
    }

    fn text(answer: &impl Answer) -> String {
        let mut out = Vec::new();
        write_text(answer, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_a_page_says_reaches_the_terminal_or_begins_a_line() {
        let text = text(&Hostile);
        assert_eq!(text.lines().count(), 11, "{text}");
        assert!(text.chars().all(|c| matches!(c, '\n' | '\t') || !is_unsafe(c)), "{text}");
        // The one tab is the table's own.
        assert_eq!(text.matches('\t').count(), 1, "{text}");
    }

    #[test]
    fn cells_are_as_wide_as_what_is_printed_and_lines_end_where_they_do() {
        let text = text(&Hostile);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[4], "head");
        let escaped = r"a\u{1b}[2J\u{202e}\n\tz";
        assert_eq!(lines[5], format!("{escaped:<30}\t{escaped}"));
    }

    #[test]
    fn a_terminal_of_colours_gets_the_headline_in_red_and_one_of_columns_that_many() {
        let look = Look { columns: Some(20), colour: true };
        let mut out = Vec::new();
        write_text_as(&Hostile, look, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with(RED.0) && first.ends_with(RED.1), "{first:?}");
        assert_eq!(text.matches('\u{1b}').count(), 2 * text.matches(RED.1).count(), "{text:?}");
        let whole = Look { columns: None, colour: false };
        let mut out = Vec::new();
        write_text_as(&Long, whole, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }

    /// A paragraph that no terminal is wide enough for.
    #[derive(Serialize)]
    struct Long;

    impl Answer for Long {
        const SCHEMA: &'static str = "vmss2core/long/1";

        fn page(&self, page: &mut Page<'_>) {
            page.paragraph(&"word ".repeat(200));
        }
    }

    #[test]
    fn the_first_error_of_writing_is_reported_and_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut full = Full(0);
        let error = write_text(&Hostile, &mut full).unwrap_err();
        assert_eq!((error.kind(), full.0), (io::ErrorKind::StorageFull, 1));
    }
}
