//! `qRcmd`: what gdb's `monitor` and lldb's `process plugin packet monitor` send.

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, Reply};
use crate::session::Session;

pub(super) const PACKETS: Family = &[("qRcmd,", run)];

fn run(session: &mut Session<'_>, digits: &[u8]) -> Reply {
    let line = parse::bytes(digits).and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(line) = line else { return Reply::error(EINVAL) };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let text = match words.split_first() {
        Some((name, arguments)) => {
            session.look(|at| session.monitor.run(name, arguments, at)).unwrap_or_else(|why| why)
        }
        None => String::new(),
    };
    if text.is_empty() { Reply::ok() } else { Reply::hex(text.as_bytes()) }
}
