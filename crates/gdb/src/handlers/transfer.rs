//! `qXfer`: objects that are read in parts.

use std::fmt::Write;

use super::Family;
use crate::packet::PACKET_BYTES;
use crate::parse;
use crate::reply::{EINVAL, Reply};
use crate::session::Session;
use crate::target::{LibraryAddresses, SystemTable};

/// Most bytes in one answer, each of which may take two.
const MOST_BYTES: u64 = PACKET_BYTES as u64 / 2 - 1;

pub(super) const PACKETS: Family = &[
    ("qXfer:features:read:", |session, rest| part(session, ("features", rest), features)),
    ("qXfer:threads:read:", |session, rest| {
        part(session, ("threads", rest), |session, _| Some(threads(session)))
    }),
    ("qXfer:libraries:read:", |session, rest| {
        part(session, ("libraries", rest), |session, _| libraries(session))
    }),
    ("qXfer:libraries-svr4:read:", |session, rest| {
        part(session, ("libraries-svr4", rest), |session, _| linked(session))
    }),
    ("qXfer:auxv:read:", |session, rest| {
        part(session, ("auxv", rest), |session, _| session.current()?.inferior.auxv())
    }),
    ("qXfer:exec-file:read:", |session, rest| part(session, ("exec-file", rest), executable)),
    ("qXfer:osdata:read:", |session, rest| part(session, ("osdata", rest), osdata)),
];

/// An object that a client reads in parts.
pub(crate) struct Object {
    kind: &'static str,
    annex: String,
    bytes: Vec<u8>,
}

/// `ANNEX:OFFSET,LENGTH`.
fn cut(rest: &[u8]) -> Option<(&str, u64, u64)> {
    let colon = rest.iter().rposition(|byte| *byte == b':')?;
    let (offset, len) = parse::pair(rest.get(colon.saturating_add(1)..)?)?;
    Some((std::str::from_utf8(rest.get(..colon)?).ok()?, offset, len))
}

/// Answers with a part of an object, which is made when its first part is read and
/// kept until another is.
fn part(
    session: &mut Session,
    (kind, rest): (&'static str, &[u8]),
    make: impl FnOnce(&Session, &str) -> Option<Vec<u8>>,
) -> Reply {
    let Some((annex, offset, len)) = cut(rest) else { return Reply::error(EINVAL) };
    let is_kept = |object: &Object| offset > 0 && object.kind == kind && object.annex == annex;
    if !session.object.as_ref().is_some_and(is_kept) {
        session.object = None;
        let made = make(session, annex);
        session.object = made.map(|bytes| Object { kind, annex: annex.to_owned(), bytes });
    }
    let Some(object) = &session.object else { return Reply::error(0) };
    let object = &object.bytes;
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(object.len());
    let len = usize::try_from(len.min(MOST_BYTES)).unwrap_or(0);
    let end = start.saturating_add(len).min(object.len());
    let more = if end < object.len() { "m" } else { "l" };
    Reply::binary(more, object.get(start..end).unwrap_or_default())
}

/// Text for between and within tags.
fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML has no way to write them.
            char if char.is_control() => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

fn features(session: &Session, annex: &str) -> Option<Vec<u8>> {
    if annex != "target.xml" {
        return None;
    }
    match session.current() {
        Some(current) => Some(current.inferior.description().xml().into_bytes()),
        None => Some(session.target.description()?.xml().into_bytes()),
    }
}

fn threads(session: &Session) -> Vec<u8> {
    let mut xml = String::from("<?xml version=\"1.0\"?>\n<threads>\n");
    for inferior in &session.inferiors {
        for thread in inferior.threads() {
            let id = session.name_of(inferior.pid(), thread.tid);
            let core = thread.core.map(|core| format!(" core=\"{core}\"")).unwrap_or_default();
            let (name, extra) = (escape_xml(&thread.name), escape_xml(&thread.extra));
            // Writing to a String cannot fail.
            let _ = writeln!(xml, "<thread id=\"{id}\"{core} name=\"{name}\">{extra}</thread>");
        }
    }
    xml.push_str("</threads>\n");
    xml.into_bytes()
}

fn libraries(session: &Session) -> Option<Vec<u8>> {
    let mut xml = String::from("<library-list>\n");
    for library in session.current()?.inferior.libraries()? {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "<library name=\"{}\">", escape_xml(&library.name));
        match library.addresses {
            LibraryAddresses::Sections(sections) => {
                for address in sections {
                    let _ = writeln!(xml, "<section address=\"{address:#x}\"/>");
                }
            }
            LibraryAddresses::Segment(address) => {
                let _ = writeln!(xml, "<segment address=\"{address:#x}\"/>");
            }
        }
        xml.push_str("</library>\n");
    }
    xml.push_str("</library-list>\n");
    Some(xml.into_bytes())
}

/// The dynamic linker's list, which gdb looks up by itself if it is told nothing.
fn linked(session: &Session) -> Option<Vec<u8>> {
    let current = session.current()?;
    let linked = current.inferior.linked()?;
    let main = linked.program.map(|entry| format!(" main-lm=\"{:#x}\"", entry.0));
    let mut xml = format!("<library-list-svr4 version=\"1.0\"{}>\n", main.unwrap_or_default());
    let space = linked.debug.0;
    for library in &linked.libraries {
        let name = escape_xml(&library.name);
        let (entry, bias, dynamic) = (library.entry.0, library.bias, library.dynamic.0);
        // Writing to a String cannot fail.
        let _ = writeln!(
            xml,
            "<library name=\"{name}\" lm=\"{entry:#x}\" l_addr=\"{bias:#x}\" l_ld=\"{dynamic:#x}\" lmid=\"{space:#x}\"/>"
        );
    }
    xml.push_str("</library-list-svr4>\n");
    Some(xml.into_bytes())
}

/// The annex is the process, if the client names one.
fn executable(session: &Session, annex: &str) -> Option<Vec<u8>> {
    if annex.is_empty() {
        return session.current()?.inferior.executable().map(String::into_bytes);
    }
    let pid = u32::try_from(parse::number(annex.as_bytes())?).ok()?;
    session.inferior(pid)?.executable().map(String::into_bytes)
}

fn osdata(session: &Session, annex: &str) -> Option<Vec<u8>> {
    Some(system_table(&session.target.system_table(annex)?).into_bytes())
}

/// "Operating System Auxiliary Information" of gdb's manual (`osdata.dtd`).
fn system_table(table: &SystemTable) -> String {
    let mut xml = format!("<?xml version=\"1.0\"?>\n<osdata type=\"{}\">\n", table.kind);
    for row in &table.rows {
        xml.push_str("<item>");
        for (name, value) in row {
            // Writing to a String cannot fail.
            let _ = write!(xml, "<column name=\"{name}\">{}</column>", escape_xml(value));
        }
        xml.push_str("</item>\n");
    }
    xml.push_str("</osdata>\n");
    xml
}
