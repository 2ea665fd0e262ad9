//! A memory image inside a state file, packed or not, as something readable at
//! any offset.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use vmss2core_mem::ReadAt;

use super::{Codec, CodecError, Containers, expand, inflate, unknown};
use crate::OpenOptions;
use crate::source::{Room, write_sparse};

/// A bare FastLZ stream has no index, so it is expanded in one go; larger ones
/// are refused.
const MAX_IN_MEMORY: u64 = 32 << 20;

/// Bytes to look at to recognise a deflate stream.
const HEAD_LEN: u64 = 64 << 10;

/// Unit of spilling: read, and dropped if zero, page by page.
const SPILL_CHUNK: usize = 256 << 10;

/// An image that can be read at any offset.
pub(crate) struct Image {
    /// Its source.
    pub(crate) bytes: Arc<dyn ReadAt>,
    /// Where in that it starts.
    pub(crate) offset: u64,
    /// How much of it there is.
    pub(crate) len: u64,
    /// How it was packed.
    pub(crate) codec: Codec,
    /// Why there is less than promised, if known.
    pub(crate) flaw: Option<String>,
}

/// Opens the image packed in `packed` bytes at `offset` that promises to have
/// `expanded` bytes.
pub(crate) fn open_image(
    source: &Arc<dyn ReadAt>,
    offset: u64,
    packed: u64,
    expanded: u64,
    options: &OpenOptions,
) -> Result<Image, CodecError> {
    if packed == expanded {
        let bytes = Arc::clone(source);
        return Ok(Image { bytes, offset, len: packed, codec: Codec::Stored, flaw: None });
    }
    let read = |source| CodecError::Read { offset, source };
    let end = offset.saturating_add(packed);
    if let Some(containers) = Containers::index(source, offset, end).map_err(read)?
        && containers.check_first().is_ok()
    {
        return Ok(containers_image(containers, end, expanded));
    }
    let head = read_head(source.as_ref(), offset, packed).map_err(read)?;
    match inflate::recognise(&head) {
        Some(codec) => {
            let input = RangeReader { source: source.as_ref(), at: offset, end };
            let reader = inflate::reader(codec, io::BufReader::with_capacity(SPILL_CHUNK, input));
            let mut reader = reader.ok_or_else(|| unknown(packed, expanded))?;
            spill(codec, reader.as_mut(), expanded, options)
        }
        None => in_memory(source.as_ref(), offset, packed, expanded),
    }
}

fn containers_image(containers: Containers, end: u64, expanded: u64) -> Image {
    let (len, stop) = (containers.len(), containers.end());
    let flaw = (stop != end).then(|| {
        format!(
            "compressed memory is cut or damaged at file offset {stop:#x}, {:#x} bytes left",
            end.saturating_sub(stop)
        )
    });
    let len = len.min(expanded);
    Image { bytes: Arc::new(containers), offset: 0, len, codec: Codec::Containers, flaw }
}

fn read_head(source: &dyn ReadAt, offset: u64, packed: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(packed.min(HEAD_LEN)).unwrap_or_default();
    let mut head = vec![0; len];
    source.read_exact_at(offset, &mut head)?;
    Ok(head)
}

fn in_memory(
    source: &dyn ReadAt,
    offset: u64,
    packed: u64,
    expanded: u64,
) -> Result<Image, CodecError> {
    let sizes = (usize::try_from(packed), usize::try_from(expanded));
    let (Ok(packed_len), Ok(expanded_len)) = sizes else { return Err(unknown(packed, expanded)) };
    if packed > MAX_IN_MEMORY || expanded > MAX_IN_MEMORY {
        return Err(unknown(packed, expanded));
    }
    let mut bytes = vec![0; packed_len];
    source
        .read_exact_at(offset, &mut bytes)
        .map_err(|source| CodecError::Read { offset, source })?;
    let (bytes, codec) = expand(bytes, expanded_len)?;
    Ok(Image { bytes: Arc::new(bytes), offset: 0, len: expanded, codec, flaw: None })
}

/// Expands into an unnamed temporary file, pages of zeroes as holes.
fn spill(
    codec: Codec,
    reader: &mut dyn Read,
    expanded: u64,
    options: &OpenOptions,
) -> Result<Image, CodecError> {
    let dir = options.spill_dir.as_deref().ok_or(CodecError::NeedsSpill { codec })?;
    let failed = |source| CodecError::Spill { codec, dir: dir.to_owned(), source };
    let limit = expanded.min(options.max_unpacked_bytes);
    let mut file = tempfile::tempfile_in(dir).map_err(failed)?;
    let (len, flaw) = copy_sparse(reader, &mut file, limit).map_err(failed)?;
    file.set_len(len).map_err(failed)?;
    let flaw = match flaw {
        Some(error) => Some(format!("{codec} data is damaged after {len:#x} bytes: {error}")),
        None if len == limit && limit < expanded => {
            Some(format!("{codec} data is expanded only up to the limit of {limit:#x} bytes"))
        }
        None => None,
    };
    Ok(Image { bytes: Arc::new(file), offset: 0, len, codec, flaw })
}

/// Copies up to `limit` bytes. The outer error is the temporary file's; one of
/// the packed data ends the copy and is returned beside the length.
fn copy_sparse(
    reader: &mut dyn Read,
    file: &mut File,
    limit: u64,
) -> io::Result<(u64, Option<io::Error>)> {
    let mut buf = vec![0; SPILL_CHUNK];
    let mut room = Room::default();
    let mut done = 0_u64;
    while done < limit {
        let want =
            usize::try_from(limit.saturating_sub(done)).map_or(SPILL_CHUNK, |n| n.min(SPILL_CHUNK));
        let (chunk, _) = buf.split_at_mut(want);
        let (len, flaw) = fill(reader, chunk);
        let (chunk, _) = chunk.split_at(len);
        write_sparse(file, &mut room, done, chunk)?;
        done = done.saturating_add(len as u64);
        if flaw.is_some() || len < want {
            return Ok((done, flaw));
        }
    }
    Ok((done, None))
}

/// Reads until `buf` is full, the data end, or an error comes.
fn fill(reader: &mut dyn Read, buf: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut done = 0_usize;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(len) => done = done.saturating_add(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

/// A stretch of a source as a stream.
struct RangeReader<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let (buf, _) = buf.split_at_mut(len);
        self.source.read_exact_at(self.at, buf)?;
        self.at = self.at.saturating_add(len as u64);
        Ok(len)
    }
}
