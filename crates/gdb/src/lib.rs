//! Serves what is debugged to gdb and lldb by gdb's Remote Serial Protocol.
//!
//! [`packet`] is the framing, [`Session`] one client's state: a packet in, an
//! answer out. Handlers stand in `handlers`, one file for each family of packets;
//! they see only a [`Target`] with its [`Inferior`]s: nothing here knows a guest. What
//! `monitor` commands print comes from whoever starts the [`Server`].

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod connection;
pub mod description;
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
pub mod packet;
mod parse;
mod reply;
mod server;
mod session;
mod target;
#[cfg(test)]
mod tests;

pub use reply::Reply;
pub use server::{Bind, Listening, Server, ServerError};
pub use session::{Outcome, Running, Session};
pub use target::{
    Attach, FileError, GuestFile, GuestFiles, Inferior, Library, LibraryAddresses, Linked,
    LinkedLibrary, MachKernel, Monitor, MonitorCommand, Region, Selected, Slide, SystemTable,
    Target, Thread,
};
