//! Values packed by other encoders, in the order in which codecs are tried.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;
use crate::OpenOptions;

fn plain() -> Vec<u8> {
    (0..20_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
}

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let level = Compression::new(6);
    macro_rules! with {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }};
    }
    match codec {
        Codec::Zlib => with!(ZlibEncoder),
        Codec::Deflate => with!(DeflateEncoder),
        Codec::Gzip => with!(GzEncoder),
        Codec::Stored => plain.to_vec(),
        // Literal runs only: a valid stream, if a poor one.
        Codec::FastLz => {
            let mut runs = plain.chunks(32);
            let first = runs.next().unwrap();
            let mut stream = vec![0x20 | run_length(first)];
            stream.extend(first);
            for run in runs {
                stream.push(run_length(run));
                stream.extend(run);
            }
            stream
        }
        // 64 zeroes, then the rest stored.
        Codec::Containers => {
            let zeroes = [0x20, 0, 0xe0, 54, 0];
            let rest = plain.get(64..).unwrap();
            let header = |sizes: [usize; 2]| sizes.map(|n| (n as u64).to_le_bytes()).concat();
            let stored = header([rest.len(), rest.len()]);
            [header([64, zeroes.len()]), zeroes.to_vec(), stored, rest.to_vec()].concat()
        }
    }
}

fn run_length(run: &[u8]) -> u8 {
    u8::try_from(run.len() - 1).unwrap()
}

#[test]
fn every_codec_is_recognised_by_its_result() {
    let mut plain = plain();
    plain[..64].fill(0);
    let codecs =
        [Codec::Stored, Codec::Containers, Codec::Zlib, Codec::Deflate, Codec::Gzip, Codec::FastLz];
    for codec in codecs {
        let (bytes, found) = expand(packed(codec, &plain), plain.len()).unwrap();
        assert_eq!(found, codec);
        assert!(bytes == plain, "{codec}");
    }
}

#[test]
fn a_promise_of_another_length_is_not_kept() {
    let plain = plain();
    for codec in [Codec::Containers, Codec::Zlib, Codec::Deflate, Codec::Gzip, Codec::FastLz] {
        for len in [plain.len() - 1, plain.len() + 1] {
            let error = expand(packed(codec, &plain), len).unwrap_err();
            assert!(matches!(error, CodecError::Unknown { .. }), "{codec}: {error}");
        }
    }
}

#[test]
fn an_image_is_spilled_up_to_its_promised_size_with_holes() {
    let mut plain = vec![0; 3 << 20];
    plain[5] = 1;
    plain[(2 << 20) + 7] = 2;
    for codec in [Codec::Zlib, Codec::Deflate, Codec::Gzip] {
        let (dir, options) = crate::testing::spilling();
        let stream = [b"head".to_vec(), packed(codec, &plain)].concat();
        let len = stream.len() as u64 - 4;
        let source: Arc<dyn ReadAt> = Arc::new(stream);
        let image = open_image(&source, 4, len, plain.len() as u64, &options).unwrap();
        assert_eq!((image.codec, image.len), (codec, plain.len() as u64));
        assert_eq!(image.flaw, None);
        let mut bytes = vec![1; plain.len()];
        image.bytes.read_exact_at(image.offset, &mut bytes).unwrap();
        assert!(bytes == plain, "{codec}");
        let (file, _) = image.bytes.file_at(0).unwrap();
        assert!(on_disk(file).is_none_or(|used| used < 1 << 20), "{codec}: no holes");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has a name");
    }
}

/// Bytes that a file takes on disk.
#[cfg(unix)]
fn on_disk(file: &std::fs::File) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::blocks(&file.metadata().ok()?) * 512)
}

#[cfg(not(unix))]
fn on_disk(_: &std::fs::File) -> Option<u64> {
    None
}

#[test]
fn more_than_promised_is_not_spilled() {
    let (_dir, options) = crate::testing::spilling();
    let stream = packed(Codec::Zlib, &vec![7; 8 << 20]);
    let len = stream.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(stream);
    let image = open_image(&source, 0, len, 4096, &options).unwrap();
    assert_eq!(image.len, 4096);
    assert_eq!(image.bytes.file_at(0).unwrap().0.metadata().unwrap().len(), 4096);
}

#[test]
fn no_more_is_spilled_than_the_caller_allows() {
    let (_dir, options) = crate::testing::spilling();
    let options = OpenOptions { max_unpacked_bytes: 1 << 20, ..options };
    let stream = packed(Codec::Zlib, &vec![7; 8 << 20]);
    let len = stream.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(stream);
    let image = open_image(&source, 0, len, 8 << 20, &options).unwrap();
    assert_eq!(image.len, 1 << 20);
    assert!(image.flaw.unwrap().contains("limit of 0x100000"));
}

#[test]
fn a_damaged_stream_keeps_what_came_before() {
    let (_dir, options) = crate::testing::spilling();
    let plain = plain();
    let mut stream = packed(Codec::Gzip, &plain);
    stream.truncate(stream.len() / 2);
    let len = stream.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(stream);
    let image = open_image(&source, 0, len, plain.len() as u64, &options).unwrap();
    let there = usize::try_from(image.len).unwrap();
    assert!(there > 0 && there < plain.len(), "{there}");
    assert!(image.flaw.unwrap().contains("damaged"));
    let mut bytes = vec![0; there];
    image.bytes.read_exact_at(0, &mut bytes).unwrap();
    assert!(bytes == plain[..there]);
}

#[test]
fn without_a_directory_for_temporary_files_it_says_so() {
    let stream = packed(Codec::Zlib, &plain());
    let len = stream.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(stream);
    let error = open_image(&source, 0, len, 80_000, &OpenOptions::default()).err().unwrap();
    assert!(matches!(error, CodecError::NeedsSpill { codec: Codec::Zlib }), "{error}");
}

#[test]
fn no_codec_is_said_with_both_sizes() {
    let error = expand(vec![0xff; 100], 1000).unwrap_err();
    assert!(error.to_string().contains("0x64") && error.to_string().contains("0x3e8"), "{error}");
}
