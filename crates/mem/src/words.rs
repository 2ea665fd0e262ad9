//! Numbers in bytes of a guest.

/// The number that these bytes are, the lowest first; the first eight of more.
pub fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_a_number() {
        assert_eq!(little_endian(&[]), 0);
        assert_eq!(little_endian(&[0x34, 0x12]), 0x1234);
        assert_eq!(little_endian(&[1, 0, 0, 0, 0, 0, 0, 0x80, 0xff]), 0x8000_0000_0000_0001);
    }
}
