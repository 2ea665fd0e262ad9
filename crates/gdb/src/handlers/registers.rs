//! Registers, all or one by one.

use vmss2core_machine::{RegisterDef, Registers};

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, EIO, EPERM, Reply, hex};
use crate::session::{Client, Current, Session};

pub(super) const PACKETS: Family = &[
    ("g", all),
    ("p", one),
    ("G", set_all),
    ("P", set),
    ("QSaveRegisterState", |_, _| Reply::error(EPERM)),
];

/// A register's digits, `x` where it is not known.
pub(super) fn digits(register: &RegisterDef, registers: &Registers) -> String {
    match register.bytes(registers) {
        Some(bytes) => hex(&bytes),
        None => "x".repeat(register.len_bytes().saturating_mul(2)),
    }
}

fn of(current: &Current) -> Option<Registers> {
    current.inferior.registers(current.tid)
}

fn all(session: &mut Session, packet: &[u8]) -> Reply {
    let (_, thread) = session.addressed(packet);
    let found = thread.and_then(|thread| Some((of(&thread)?, thread)));
    let Some((registers, thread)) = found else { return Reply::error(EINVAL) };
    let description = thread.inferior.description();
    Reply::text(
        description.registers().iter().map(|one| digits(one, &registers)).collect::<String>(),
    )
}

/// lldb would take `x` for digits; an error makes it say that there is no value.
fn one(session: &mut Session, packet: &[u8]) -> Reply {
    let (number, thread) = session.addressed(packet);
    let is_lldb = session.client == Client::Lldb;
    let found = || {
        let thread = thread?;
        let number = usize::try_from(parse::number(number)?).ok()?;
        let register = thread.inferior.description().registers().get(number)?;
        let values = of(&thread)?;
        let is_missing = is_lldb && register.value(&values).is_none();
        (!is_missing).then(|| digits(register, &values))
    };
    found().map_or_else(|| Reply::error(EINVAL), Reply::text)
}

const UNCHANGEABLE: &str = "the registers of a checkpoint cannot be changed";

/// Debuggers that are refused this set registers one by one.
fn set_all(session: &mut Session, _: &[u8]) -> Reply {
    match session.target.control() {
        Some(_) => Reply::unsupported(),
        None => session.refuse(UNCHANGEABLE, EPERM),
    }
}

/// `NUMBER=BYTES`.
fn set(session: &mut Session, packet: &[u8]) -> Reply {
    let target = session.target.clone();
    let Some(control) = target.control() else { return session.refuse(UNCHANGEABLE, EPERM) };
    let Some(writes) = control.writes() else {
        return session.refuse("the registers of this machine cannot be changed", EPERM);
    };
    let Some((thread, name, value)) = meant(session, packet) else {
        return Reply::error(EINVAL);
    };
    let Some(cpu) = thread.inferior.cpu(thread.tid) else {
        return session.refuse("no processor executes this thread", EPERM);
    };
    let set = writes.register(cpu, &name, value);
    session.renew();
    match set {
        Ok(()) => Reply::ok(),
        Err(why) => session.refuse(&why.to_string(), EIO),
    }
}

/// The thread, the register and its value that a packet means.
fn meant(session: &Session, packet: &[u8]) -> Option<(Current, String, u128)> {
    let (packet, thread) = session.addressed(packet);
    let (thread, (number, digits)) = (thread?, parse::split(packet, b'=')?);
    let number = usize::try_from(parse::number(number)?).ok()?;
    let register = thread.inferior.description().registers().get(number)?;
    let (name, bytes) = (register.name.clone(), parse::bytes(digits)?);
    let mut value = [0; 16];
    if bytes.len() != register.len_bytes() {
        return None;
    }
    value.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some((thread, name, u128::from_le_bytes(value)))
}
