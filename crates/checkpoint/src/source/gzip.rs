//! gzip files (RFC 1952), of one or several members, unpacked to a temporary
//! file.
//!
//! A cut or damaged file still gives what came out before the damage, with a
//! problem: half of a guest's memory is worth having.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use vmss2core_mem::Problem;

use super::spill::Spill;
use super::stream::Stream;
use super::{HEAD_LEN, Item, Source};
use crate::{OpenError, OpenOptions};

/// Bytes taken from the file, and given to the temporary file, at a time.
const CHUNK: usize = 256 * 1024;

/// Whether an object that begins with `head` is gzip'd.
pub(super) fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b, 8]) && head.get(3).is_some_and(|flags| flags & 0xe0 == 0)
}

/// The first bytes that `source` unpacks to, as far as they are available.
pub(super) fn peek(source: &Source) -> Vec<u8> {
    let mut decoder = GzDecoder::new(BufReader::new(Stream::new(source)));
    let mut head = vec![0; HEAD_LEN];
    let (len, _) = fill(&mut decoder, &mut head);
    head.truncate(len);
    head
}

/// Unpacks `source`, to `limit` bytes at most.
pub(super) fn unpack(
    source: &Source,
    options: &OpenOptions,
    limit: u64,
) -> Result<Item, OpenError> {
    let mut spill = Spill::create(options, limit, source)?;
    let mut input = BufReader::with_capacity(CHUNK, Stream::new(source));
    let problem = loop {
        match unpack_member(&mut input, &mut spill)? {
            Err(error) => break Some(damage(source, &input, &error, spill.len())?),
            Ok(()) => match behind_member(&mut input) {
                Ok(Behind::Member) => {}
                Ok(Behind::Nothing) => break None,
                Ok(Behind::Garbage) => break Some(garbage(source, &input)),
                Err(error) => return Err(source.read_error(position(&input), error)),
            },
        }
    };
    Ok(Item { source: spill.finish(source)?, problems: problem.into_iter().collect() })
}

/// The outer result is for errors in writing, the inner one for those of the
/// input.
fn unpack_member(
    input: &mut BufReader<Stream>,
    spill: &mut Spill,
) -> Result<io::Result<()>, OpenError> {
    let mut decoder = GzDecoder::new(input);
    let mut buf = vec![0; CHUNK];
    loop {
        let (len, end) = fill(&mut decoder, &mut buf);
        spill.append(buf.get(..len).unwrap_or_default())?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}

/// Reads until `buf` is full, or until the end or an error, which is returned
/// beside what was read before.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut len = 0_usize;
    while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => return (len, Some(Ok(()))),
            Ok(more) => len = len.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (len, Some(Err(error))),
        }
    }
    (len, None)
}

/// The bytes after the end of a member.
enum Behind {
    Member,
    Nothing,
    Garbage,
}

/// Tapes and block devices pad with zeroes, which gzip itself takes in silence.
fn behind_member(input: &mut BufReader<Stream>) -> io::Result<Behind> {
    loop {
        let bytes = input.fill_buf()?;
        match bytes.first() {
            None => return Ok(Behind::Nothing),
            Some(0x1f) => return Ok(Behind::Member),
            Some(0) => {
                let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
                input.consume(zeroes);
            }
            Some(_) => return Ok(Behind::Garbage),
        }
    }
}

/// The offset in the file of the next byte that the decoder has not taken.
fn position(input: &BufReader<Stream>) -> u64 {
    input.get_ref().position().saturating_sub(input.buffer().len() as u64)
}

fn damage(
    source: &Source,
    input: &BufReader<Stream>,
    error: &io::Error,
    unpacked: u64,
) -> Result<Problem, OpenError> {
    let offset = position(input);
    if unpacked == 0 {
        let (path, detail) = (source.path.clone(), error.to_string());
        return Err(OpenError::Broken { path, what: "gzip file", offset, detail });
    }
    Ok(Problem::incomplete(format!(
        "{}: gzip data cut or broken at offset {offset:#x} ({error}): only the first {unpacked:#x} \
         bytes of its content are used",
        source.path.display()
    )))
}

fn garbage(source: &Source, input: &BufReader<Stream>) -> Problem {
    let (path, offset) = (source.path.display(), position(input));
    Problem::warning(format!("{path}: what follows the gzip data at offset {offset:#x} is ignored"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gzip, source, spilling};
    use vmss2core_mem::Severity;

    fn unpacked(bytes: Vec<u8>) -> (Vec<u8>, Vec<Problem>) {
        let (_dir, options) = spilling();
        let item = unpack(&source("x.gz", bytes), &options, u64::MAX).unwrap();
        let mut content = vec![0; usize::try_from(item.source.len).unwrap()];
        item.source.bytes.read_exact_at(0, &mut content).unwrap();
        (content, item.problems)
    }

    /// Longer than one chunk, with holes, not a multiple of anything.
    fn content() -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..600_001_u32).map(|i| (i.wrapping_mul(i) >> 7).to_le_bytes()[0]).collect();
        bytes[100_000..400_000].fill(0);
        bytes
    }

    #[test]
    fn one_member_and_several_unpack_to_the_joined_content() {
        let mut packed = gzip(&content());
        assert!(unpacked(packed.clone()) == (content(), Vec::new()));
        packed.extend(gzip(b""));
        packed.extend(gzip(b"tail"));
        packed.extend([0; 700]);
        assert!(unpacked(packed) == ([content(), b"tail".to_vec()].concat(), Vec::new()));
    }

    #[test]
    fn a_cut_file_gives_what_came_before_the_cut_and_says_so() {
        let packed = gzip(&content());
        let (bytes, problems) = unpacked(packed[..packed.len() / 2].to_vec());
        assert!(bytes.len() > 1000 && content().starts_with(&bytes), "{}", bytes.len());
        assert_eq!(problems[0].severity, Severity::Incomplete);
        assert!(problems[0].message.contains("cut or broken at offset"), "{}", problems[0]);
    }

    #[test]
    fn a_wrong_checksum_is_reported() {
        let mut packed = gzip(&content());
        let at = packed.len() - 8;
        packed[at] ^= 1;
        let (bytes, problems) = unpacked(packed);
        assert!(bytes == content());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn bytes_behind_the_data_are_ignored_aloud() {
        let (bytes, problems) = unpacked([gzip(b"abc"), b"junk".to_vec()].concat());
        assert_eq!(bytes, b"abc");
        assert!(problems[0].message.contains("ignored"), "{}", problems[0]);
    }

    #[test]
    fn a_file_that_gives_nothing_is_an_error_with_its_offset() {
        let (_dir, options) = spilling();
        let error =
            unpack(&source("x.gz", gzip(b"abc")[..10].to_vec()), &options, u64::MAX).unwrap_err();
        assert!(matches!(error, OpenError::Broken { offset: 10, .. }), "{error:?}");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let (_dir, options) = spilling();
        let options = OpenOptions { max_unpacked_bytes: 1 << 20, ..options };
        let error =
            unpack(&source("x.gz", gzip(&vec![0; 4 << 20])), &options, u64::MAX).unwrap_err();
        assert!(matches!(error, OpenError::TooLarge { limit: 0x10_0000, .. }), "{error}");
    }

    #[test]
    fn a_peek_gives_the_start_even_of_a_broken_file() {
        let packed = gzip(&content());
        assert!(peek(&source("x", packed[..40_000].to_vec())) == content()[..HEAD_LEN]);
        assert!(peek(&source("x", packed[..4].to_vec())).is_empty());
    }
}
