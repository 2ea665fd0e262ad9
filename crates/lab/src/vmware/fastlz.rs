//! A FastLZ compressor (both levels) and the container that VMware keeps its
//! streams in.
//!
//! Grammar of the stream: control byte below 0x20, that many literals and one
//! more; else a match of length and distance. Greedy, with one candidate per
//! three-byte hash: it need not be good, it must use every form of the grammar.

/// Uncompressed bytes of a full container block.
pub const CONTAINER_BLOCK: usize = 4 << 20;

/// The two grammars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Distances up to 8 KiB, lengths up to 264.
    One,
    /// Distances up to 72 KiB, lengths without limit.
    Two,
}

impl Level {
    fn max_distance(self) -> usize {
        match self {
            Self::One => 0x2000,
            Self::Two => 0x1_1fff,
        }
    }

    fn max_len(self) -> usize {
        match self {
            Self::One => 264,
            Self::Two => usize::MAX,
        }
    }
}

const HASH_BITS: u32 = 15;
/// The reference decoder wants room after the last match.
const TAIL_LITERALS: usize = 12;

/// Compresses `input`, which must not be empty.
pub fn compress(input: &[u8], level: Level) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 2);
    let mut heads = vec![0_usize; 1 << HASH_BITS];
    let end = input.len().saturating_sub(TAIL_LITERALS);
    let mut literals = 0;
    // The first control byte carries the level, so it must be a literal run.
    let mut at = 2.min(end);
    for start in 0..at {
        find(input, start, end, &mut heads, level);
    }
    while at < end {
        let found = find(input, at, end, &mut heads, level);
        let Some((distance, len)) = found else {
            at += 1;
            continue;
        };
        put_literals(&mut out, input.get(literals..at).unwrap_or_default());
        put_match(&mut out, distance, len, level);
        at += len;
        literals = at;
    }
    put_literals(&mut out, input.get(literals..).unwrap_or_default());
    if let (Some(first), Level::Two) = (out.first_mut(), level) {
        *first |= 0x20;
    }
    out
}

/// The match at `at` by distance and length, if there is one. Remembers `at`.
fn find(
    input: &[u8],
    at: usize,
    end: usize,
    heads: &mut [usize],
    level: Level,
) -> Option<(usize, usize)> {
    let key = input.get(at..at + 3)?;
    let key = key.iter().fold(0_u32, |key, byte| key << 8 | u32::from(*byte));
    let slot = heads.get_mut((key.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)?;
    // Slots hold position + 1, so that 0 is empty.
    let candidate = std::mem::replace(slot, at + 1).checked_sub(1)?;
    let distance = at - candidate;
    let limit = (end - at).min(level.max_len());
    let old = input.get(candidate..)?.iter();
    let len = input.get(at..)?.iter().take(limit).zip(old).take_while(|(a, b)| a == b).count();
    let enough = if distance > 0x1fff { 5 } else { 3 };
    (len >= enough && distance <= level.max_distance()).then_some((distance, len))
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(32) {
        out.push(low(run.len() - 1));
        out.extend_from_slice(run);
    }
}

fn put_match(out: &mut Vec<u8>, distance: usize, len: usize, level: Level) {
    let far = level == Level::Two && distance > 0x1fff;
    let near = if far { 0x1fff } else { distance - 1 };
    let high = low(near >> 8);
    if len < 9 {
        out.push(low(len - 2) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        put_extension(out, len - 9, level);
    }
    out.push(low(near & 0xff));
    if far {
        let rest = distance - 0x2000;
        out.extend_from_slice(&[low(rest >> 8), low(rest & 0xff)]);
    }
}

fn put_extension(out: &mut Vec<u8>, mut rest: usize, level: Level) {
    while level == Level::Two && rest >= 255 {
        out.push(255);
        rest -= 255;
    }
    out.push(low(rest));
}

fn low(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// One container block: both sizes, then the stream, or the bytes themselves if
/// that is no longer.
pub fn container_block(input: &[u8], level: Level) -> Vec<u8> {
    let packed = compress(input, level);
    let data = if packed.len() < input.len() { packed.as_slice() } else { input };
    let mut out = Vec::with_capacity(16 + data.len());
    out.extend_from_slice(&(input.len() as u64).to_le_bytes());
    out.extend_from_slice(&(data.len() as u64).to_le_bytes());
    out.extend_from_slice(data);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder written from the grammar alone, without a thought for speed.
    fn expand(stream: &[u8], level: Level) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        let mut bytes = stream.iter().copied();
        let mut next = move || bytes.next();
        let mut control = Some(next().unwrap() & 0x1f);
        while let Some(byte) = control {
            if byte < 0x20 {
                for _ in 0..=byte {
                    out.push(next().unwrap());
                }
            } else {
                let mut len = usize::from(byte >> 5) + 2;
                if len == 9 {
                    loop {
                        let more = next().unwrap();
                        len += usize::from(more);
                        if more != 255 || level == Level::One {
                            break;
                        }
                    }
                }
                let code = usize::from(byte & 0x1f) << 8 | usize::from(next().unwrap());
                let mut distance = code + 1;
                if level == Level::Two && code == 0x1fff {
                    distance = usize::from(next().unwrap()) << 8;
                    distance += usize::from(next().unwrap()) + 0x2000;
                }
                for _ in 0..len {
                    out.push(out[out.len() - distance]);
                }
            }
            control = next();
        }
        out
    }

    fn samples() -> Vec<Vec<u8>> {
        let noise = |len: u64| -> Vec<u8> {
            (0..=len / 4096).flat_map(|n| super::super::machine::page_of(n * 3 + 2)).collect()
        };
        let mut far = noise(60_000);
        far.extend_from_slice(&noise(60_000));
        vec![
            vec![5],
            b"abcdefgh".to_vec(),
            vec![0; 100_000],
            noise(50_000),
            far,
            b"the cat sat on the mat, the cat sat on the mat, the dog did not".repeat(200),
            (0..40_000_u32).flat_map(|i| (i / 9).to_le_bytes()).collect(),
        ]
    }

    #[test]
    fn what_is_compressed_expands_again() {
        for level in [Level::One, Level::Two] {
            for sample in samples() {
                let packed = compress(&sample, level);
                assert_eq!(packed[0] >> 5, u8::from(level == Level::Two));
                assert!(expand(&packed, level) == sample, "{level:?} {} bytes", sample.len());
            }
        }
    }

    #[test]
    fn far_matches_and_long_runs_are_used() {
        let far = &samples()[4];
        assert!(compress(far, Level::Two).len() < far.len() * 3 / 4);
        assert!(compress(far, Level::One).len() > far.len() * 8 / 10);
        assert!(compress(&vec![0; 1 << 20], Level::Two).len() < 4200);
    }

    /// The published start of a real memory file: two zero bytes, then 62 more.
    #[test]
    fn zero_bytes_start_as_in_a_published_file() {
        let packed =
            compress(&[vec![0; 64], vec![7, 0, 0, 0xc0, 0], vec![1; 20]].concat(), Level::Two);
        assert_eq!(packed[..6], [0x21, 0, 0, 0xe0, 0x35, 0]);
    }
}
