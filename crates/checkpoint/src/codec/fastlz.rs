//! FastLZ levels 1 and 2, decoding only.
//!
//! Source: the grammar of the public FastLZ format description, which the
//! compressed memory files of VMware products follow with level 2. The caller
//! knows how long the output is, so a stream must fill it exactly and end there.

use thiserror::Error;

/// The furthest that a match reaches back: 16 bits beyond the short form's 13.
pub(crate) const MAX_DISTANCE: usize = FAR_BASE + 0xffff;

/// Distance of the far form (level 2) with an extra word of 0.
const FAR_BASE: usize = 0x2000;

/// Why a FastLZ stream could not be expanded; `at` counts bytes of the stream.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum FastLzError {
    #[error("FastLZ level {level} is unknown")]
    Level { level: u8 },
    #[error("FastLZ stream ends at {at:#x} while {missing:#x} bytes are still missing")]
    Truncated { at: usize, missing: usize },
    #[error("FastLZ run at {at:#x} is longer than the output has room for")]
    TooLong { at: usize },
    #[error("FastLZ output is complete at {at:#x}, but the stream has {left:#x} bytes more")]
    Trailing { at: usize, left: usize },
    #[error("FastLZ match at {at:#x} reaches back to before its block")]
    BeforeStart { at: usize },
}

/// Treatment of a match that reaches back to before the known output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Fail with [`FastLzError::BeforeStart`]: the caller has more history.
    Refuse,
    /// There is no more history; VMware's decoder takes zeroes.
    Zero,
}

/// Expands `input` into exactly `len` bytes after what `out` already holds,
/// which serves as history for matches. Says whether zeroes stood in for bytes
/// before the history.
pub(crate) fn decode(
    input: &[u8],
    len: usize,
    before: Before,
    out: &mut Vec<u8>,
) -> Result<bool, FastLzError> {
    let first = *input.first().ok_or(FastLzError::Truncated { at: 0, missing: len })?;
    let far = match first >> 5 {
        0 => false,
        1 => true,
        other => return Err(FastLzError::Level { level: other.saturating_add(1) }),
    };
    let end = out.len().saturating_add(len);
    let mut decoder = Decoder { input, at: 1, out, end, far, before, zeroed: false };
    decoder.literals(first & 0x1f)?;
    while decoder.room() > 0 {
        let control = decoder.byte()?;
        if control < 0x20 { decoder.literals(control)? } else { decoder.repeat(control)? }
    }
    let left = input.len().saturating_sub(decoder.at);
    if left > 0 {
        return Err(FastLzError::Trailing { at: decoder.at, left });
    }
    Ok(decoder.zeroed)
}

struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    /// Length of `out` when done.
    end: usize,
    /// Level 2: long lengths take many bytes, and there is a far form.
    far: bool,
    before: Before,
    zeroed: bool,
}

impl Decoder<'_> {
    fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    fn byte(&mut self) -> Result<u8, FastLzError> {
        let byte = self.input.get(self.at).copied().ok_or_else(|| self.truncated())?;
        self.at = self.at.saturating_add(1);
        Ok(byte)
    }

    fn truncated(&self) -> FastLzError {
        FastLzError::Truncated { at: self.input.len(), missing: self.room() }
    }

    fn literals(&mut self, control: u8) -> Result<(), FastLzError> {
        let len = usize::from(control) + 1;
        if len > self.room() {
            return Err(FastLzError::TooLong { at: self.at.saturating_sub(1) });
        }
        let run =
            self.input.get(self.at..self.at.saturating_add(len)).ok_or_else(|| self.truncated())?;
        self.out.extend_from_slice(run);
        self.at = self.at.saturating_add(len);
        Ok(())
    }

    fn repeat(&mut self, control: u8) -> Result<(), FastLzError> {
        let at = self.at.saturating_sub(1);
        let len = self.length(control >> 5)?;
        let distance = self.distance(control & 0x1f)?;
        if len > self.room() {
            return Err(FastLzError::TooLong { at });
        }
        let len = match distance.checked_sub(self.out.len()) {
            None | Some(0) => len,
            Some(_) if self.before == Before::Refuse => {
                return Err(FastLzError::BeforeStart { at });
            }
            Some(unknown) => self.zeroes(unknown.min(len), len),
        };
        self.copy(distance, len);
        Ok(())
    }

    fn length(&mut self, short: u8) -> Result<usize, FastLzError> {
        if short < 7 {
            return Ok(usize::from(short) + 2);
        }
        let mut len = 9_usize;
        loop {
            let more = self.byte()?;
            // Checked against the room later; the input bounds the sum.
            len = len.saturating_add(usize::from(more));
            if more != 0xff || !self.far {
                return Ok(len);
            }
        }
    }

    fn distance(&mut self, high: u8) -> Result<usize, FastLzError> {
        let low = self.byte()?;
        if self.far && high == 0x1f && low == 0xff {
            let word = u16::from_be_bytes([self.byte()?, self.byte()?]);
            return Ok(FAR_BASE + usize::from(word));
        }
        Ok((usize::from(high) << 8).saturating_add(usize::from(low)).saturating_add(1))
    }

    /// Puts `count` zeroes in place of unknown history; what is left of `len`.
    fn zeroes(&mut self, count: usize, len: usize) -> usize {
        self.zeroed = true;
        self.out.resize(self.out.len().saturating_add(count), 0);
        len.saturating_sub(count)
    }

    /// Repeats what lies `distance` back; source and target may overlap, in
    /// which case each turn doubles the part that can be copied at once.
    fn copy(&mut self, distance: usize, mut len: usize) {
        let start = self.out.len().saturating_sub(distance);
        while len > 0 {
            let part = len.min(self.out.len().saturating_sub(start));
            self.out.extend_from_within(start..start.saturating_add(part));
            len = len.saturating_sub(part);
        }
    }
}

#[cfg(test)]
mod tests;
