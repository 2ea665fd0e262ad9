//! From an address in the kernel to the function or variable it is in.

use vmss2core_mem::Gva;

use super::Kernel;

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The function or variable.
    pub name: String,
    /// How far the address is into it.
    pub offset: u64,
    /// The module it belongs to, if not to the kernel itself.
    pub module: Option<String>,
}

/// No function is longer; what is farther from a symbol is something else.
const MOST_OFFSET: u64 = 16 << 20;

impl Kernel<'_> {
    /// The function or variable at an address.
    pub fn symbolize(&self, address: Gva) -> Option<Location> {
        let (symbol, offset) = self.symbols()?.value.at(address)?;
        let name = symbol.name.to_owned();
        (offset < MOST_OFFSET).then_some(Location { name, offset, module: None })
    }
}
