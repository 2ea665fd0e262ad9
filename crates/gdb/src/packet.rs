//! Framing: `$payload#sum`, acknowledgements, and the escapes of binary data
//! ("Overview" of gdb's Remote Serial Protocol).

/// Longest payload that is taken or sent, as `PacketSize` tells the client.
pub const PACKET_BYTES: usize = 0x1_0000;

/// Escapes the byte after it, which is XORed with [`ESCAPED`].
const ESCAPE: u8 = b'}';
const ESCAPED: u8 = 0x20;

/// Something that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A packet whose sum is right, escapes undone.
    Packet(Vec<u8>),
    /// `+`: the last packet arrived.
    Ack,
    /// `-`: the last packet is to be sent again.
    Nak,
    /// Ctrl-C.
    Interrupt,
    /// A packet that is too long or whose sum is wrong.
    Damaged,
}

/// Puts packets together, byte by byte.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    payload: Vec<u8>,
    sum: u8,
    too_long: bool,
    trusts_sums: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Outside,
    Inside,
    Escaped,
    Sum,
    LastDigit(Option<u8>),
}

impl Decoder {
    /// Takes any sum as right, as is due once acknowledgements are off: nobody
    /// could ask for the packet again.
    pub fn trust_sums(&mut self) {
        self.trusts_sums = true;
    }

    /// Takes one byte; returns what it completes.
    pub fn push(&mut self, byte: u8) -> Option<Incoming> {
        match (self.state, byte) {
            (State::Outside, b'+') => return Some(Incoming::Ack),
            (State::Outside, b'-') => return Some(Incoming::Nak),
            (State::Outside, 3) => return Some(Incoming::Interrupt),
            // It cannot stand within a packet: one was cut off.
            (_, b'$') => self.start(),
            (State::Outside, _) => {}
            (State::Inside | State::Escaped, b'#') => self.state = State::Sum,
            (State::Inside, ESCAPE) => self.escape(),
            (State::Inside, _) => self.keep(byte, byte),
            (State::Escaped, _) => self.keep(byte, byte ^ ESCAPED),
            (State::Sum, _) => self.state = State::LastDigit(hex_digit(byte)),
            (State::LastDigit(high), _) => return Some(self.finish(high, hex_digit(byte))),
        }
        None
    }

    fn start(&mut self) {
        *self = Self { state: State::Inside, trusts_sums: self.trusts_sums, ..Self::default() };
    }

    fn escape(&mut self) {
        self.sum = self.sum.wrapping_add(ESCAPE);
        self.state = State::Escaped;
    }

    fn keep(&mut self, sent: u8, meant: u8) {
        self.sum = self.sum.wrapping_add(sent);
        self.state = State::Inside;
        if self.payload.len() < PACKET_BYTES {
            self.payload.push(meant);
        } else {
            self.too_long = true;
        }
    }

    fn finish(&mut self, high: Option<u8>, low: Option<u8>) -> Incoming {
        self.state = State::Outside;
        let payload = std::mem::take(&mut self.payload);
        let sum = high.zip(low).map(|(high, low)| high << 4 | low);
        let is_right = self.trusts_sums || sum == Some(self.sum);
        if is_right && !self.too_long { Incoming::Packet(payload) } else { Incoming::Damaged }
    }
}

/// A payload with what goes around it.
pub fn encode(payload: &[u8]) -> Vec<u8> {
    let sum = payload.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let mut packet = Vec::with_capacity(payload.len().saturating_add(4));
    packet.push(b'$');
    packet.extend_from_slice(payload);
    packet.extend_from_slice(format!("#{sum:02x}").as_bytes());
    packet
}

/// Appends binary data, escaped.
pub fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if matches!(byte, b'#' | b'$' | b'*' | &ESCAPE) {
            out.extend([ESCAPE, byte ^ ESCAPED]);
        } else {
            out.push(*byte);
        }
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Incoming> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn a_packet_comes_with_its_acknowledgement() {
        let packet = Incoming::Packet(b"qC".to_vec());
        assert_eq!(decode(b"+$qC#b4"), [Incoming::Ack, packet]);
    }

    #[test]
    fn a_wrong_sum_is_damage_until_sums_are_trusted() {
        assert_eq!(decode(b"$qC#b5"), [Incoming::Damaged]);
        assert_eq!(decode(b"$qC#zz"), [Incoming::Damaged]);
        let mut decoder = Decoder::default();
        decoder.trust_sums();
        let got: Vec<_> = b"$qC#00".iter().filter_map(|byte| decoder.push(*byte)).collect();
        assert_eq!(got, [Incoming::Packet(b"qC".to_vec())]);
    }

    #[test]
    fn binary_data_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let mut escaped = Vec::new();
        push_escaped(&mut escaped, &all);
        assert_eq!(decode(&encode(&escaped)), [Incoming::Packet(all)]);
    }

    #[test]
    fn a_packet_that_was_cut_off_is_forgotten() {
        assert_eq!(decode(b"$m0,4$qC#b4"), [Incoming::Packet(b"qC".to_vec())]);
        assert_eq!(decode(b"noise$}$g#67"), [Incoming::Packet(b"g".to_vec())]);
    }

    #[test]
    fn a_packet_that_is_too_long_is_damage_and_takes_no_memory() {
        let long = vec![b'a'; PACKET_BYTES + 1];
        assert_eq!(decode(&encode(&long)), [Incoming::Damaged]);
        let mut decoder = Decoder::default();
        for _ in 0..10 * PACKET_BYTES {
            decoder.push(b'$');
            decoder.push(b'a');
        }
        assert!(decoder.payload.capacity() <= 2 * PACKET_BYTES);
    }
}
