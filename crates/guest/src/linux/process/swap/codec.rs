//! How zram compresses pages.

use vmss2core_mem::PAGE_SIZE;

use super::lzo;

const PAGE_LEN: usize = 4096;
const _: () = assert!(PAGE_LEN as u64 == PAGE_SIZE);

/// A page's bytes.
pub(in crate::linux) type Page = [u8; PAGE_LEN];

/// A method of the kernel's, by its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Lzo,
    Lz4,
    Zstd,
    /// One that is not read here: `842`, `deflate`.
    Other(String),
}

impl Codec {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "lzo" | "lzo-rle" => Self::Lzo,
            "lz4" | "lz4hc" => Self::Lz4,
            "zstd" => Self::Zstd,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Decompresses a page; `None` if the bytes are not one.
    pub(super) fn decompress(&self, data: &[u8]) -> Option<Box<Page>> {
        let mut page = Box::new([0; PAGE_LEN]);
        match self {
            Self::Lzo => lzo::decompress(data, page.as_mut_slice())?,
            Self::Lz4 => lz4(data, page.as_mut_slice())?,
            Self::Zstd => {
                let len = zstd::bulk::decompress_to_buffer(data, page.as_mut_slice()).ok()?;
                (len == PAGE_LEN).then_some(())?;
            }
            Self::Other(_) => return None,
        }
        Some(page)
    }
}

/// Copies what was written `distance` bytes ago, which may reach into what is written by
/// this; returns where the copy ends.
pub(super) fn copy_back(out: &mut [u8], at: usize, distance: usize, len: usize) -> Option<usize> {
    let from = at.checked_sub(distance).filter(|_| distance > 0)?;
    let end = at.checked_add(len).filter(|end| *end <= out.len())?;
    for (source, target) in (from..).zip(at..end) {
        let byte = *out.get(source)?;
        *out.get_mut(target)? = byte;
    }
    Some(end)
}

/// A block of LZ4 (`lz4_Block_format.md`).
fn lz4(data: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut input, mut at) = (data, 0_usize);
    loop {
        let (token, rest) = input.split_first()?;
        input = rest;
        let len = lz4_length(&mut input, token >> 4)?;
        let (literals, rest) = input.split_at_checked(len)?;
        out.get_mut(at..at.checked_add(len)?)?.copy_from_slice(literals);
        (input, at) = (rest, at.saturating_add(len));
        // The last sequence has no copy.
        let Some((distance, rest)) = input.split_first_chunk::<2>() else {
            return (input.is_empty() && at == out.len()).then_some(());
        };
        input = rest;
        let len = lz4_length(&mut input, token & 15)?.checked_add(4)?;
        at = copy_back(out, at, u16::from_le_bytes(*distance).into(), len)?;
    }
}

fn lz4_length(input: &mut &[u8], said: u8) -> Option<usize> {
    let mut len = usize::from(said);
    let mut more = said == 15;
    while more {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        len = len.checked_add(usize::from(*byte))?;
        more = *byte == 255;
    }
    Some(len)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small test numbers")]
mod tests {
    use super::*;

    fn decompress(codec: &Codec, data: &[u8]) -> Option<Vec<u8>> {
        codec.decompress(data).map(|page| page.to_vec())
    }

    fn page(start: &[u8], rest: u8) -> Vec<u8> {
        let mut page = vec![rest; PAGE_LEN];
        page[..start.len()].copy_from_slice(start);
        page
    }

    #[test]
    fn lzo_is_read_by_each_of_its_instructions() {
        // Four literals, a copy of one byte back for all the rest, the end.
        let rest = PAGE_LEN - 4;
        let zeroes = (rest - 2 - 31) / 255;
        let last = rest - 2 - 31 - zeroes * 255;
        let mut data = vec![17 + 4, b'a', b'b', b'c', b'd', 0x20];
        data.extend(vec![0; zeroes]);
        data.extend([u8::try_from(last).unwrap(), 0, 0, 0x11, 0, 0]);
        assert_eq!(decompress(&Codec::Lzo, &data).unwrap(), page(b"abcd", b'd'));
        // The same page with runs of zeroes: a version, literals, runs of 2051 at most.
        let mut data = vec![17, 1, 17 + 4, b'a', b'b', b'c', b'd'];
        let run = |len: usize| {
            let len = u16::try_from(len - 4).unwrap();
            [0x18 | (len & 7) as u8, 0xfc, 0xff, (len >> 3) as u8]
        };
        for len in [2000, 2000, PAGE_LEN - 4004] {
            data.extend(run(len));
        }
        data.extend([0x11, 0, 0]);
        assert_eq!(decompress(&Codec::Lzo, &data).unwrap(), page(b"abcd", 0));
        // Without its version these are no runs.
        assert_eq!(decompress(&Codec::Lzo, &data[2..]), None);
    }

    #[test]
    fn the_lzo_of_another_writer_is_read() {
        let text: Vec<u8> = (0..PAGE_LEN)
            .map(|at| if at % 7 < 3 { b'x' } else { (at * at / 97 % 251) as u8 })
            .collect();
        for page in [text, vec![0; PAGE_LEN], page(&[7; 3000], 9)] {
            let data = lzokay::compress::compress(&page).unwrap();
            assert_eq!(decompress(&Codec::Lzo, &data).unwrap(), page);
        }
    }

    #[test]
    fn lz4_is_read() {
        // Four literals, the last byte again and again, five literals at the end.
        let len = PAGE_LEN - 4 - 5 - 4 - 15;
        let mut data = vec![0x4f, b'a', b'b', b'c', b'd', 1, 0];
        data.extend(vec![255; len / 255]);
        data.extend([(len % 255) as u8, 0x50]);
        data.extend(b"ddddd");
        assert_eq!(decompress(&Codec::Lz4, &data).unwrap(), page(b"abcd", b'd'));
    }

    #[test]
    fn zstd_is_read_and_others_are_not() {
        let page = page(b"abcd", 7);
        let data = zstd::bulk::compress(&page, 1).unwrap();
        assert_eq!(decompress(&Codec::of("zstd"), &data).unwrap(), page);
        assert_eq!(decompress(&Codec::of("842"), &data), None);
    }

    #[test]
    fn torn_data_is_no_page() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        for codec in [Codec::Lzo, Codec::Lz4, Codec::Zstd] {
            for len in 0..2000 {
                let data: Vec<u8> = (0..len % 97).map(|_| random()).collect();
                let _ = codec.decompress(&data);
            }
            assert_eq!(codec.decompress(&[]), None);
        }
    }
}
