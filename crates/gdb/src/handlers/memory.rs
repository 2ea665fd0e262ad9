//! Memory, virtual or physical.

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE};

use super::Family;
use crate::packet::PACKET_BYTES;
use crate::parse;
use crate::reply::{EFAULT, EINVAL, EIO, EPERM, Reply};
use crate::session::{Client, Session};

/// Most bytes in one answer, each of which may take two.
const MOST_BYTES: u64 = PACKET_BYTES as u64 / 2 - 1;

pub(super) const PACKETS: Family = &[
    ("m", digits),
    ("x", binary),
    ("M", |session, packet| write(session, packet, parse::bytes)),
    ("X", |session, packet| write(session, packet, |data| Some(data.to_vec()))),
    ("Qqemu.PhyMemMode:", set_physical),
    // By these scripts tell QEMU, and ask its monitor then; ours answers as that does.
    ("qqemu.sstepbits", |_, _| Reply::text("ENABLE=1,NOIRQ=2,NOTIMER=4".to_owned())),
    ("qqemu.sstep", |_, _| Reply::text("0x0".to_owned())),
    ("qqemu.PhyMemMode", |session, _| Reply::text(u8::from(session.agreed.physical).to_string())),
];

fn digits(session: &mut Session, packet: &[u8]) -> Reply {
    match read(session, packet) {
        Ok(bytes) => Reply::hex(&bytes),
        Err(reply) => reply,
    }
}

/// gdb 16 wants a `b` in front; lldb asks for nothing at address 0 to see whether
/// this packet is known, and wants no letter.
fn binary(session: &mut Session, packet: &[u8]) -> Reply {
    let is_lldb = session.client == Client::Lldb;
    if is_lldb && parse::pair(packet) == Some((0, 0)) {
        return Reply::ok();
    }
    match read(session, packet) {
        Ok(bytes) => Reply::binary(if is_lldb { "" } else { "b" }, &bytes),
        Err(reply) => reply,
    }
}

/// The part of a range, from its start on, that can be read.
fn read(session: &Session, range: &[u8]) -> Result<Vec<u8>, Reply> {
    let (range, thread) = session.addressed(range);
    let (address, len) = parse::pair(range).ok_or_else(|| Reply::error(EINVAL))?;
    let len = usize::try_from(len.min(MOST_BYTES)).unwrap_or(0);
    let mut bytes = vec![0; len];
    let got = if session.agreed.physical {
        read_physical(session, address, &mut bytes)
    } else {
        thread.map_or(0, |thread| thread.inferior.read(thread.tid, address, &mut bytes))
    };
    bytes.truncate(got);
    if bytes.is_empty() && len > 0 { Err(Reply::error(EFAULT)) } else { Ok(bytes) }
}

/// Up to the first byte that the checkpoint lacks.
fn read_physical(session: &Session, address: u64, buf: &mut [u8]) -> usize {
    use vmss2core_mem::Piece;

    let memory = session.target.physical();
    let mut got = 0_usize;
    for piece in memory.pieces(Gpa(address), buf.len() as u64) {
        let Piece::Present { gpa, len, .. } = piece else { break };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(part) = buf.get_mut(got..got.saturating_add(len)) else { break };
        if memory.read(gpa, part).is_err() {
            break;
        }
        got = got.saturating_add(len);
    }
    got
}

/// `ADDRESS,LENGTH:DATA`.
fn write(
    session: &mut Session,
    packet: &[u8],
    decode: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Reply {
    let target = session.target.clone();
    let Some(control) = target.control() else {
        return session.refuse("the memory of a checkpoint cannot be changed", EPERM);
    };
    let Some(writes) = control.writes() else {
        return session.refuse("the memory of this machine cannot be changed", EPERM);
    };
    let cut = || {
        let (range, data) = parse::split(packet, b':')?;
        let ((address, len), data) = (parse::pair(range)?, decode(data)?);
        (data.len() as u64 == len).then_some((address, data))
    };
    let Some((address, data)) = cut() else { return Reply::error(EINVAL) };
    let Some(parts) = parts(session, address, &data) else { return Reply::error(EFAULT) };
    let written = parts.iter().try_for_each(|(gpa, part)| writes.memory(*gpa, part));
    session.renew();
    match written {
        Ok(()) => Reply::ok(),
        Err(why) => session.refuse(&why.to_string(), EIO),
    }
}

/// Where each page's part of the data belongs; `None` if a page is not mapped.
fn parts<'d>(session: &Session, address: u64, data: &'d [u8]) -> Option<Vec<(Gpa, &'d [u8])>> {
    if session.agreed.physical {
        return Some(vec![(Gpa(address), data)]);
    }
    let current = session.current()?;
    let space = current.inferior.space(current.tid)?;
    let (mut at, mut rest, mut parts) = (address, data, Vec::new());
    while !rest.is_empty() {
        let in_page = PAGE_SIZE.saturating_sub(at % PAGE_SIZE);
        let len = usize::try_from(in_page).unwrap_or(usize::MAX).min(rest.len());
        let (part, behind) = rest.split_at_checked(len)?;
        parts.push((space.translate(Gva(at)).ok()?.gpa, part));
        (at, rest) = (at.wrapping_add(in_page), behind);
    }
    Some(parts)
}

fn set_physical(session: &mut Session, value: &[u8]) -> Reply {
    session.agreed.physical = match value {
        b"0" => false,
        b"1" => true,
        _ => return Reply::error(EINVAL),
    };
    Reply::ok()
}
