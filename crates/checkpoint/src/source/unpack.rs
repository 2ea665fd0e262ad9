//! From what lies on disk to what can be read: gzip and tar taken off.

use super::{Entry, Folder, HEAD_LEN, Item, Source, gzip, tar};
use crate::{OpenError, OpenOptions};

/// Compressed files within compressed files that are followed; `x.tgz` in a
/// packed bundle makes two.
const MAX_LAYERS: u32 = 4;

/// What is in a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// One object.
    File(Item),
    /// Several, in an archive.
    Archive(Folder),
}

/// What a file holds, judged by its first bytes.
pub(crate) enum Peek {
    /// One object that begins like this.
    File(Vec<u8>),
    /// Something to be unpacked before more can be said.
    Archive,
}

/// Unpacks with the caller's options.
#[derive(Clone, Copy)]
pub(crate) struct Unpacker<'a> {
    /// What the caller of the crate decided.
    pub(crate) options: &'a OpenOptions,
}

impl Unpacker<'_> {
    /// Takes all packing off `source`, short of the members of an archive.
    pub(crate) fn unpack(self, source: Source) -> Result<Content, OpenError> {
        let mut item = Item::from(source);
        for _ in 0..MAX_LAYERS {
            let head = item.source.start(HEAD_LEN)?;
            if gzip::is_gzip(&head) {
                let inner = gzip::unpack(&item.source, self.options)?;
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
        let unpacker = Unpacker { options: &options };
        let packed = gzip(&gzip(&tar(&[("a", b"1")])));
        let Content::Archive(folder) = unpacker.unpack(source("x", packed.clone())).unwrap() else {
            panic!("not an archive");
        };
        assert_eq!(folder.entries[0].path.to_str(), Some("x/a"));
        let deep = gzip(&gzip(&gzip(&packed)));
        let error = unpacker.unpack(source("x", deep)).unwrap_err();
        assert!(matches!(error, OpenError::TooDeep { .. }), "{error}");
    }
}
