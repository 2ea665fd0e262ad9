//! Whether what `page.mapping` leads to is an `address_space`.

use std::collections::HashMap;

use vmss2core_mem::Gva;

use crate::linux::Kernel;

/// More are not remembered.
const MOST: usize = 1 << 20;

/// Those that were looked at.
#[derive(Debug)]
pub(super) struct Owners {
    /// Where an `address_space` has its inode, and that leads back.
    pub(super) host: u64,
    pub(super) mapping: u64,
    pub(super) known: HashMap<u64, bool>,
}

impl Owners {
    /// `None` if what proves it is not known.
    pub(super) fn of(kernel: &Kernel) -> Option<Self> {
        let at = |structure, member| {
            kernel.layout().place(structure, member).map(|member| member.offset_bytes)
        };
        let (host, mapping) = (at("address_space", "host")?, at("inode", "i_mapping")?);
        Some(Self { host, mapping, known: HashMap::new() })
    }

    /// Whether the `address_space` of an inode is there.
    pub(super) fn has(&mut self, kernel: &Kernel, gva: u64) -> bool {
        if let Some(known) = self.known.get(&gva) {
            return *known;
        }
        let is_one = self.leads_back(kernel, gva).is_some();
        if self.known.len() < MOST {
            self.known.insert(gva, is_one);
        }
        is_one
    }

    fn leads_back(&self, kernel: &Kernel, gva: u64) -> Option<()> {
        let word = |gva: u64, at: u64| {
            kernel.read_pointer(Gva(gva.checked_add(at)?), "address_space").ok()
        };
        (gva != 0).then_some(())?;
        let inode = word(gva, self.host)?.0;
        (inode != 0 && word(inode, self.mapping)?.0 == gva).then_some(())
    }
}
