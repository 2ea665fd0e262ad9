//! Images of containers made by hand.

use super::*;

fn container(expanded: usize, stream: &[u8]) -> Vec<u8> {
    let sizes = [expanded as u64, stream.len() as u64];
    [sizes.map(u64::to_le_bytes).concat(), stream.to_vec()].concat()
}

/// `len` times `byte`, level 2.
fn run(byte: u8, len: usize) -> Vec<u8> {
    let mut stream = vec![0x20, byte, 0xe0];
    let extra = len - 1 - 9;
    stream.extend(vec![0xff; extra / 255]);
    stream.extend([u8::try_from(extra % 255).unwrap(), 0]);
    container(len, &stream)
}

/// Repeats the last 2 bytes of what was before, level 2: needs history.
fn echo(byte: u8, len: usize) -> Vec<u8> {
    let mut stream = vec![0x20, byte, 0xe0];
    let extra = len - 1 - 9;
    stream.extend(vec![0xff; extra / 255]);
    stream.extend([u8::try_from(extra % 255).unwrap(), 2]);
    container(len, &stream)
}

fn open(bytes: Vec<u8>) -> Containers {
    let len = bytes.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(bytes);
    Containers::index(&source, 0, len).unwrap().unwrap()
}

fn read(image: &Containers, at: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    image.read_exact_at(at, &mut buf).unwrap();
    buf
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn reads_cross_blocks_at_any_offset() {
    let stored = container(3, b"xyz");
    let image = open([run(b'a', 100), stored, run(b'b', 50)].concat());
    let flat = [vec![b'a'; 100], b"xyz".to_vec(), vec![b'b'; 50]].concat();
    assert_eq!(image.len(), 153);
    for at in 0..flat.len() {
        for len in [0, 1, 3, 7, flat.len() - at] {
            let end = (at + len).min(flat.len());
            assert_eq!(read(&image, at as u64, end - at), &flat[at..end], "{at}+{len}");
        }
    }
}

#[test]
fn the_first_block_may_refer_to_before_itself() {
    let image = open([run(b'a', 100), echo(b'b', 100)].concat());
    assert!(!image.check_first().unwrap());
    let image = open(echo(b'b', 100));
    assert!(image.check_first().unwrap());
    assert_eq!(read(&image, 0, 5), b"b\0\0b\0");
}

#[test]
fn reads_past_the_end_fail() {
    let image = open(run(b'a', 100));
    for (at, len) in [(100, 1), (99, 2), (u64::MAX, 1), (u64::MAX - 4, 16)] {
        let error = image.read_exact_at(at, &mut vec![0; len]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{at}");
    }
}

/// A naive decoder that goes through the whole image with one growing buffer
/// must agree with reads in random order.
#[test]
fn blocks_that_reach_back_agree_with_a_decoder_that_has_seen_all() {
    let mut bytes = Vec::new();
    let mut flat: Vec<u8> = Vec::new();
    for n in 0..40_u8 {
        let len = 300 + usize::from(n) * 4000;
        let block = if n % 7 == 3 { run(n, len) } else { echo(n, len) };
        fastlz::decode(&block[16..], len, Before::Zero, &mut flat).unwrap();
        bytes.extend(block);
    }
    let image = open(bytes);
    assert_eq!(image.len(), flat.len() as u64);
    let mut state = 7;
    for _ in 0..300 {
        let at = usize::try_from(xorshift(&mut state)).unwrap() % flat.len();
        let end = (at + 5000).min(flat.len());
        assert!(read(&image, at as u64, end - at) == flat[at..end], "{at}");
    }
}

#[test]
fn the_cache_stays_within_its_budget() {
    let block = run(b'z', 4 << 20);
    let image = open(block.repeat(12));
    for n in 0..12 {
        assert_eq!(read(&image, n * (4 << 20) + 5, 2), b"zz");
    }
    let cache = image.cache();
    assert!(cache.held() <= CACHE_BYTES && cache.blocks.len() == 4, "{}", cache.held());
    assert_eq!(cache.blocks.last().unwrap().0, 11);
}

#[test]
fn threads_read_at_once() {
    let blocks: Vec<Vec<u8>> = (0..32_u8).map(|n| run(n, 10_000)).collect();
    let image = open(blocks.concat());
    std::thread::scope(|scope| {
        for seed in 1..5_u64 {
            let image = &image;
            scope.spawn(move || {
                let mut state = seed;
                for _ in 0..500 {
                    let at = xorshift(&mut state) % 320_000;
                    let byte = u8::try_from(at / 10_000).unwrap();
                    assert_eq!(read(image, at, 1), [byte]);
                }
            });
        }
    });
}

#[test]
fn the_index_stops_at_a_container_that_is_cut() {
    let (first, second) = (run(b'a', 100), run(b'b', 100));
    for cut in 1..second.len() {
        let image = open([&first[..], &second[..cut]].concat());
        assert_eq!((image.len(), image.end(), image.count()), (100, first.len() as u64, 1));
    }
}

#[test]
fn hostile_headers_are_no_containers() {
    let headers: [(u64, u64); 6] =
        [(0, 0), (1, 0), (10, 11), (u64::MAX, 5), (u64::MAX, u64::MAX), (MAX_BLOCK + 1, 5)];
    for (expanded, compressed) in headers {
        let head = [expanded, compressed].map(u64::to_le_bytes).concat();
        let bytes = [head, vec![0; 64]].concat();
        let source: Arc<dyn ReadAt> = Arc::new(bytes);
        let index = Containers::index(&source, 0, 80).unwrap();
        assert!(index.is_none(), "{expanded:#x} {compressed:#x}");
    }
}

#[test]
fn a_damaged_block_is_an_error_that_says_where() {
    let mut bytes = [run(b'a', 100), run(b'b', 100)].concat();
    let at = bytes.len() / 2 + 16;
    bytes[at] = 0xff;
    let image = open(bytes);
    assert_eq!(read(&image, 0, 100), vec![b'a'; 100]);
    let error = image.read_exact_at(100, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(&format!("{at:#x}")), "{error}");
}
