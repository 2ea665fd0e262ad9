//! Attaching and taking leave.

use super::{Family, resume};
use crate::parse;
use crate::reply::{EINVAL, EPERM, Reply};
use crate::session::Session;

pub(super) const PACKETS: Family = &[
    ("vAttach;", attach),
    ("D", detach),
    ("vKill;", detach_one),
    ("k", kill),
    ("R", |_, _| Reply::unsupported()),
];

fn attach(session: &mut Session, pid: &[u8]) -> Reply {
    let pid = parse::number(pid).and_then(|pid| u32::try_from(pid).ok());
    let Some(pid) = pid else { return Reply::error(EINVAL) };
    if session.inferior(pid).is_none() {
        let target = session.target.clone();
        let attached = match target.attach() {
            Some(ability) => ability.attach(pid),
            None => Err(target.nothing_to_attach().to_owned()),
        };
        match attached {
            Ok(inferior) => session.inferiors.push(inferior),
            Err(why) => {
                session.refusal = Some(why.clone());
                return session.refuse(&why, EPERM);
            }
        }
    }
    let first = session.inferior(pid).and_then(|inferior| inferior.threads().first());
    session.selected = first.map(|thread| (pid, thread.tid));
    resume::stopped(session)
}

/// `D`, or `D;PID` for one of several.
fn detach(session: &mut Session, rest: &[u8]) -> Reply {
    match rest.strip_prefix(b";") {
        Some(pid) => detach_one(session, pid),
        None => detach_all(session),
    }
}

/// `D;PID` and `vKill;PID`: nothing is killed.
fn detach_one(session: &mut Session, pid: &[u8]) -> Reply {
    let found = parse::number(pid).and_then(|pid| u32::try_from(pid).ok());
    let Some(pid) = found.filter(|pid| session.inferior(*pid).is_some()) else {
        return Reply::error(EINVAL);
    };
    session.inferiors.retain(|inferior| inferior.pid() != pid);
    session.symbols.retain(|(of, _), _| *of != pid);
    session.selected = session.selected.filter(|(selected, _)| *selected != pid);
    session.ended = session.inferiors.is_empty() && !session.agreed.extended;
    Reply::ok()
}

fn detach_all(session: &mut Session) -> Reply {
    session.inferiors.clear();
    session.symbols.clear();
    session.selected = None;
    session.ended = !session.agreed.extended;
    Reply::ok()
}

/// gdb quits; nothing is killed, and no answer expected.
fn kill(session: &mut Session, _: &[u8]) -> Reply {
    session.ended = true;
    Reply::ok()
}
