//! From what lies on disk to what can be read: gzip and tar taken off.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use super::{Entry, Folder, HEAD_LEN, Item, Source, gzip, tar};
use crate::{OpenError, OpenOptions};

/// Compressed files within compressed files that are followed; `x.tgz` in a
/// packed bundle makes two.
const MAX_LAYERS: u32 = 4;

/// Bytes that one of gzip can hold, with some to spare. Packing twice makes no more of
/// what people pack: only files made to fill a disk have more in them.
const MAX_RATIO: u64 = 1100;

/// Bytes that may come out of the smallest file.
const SLACK: u64 = 64 << 20;

/// Content of a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// One object.
    File(Item),
    /// Several, in an archive.
    Archive(Folder),
}

/// The content of a file, judged by its first bytes.
pub(crate) enum Peek {
    /// One object that begins like this.
    File(Vec<u8>),
    /// Something to be unpacked before more can be said.
    Archive,
}

/// Unpacks with the caller's options.
#[derive(Clone, Copy)]
pub(crate) struct Unpacker<'a> {
    /// Options of the caller of the crate.
    pub(crate) options: &'a OpenOptions,
    /// Bytes that were read so far.
    pub(crate) ledger: &'a Ledger,
}

/// Bytes that were read and unpacked so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    host_files: RefCell<Vec<PathBuf>>,
    packed_bytes: Cell<u64>,
    unpacked_bytes: Cell<u64>,
}

impl Ledger {
    /// Files of the host that were read, each once.
    pub(crate) fn into_host_files(self) -> Vec<PathBuf> {
        let mut files = self.host_files.into_inner();
        files.sort();
        files.dedup();
        files
    }

    fn read(&self, source: &Source) {
        if !source.host_files.is_empty() {
            self.host_files.borrow_mut().extend_from_slice(&source.host_files);
            self.packed_bytes.set(self.packed_bytes.get().saturating_add(source.len));
        }
    }

    /// Bytes that may still be unpacked.
    fn limit(&self) -> u64 {
        let most = self.packed_bytes.get().saturating_mul(MAX_RATIO).saturating_add(SLACK);
        most.saturating_sub(self.unpacked_bytes.get())
    }

    fn unpacked(&self, len: u64) {
        self.unpacked_bytes.set(self.unpacked_bytes.get().saturating_add(len));
    }
}

impl Unpacker<'_> {
    /// Takes all packing off `source`, short of the members of an archive.
    pub(crate) fn unpack(self, source: Source) -> Result<Content, OpenError> {
        self.ledger.read(&source);
        let mut item = Item::from(source);
        for _ in 0..MAX_LAYERS {
            let head = item.source.start(HEAD_LEN)?;
            if gzip::is_gzip(&head) {
                let inner = self.ungzip(&item.source)?;
                item.source = inner.source;
                item.problems.extend(inner.problems);
            } else if tar::is_tar(&head) {
                let mut folder = tar::members(&item.source)?;
                folder.problems.splice(0..0, item.problems);
                return Ok(Content::Archive(folder));
            } else {
                return Ok(Content::File(item));
            }
        }
        Err(OpenError::TooDeep { path: item.source.path, limit: MAX_LAYERS })
    }

    fn ungzip(self, source: &Source) -> Result<Item, OpenError> {
        let limit = self.ledger.limit();
        let unpacked = gzip::unpack(source, self.options, limit);
        // The work is done whether it ends well or not.
        self.ledger.unpacked(unpacked.as_ref().map_or(limit, |item| item.source.len));
        unpacked
    }

    /// Opens `entry` as one object; `None` if it is an archive.
    pub(crate) fn open(self, entry: &Entry, found: &str) -> Result<Option<Item>, OpenError> {
        match self.unpack(entry.open(found)?)? {
            Content::File(item) => Ok(Some(item)),
            Content::Archive(_) => Ok(None),
        }
    }

    /// Looks into `entry` without unpacking all of it.
    pub(crate) fn peek(entry: &Entry) -> Result<Peek, OpenError> {
        let source = entry.open("")?;
        let mut head = source.start(HEAD_LEN)?;
        if gzip::is_gzip(&head) {
            head = gzip::peek(&source);
        }
        let packed = gzip::is_gzip(&head) || tar::is_tar(&head);
        Ok(if packed { Peek::Archive } else { Peek::File(head) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gzip, source, spilling, tar};

    #[test]
    fn packing_is_taken_off_in_any_order_up_to_a_limit() {
        let (_dir, options) = spilling();
        let unpacker = Unpacker { options: &options, ledger: &Ledger::default() };
        let packed = gzip(&gzip(&tar(&[("a", b"1")])));
        let Content::Archive(folder) = unpacker.unpack(source("x", packed.clone())).unwrap() else {
            panic!("not an archive");
        };
        assert_eq!(folder.entries[0].path.to_str(), Some("x/a"));
        let deep = gzip(&gzip(&gzip(&packed)));
        let error = unpacker.unpack(source("x", deep)).unwrap_err();
        assert!(matches!(error, OpenError::TooDeep { .. }), "{error}");
    }

    /// 256 MiB of zeroes, packed twice into some 2 kB.
    #[test]
    fn what_is_packed_twice_may_not_hold_more_than_what_is_packed_once() {
        let (_dir, options) = spilling();
        let bomb = gzip(&gzip(&vec![0; 256 << 20]));
        let ledger = Ledger::default();
        let unpacker = Unpacker { options: &options, ledger: &ledger };
        let error = unpacker.unpack(source("x.gz", bomb)).unwrap_err();
        assert!(matches!(error, OpenError::TooLarge { .. }), "{error}");
        assert!(ledger.unpacked_bytes.get() <= SLACK);
        let honest = gzip(&gzip(&vec![0; 32 << 20]));
        let unpacker = Unpacker { ledger: &Ledger::default(), ..unpacker };
        assert!(unpacker.unpack(source("y.gz", honest)).is_ok());
    }
}
