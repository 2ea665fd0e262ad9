//! The page that an answer describes itself on: parts with fields, tables, lines and
//! commands. What it looks like is up to a [`Form`]; text is one of them.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use crate::info::Known;
use crate::json::write_json;
use crate::text::{Look, write_text_as};

/// Something that was asked of a checkpoint or its guest, and what is to be said.
///
/// Its members are those of the JSON form, and [`page`](Self::page) is what people see,
/// in whatever form. Neither escapes anything: the forms do.
pub trait Answer: Serialize {
    /// Name and version of the JSON form, which `docs/schema` describes.
    const SCHEMA: &'static str;

    /// Describes the answer for people.
    fn page(&self, page: &mut Page<'_>);
}

/// An answer in each of its forms.
pub trait Forms {
    /// Writes it for people, for 80 columns.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write_text_as(Look::default(), out)
    }

    /// Writes it for people who look at it in some other way.
    fn write_text_as(&self, look: Look, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as JSON.
    fn write_json(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl<A: Answer> Forms for A {
    fn write_text_as(&self, look: Look, out: &mut dyn Write) -> io::Result<()> {
        write_text_as(self, look, out)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write_json(self, out)
    }
}

/// A form that pages have. Strings that it gets may hold anything: it is the one who
/// knows what must be escaped.
pub(crate) trait Form {
    /// What matters more than all else.
    fn headline(&mut self, text: &str) -> io::Result<()>;
    /// Begins a part of the page; what follows belongs to it, up to a gap.
    fn part(&mut self, name: &str, value: &str) -> io::Result<()>;
    /// A value with its name.
    fn field(&mut self, name: &str, value: &str) -> io::Result<()>;
    /// Text that is broken where a line is full.
    fn paragraph(&mut self, text: &str) -> io::Result<()>;
    /// One of several such texts.
    fn item(&mut self, text: &str) -> io::Result<()>;
    /// Text that stays on one line.
    fn line(&mut self, text: &str) -> io::Result<()>;
    /// A remark on what came before.
    fn note(&mut self, text: &str) -> io::Result<()>;
    /// Text whose line breaks and tabs are meant.
    fn preformatted(&mut self, text: &str) -> io::Result<()>;
    /// Begins a table.
    fn head(&mut self, columns: &[Column]) -> io::Result<()>;
    /// A row of it.
    fn row(&mut self, columns: &[Column], cells: &[Cow<'_, str>]) -> io::Result<()>;
    /// Commands for a shell, and what they are good for.
    fn commands(&mut self, purpose: &str, commands: &[String]) -> io::Result<()>;
    /// Sets off what follows.
    fn gap(&mut self) -> io::Result<()>;
}

/// Where an answer describes itself. Nothing is kept: what is described is written. The
/// first error of writing ends it.
pub struct Page<'f> {
    form: &'f mut dyn Form,
    written: io::Result<()>,
}

impl<'f> Page<'f> {
    pub(crate) fn new(form: &'f mut dyn Form) -> Self {
        Self { form, written: Ok(()) }
    }

    /// Whether all of it could be written.
    pub(crate) fn written(self) -> io::Result<()> {
        self.written
    }

    fn put(&mut self, write: impl FnOnce(&mut dyn Form) -> io::Result<()>) {
        if self.written.is_ok() {
            self.written = write(self.form);
        }
    }

    /// What matters more than all else, above it.
    pub fn headline(&mut self, text: &str) {
        self.put(|form| form.headline(text));
    }

    /// Begins a part of the page, with what its first line says.
    pub fn part(&mut self, name: &str, value: &str) {
        self.put(|form| form.part(name, value));
    }

    /// A value with its name, if it is known.
    pub fn field(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(|form| form.field(name, value));
        }
    }

    /// A value with its name and how it was found, if it is known.
    pub fn known<T>(
        &mut self,
        name: &str,
        value: Option<&Known<T>>,
        show: impl FnOnce(&T) -> String,
    ) {
        let text = value.map(|known| with_how(&show(&known.value), &known.how));
        self.field(name, text.as_deref());
    }

    /// Text that is broken where a line is full.
    pub fn paragraph(&mut self, text: &str) {
        self.put(|form| form.paragraph(text));
    }

    /// One of several such texts.
    pub fn item(&mut self, text: &str) {
        self.put(|form| form.item(text));
    }

    /// Text that stays on one line.
    pub fn line(&mut self, text: &str) {
        self.put(|form| form.line(text));
    }

    /// A remark on what came before.
    pub fn note(&mut self, text: &str) {
        self.put(|form| form.note(text));
    }

    /// Text whose line breaks and tabs are meant.
    pub fn preformatted(&mut self, text: &str) {
        self.put(|form| form.preformatted(text));
    }

    /// A table. Rows are made when it is their turn: there may be millions.
    pub fn table<'c, R>(&mut self, columns: &[Column], rows: impl IntoIterator<Item = R>)
    where
        R: AsRef<[Cow<'c, str>]>,
    {
        self.put(|form| {
            form.head(columns)?;
            rows.into_iter().try_for_each(|row| form.row(columns, row.as_ref()))
        });
    }

    /// Commands for a shell, and what they are good for.
    pub fn commands(&mut self, purpose: &str, commands: &[String]) {
        self.put(|form| form.commands(purpose, commands));
    }

    /// Sets off what follows.
    pub fn gap(&mut self) {
        self.put(|form| form.gap());
    }
}

pub(crate) fn with_how(value: &str, how: &str) -> String {
    if how.is_empty() { value.to_owned() } else { format!("{value} ({how})") }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub(crate) head: &'static str,
    pub(crate) align: Align,
    /// Characters of plain text that it takes at least.
    pub(crate) width: usize,
    /// Separator before it in plain text, unless it is the first.
    pub(crate) gap: &'static str,
}

/// To which side the cells of a column go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl Column {
    /// A column of text, in plain text at least so wide.
    pub const fn left(head: &'static str, width: usize) -> Self {
        Self { head, align: Align::Left, width, gap: " " }
    }

    /// A column of numbers, in plain text at least so wide.
    pub const fn right(head: &'static str, width: usize) -> Self {
        Self { head, align: Align::Right, width, gap: " " }
    }

    /// This column without its name.
    pub const fn without_head(self) -> Self {
        Self { head: "", ..self }
    }

    /// This column with another separator before it in plain text than one blank.
    pub const fn after(self, gap: &'static str) -> Self {
        Self { gap, ..self }
    }
}
