//! Registers, all or one by one.

use vmss2core_machine::{RegisterDef, Registers};

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, EPERM, Reply, hex};
use crate::session::{Client, Current, Session};

pub(super) const PACKETS: Family = &[
    ("g", all),
    ("p", one),
    ("G", refuse),
    ("P", refuse),
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

fn all(session: &mut Session<'_>, packet: &[u8]) -> Reply {
    let (_, thread) = session.addressed(packet);
    let found = thread.and_then(|thread| Some((of(&thread)?, thread)));
    let Some((registers, thread)) = found else { return Reply::error(EINVAL) };
    let description = thread.inferior.description();
    Reply::text(
        description.registers().iter().map(|one| digits(one, &registers)).collect::<String>(),
    )
}

/// lldb would take `x` for digits; an error makes it say that there is no value.
fn one(session: &mut Session<'_>, packet: &[u8]) -> Reply {
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

fn refuse(session: &mut Session<'_>, _: &[u8]) -> Reply {
    session.refuse("the registers of a checkpoint cannot be changed", EPERM)
}
