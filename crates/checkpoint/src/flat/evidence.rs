//! Evidence for a layout.

/// Counts of what was found under one layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Roots whose pointers lead to tables.
    pub(super) roots: u64,
    /// Pointers that lead to tables.
    pub(super) good: u64,
    /// Pointers that do not.
    pub(super) bad: u64,
    /// The first table beyond the end of the image to which roots lead that are
    /// otherwise flawless.
    pub(super) beyond: Option<u64>,
}

impl Evidence {
    /// How much speaks for the layout, to be compared.
    pub(super) fn weight(&self) -> i128 {
        i128::from(self.good).saturating_sub(i128::from(self.bad))
    }
}
