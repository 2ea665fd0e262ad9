//! Guests of the lab for tests.

use std::fs::File;
use std::sync::Arc;

use vmss2core_lab::windows::{Fixture, MiniNt, Paging, make};
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::view::View;

/// A guest and its memory.
pub(super) struct Guest {
    pub(super) nt: MiniNt,
    pub(super) memory: PhysicalMemory,
}

impl Guest {
    pub(super) fn of(fixture: &Fixture) -> Self {
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

    pub(super) fn view(&self) -> View {
        let mode = match self.nt.truth.paging {
            Paging::TwoLevel => PagingMode::TwoLevel { large_pages: true },
            Paging::Pae => PagingMode::Pae,
            Paging::FourLevel => PagingMode::FourLevel,
            Paging::FiveLevel => PagingMode::FiveLevel,
        };
        View::new(&self.memory, mode, Root(Gpa(self.nt.truth.dtb)))
    }

    pub(super) fn symbol(&self, name: &str) -> Gva {
        Gva(self.nt.truth.symbols[name])
    }
}
