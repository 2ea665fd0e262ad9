//! Tar files, read in place: each member is a window on the archive.
//!
//! Reads ustar, GNU and pax archives, sparse members (GNU's old format and its
//! pax format 1.0) included. Only regular files count. The names are shown and
//! compared, and nothing is ever written under them, so a name like `../x` is
//! harmless.
//!
//! Not the `tar` crate: it reads a stream in order, while memory must be read at
//! any place of an archive, and sparse members keep their holes here. Tests use
//! it to write what is read.

mod pax;
mod raw;
mod sparse;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmss2core_mem::{Problem, ReadAt};
use zerocopy::FromBytes as _;

use super::folder::{Entry, MAX_FILES, Origin};
use super::{Extents, Folder, Source};
use crate::OpenError;
use pax::Pax;
use raw::{BLOCK, TarHeader};
use sparse::Sparse;

/// Longest extended header or name that is looked at.
const MAX_EXTENSION: u64 = 1 << 20;

/// Whether an object that begins with `head` is a tar file. Old archives have no
/// magic, but a checksum that other content does not have by chance.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let block = head.first_chunk::<512>();
    block.is_some_and(|block| header(block).is_some_and(|header| header.name[0] != 0))
}

/// The header in `block` if its checksum holds.
fn header(block: &[u8; 512]) -> Option<&TarHeader> {
    let header = TarHeader::ref_from_bytes(block).ok()?;
    (raw::number(&header.chksum)? == raw::checksum(block)).then_some(header)
}

/// The regular files in the archive `source`.
pub(super) fn members(source: &Source) -> Result<Folder, OpenError> {
    let mut archive = Archive::new(source);
    while archive.step()? {}
    Ok(Folder::new(&source.path, archive.entries, archive.problems))
}

