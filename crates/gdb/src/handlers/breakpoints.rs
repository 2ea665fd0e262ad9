//! `Z` and `z`: places where what runs stops. Both kinds are the same to a machine: it
//! stops before the instruction, whose bytes stay as they are.

use vmss2core_machine::{Breakpoints, Control, ControlError};
use vmss2core_mem::Gva;

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, EIO, Reply};
use crate::session::Session;

pub(super) const PACKETS: Family = &[("Z0,", set), ("Z1,", set), ("z0,", clear), ("z1,", clear)];

fn set(session: &mut Session, place: &[u8]) -> Reply {
    change(session, place, |breakpoints, at| breakpoints.set(at))
}

fn clear(session: &mut Session, place: &[u8]) -> Reply {
    change(session, place, |breakpoints, at| breakpoints.clear(at))
}

/// `ADDRESS,KIND`; a target without breakpoints does not know the packet.
fn change(
    session: &Session,
    place: &[u8],
    change: impl FnOnce(&dyn Breakpoints, Gva) -> Result<(), ControlError>,
) -> Reply {
    let Some(breakpoints) = session.target.control().and_then(Control::breakpoints) else {
        return Reply::unsupported();
    };
    let Some((address, _)) = parse::pair(place) else { return Reply::error(EINVAL) };
    match change(breakpoints, Gva(address)) {
        Ok(()) => Reply::ok(),
        Err(why) => session.refuse(&why.to_string(), EIO),
    }
}
