//! Answers to packets, a file for each family.

mod attach;
mod breakpoints;
mod files;
mod lldb;
mod memory;
mod monitor;
mod query;
mod registers;
mod resume;
mod threads;
mod tls;
mod transfer;

pub(crate) use files::Files;
pub(crate) use resume::{refused as not_run, stopped_by};
pub(crate) use tls::Symbols;
pub(crate) use transfer::Object;

use crate::reply::Reply;
use crate::session::Session;

/// Answers a packet; gets what stands after its prefix.
type Handler = fn(&mut Session, &[u8]) -> Reply;

/// A family of packets by their prefix. The longest that fits counts.
type Family = &'static [(&'static str, Handler)];

const FAMILIES: [Family; 12] = [
    query::PACKETS,
    threads::PACKETS,
    registers::PACKETS,
    memory::PACKETS,
    transfer::PACKETS,
    files::PACKETS,
    tls::PACKETS,
    resume::PACKETS,
    breakpoints::PACKETS,
    attach::PACKETS,
    monitor::PACKETS,
    lldb::PACKETS,
];

/// Answers a packet; what is not known is answered with nothing.
pub(crate) fn handle(session: &mut Session, packet: &[u8]) -> Reply {
    if packet.starts_with(b"vFile:") && !files::are_known(session) {
        return Reply::unsupported();
    }
    let all = FAMILIES.iter().copied().flatten();
    let fitting = all.filter(|(prefix, _)| packet.starts_with(prefix.as_bytes()));
    match fitting.max_by_key(|(prefix, _)| prefix.len()) {
        Some((prefix, handler)) => handler(session, packet.get(prefix.len()..).unwrap_or_default()),
        None => Reply::unsupported(),
    }
}