/// An archive while it is being listed.
struct Archive<'a> {
    source: &'a Source,
    at: u64,
    /// Records of extended headers about the member to come.
    pax: Pax,
    /// Name of a GNU long name header for it.
    long_name: Option<String>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl<'a> Archive<'a> {
    fn new(source: &'a Source) -> Self {
        let (entries, problems) = (Vec::new(), Vec::new());
        Self { source, at: 0, pax: Pax::default(), long_name: None, entries, problems }
    }

    /// Takes one header and what belongs to it. `false` at the end.
    fn step(&mut self) -> Result<bool, OpenError> {
        let mut block = [0; 512];
        if self.source.len.saturating_sub(self.at) < BLOCK {
            return Ok(false);
        }
        self.source.read(self.at, &mut block)?;
        if block == [0; 512] {
            return Ok(false);
        }
        let found = header(&block).and_then(|header| Some((header, self.size(header)?)));
        let Some((header, size)) = found else {
            let (path, at) = (self.source.path.display(), self.at);
            self.problems.push(Problem::incomplete(format!(
                "{path}: broken tar header at offset {at:#x}: the files after it are not used"
            )));
            return Ok(false);
        };
        self.take(header, size)
    }

    fn size(&self, header: &TarHeader) -> Option<u64> {
        // The size of pax is that of the member, not of a further extension.
        let pax = self.pax.size.filter(|_| !b"xgLK".contains(&header.typeflag));
        pax.or_else(|| raw::number(&header.size))
    }

    fn take(&mut self, header: &TarHeader, size: u64) -> Result<bool, OpenError> {
        let mut data = self.at.saturating_add(BLOCK);
        match header.typeflag {
            b'x' => {
                let records = self.extension(data, size)?;
                self.pax = records.and_then(|data| Pax::parse(&data)).unwrap_or_default();
                return Ok(self.skip(data, size));
            }
            b'L' => {
                self.long_name = self.extension(data, size)?.map(|name| lossy(raw::text(&name)));
                return Ok(self.skip(data, size));
            }
            b'g' | b'K' => return Ok(self.skip(data, size)),
            0 | b'0' | b'7' => self.add(header, data, size)?,
            b'S' => data = self.add_sparse(header, data, size)?,
            _ => {}
        }
        self.pax = Pax::default();
        self.long_name = None;
        Ok(self.skip(data, size))
    }

    /// Moves after `size` bytes of data. `false` if the archive ends before.
    fn skip(&mut self, data: u64, size: u64) -> bool {
        let next = size.checked_next_multiple_of(BLOCK).and_then(|size| data.checked_add(size));
        self.at = next.unwrap_or(u64::MAX).min(self.source.len);
        next.is_some_and(|next| next <= self.source.len)
    }

    /// The data of an extended header, if they are all there and not absurd.
    fn extension(&self, data: u64, size: u64) -> Result<Option<Vec<u8>>, OpenError> {
        if size > MAX_EXTENSION || size > self.source.len.saturating_sub(data) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.source.read(data, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Adds a member of typeflag "regular".
    fn add(&mut self, header: &TarHeader, data: u64, size: u64) -> Result<(), OpenError> {
        let name = self.name(header);
        let there = size.min(self.source.len.saturating_sub(data));
        if self.pax.sparse {
            let sparse = sparse::pax_1_0(self.source, data, there, self.pax.real_size)?;
            return self.push_sparse(name, sparse);
        }
        self.report_missing(&name, size.saturating_sub(there));
        self.push(name, Extents::window(self.source.bytes.clone(), data, there))
    }

    /// Adds a sparse member in GNU's old format, and returns where its data
    /// begin: its map can go on in blocks between the header and the data.
    fn add_sparse(&mut self, header: &TarHeader, data: u64, size: u64) -> Result<u64, OpenError> {
        let name = self.name(header);
        let (sparse, data) = sparse::old_gnu(self.source, header, data, size)?
            .map_or((None, data), |(sparse, data)| (Some(sparse), data));
        self.push_sparse(name, sparse).map(|()| data)
    }

    fn push_sparse(&mut self, name: String, sparse: Option<Sparse>) -> Result<(), OpenError> {
        let Some(sparse) = sparse else {
            let path = self.source.path.display();
            let message =
                format!("{path}: broken map of the sparse file {name}, which is not used");
            self.problems.push(Problem::incomplete(message));
            return Ok(());
        };
        self.report_missing(&name, sparse.missing);
        self.push(name, sparse.bytes)
    }

    fn report_missing(&mut self, name: &str, missing: u64) {
        if missing > 0 {
            self.problems.push(Problem::incomplete(format!(
                "{}: archive ends at offset {:#x}, within {name}: its last {missing:#x} bytes are \
                 missing",
                self.source.path.display(),
                self.source.len
            )));
        }
    }

    fn push(&mut self, name: String, bytes: Extents) -> Result<(), OpenError> {
        let (len, path) = (bytes.len(), within(&self.source.path, &name));
        let bytes: Arc<dyn ReadAt> = Arc::new(bytes);
        self.entries.push(Entry { name, path, len, origin: Origin::Member(bytes) });
        if self.entries.len() <= MAX_FILES {
            return Ok(());
        }
        Err(OpenError::TooManyFiles { path: self.source.path.clone(), limit: MAX_FILES })
    }

    fn name(&self, header: &TarHeader) -> String {
        let long = self.pax.path.as_deref().or(self.long_name.as_deref());
        let name = long.map_or_else(|| short_name(header), str::to_owned);
        let name = name.trim_start_matches("./");
        name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }
}

/// The name in the header; ustar cuts a long one in two.
fn short_name(header: &TarHeader) -> String {
    let name = lossy(raw::text(&header.name));
    let prefix = raw::text(header.tail.get(..155).unwrap_or_default());
    // GNU archives have other things in the place of the prefix.
    if &header.magic != b"ustar\0" || prefix.is_empty() {
        return name;
    }
    format!("{}/{name}", lossy(prefix))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A path for messages. Not by joining: an absolute name would replace the rest.
fn within(archive: &Path, name: &str) -> PathBuf {
    let mut path = archive.as_os_str().to_owned();
    path.push("/");
    path.push(name.trim_start_matches('/'));
    path.into()
}

#[cfg(test)]
mod tests;
