//! A memory image as a sequence of FastLZ containers, read at any offset.
//!
//! Source: measurements of the `.vmem` of encrypted virtual machines. Each
//! container is `u64` expanded size, `u64` compressed size, then the stream,
//! which is stored if both sizes are equal. Full blocks are 4 MiB. Normally each
//! block stands for itself; where a match reaches back into earlier blocks, the
//! window before the block is rebuilt from them.
//!
//! Only an index of the containers and a few expanded blocks are kept in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmss2core_mem::ReadAt;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::fastlz::{self, Before, FastLzError, MAX_DISTANCE};

/// The largest block that is expanded; those seen have 4 MiB.
const MAX_BLOCK: u64 = 8 << 20;
/// Enough for 4 TiB of full blocks; bounds the index of a hostile file.
const MAX_BLOCKS: usize = 1 << 20;
/// Expanded blocks kept.
const CACHE_BYTES: usize = 16 << 20;
const CACHE_BLOCKS: usize = 8;
/// Windows kept for images whose blocks depend on each other, 8 MiB at most.
const MAX_WINDOWS: usize = (8 << 20) / MAX_DISTANCE;

/// Header of a container.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ContainerHeader {
    expanded: U64,
    compressed: U64,
}

const HEADER_SIZE: usize = size_of::<ContainerHeader>();
const HEADER_LEN: u64 = HEADER_SIZE as u64;
const _: () = assert!(HEADER_SIZE == 16);

#[derive(Clone, Copy, Debug)]
struct Block {
    /// File offset of the stream.
    at: u64,
    /// Where its output starts in the image.
    start: u64,
    /// Bytes of the stream.
    compressed: u32,
    /// Bytes of the output.
    expanded: u32,
}

impl Block {
    fn is_stored(self) -> bool {
        self.compressed == self.expanded
    }
}

/// A compressed image, readable at any offset of the expanded one.
pub(crate) struct Containers {
    source: Arc<dyn ReadAt>,
    blocks: Vec<Block>,
    /// File offset after the last whole container.
    end: u64,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// Least recently used first.
    blocks: Vec<(usize, Arc<Vec<u8>>)>,
    /// The last [`MAX_DISTANCE`] bytes up to the end of a block.
    windows: BTreeMap<usize, Arc<Vec<u8>>>,
    /// The last block that needed history, and its own with it: what reading in
    /// order goes on from.
    latest: Option<(usize, Vec<u8>)>,
}

impl Containers {
    /// Indexes the containers in `start..end` of `source`. `None` if they do not
    /// begin with one. Stops at the first that is not whole or not one.
    pub(crate) fn index(
        source: &Arc<dyn ReadAt>,
        start: u64,
        end: u64,
    ) -> io::Result<Option<Self>> {
        let mut blocks = Vec::new();
        let (mut at, mut output) = (start, 0_u64);
        while blocks.len() < MAX_BLOCKS {
            let Some((expanded, compressed)) = read_header(source.as_ref(), at, end)? else {
                break;
            };
            blocks.push(Block {
                at: at.saturating_add(HEADER_LEN),
                start: output,
                compressed,
                expanded,
            });
            at = at.saturating_add(HEADER_LEN.saturating_add(u64::from(compressed)));
            output = output.saturating_add(u64::from(expanded));
        }
        if blocks.is_empty() {
            return Ok(None);
        }
        let source = Arc::clone(source);
        Ok(Some(Self { source, blocks, end: at, cache: Mutex::default() }))
    }

    /// Length of the expanded image.
    pub(crate) fn len(&self) -> u64 {
        self.blocks.last().map_or(0, |b| b.start.saturating_add(u64::from(b.expanded)))
    }

