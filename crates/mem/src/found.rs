//! Values that say where they come from.

/// A value with how it was found, in words for the user: "VMCOREINFO note at
/// physical 0x1ffe000c", "page tables of vCPU 0".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// How it was found.
    pub how: String,
}

impl<T> Found<T> {
    /// A value found in the way that `how` says.
    pub fn new(value: T, how: impl Into<String>) -> Self {
        Self { value, how: how.into() }
    }
}
