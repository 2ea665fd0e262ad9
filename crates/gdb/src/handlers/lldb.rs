//! Packets that only lldb sends (lldb's `docs/resources/lldbgdbremote.md`).

use std::fmt::Write;

use super::{Family, registers};
use crate::parse;
use crate::reply::{EINVAL, Reply, hex};
use crate::session::{Client, Session};
use crate::target::{Inferior, MachKernel, Region, Thread};
use vmss2core_machine::Width;

pub(super) const PACKETS: Family = &[
    ("QThreadSuffixSupported", |session, _| {
        session.client = Client::Lldb;
        Reply::ok()
    }),
    ("QListThreadsInStopReply", |_, _| Reply::ok()),
    ("qHostInfo", host),
    ("qProcessInfo", process),
    ("jThreadsInfo", threads),
    ("jThreadExtendedInfo:", extended),
    ("qThreadStopInfo", stop),
    ("qMemoryRegionInfo:", region),
    ("qShlibInfoAddr", images),
];

/// Packets that tell of which kind the guest is.
fn kind(inferior: &dyn Inferior) -> String {
    let mut text = String::new();
    if let Some(triple) = inferior.triple() {
        text = format!("triple:{};", hex(triple.as_bytes()));
        if triple.contains("linux") {
            text.push_str("ostype:linux;");
        } else if triple.contains("apple") {
            text.push_str("vendor:apple;ostype:macosx;");
        }
    }
    let ptrsize = if inferior.description().width() == Width::Bits64 { 8 } else { 4 };
    // Writing to a String cannot fail.
    let _ = write!(text, "ptrsize:{ptrsize};endian:little;");
    text
}

fn host(session: &mut Session, _: &[u8]) -> Reply {
    match session.current() {
        Some(current) => Reply::text(kind(&*current.inferior)),
        None => Reply::unsupported(),
    }
}

fn process(session: &mut Session, _: &[u8]) -> Reply {
    let Some(current) = session.current() else { return Reply::error(EINVAL) };
    let inferior = &current.inferior;
    let kernel = main_binary(&**inferior);
    Reply::text(format!("pid:{:x};{}{kernel}", inferior.pid(), kind(&**inferior)))
}

/// The kernel of macOS: lldb puts a file with this UUID there.
fn main_binary(inferior: &dyn Inferior) -> String {
    let of = |kernel: MachKernel| {
        let uuid = kernel.uuid?;
        Some(format!("main-binary-uuid:{uuid};main-binary-address:{:x};", kernel.address))
    };
    inferior.mach_kernel().and_then(of).unwrap_or_default()
}

/// Where a list of images is: lldb's plugin for the kernel of macOS takes that for the
/// kernel's header, and searches memory if it is told nothing; that for programs of ELF
/// for where the address of the linker's `r_debug` lies, and looks for it in the
/// program's file otherwise, parts of which may be lost.
fn images(session: &mut Session, _: &[u8]) -> Reply {
    let Some(current) = session.current() else { return Reply::error(EINVAL) };
    let kernel = current.inferior.mach_kernel().map(|kernel| kernel.address);
    let linked = || Some(current.inferior.linked()?.debug_pointer?.0);
    let address = kernel.or_else(linked);
    address.map_or_else(Reply::unsupported, |address| Reply::text(format!("{address:x}")))
}

/// All threads with their names and the registers that a list shows.
fn threads(session: &mut Session, _: &[u8]) -> Reply {
    let Some(current) = session.current() else { return Reply::error(EINVAL) };
    let inferior = &current.inferior;
    let one = |thread: &Thread| {
        let why = reason(thread.tid == current.tid);
        let (tid, name) = (thread.tid, escape_json(&thread.name));
        let registers = expedited(&**inferior, thread.tid);
        format!("{{\"tid\":{tid},\"name\":\"{name}\",{why},\"registers\":{{{registers}}}}}")
    };
    let all: Vec<String> = inferior.threads().iter().map(one).collect();
    Reply::binary("", format!("[{}]", all.join(",")).as_bytes())
}

/// Answers `thread info -j` about a thread: `{"thread":N}` is asked. Nothing asked for
/// means whether this is known.
fn extended(session: &mut Session, query: &[u8]) -> Reply {
    if query.is_empty() {
        return Reply::ok();
    }
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let digits: Vec<u8> =
        query.iter().copied().skip_while(|byte| !is_digit(byte)).take_while(is_digit).collect();
    let tid = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse::<u32>().ok());
    let Some(current) = session.current() else { return Reply::error(EINVAL) };
    let all = current.inferior.threads();
    match all.iter().find(|thread| Some(thread.tid) == tid) {
        Some(thread) => {
            let (name, extra) = (escape_json(&thread.name), escape_json(&thread.extra));
            Reply::binary("", format!("{{\"name\":\"{name}\",\"about\":\"{extra}\"}}").as_bytes())
        }
        None => Reply::error(EINVAL),
    }
}

/// Why a thread is not running: one of them has to have a reason.
fn reason(is_current: bool) -> &'static str {
    if is_current { "\"reason\":\"signal\",\"signal\":5" } else { "\"reason\":\"none\"" }
}

fn expedited(inferior: &dyn Inferior, tid: u32) -> String {
    let Some(values) = inferior.registers(tid) else { return String::new() };
    let known = inferior.description().expedited().filter_map(|(number, register)| {
        register.value(&values)?;
        Some(format!("\"{number}\":\"{}\"", registers::digits(register, &values)))
    });
    known.collect::<Vec<_>>().join(",")
}

fn escape_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => escaped.extend(['\\', char]),
            char if char.is_control() => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

fn stop(session: &mut Session, name: &[u8]) -> Reply {
    let Some(thread) = session.named(name) else { return Reply::error(EINVAL) };
    let is_current = session.current().is_some_and(|current| current.tid == thread.tid);
    let all = thread.inferior.threads();
    let label = all.iter().find(|one| one.tid == thread.tid).map_or("", |one| one.name.as_str());
    let signal = if is_current { 5 } else { 0 };
    let id = session.name_of(thread.inferior.pid(), thread.tid);
    Reply::text(format!("T{signal:02x}thread:{id};hexname:{};", hex(label.as_bytes())))
}

fn region(session: &mut Session, address: &[u8]) -> Reply {
    let found = || {
        let current = session.current()?;
        current.inferior.region(current.tid, parse::number(address)?)
    };
    match found() {
        Some(region) => Reply::text(describe(&region)),
        None => Reply::error(EINVAL),
    }
}

fn describe(region: &Region) -> String {
    let (start, len) = (region.range.start, region.range.end.saturating_sub(region.range.start));
    let mut text = format!("start:{start:x};size:{len:x};");
    if let Some(permissions) = region.permissions {
        let write = if permissions.write { "w" } else { "" };
        let execute = if permissions.execute { "x" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "permissions:r{write}{execute};");
    }
    if let Some(name) = &region.name {
        let _ = write!(text, "name:{};", hex(name.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_hostile_guest_stay_within_their_quotes() {
        assert_eq!(escape_json("a\"},{\"tid\":7\\\n"), "a\\\"},{\\\"tid\\\":7\\\\?");
    }
}