    /// File offset after the last whole container.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn count(&self) -> usize {
        self.blocks.len()
    }

    /// Expands the first block, which tells an image from bytes that happen to
    /// look like a header. Says whether it refers to what would be before it.
    pub(crate) fn check_first(&self) -> io::Result<bool> {
        let block = self.block(0)?;
        let decoded = self.decode(block, Vec::new(), Before::Zero)?;
        decoded.map(|(_, zeroed)| zeroed).map_err(|error| damaged(block, &error))
    }

    fn find(&self, offset: u64) -> io::Result<(usize, Block)> {
        let index = self.blocks.partition_point(|b| b.start <= offset).saturating_sub(1);
        let block = self.block(index)?;
        if offset.saturating_sub(block.start.min(offset)) >= u64::from(block.expanded) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((index, block))
    }

    fn block(&self, index: usize) -> io::Result<Block> {
        self.blocks.get(index).copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads inside one block.
    fn read_block(&self, index: usize, skip: u64, buf: &mut [u8]) -> io::Result<()> {
        let block = self.block(index)?;
        if block.is_stored() {
            return self.source.read_exact_at(block.at.saturating_add(skip), buf);
        }
        let expanded = self.expanded(index)?;
        expanded.read_exact_at(skip, buf)
    }

    /// The bytes of a block, from the cache if it was used lately.
    fn expanded(&self, index: usize) -> io::Result<Arc<Vec<u8>>> {
        if let Some(bytes) = self.cache().get(index) {
            return Ok(bytes);
        }
        // Not under the lock: other threads may expand other blocks meanwhile.
        let bytes = Arc::new(self.expand(index)?);
        self.cache().insert(index, &bytes);
        Ok(bytes)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // The cache is consistent after every statement.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expand(&self, index: usize) -> io::Result<Vec<u8>> {
        if let Some(bytes) = self.expand_alone(index)? {
            return Ok(bytes);
        }
        let mut history = self.history_before(index)?;
        let start = self.append(index, &mut history)?;
        let bytes = history.get(start..).unwrap_or_default().to_vec();
        self.cache().latest = Some((index, history));
        Ok(bytes)
    }

    /// A block without its history; `None` if it needs history.
    fn expand_alone(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let block = self.block(index)?;
        let before = if block.start == 0 { Before::Zero } else { Before::Refuse };
        match self.decode(block, Vec::new(), before)? {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(FastLzError::BeforeStart { .. }) => Ok(None),
            Err(error) => Err(damaged(block, &error)),
        }
    }

    /// Expands a block after its history, of which no more is kept than the
    /// block may need. Returns where the block's bytes start.
    fn append(&self, index: usize, history: &mut Vec<u8>) -> io::Result<usize> {
        let block = self.block(index)?;
        // Not each time: blocks may be much shorter than the history.
        if history.len() > 2 * MAX_DISTANCE {
            history.drain(..history.len().saturating_sub(MAX_DISTANCE));
        }
        let start = history.len();
        let decoded = self.decode(block, std::mem::take(history), Before::Zero)?;
        (*history, _) = decoded.map_err(|error| damaged(block, &error))?;
        Ok(start)
    }

    /// Decodes after `history`, and says whether zeroes stood in for more of it;
    /// the outer error is the file's.
    fn decode(
        &self,
        block: Block,
        history: Vec<u8>,
        before: Before,
    ) -> io::Result<Result<(Vec<u8>, bool), FastLzError>> {
        let mut input = vec![0; to_usize(block.compressed)];
        self.source.read_exact_at(block.at, &mut input)?;
        let mut out = history;
        if block.is_stored() {
            out.extend_from_slice(&input);
            return Ok(Ok((out, false)));
        }
        let expanded = to_usize(block.expanded);
        out.reserve(expanded);
        Ok(fastlz::decode(&input, expanded, before, &mut out).map(|zeroed| (out, zeroed)))
    }

    /// The output before block `index`, at least as far as a match may reach.
    fn history_before(&self, index: usize) -> io::Result<Vec<u8>> {
        let mut first = index;
        let mut history = loop {
            let Some(previous) = first.checked_sub(1) else { break Vec::new() };
            if let Some(window) = self.window_at_end_of(previous)? {
                break window;
            }
            first = previous;
        };
        let stride = (self.blocks.len() / MAX_WINDOWS).saturating_add(1);
        for passed in first..index {
            self.append(passed, &mut history)?;
            if passed.is_multiple_of(stride) {
                let window = Arc::new(last_window(&history).to_vec());
                self.cache().windows.insert(passed, window);
            }
        }
        Ok(history)
    }

    /// The window at the end of a block, if that block alone can tell.
    fn window_at_end_of(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        if let Some(window) = self.cache().window(index) {
            return Ok(Some(window));
        }
        let block = self.block(index)?;
        if to_usize(block.expanded) < MAX_DISTANCE && block.start != 0 {
            return Ok(None);
        }
        let cached = self.cache().get(index);
        let bytes = match cached {
            Some(bytes) => Some(bytes),
            None => self.expand_alone(index)?.map(Arc::new),
        };
        Ok(bytes.map(|bytes| last_window(&bytes).to_vec()))
    }
}

