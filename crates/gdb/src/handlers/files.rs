//! `vFile`: files of the guest ("Host I/O Packets" of gdb's manual).

use super::Family;
use crate::packet::PACKET_BYTES;
use crate::parse;
use crate::reply::{EBADF, EINVAL, EIO, EMFILE, ENAMETOOLONG, ENOENT, EROFS, Reply};
use crate::session::Session;
use crate::target::{FileError, GuestFile};

pub(super) const PACKETS: Family = &[
    ("vFile:setfs:", set_file_system),
    ("vFile:open:", open),
    ("vFile:close:", close),
    ("vFile:pread:", read),
    ("vFile:fstat:", status),
    ("vFile:stat:", status_of_path),
    ("vFile:lstat:", status_of_path),
    ("vFile:readlink:", read_link),
    ("vFile:pwrite:", |_, _| failed(EROFS)),
    ("vFile:unlink:", |_, _| failed(EROFS)),
];

/// Files that a client has open at most. gdb keeps those of libraries open.
const MOST_FILES: usize = 1024;
/// `PATH_MAX`.
const LONGEST_PATH: usize = 4096;
/// Most bytes in one answer, each of which may take two, after `F`, their number
/// and `;`.
const MOST_BYTES: u64 = PACKET_BYTES as u64 / 2 - 16;

/// Flags of `open` that ask for more than to read: `O_WRONLY`, `O_RDWR`, `O_APPEND`,
/// `O_CREAT`, `O_TRUNC`, as the protocol numbers them.
const TO_WRITE: u64 = 0x1 | 0x2 | 0x8 | 0x200 | 0x400;

/// The files that a client has open, by number.
#[derive(Default)]
pub(crate) struct Files {
    open: Vec<Option<Box<dyn GuestFile>>>,
    /// The process whose files paths mean; 0 for the one that is looked at.
    pid: u32,
}

impl Files {
    fn add(&mut self, file: Box<dyn GuestFile>) -> Option<usize> {
        if let Some(free) = self.open.iter().position(Option::is_none) {
            *self.open.get_mut(free)? = Some(file);
            return Some(free);
        }
        if self.open.len() >= MOST_FILES {
            return None;
        }
        self.open.push(Some(file));
        Some(self.open.len().saturating_sub(1))
    }

    fn get(&self, number: &[u8]) -> Option<&dyn GuestFile> {
        let number = usize::try_from(parse::number(number)?).ok()?;
        self.open.get(number)?.as_deref()
    }
}

/// Whether a client is to ask here for files. Those of kernels and their modules are
/// where the client runs, and gdb looks there if these packets are not known.
pub(super) fn are_known(session: &Session) -> bool {
    session.current().is_none_or(|current| {
        current.inferior.auxv().is_some() || current.inferior.executable().is_some()
    })
}

/// The protocol's number of an error.
fn number_of(error: FileError) -> u8 {
    match error {
        FileError::NotFound => ENOENT,
        FileError::Unreadable => EIO,
    }
}

/// `F-1,ERRNO`.
fn failed(number: u8) -> Reply {
    Reply::text(format!("F-1,{number:x}"))
}

fn set_file_system(session: &mut Session, pid: &[u8]) -> Reply {
    match parse::number(pid).and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => {
            session.files.pid = pid;
            Reply::text("F0")
        }
        None => failed(EINVAL),
    }
}

fn path(digits: &[u8]) -> Result<String, u8> {
    if digits.len() > 2 * LONGEST_PATH {
        return Err(ENAMETOOLONG);
    }
    let bytes = parse::bytes(digits).ok_or(EINVAL)?;
    // What is no UTF-8 is no name that was found in the guest.
    let path = String::from_utf8(bytes).map_err(|_| ENOENT)?;
    if path.contains('\0') { Err(EINVAL) } else { Ok(path) }
}

/// The process whose files are meant.
fn pid(session: &Session) -> u32 {
    match session.files.pid {
        0 => session.current().map_or(0, |current| current.inferior.pid()),
        pid => pid,
    }
}

/// Opens a file by the digits of its path.
fn open_path(session: &Session, digits: &[u8]) -> Result<Box<dyn GuestFile>, u8> {
    let path = path(digits)?;
    let files = session.target.files().ok_or(ENOENT)?;
    files.open(pid(session), &path).map_err(number_of)
}

/// `PATH,FLAGS,MODE`.
fn open(session: &mut Session, packet: &[u8]) -> Reply {
    let cut = || {
        let (path, rest) = parse::split(packet, b',')?;
        Some((path, parse::pair(rest)?.0))
    };
    let Some((digits, flags)) = cut() else { return failed(EINVAL) };
    if flags & TO_WRITE != 0 {
        return failed(EROFS);
    }
    match open_path(session, digits) {
        Ok(file) => match session.files.add(file) {
            Some(number) => Reply::text(format!("F{number:x}")),
            None => failed(EMFILE),
        },
        Err(number) => failed(number),
    }
}

fn close(session: &mut Session, number: &[u8]) -> Reply {
    let number = parse::number(number).and_then(|number| usize::try_from(number).ok());
    let slot = number.and_then(|number| session.files.open.get_mut(number));
    match slot.and_then(Option::take) {
        Some(_) => Reply::text("F0"),
        None => failed(EBADF),
    }
}

/// `NUMBER,COUNT,OFFSET`.
fn read(session: &mut Session, packet: &[u8]) -> Reply {
    let cut = || {
        let (number, rest) = parse::split(packet, b',')?;
        let (count, offset) = parse::pair(rest)?;
        Some((number, count, offset))
    };
    let Some((number, count, offset)) = cut() else { return failed(EINVAL) };
    let Some(file) = session.files.get(number) else { return failed(EBADF) };
    let mut bytes = vec![0; usize::try_from(count.min(MOST_BYTES)).unwrap_or(0)];
    match file.read(offset, &mut bytes) {
        Ok(got) => {
            bytes.truncate(got);
            Reply::binary(&format!("F{:x};", bytes.len()), &bytes)
        }
        Err(error) => failed(number_of(error)),
    }
}

fn status(session: &mut Session, number: &[u8]) -> Reply {
    match session.files.get(number) {
        Some(file) => described(file.len_bytes()),
        None => failed(EBADF),
    }
}

fn status_of_path(session: &mut Session, digits: &[u8]) -> Reply {
    match open_path(session, digits) {
        Ok(file) => described(file.len_bytes()),
        Err(number) => failed(number),
    }
}

/// `struct stat` of the protocol, big-endian: device, inode, mode, links, user, group
/// and device number of 4 bytes; size, size and number of blocks of 8; three times.
fn described(len_bytes: u64) -> Reply {
    const REGULAR_AND_READABLE: u32 = 0o100_444;
    let mut bytes = Vec::with_capacity(64);
    for word in [0, 0, REGULAR_AND_READABLE, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for long in [len_bytes, 4096, len_bytes.div_ceil(512)] {
        bytes.extend(long.to_be_bytes());
    }
    bytes.extend([0; 12]);
    Reply::binary(&format!("F{:x};", bytes.len()), &bytes)
}

fn read_link(session: &mut Session, digits: &[u8]) -> Reply {
    let target = session.target.clone();
    let read = |path: String| {
        let files = target.files().ok_or(ENOENT)?;
        files.read_link(pid(session), &path).map_err(number_of)
    };
    match path(digits).and_then(read) {
        Ok(text) => Reply::binary(&format!("F{:x};", text.len()), text.as_bytes()),
        Err(number) => failed(number),
    }
}
