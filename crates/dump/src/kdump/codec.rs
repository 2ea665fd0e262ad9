//! How pages are compressed: each by itself, so that readers can take any.

use flate2::{Compress, FlushCompress, Status};

use crate::DumpError;
use vmss2core_formats::kdump::BLOCK;

const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == BLOCK);

/// How the pages of a kdump-compressed file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// As they are.
    Raw,
    /// zlib streams of this level, 1 to 9; what every reader takes.
    Zlib(u32),
    /// LZO1X.
    Lzo,
    /// Snappy blocks.
    Snappy,
    /// Zstandard frames of this level, 1 to 19.
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(1)
    }
}

impl Compression {
    /// Names for the command line, the default first.
    pub(super) const NAMES: [&'static str; 5] = ["zstd", "zlib", "lzo", "snappy", "raw"];

    /// The method of that name. `level` is for those that have levels; the
    /// default is the fastest.
    pub(super) fn named(name: &str, level: Option<u8>) -> Result<Self, CompressionError> {
        let in_range = |most: u8| match level {
            Some(level) if !(1..=most).contains(&level) => {
                Err(CompressionError::Level { name: name.to_owned(), most })
            }
            level => Ok(level.unwrap_or(1)),
        };
        match name {
            "zstd" => Ok(Self::Zstd(in_range(19)?.into())),
            "zlib" => Ok(Self::Zlib(in_range(9)?.into())),
            "lzo" | "snappy" | "raw" if level.is_some() => {
                Err(CompressionError::NoLevels { name: name.to_owned() })
            }
            "lzo" => Ok(Self::Lzo),
            "snappy" => Ok(Self::Snappy),
            "raw" => Ok(Self::Raw),
            _ => Err(CompressionError::Unknown { name: name.to_owned() }),
        }
    }

    /// The flag of pages that are stored in this way, and of the header.
    pub(super) fn flag(self) -> u32 {
        match self {
            Self::Raw => 0,
            Self::Zlib(_) => 1,
            Self::Lzo => 2,
            Self::Snappy => 4,
            Self::Zstd(_) => 0x20,
        }
    }
}

/// Why there is no such compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CompressionError {
    /// Nobody calls a method so.
    #[error("no compression is called {name}")]
    Unknown {
        /// The request.
        name: String,
    },
    /// The level is not one of the method's.
    #[error("levels of {name} go from 1 to {most}")]
    Level {
        /// The method.
        name: String,
        /// The highest level.
        most: u8,
    },
    /// The method has no levels.
    #[error("{name} has no levels; they go with zstd and zlib")]
    NoLevels {
        /// The method.
        name: String,
    },
}

/// Compresses pages one after the other, with memory that it keeps.
pub(super) struct Codec {
    method: Method,
    /// Room for a page that became longer.
    out: Vec<u8>,
}

