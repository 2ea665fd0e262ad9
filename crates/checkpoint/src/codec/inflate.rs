//! Deflate streams with and without a header, by way of `flate2`.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::Codec;

/// A reader that expands `packed`; `None` for codecs that are not deflate.
pub(super) fn reader<'a>(codec: Codec, packed: impl Read + 'a) -> Option<Box<dyn Read + 'a>> {
    match codec {
        Codec::Zlib => Some(Box::new(ZlibDecoder::new(packed))),
        Codec::Deflate => Some(Box::new(DeflateDecoder::new(packed))),
        Codec::Gzip => Some(Box::new(GzDecoder::new(packed))),
        Codec::Stored | Codec::Containers | Codec::FastLz => None,
    }
}

/// The expanded bytes, if they are exactly `len`.
pub(super) fn exactly(codec: Codec, packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if !may_be(codec, packed) {
        return None;
    }
    let mut bytes = Vec::new();
    // One more than promised, to see a stream that goes on.
    reader(codec, packed)?.take((len as u64).saturating_add(1)).read_to_end(&mut bytes).ok()?;
    (bytes.len() == len).then_some(bytes)
}

/// Which deflate form the stream that starts with `head` has, judged by what
/// comes out of its first bytes.
pub(super) fn recognise(head: &[u8]) -> Option<Codec> {
    [Codec::Zlib, Codec::Deflate, Codec::Gzip]
        .into_iter()
        .find(|&codec| may_be(codec, head) && yields_bytes(codec, head))
}

fn yields_bytes(codec: Codec, head: &[u8]) -> bool {
    let mut reader = reader(codec, head);
    let mut buf = [0; 4096];
    loop {
        match reader.as_mut().map(|r| r.read(&mut buf)) {
            None | Some(Ok(0)) => return false,
            Some(Ok(_)) => return true,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Some(Err(_)) => return false,
        }
    }
}

/// RFC 1950 section 2.2 and RFC 1952 section 2.3.1; bare deflate has no mark.
fn may_be(codec: Codec, head: &[u8]) -> bool {
    match (codec, head) {
        (Codec::Zlib, &[method, flags, ..]) => {
            method & 0x0f == 8 && u16::from_be_bytes([method, flags]) % 31 == 0
        }
        (Codec::Gzip, head) => head.starts_with(&[0x1f, 0x8b]),
        (Codec::Deflate, head) => !head.is_empty(),
        _ => false,
    }
}
