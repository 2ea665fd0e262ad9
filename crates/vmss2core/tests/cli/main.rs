//! The program as its users run it: command line in, files, streams and exit
//! code out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod convert;
mod digests;
mod exit_codes;
mod help;
mod info;
mod library;
mod miniature;
mod original;
#[cfg(unix)]
#[allow(unreachable_pub, reason = "other test programs use it through a public module")]
#[path = "../common/outputs.rs"]
mod outputs;
#[cfg(unix)]
mod outputs_of_commands;
mod run;
#[path = "../../../answers/tests/schema/mod.rs"]
mod schema;
#[cfg(unix)]
mod signals;
mod vectors;
mod windows;