enum Method {
    Raw,
    Zlib(Box<Compress>),
    Lzo(Box<lzokay::compress::Dict>),
    Snappy(Box<snap::raw::Encoder>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Self, DumpError> {
        let method = match compression {
            Compression::Raw => Method::Raw,
            Compression::Zlib(level) => {
                Method::Zlib(Box::new(Compress::new(flate2::Compression::new(level), true)))
            }
            Compression::Lzo => Method::Lzo(lzokay::compress::Dict::new()),
            Compression::Snappy => Method::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd(level) => {
                let compressor = zstd::bulk::Compressor::new(level).map_err(failed)?;
                Method::Zstd(Box::new(compressor))
            }
        };
        let room = zstd::compress_bound(PAGE)
            .max(snap::raw::max_compress_len(PAGE))
            .max(lzokay::compress::compress_worst_size(PAGE));
        Ok(Self { method, out: vec![0; room] })
    }

    /// The page compressed, or `None` if that does not make it smaller.
    pub(super) fn compress(&mut self, page: &[u8]) -> Result<Option<&[u8]>, DumpError> {
        let out = self.out.as_mut_slice();
        let len = match &mut self.method {
            Method::Raw => return Ok(None),
            Method::Zlib(stream) => zlib(stream, page, out)?,
            Method::Lzo(dict) => {
                lzokay::compress::compress_no_alloc(page, out, dict).map_err(failed)?
            }
            Method::Snappy(encoder) => encoder.compress(page, out).map_err(failed)?,
            Method::Zstd(compressor) => compressor.compress_to_buffer(page, out).map_err(failed)?,
        };
        Ok(self.out.get(..len).filter(|_| len < page.len()))
    }
}

/// Output that does not fit in a page less one byte is not wanted, and its end need
/// not be seen.
fn zlib(stream: &mut Compress, page: &[u8], out: &mut [u8]) -> Result<usize, DumpError> {
    stream.reset();
    match stream.compress(page, out, FlushCompress::Finish).map_err(failed)? {
        Status::StreamEnd => Ok(usize::try_from(stream.total_out()).unwrap_or(usize::MAX)),
        Status::Ok | Status::BufError => Ok(usize::MAX),
    }
}

/// No page can make a method fail; if one does, the file must not be finished.
fn failed(error: impl std::fmt::Display) -> DumpError {
    DumpError::Compress { why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pages() -> Vec<Vec<u8>> {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let text = b"swapper/0 kthreadd ".iter().copied().cycle().take(PAGE).collect();
        let random: Vec<u8> = (0..PAGE).map(|_| noise()).collect();
        let half = random.iter().take(PAGE / 2).copied().chain(vec![0; PAGE / 2]).collect();
        let sparse = (0..PAGE).map(|at| if at % 64 == 0 { noise() } else { 0 }).collect();
        vec![text, random, half, sparse, vec![0xff; PAGE]]
    }

    fn restored(compression: Compression, stored: &[u8]) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        match compression {
            Compression::Raw => page.copy_from_slice(stored),
            Compression::Zlib(_) => {
                let mut decoder = flate2::read::ZlibDecoder::new(stored);
                decoder.read_exact(&mut page).unwrap();
                assert_eq!(decoder.read(&mut [0]).unwrap(), 0);
            }
            Compression::Lzo => {
                assert_eq!(lzokay::decompress::decompress(stored, &mut page).unwrap(), PAGE);
            }
            Compression::Snappy => {
                page = snap::raw::Decoder::new().decompress_vec(stored).unwrap();
            }
            Compression::Zstd(_) => page = zstd::bulk::decompress(stored, PAGE).unwrap(),
        }
        page
    }

    #[test]
    fn every_page_comes_back_and_none_grows() {
        for compression in [
            Compression::Zlib(1),
            Compression::Zlib(9),
            Compression::Lzo,
            Compression::Snappy,
            Compression::Zstd(1),
            Compression::Zstd(19),
        ] {
            let mut codec = Codec::new(compression).unwrap();
            // Twice, for what is kept from one page must not show in another.
            for (index, page) in pages().iter().chain(&pages()).enumerate() {
                let stored = codec.compress(page).unwrap();
                assert_eq!(stored.is_none(), index % 5 == 1, "{compression:?}, page {index}");
                if let Some(stored) = stored {
                    assert!(stored.len() < PAGE);
                    assert!(restored(compression, stored) == *page, "{compression:?} {index}");
                }
            }
        }
    }

    #[test]
    fn raw_pages_are_left_as_they_are() {
        let mut codec = Codec::new(Compression::Raw).unwrap();
        assert_eq!(codec.compress(&[0; PAGE]).unwrap(), None);
    }

    #[test]
    fn methods_are_named_and_levels_checked() {
        for name in Compression::NAMES {
            assert!(Compression::named(name, None).is_ok(), "{name}");
        }
        assert_eq!(Compression::named("zstd", None), Ok(Compression::default()));
        assert_eq!(Compression::named("zstd", Some(19)), Ok(Compression::Zstd(19)));
        let refused = |name, level| Compression::named(name, level).unwrap_err().to_string();
        assert_eq!(refused("zstd", Some(20)), "levels of zstd go from 1 to 19");
        assert_eq!(refused("zlib", Some(0)), "levels of zlib go from 1 to 9");
        assert_eq!(refused("lzo", Some(1)), "lzo has no levels; they go with zstd and zlib");
        assert_eq!(refused("zip", None), "no compression is called zip");
    }
}
