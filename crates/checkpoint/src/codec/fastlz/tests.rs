//! Streams made by another encoder, by hand, and damaged.
//!
//! The vectors were made with `fastlz_compress_level` of the FastLZ C library as
//! shipped in the Python package fastlz5 0.0.1.4, compiled with gcc and called
//! through ctypes on the three inputs below, and checked with its
//! `fastlz_decompress`.

use super::*;

const TEXT_1: &str = "1e74686520717569636b2062726f776e20666f78206a756d7073206f76657220401e086c617a7920646f\
     672e600de0482c04646f672e20";
const TEXT_2: &str = "3e74686520717569636b2062726f776e20666f78206a756d7073206f76657220401e086c617a7920646f\
     672e600de0482c04646f672e20";
const ZEROS_1: &str = "010000e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01e0fd01\
     e0fd01e0fd01e09601040000000000";
const ZEROS_2: &str = "210000e0ffffffffffffffffffffffffffffffff0001040000000000";
const FAR_1: &str = "1f0db45b02a950f79e45ec933ae1882fd67d24cb7219c0670eb55c03aa51f89f461fed943be28930d77e\
     25cc731ac1680fb65d04ab52f9a047ee953ce38a31d87f260061e0fd00e0fd00e0fd00e0fd00e0fd00e0\
     fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0\
     fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0fd00e0\
     fd00e052001f0db45b02a950f79e45ec933ae1882fd67d24cb7219c0670eb55c03aa51f89f461fed943b\
     e28930d77e25cc731ac1680fb65d04ab52f9a047ee953ce38a31d87f26";
const FAR_2: &str = "3f0db45b02a950f79e45ec933ae1882fd67d24cb7219c0670eb55c03aa51f89f461fed943be28930d77e\
     25cc731ac1680fb65d04ab52f9a047ee953ce38a31d87f260061e0ffffffffffffffffffffffffffffff\
     ffffffffffffffffffffffffffffffffffffffff4100ff32ff0368048a31d87f26";

fn text() -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog. ".repeat(3)
}

/// 64 odd bytes, 9000 equal ones, the same 64 again: out of reach of the short
/// form of a distance.
fn far() -> Vec<u8> {
    let odd: Vec<u8> = (0..64_u32).map(|i| (i * 167 + 13).to_le_bytes()[0]).collect();
    [odd.clone(), vec![b'a'; 9000], odd].concat()
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decoded(stream: &[u8], len: usize) -> Result<Vec<u8>, FastLzError> {
    let mut out = Vec::new();
    decode(stream, len, Before::Refuse, &mut out).map(|_| out)
}

#[test]
fn streams_of_the_c_library_expand_to_their_input() {
    let vectors = [
        (TEXT_1, text()),
        (TEXT_2, text()),
        (ZEROS_1, vec![0; 4096]),
        (ZEROS_2, vec![0; 4096]),
        (FAR_1, far()),
        (FAR_2, far()),
    ];
    for (hex, input) in vectors {
        assert_eq!(decoded(&unhex(hex), input.len()).unwrap(), input, "{hex}");
    }
}

/// The first bytes of a memory file as published: two literals, 64 zeroes in
/// all, five literals, then zeroes.
#[test]
fn the_published_start_of_a_memory_file_expands() {
    let stream =
        unhex("21 00 00 e0 35 00 04 07 00 00 c0 00 e0 ff ff ff 02 00".replace(' ', "").as_str());
    let tail = 9 + 3 * 255 + 2;
    let mut expected = vec![0; 64];
    expected.extend([7, 0, 0, 0xc0, 0]);
    expected.resize(expected.len() + tail, 0);
    assert_eq!(decoded(&stream, expected.len()).unwrap(), expected);
}

#[test]
fn every_cut_and_every_extra_byte_is_noticed() {
    for (hex, input) in [(TEXT_1, text()), (TEXT_2, text()), (FAR_2, far())] {
        let mut stream = unhex(hex);
        for len in 0..stream.len() {
            let error = decoded(&stream[..len], input.len()).unwrap_err();
            assert!(matches!(error, FastLzError::Truncated { .. }), "{len}: {error}");
        }
        stream.push(0);
        let at = stream.len() - 1;
        let error = decoded(&stream, input.len()).unwrap_err();
        assert_eq!(error, FastLzError::Trailing { at, left: 1 });
    }
}

#[test]
fn a_wrong_output_length_is_noticed() {
    let stream = unhex(TEXT_2);
    for len in [0, 1, 134] {
        assert!(decoded(&stream, len).is_err(), "{len}");
    }
    assert!(matches!(decoded(&stream, 136), Err(FastLzError::Truncated { missing: 1, .. })));
}

#[test]
fn levels_beyond_two_are_refused() {
    for level in 3..=8_u8 {
        let stream = [(level - 1) << 5, 0];
        assert_eq!(decoded(&stream, 1), Err(FastLzError::Level { level }));
    }
}

/// One literal, then a match two bytes back.
const REACHING_BACK: [u8; 4] = [0x20, b'x', 0x20, 0x01];

#[test]
fn a_match_may_reach_into_the_history() {
    let mut out = b"ab".to_vec();
    assert_eq!(decode(&REACHING_BACK, 4, Before::Refuse, &mut out), Ok(false));
    assert_eq!(out, b"abxbxb");
}

#[test]
fn without_history_it_is_refused_or_reads_zero() {
    assert_eq!(decoded(&REACHING_BACK, 4), Err(FastLzError::BeforeStart { at: 2 }));
    let mut out = Vec::new();
    assert_eq!(decode(&REACHING_BACK, 4, Before::Zero, &mut out), Ok(true));
    assert_eq!(out, b"x\0x\0");
}

/// 4 GiB promised by a length of 0xff bytes must not be made.
#[test]
fn a_run_longer_than_the_output_is_refused() {
    let mut stream = vec![0x20, 0, 0xe0];
    stream.extend([0xff; 10_000]);
    stream.extend([0, 0]);
    assert_eq!(decoded(&stream, 1000), Err(FastLzError::TooLong { at: 2 }));
}
