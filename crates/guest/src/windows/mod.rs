//! Windows guests: the kernel, its debugger data, and what each processor did.

mod facts;
#[cfg(test)]
mod guests;
#[cfg_attr(not(test), expect(dead_code, reason = "for the discovery of Windows"))]
mod image;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "for the discovery of Windows"))]
mod kdbg;
#[expect(dead_code, reason = "for the discovery of Windows")]
mod pe;
#[expect(dead_code, unreachable_pub, reason = "for the discovery of Windows")]
mod view;

pub use facts::{
    Completeness, ForeignVcpu, Kdbg, KdbgEncoding, KdbgKeys, KernelImage, PdbIdentity, Section,
    SharedData, WindowsCpu, WindowsFacts,
};
pub use kdbg::fields as kdbg_fields;
