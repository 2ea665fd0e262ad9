//! Windows guests: the kernel, its debugger data, and what each processor did.

mod facts;

pub use facts::{
    Completeness, ForeignVcpu, Kdbg, KdbgEncoding, KdbgKeys, KernelImage, PdbIdentity, Section,
    SharedData, WindowsCpu, WindowsFacts,
};