impl ReadAt for Containers {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (index, block) = self.find(at)?;
            let skip = at.saturating_sub(block.start);
            let left = u64::from(block.expanded).saturating_sub(skip);
            let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (head, tail) = rest.split_at_mut(len);
            self.read_block(index, skip, head)?;
            at = at.saturating_add(len as u64);
            rest = tail;
        }
        Ok(())
    }
}

impl Cache {
    /// The output up to the end of a block, as far as known.
    fn window(&mut self, index: usize) -> Option<Vec<u8>> {
        let latest = self.latest.take_if(|(block, _)| *block == index);
        let kept = || self.windows.get(&index).map(|window| window.to_vec());
        latest.map(|(_, history)| history).or_else(kept)
    }

    fn get(&mut self, index: usize) -> Option<Arc<Vec<u8>>> {
        let at = self.blocks.iter().position(|(i, _)| *i == index)?;
        let entry = self.blocks.remove(at);
        let bytes = Arc::clone(&entry.1);
        self.blocks.push(entry);
        Some(bytes)
    }

    fn insert(&mut self, index: usize, bytes: &Arc<Vec<u8>>) {
        self.blocks.retain(|(i, _)| *i != index);
        self.blocks.push((index, Arc::clone(bytes)));
        while self.blocks.len() > CACHE_BLOCKS
            || (self.blocks.len() > 1 && self.held() > CACHE_BYTES)
        {
            self.blocks.remove(0);
        }
    }

    fn held(&self) -> usize {
        self.blocks.iter().map(|(_, bytes)| bytes.len()).fold(0, usize::saturating_add)
    }
}

/// The part that a match may reach back to.
fn last_window(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(MAX_DISTANCE)..).unwrap_or(bytes)
}

/// Sizes of a container that lies wholly in `at..end`: expanded, compressed.
fn read_header(source: &dyn ReadAt, at: u64, end: u64) -> io::Result<Option<(u32, u32)>> {
    if end.saturating_sub(at) < HEADER_LEN {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_SIZE];
    source.read_exact_at(at, &mut bytes)?;
    let Ok(header) = ContainerHeader::read_from_bytes(&bytes) else { return Ok(None) };
    let (expanded, compressed) = (header.expanded.get(), header.compressed.get());
    let whole = compressed <= end.saturating_sub(at).saturating_sub(HEADER_LEN);
    if compressed == 0 || compressed > expanded || expanded > MAX_BLOCK || !whole {
        return Ok(None);
    }
    Ok(u32::try_from(expanded).ok().zip(u32::try_from(compressed).ok()))
}

fn damaged(block: Block, error: &FastLzError) -> io::Error {
    let message = format!("compressed block at file offset {:#x}: {error}", block.at);
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Block sizes are at most [`MAX_BLOCK`].
fn to_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
