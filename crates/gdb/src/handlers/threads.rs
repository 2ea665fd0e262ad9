//! Lists of threads, and which of them is meant.

use super::Family;
use crate::parse::{self, Which};
use crate::reply::{EINVAL, Reply};
use crate::session::Session;

/// Threads in one answer to `qfThreadInfo`: below 32 bytes each.
const IN_ONE_ANSWER: usize = 1024;

pub(super) const PACKETS: Family = &[
    ("Hg", select),
    // What will run: nothing.
    ("Hc", |_, _| Reply::ok()),
    ("T", is_alive),
    ("qC", current),
    ("qfThreadInfo", first),
    ("qsThreadInfo", next),
    ("qThreadExtraInfo,", extra),
];

/// "Any thread" leaves the choice as it is: gdb says it before it attaches, and
/// would attach to the wrong process otherwise.
fn select(session: &mut Session, name: &[u8]) -> Reply {
    let Some(parsed) = parse::thread(name) else { return Reply::error(EINVAL) };
    if !matches!(parsed.tid, Which::One(_)) && !matches!(parsed.pid, Which::One(_)) {
        return Reply::ok();
    }
    match session.named(name) {
        Some(thread) => {
            session.selected = Some((thread.inferior.pid(), thread.tid));
            Reply::ok()
        }
        None => Reply::error(EINVAL),
    }
}

fn is_alive(session: &mut Session, name: &[u8]) -> Reply {
    if session.named(name).is_some() { Reply::ok() } else { Reply::error(EINVAL) }
}

fn current(session: &mut Session, rest: &[u8]) -> Reply {
    match session.current() {
        Some(current) if rest.is_empty() => {
            Reply::text(format!("QC{}", session.name_of(current.inferior.pid(), current.tid)))
        }
        _ => Reply::unsupported(),
    }
}

fn first(session: &mut Session, _: &[u8]) -> Reply {
    let of = |inferior: &std::sync::Arc<dyn crate::target::Inferior>| {
        let pid = inferior.pid();
        inferior.threads().iter().map(move |thread| (pid, thread.tid)).collect::<Vec<_>>()
    };
    let all: Vec<(u32, u32)> = session.inferiors.iter().flat_map(of).collect();
    session.listing = all.into_iter();
    next(session, &[])
}

fn next(session: &mut Session, _: &[u8]) -> Reply {
    let some: Vec<_> = session.listing.by_ref().take(IN_ONE_ANSWER).collect();
    if some.is_empty() {
        return Reply::text("l");
    }
    let names: Vec<String> = some.iter().map(|(pid, tid)| session.name_of(*pid, *tid)).collect();
    Reply::text(format!("m{}", names.join(",")))
}

fn extra(session: &mut Session, name: &[u8]) -> Reply {
    let Some(found) = session.named(name) else { return Reply::error(EINVAL) };
    let thread = found.inferior.threads().iter().find(|thread| thread.tid == found.tid);
    let text = |thread: &crate::target::Thread| match thread.extra.as_str() {
        "" => thread.name.clone(),
        extra => format!("{} ({extra})", thread.name),
    };
    Reply::hex(thread.map(text).unwrap_or_default().as_bytes())
}
