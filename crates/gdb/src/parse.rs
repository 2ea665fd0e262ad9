//! Parts of packets. Every byte is the client's, so nothing is taken for granted.

use crate::packet::hex_digit;

/// A number in hexadecimal, all of `text`, without a sign or prefix.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0, |value, byte| Some(value << 4 | u64::from(hex_digit(*byte)?)))
}

/// Two numbers with a comma between them: an address and a length, mostly.
pub(crate) fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = split(text, b',')?;
    Some((number(first)?, number(second)?))
}

/// The parts before and after the first `separator`.
pub(crate) fn split(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at.saturating_add(1)..)?))
}

/// Bytes from hexadecimal digits.
pub(crate) fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Which of several things is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// `-1`.
    All,
    /// `0`, or nothing said.
    Any,
    One(u32),
}

/// A thread as packets name it: `p2.1f`, `p2.-1`, `1f`, `-1`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadName {
    pub(crate) pid: Which,
    pub(crate) tid: Which,
}

pub(crate) fn thread(text: &[u8]) -> Option<ThreadName> {
    let Some(text) = text.strip_prefix(b"p") else {
        return Some(ThreadName { pid: Which::Any, tid: which(text)? });
    };
    match split(text, b'.') {
        Some((pid, tid)) => Some(ThreadName { pid: which(pid)?, tid: which(tid)? }),
        None => Some(ThreadName { pid: which(text)?, tid: Which::All }),
    }
}

fn which(text: &[u8]) -> Option<Which> {
    if text == b"-1" {
        return Some(Which::All);
    }
    Some(match u32::try_from(number(text)?).ok()? {
        0 => Which::Any,
        one => Which::One(one),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_hexadecimal_and_nothing_else() {
        assert_eq!(number(b"ffffffffFFFFFFFF"), Some(u64::MAX));
        for bad in ["", "10000000000000000", "-1", "+1", "0x1", " 1", "g"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(pair(b"10,4"), Some((16, 4)));
        assert_eq!(pair(b"10"), None);
    }

    #[test]
    fn threads_have_all_their_names() {
        let name = |pid, tid| Some(ThreadName { pid, tid });
        assert_eq!(thread(b"p2.1f"), name(Which::One(2), Which::One(31)));
        assert_eq!(thread(b"p2.-1"), name(Which::One(2), Which::All));
        assert_eq!(thread(b"p0.0"), name(Which::Any, Which::Any));
        assert_eq!(thread(b"p2"), name(Which::One(2), Which::All));
        assert_eq!(thread(b"-1"), name(Which::Any, Which::All));
        for bad in ["", "p", "p.", "p1.", "100000000", "-2"] {
            assert_eq!(thread(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn bytes_come_from_whole_pairs() {
        assert_eq!(bytes(b"6869"), Some(b"hi".to_vec()));
        assert_eq!(bytes(b"686"), None);
        assert_eq!(bytes(b"6x"), None);
    }
}
