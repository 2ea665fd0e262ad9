//! Parts of a guest that go into a file, whatever the format: its memory at physical
//! addresses or as a processor sees it, and its vCPUs.

mod compressed;
mod linear;
mod physical;
mod policy;
mod segments;
mod vcpus;

pub(crate) use compressed::{Made, MadePages};
pub(crate) use linear::{ALL_THREADS, CR3, LinearView, NO_DEDUP, VCPU};
pub(crate) use physical::{page_ranges, physical_body, ram};
pub(crate) use segments::{Access, Body, Load};
pub(crate) use vcpus::{
    architecture, has_registers, in_cpu_order, is_64_bit_guest, missing_registers, runs_64_bit,
    runs_64_bit_code, thread_id,
};
