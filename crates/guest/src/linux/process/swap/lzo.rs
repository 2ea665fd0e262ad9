//! LZO1X and LZO-RLE as Linux writes them, by `Documentation/staging/lzo.rst` of Linux.

/// A stream that begins with this byte has a version after it.
const VERSIONED: u8 = 17;
/// Shortest versioned stream.
const SHORTEST_VERSIONED: usize = 5;
/// Two bytes that tell a run of zeroes from a copy, the two lowest bits aside.
const RUN: u16 = 0xfffc;
const SHORTEST_RUN: usize = 4;

/// Decompresses a stream into `out`; `None` if it does not fill that exactly.
pub(super) fn decompress(data: &[u8], out: &mut [u8]) -> Option<()> {
    let mut stream = Stream { input: data, out, at: 0 };
    let mut has_runs = false;
    let mut literals = Literals::None;
    match data {
        [VERSIONED, version, rest @ ..] if data.len() >= SHORTEST_VERSIONED => {
            (*version <= 1).then_some(())?;
            has_runs = *version == 1;
            stream.input = rest;
        }
        _ => {}
    }
    if let Some(count) = stream.input.first()?.checked_sub(VERSIONED).filter(|count| *count > 0) {
        stream.byte()?;
        stream.literals(count.into())?;
        literals = if count < 4 { Literals::Few } else { Literals::Many };
    }
    while let Next::After(copied) = stream.instruction(literals, has_runs)? {
        literals = copied;
    }
    (stream.at == stream.out.len()).then_some(())
}

/// How many literals the last instruction has copied.
#[derive(Clone, Copy)]
enum Literals {
    None,
    Few,
    Many,
}

/// The bytes after an instruction.
enum Next {
    /// Another one, after so many literals.
    After(Literals),
    End,
}

/// The meaning that two bytes after an instruction give it.
enum Run {
    /// A copy.
    No,
    /// A run of zeroes that was written. The number of literals after it is in this byte.
    Written(u8),
}

struct Stream<'a> {
    input: &'a [u8],
    out: &'a mut [u8],
    /// How much of `out` is filled.
    at: usize,
}

impl Stream<'_> {
    /// Obeys one instruction; `None` if it is none.
    fn instruction(&mut self, literals: Literals, has_runs: bool) -> Option<Next> {
        let code = self.byte()?;
        let low = |mask: u8| usize::from(code & mask);
        let (len, distance, after) = match code {
            0..16 => match literals {
                Literals::None => {
                    let len = self.length(low(15), 15)?.saturating_add(3);
                    self.literals(len)?;
                    return Some(Next::After(Literals::Many));
                }
                Literals::Few => (2, self.distance(2, code >> 2)?.saturating_add(1), code),
                Literals::Many => (3, self.distance(2, code >> 2)?.saturating_add(2049), code),
            },
            16..32 => {
                if let Run::Written(after) = self.run(code, has_runs)? {
                    return self.few(after);
                }
                let len = self.length(low(7), 7)?.saturating_add(2);
                let word = self.word()?;
                let distance = usize::from(code & 8) << 11 | usize::from(word >> 2);
                if distance == 0 {
                    return Some(Next::End);
                }
                (len, distance.saturating_add(16384), word.to_le_bytes()[0])
            }
            32..64 => {
                let len = self.length(low(31), 31)?.saturating_add(2);
                let word = self.word()?;
                (len, usize::from(word >> 2) + 1, word.to_le_bytes()[0])
            }
            64..128 => {
                let distance = self.distance(3, code >> 2 & 7)?.saturating_add(1);
                (3 + usize::from(code >> 5 & 1), distance, code)
            }
            128.. => {
                let distance = self.distance(3, code >> 2 & 7)?.saturating_add(1);
                (5 + usize::from(code >> 5 & 3), distance, code)
            }
        };
        self.copy(distance, len)?;
        self.few(after)
    }

    /// Writes a run of zeroes, if the instruction is one.
    fn run(&mut self, code: u8, has_runs: bool) -> Option<Run> {
        let &[low, high, more, ..] = self.input else { return Some(Run::No) };
        let word = u16::from_le_bytes([low, high]);
        if !has_runs || code & 0xf8 != 0x18 || word & RUN != RUN {
            return Some(Run::No);
        }
        self.input = self.input.get(3..)?;
        let len = (usize::from(more) << 3 | usize::from(code & 7)).saturating_add(SHORTEST_RUN);
        let end = self.at.checked_add(len)?;
        self.out.get_mut(self.at..end)?.fill(0);
        self.at = end;
        Some(Run::Written(low))
    }

    /// The literals that follow most instructions: 3 at most.
    fn few(&mut self, byte: u8) -> Option<Next> {
        let count = usize::from(byte & 3);
        self.literals(count)?;
        Some(Next::After(if count == 0 { Literals::None } else { Literals::Few }))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    /// A distance whose lowest bits are in the instruction, and the others in a byte.
    fn distance(&mut self, low_len: u32, low: u8) -> Option<usize> {
        Some(usize::from(self.byte()?).unbounded_shl(low_len) | usize::from(low))
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// A length that may go on in further bytes.
    fn length(&mut self, said: usize, most: usize) -> Option<usize> {
        if said != 0 {
            return Some(said);
        }
        let mut len = most;
        loop {
            match self.byte()? {
                0 => len = len.checked_add(255)?,
                last => return len.checked_add(last.into()),
            }
        }
    }

    fn literals(&mut self, len: usize) -> Option<()> {
        let (from, rest) = self.input.split_at_checked(len)?;
        let end = self.at.checked_add(len)?;
        self.out.get_mut(self.at..end)?.copy_from_slice(from);
        (self.input, self.at) = (rest, end);
        Some(())
    }

    fn copy(&mut self, distance: usize, len: usize) -> Option<()> {
        self.at = super::codec::copy_back(self.out, self.at, distance, len)?;
        Some(())
    }
}
