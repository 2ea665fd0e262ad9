//! Guests of the lab for tests.

use std::fs::File;
use std::sync::Arc;

use vmss2core_lab::windows::{Fixture, MiniNt, Paging, make};
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use crate::windows::View;

/// A guest and its memory.
pub(in crate::windows) struct Guest {
    pub(in crate::windows) nt: MiniNt,
    pub(in crate::windows) memory: PhysicalMemory,
}

impl Guest {
    pub(in crate::windows) fn of(fixture: &Fixture) -> Self {
        let nt = make(fixture).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        nt.machine.ram.write_to(file.path()).unwrap();
        let ram = Arc::new(File::open(file.path()).unwrap());
        let mut memory = PhysicalMemory::new();
        for range in &nt.machine.memory {
            memory.map(Gpa(range.gpa), range.len, ram.clone(), range.offset).unwrap();
        }
        Self { nt, memory }
    }

    pub(in crate::windows) fn view(&self) -> View {
        let mode = match self.nt.truth.paging {
            Paging::TwoLevel => modes::TWO_LEVEL_PSE,
            Paging::Pae => modes::PAE,
            Paging::FourLevel => modes::FOUR_LEVEL,
            Paging::FiveLevel => modes::FIVE_LEVEL,
        };
        View::new(&self.memory, mode, Root(Gpa(self.nt.truth.dtb)))
    }

    pub(in crate::windows) fn symbol(&self, name: &str) -> Gva {
        Gva(self.nt.truth.symbols[name])
    }
}
