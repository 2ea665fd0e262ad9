//! Writes VMware checkpoints of any shape, and broken ones.
//!
//! The source of every layout is the published description of the format; not a
//! line is shared with the reader, which is judged by what this writes.
//! [`write_checkpoint`] wraps a [`Machine`] in the form that a [`Shape`] asks
//! for, [`write_guest_dump`] as the debug dump of a monitor, and [`vectors`]
//! holds small files that go wrong in one way each.
//!
//! Registers come as in files of three products ([`Registers`]), or in forms that
//! nobody was seen to write. Not written: encrypted contents (only their header).

mod bundle;
mod configuration;
mod contents;
mod corpus;
mod cpu;
mod emit;
mod fastlz;
mod guestdump;
mod machine;
mod memory;
mod shape;
mod state;
mod vectors;
mod write;

pub use bundle::{Named, fragments, gzip, tar};
pub use contents::Contents;
pub use corpus::{Random, Seed, mutate, seeds};
pub use emit::{Block, Emitted, Group, Header, Item, Table, emit};
pub use fastlz::{CONTAINER_BLOCK, Level, compress, container_block};
pub use guestdump::{guest_dump, guest_dump_len};
pub use machine::{
    Cpu, HiddenPart, Machine, MemoryRange, ModelRegisters, TableRegister, Vectors, page_of,
};
pub use shape::{
    Companion, Delivery, Extra, Kind, Order, Packing, Placement, Platform, RegionTags, Regions,
    Registers, Shape,
};
pub use state::{Parts, parts, png};
pub use vectors::{Expect, Known, Opens, Vector, vectors};
pub use write::{Written, deliver, write_checkpoint, write_configuration, write_guest_dump};
