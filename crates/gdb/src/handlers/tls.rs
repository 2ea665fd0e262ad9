//! Thread-local variables: `qGetTLSAddr`, and the symbols that it takes, which gdb is
//! asked for in its `qSymbol`.
//!
//! glibc describes its structures for `libthread_db` in constants of its own: the size
//! of a member in bits, how many there are, and its offset (`db_desc_t` in
//! `nptl_db/thread_dbP.h`, defined in `nptl/db_info.c`).

use vmss2core_machine::Width;

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, ENOENT, Reply, hex};
use crate::session::{Current, Session};

pub(super) const PACKETS: Family = &[("qSymbol:", symbol), ("qGetTLSAddr:", address)];

/// The number of a library's variables, in its `link_map`.
const NUMBER: &str = "_thread_db_link_map_l_tls_modid";
/// A thread's table of where they are, in what the thread pointer leads to.
const TABLE: &str = "_thread_db_pthread_dtvp";
/// The entries of that table.
const ENTRIES: &str = "_thread_db_dtv_dtv";
/// The address in an entry.
const PLACE: &str = "_thread_db_dtv_t_pointer_val";

const NAMES: [&str; 4] = [NUMBER, TABLE, ENTRIES, PLACE];

/// Constants of that kind, by process and name.
pub(crate) type Symbols = std::collections::BTreeMap<(u32, &'static str), u64>;

/// A member as glibc describes it.
struct Member {
    len_bytes: u64,
    offset: u64,
}

/// `VALUE:NAME` in answer to a question, both empty at first. gdb begins anew with
/// every library, so what it did not know it may know then.
fn symbol(session: &mut Session, packet: &[u8]) -> Reply {
    let current = session.current().filter(|current| current.inferior.auxv().is_some());
    let Some(pid) = current.map(|current| current.inferior.pid()) else { return Reply::ok() };
    let (value, digits) = parse::split(packet, b':').unwrap_or_default();
    let answered = parse::bytes(digits).unwrap_or_default();
    let at = NAMES.iter().position(|name| name.as_bytes() == answered);
    if let (Some(value), Some(name)) = (parse::number(value), at.and_then(|at| NAMES.get(at))) {
        session.symbols.insert((pid, *name), value);
    }
    let behind = NAMES.get(at.map_or(0, |at| at.saturating_add(1))..).unwrap_or_default();
    match behind.iter().find(|name| !session.symbols.contains_key(&(pid, **name))) {
        Some(name) => Reply::text(format!("qSymbol:{}", hex(name.as_bytes()))),
        None => Reply::ok(),
    }
}

/// `THREAD,OFFSET,LINK-MAP`.
fn address(session: &mut Session, packet: &[u8]) -> Reply {
    let cut = || {
        let (thread, rest) = parse::split(packet, b',')?;
        let (offset, link_map) = parse::pair(rest)?;
        Some((session.named(thread)?, offset, link_map))
    };
    let Some((thread, offset, link_map)) = cut() else { return Reply::error(EINVAL) };
    match block(session, &thread, link_map) {
        Some(block) => Reply::text(format!("{:x}", block.wrapping_add(offset))),
        None => Reply::error(ENOENT),
    }
}

/// Where a thread has the variables of a library; `None` if it has none yet.
fn block(session: &Session, thread: &Current, link_map: u64) -> Option<u64> {
    let reader = Reader { session, thread };
    let number = reader.number(link_map, &reader.member(NUMBER)?)?;
    let width = thread.inferior.description().width();
    let pointer = thread.inferior.registers(thread.tid)?.thread_pointer(width)?;
    let table = reader.number(pointer, &reader.member(TABLE)?)?;
    let entries = reader.member(ENTRIES)?;
    let entry =
        table.wrapping_add(entries.offset).wrapping_add(number.checked_mul(entries.len_bytes)?);
    let place = reader.number(entry, &reader.member(PLACE)?)?;
    // All bits are set in what is not allocated.
    let unallocated = if reader.word_len() == 8 { u64::MAX } else { u64::from(u32::MAX) };
    (number != 0 && place != unallocated && place != 0).then_some(place)
}

struct Reader<'r> {
    session: &'r Session,
    thread: &'r Current,
}

impl Reader<'_> {
    fn word_len(&self) -> u64 {
        if self.thread.inferior.description().width() == Width::Bits64 { 8 } else { 4 }
    }

    fn uint(&self, at: u64, len_bytes: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let (used, _) = bytes.split_at_mut_checked(usize::try_from(len_bytes).ok()?)?;
        let got = self.thread.inferior.read(self.thread.tid, at, used);
        (got == used.len()).then(|| u64::from_le_bytes(bytes))
    }

    fn member(&self, name: &'static str) -> Option<Member> {
        let at = *self.session.symbols.get(&(self.thread.inferior.pid(), name))?;
        let [bits, offset] = [0, 8].map(|skip| self.uint(at.wrapping_add(skip), 4));
        Some(Member { len_bytes: bits? / 8, offset: offset? })
    }

    fn number(&self, structure: u64, member: &Member) -> Option<u64> {
        self.uint(structure.wrapping_add(member.offset), member.len_bytes)
    }
}
