//! macOS guests: the kernel's image, its version, page tables and extensions.
//!
//! `discovery` puts together what is known for [`crate::Facts`], without symbols.
//! A kernel is believed by the Mach-O header (`macho`) that lies where that header
//! says: 64-bit kernels map their image at a fixed distance from physical memory,
//! so a copy in the page cache does not. What else there is hangs on its page of
//! pointers (`low_globals`). Source of the layouts: XNU, as Apple publishes it.

mod arch;
mod discovery;
mod facts;
mod kexts;
mod low_globals;
mod macho;
mod now;
mod panic;
mod place;
mod system;
#[cfg(test)]
mod tests;
mod version;

pub use facts::{KernelImage, Kext, KextList, MacosFacts, Segment, Uuid};
pub use now::Kernel;
pub use system::MacOs;
pub use version::DarwinVersion;
