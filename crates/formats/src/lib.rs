//! Layouts of files and of structures in memory, each once: readers and writers share
//! them. Names are those of the documents that define them; nothing here does more than
//! say where a field is.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]
#![allow(missing_docs, reason = "fields have the documents' names, and their meaning there")]
#![allow(clippy::struct_field_names, reason = "the names are the documents'")]

pub mod dmp;
pub mod elf;
pub mod guestdump;
pub mod kdump;
pub mod macho;
pub mod notes;
