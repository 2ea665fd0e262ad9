//! ELF cores: the linear view of one vCPU, the physical view, and the Linux
//! vmcore that crash, drgn and makedumpfile open.

mod hints;
mod linear;
mod linux;
mod physical;
mod script;
#[cfg(test)]
mod tests;

pub(crate) use linear::LinearCore;
pub(crate) use linux::LinuxCore;
pub(crate) use physical::PhysicalCore;
