//! Compressed values and images of VMware state files.
//!
//! The format does not say which compression a value has; those known are tried
//! in a fixed order, and one counts only if it gives exactly the promised
//! length. Sources: measurements of FastLZ containers in the wild, and the
//! products' older use of zlib; the rest is tolerance.

mod container;
pub(crate) mod fastlz;
mod image;
mod inflate;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use vmss2core_mem::ReadAt;

pub(crate) use container::Containers;
pub(crate) use image::{Image, open_image};

/// A way in which values are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Not at all.
    Stored,
    /// A sequence of FastLZ containers.
    Containers,
    /// Deflate with a zlib header.
    Zlib,
    /// Bare deflate.
    Deflate,
    /// Deflate with a gzip header.
    Gzip,
    /// One bare FastLZ stream.
    FastLz,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::Containers => "FastLZ containers",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::FastLz => "FastLZ",
        })
    }
}

/// Why packed bytes could not be expanded.
#[derive(Debug, Error)]
pub(crate) enum CodecError {
    #[error(
        "no known compression (FastLZ, zlib, deflate, gzip) makes {expanded:#x} bytes of these \
         {compressed:#x}"
    )]
    Unknown { compressed: u64, expanded: u64 },
    #[error("{codec} data can only be expanded into a temporary file: name a directory for it")]
    NeedsSpill { codec: Codec },
    #[error("cannot expand {codec} data into a temporary file in {}", dir.display())]
    Spill { codec: Codec, dir: PathBuf, source: io::Error },
    #[error("cannot read packed data at offset {offset:#x}")]
    Read { offset: u64, source: io::Error },
}

/// Expands a packed value that fits memory; the caller has bounded both
/// lengths.
pub(crate) fn expand(packed: Vec<u8>, expanded: usize) -> Result<(Vec<u8>, Codec), CodecError> {
    if packed.len() == expanded {
        return Ok((packed, Codec::Stored));
    }
    let packed = Arc::new(packed);
    if let Some(bytes) = expand_containers(&packed, expanded) {
        return Ok((bytes, Codec::Containers));
    }
    for codec in [Codec::Zlib, Codec::Deflate, Codec::Gzip] {
        if let Some(bytes) = inflate::exactly(codec, &packed, expanded) {
            return Ok((bytes, codec));
        }
    }
    let mut bytes = Vec::new();
    match fastlz::decode(&packed, expanded, fastlz::Before::Zero, &mut bytes) {
        Ok(_) => Ok((bytes, Codec::FastLz)),
        Err(_) => Err(unknown(packed.len() as u64, expanded as u64)),
    }
}

fn expand_containers(packed: &Arc<Vec<u8>>, expanded: usize) -> Option<Vec<u8>> {
    let source: Arc<dyn ReadAt> = Arc::<Vec<u8>>::clone(packed);
    let containers = Containers::index(&source, 0, packed.len() as u64).ok()??;
    if containers.len() != expanded as u64 || containers.end() != packed.len() as u64 {
        return None;
    }
    let mut bytes = vec![0; expanded];
    containers.read_exact_at(0, &mut bytes).ok()?;
    Some(bytes)
}

fn unknown(compressed: u64, expanded: u64) -> CodecError {
    CodecError::Unknown { compressed, expanded }
}

#[cfg(test)]
mod tests;
