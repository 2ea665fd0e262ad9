//! Why it stopped, and how it goes on if it can.

use std::fmt::Write;

use vmss2core_machine::{Control, Interrupt, Resume, Stop, StopReason};

use super::{Family, registers};
use crate::parse::{self, Which};
use crate::reply::{EPERM, Reply, hex};
use crate::session::{Client, Session};

/// Signals as the protocol numbers them.
const SIGINT: u8 = 2;
const SIGTRAP: u8 = 5;

const CANNOT_RUN: &str = "this is a checkpoint: it cannot run, step or be called into";

const TOGETHER: &str = "the processors of a machine run together: one alone can only step";
const NOT_EXECUTED: &str = "no processor executes this thread: it cannot step";
const NO_RECORDING: &str = "this machine has no recording: it cannot run backwards";
const ELSEWHERE: &str = "what runs goes on where it stands: set the program counter first";
const NOT_KNOWN: &str = "it can only be continued or stepped";

pub(super) const PACKETS: Family = &[
    ("?", |session, _| stopped(session)),
    // A checkpoint too: debuggers then send one of these, and are told why it cannot.
    ("vCont?", |_, _| Reply::text("vCont;c;C;s;S;t")),
    ("vCont", |session, actions| resume(session, |session| by_thread(session, actions))),
    ("c", |session, place| resume(session, |_| here(place, Resume::Continue))),
    // A processor takes no signal.
    ("C", |session, _| resume(session, |_| Ok(Resume::Continue))),
    ("s", |session, place| resume(session, |session| here(place, step(session, b"")?))),
    ("S", |session, _| resume(session, |session| step(session, b""))),
    ("bc", |session, _| resume(session, |session| back(session, Resume::Back))),
    ("bs", |session, _| {
        resume(session, |session| back(session, Resume::BackStep(cpu(session, b"")?)))
    }),
    ("vCtrlC", |_, _| Reply::ok()),
];

/// Lets what is debugged go on, if it can.
fn resume(
    session: &mut Session,
    how: impl FnOnce(&Session) -> Result<Resume, &'static str>,
) -> Reply {
    let target = session.target.clone();
    let Some(control) = target.control() else { return refused(session, CANNOT_RUN) };
    let went = how(session).map_err(str::to_owned);
    match went.and_then(|how| control.resume(how).map_err(|error| error.to_string())) {
        Ok(()) => {
            session.interrupt = Some(Interrupt::default());
            Reply::default()
        }
        Err(why) => refused(session, &why),
    }
}

/// `c` and `s` may name another address to go on at.
fn here(place: &[u8], how: Resume) -> Result<Resume, &'static str> {
    if place.is_empty() { Ok(how) } else { Err(ELSEWHERE) }
}

fn back(session: &Session, how: Resume) -> Result<Resume, &'static str> {
    let replay = session.target.control().and_then(Control::replay);
    replay.map(|_| how).ok_or(NO_RECORDING)
}

fn step(session: &Session, thread: &[u8]) -> Result<Resume, &'static str> {
    cpu(session, thread).map(Resume::Step)
}

/// The processor that executes a thread.
fn cpu(session: &Session, thread: &[u8]) -> Result<u32, &'static str> {
    let named = if thread.is_empty() { session.current() } else { session.named(thread) };
    let cpu = named.and_then(|thread| thread.inferior.cpu(thread.tid));
    cpu.ok_or(NOT_EXECUTED)
}

/// `;ACTION:THREAD;ACTION`: the first action that names a thread is that thread's. One
/// that steps is what counts.
fn by_thread(session: &Session, actions: &[u8]) -> Result<Resume, &'static str> {
    let actions = actions.strip_prefix(b";").ok_or(NOT_KNOWN)?;
    let mut alone = false;
    for action in actions.split(|byte| *byte == b';') {
        let (verb, thread) = parse::split(action, b':').unwrap_or((action, b""));
        match verb.first() {
            Some(b's' | b'S') => return step(session, thread),
            Some(b'c' | b'C') => {
                let name = parse::thread(thread).map(|name| name.tid);
                alone = matches!(name, Some(Which::One(_)));
            }
            _ => return Err(NOT_KNOWN),
        }
    }
    if alone { Err(TOGETHER) } else { Ok(Resume::Continue) }
}

/// The stop reply after what is debugged has run.
pub(crate) fn stopped_by(session: &mut Session, stop: &Stop) -> Reply {
    if let Some(cpu) = stop.cpu {
        session.look_at_cpu(cpu);
    }
    match stop.reason {
        StopReason::Off => {
            session.inferiors.clear();
            Reply::text("W00")
        }
        StopReason::Interrupted => stop_reply(session, SIGINT, ""),
        StopReason::Breakpoint if session.agreed.breakpoint_stops => {
            stop_reply(session, SIGTRAP, "swbreak:;")
        }
        StopReason::ReplayStart => stop_reply(session, SIGTRAP, "replaylog:begin;"),
        StopReason::ReplayEnd => stop_reply(session, SIGTRAP, "replaylog:end;"),
        _ => stopped(session),
    }
}

/// The stop reply for the current thread; `W00` if nothing is attached.
pub(super) fn stopped(session: &Session) -> Reply {
    stop_reply(session, SIGTRAP, "")
}

fn stop_reply(session: &Session, signal: u8, why: &str) -> Reply {
    let Some(current) = session.current() else { return Reply::text("W00") };
    let inferior = &current.inferior;
    let mut reply =
        format!("T{signal:02x}{why}thread:{};", session.name_of(inferior.pid(), current.tid));
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
pub(crate) fn refused(session: &mut Session, sentence: &str) -> Reply {
    if session.client == Client::Gdb {
        return Reply::refusal(sentence);
    }
    if session.current().is_none() {
        return Reply::error(EPERM);
    }
    session.console.push(format!("{sentence}\n"));
    stopped(session)
}
