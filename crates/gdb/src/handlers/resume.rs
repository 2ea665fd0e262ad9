//! Why it stopped, and that it cannot go on.

use std::fmt::Write;

use super::{Family, registers};
use crate::reply::{EPERM, Reply, hex};
use crate::session::{Client, Session};

const CANNOT_RUN: &str = "this is a checkpoint: it cannot run, step or be called into";

pub(super) const PACKETS: Family = &[
    ("?", |session, _| stopped(session)),
    ("vCont?", |_, _| Reply::text("vCont;c;C;s;S;t")),
    ("vCont", refuse),
    ("c", refuse),
    ("C", refuse),
    ("s", refuse),
    ("S", refuse),
    ("bc", refuse),
    ("bs", refuse),
    ("vCtrlC", |_, _| Reply::ok()),
];

/// The stop reply for the current thread; `W00` if nothing is attached.
pub(super) fn stopped(session: &Session<'_>) -> Reply {
    let Some(current) = session.current() else { return Reply::text("W00") };
    let inferior = &current.inferior;
    let mut reply = format!("T05thread:{};", session.name_of(inferior.pid(), current.tid));
    if let Some(thread) = inferior.threads().iter().find(|thread| thread.tid == current.tid) {
        // lldb shows it; gdb asks for names elsewhere.
        let _ = write!(reply, "hexname:{};", hex(thread.name.as_bytes()));
    }
    if let Some(registers) = inferior.registers(current.tid) {
        for (number, register) in inferior.description().expedited() {
            let digits = registers::digits(register, &registers);
            // gdb takes no `x` here for what is unknown, as it does everywhere else.
            if !digits.contains('x') {
                // Writing to a String cannot fail.
                let _ = write!(reply, "{number:02x}:{digits};");
            }
        }
    }
    Reply::text(reply)
}

/// gdb shows the sentence and stays; lldb takes an error for a lost connection, so
/// it is told on its console and that the guest has stopped again.
fn refuse(session: &mut Session<'_>, _: &[u8]) -> Reply {
    if session.client == Client::Gdb {
        return Reply::refusal(CANNOT_RUN);
    }
    if session.current().is_none() {
        return Reply::error(EPERM);
    }
    session.console.push(format!("{CANNOT_RUN}\n"));
    stopped(session)
}
