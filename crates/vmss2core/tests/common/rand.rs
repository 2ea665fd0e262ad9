//! Numbers that look random and are the same in every run.

/// The xorshift generator with 64 bits of state (Marsaglia, 2003).
pub struct Rand(u64);

impl Rand {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 up to, but not including, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 8) % limit
    }

    pub fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or_default()
    }

    /// One of `items`, of which there must be one.
    #[expect(clippy::expect_used, reason = "a mistake in the test itself")]
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.index(items.len());
        *items.get(index).expect("nothing to choose from")
    }
}
