//! What the tests with real guests and real debuggers have in common.
//!
//! [`guests`] gives a lab guest and what is true of it, [`cores`] runs the
//! program on its checkpoint as a user would, [`judges`] runs the foreign tools.
//! [`walker`], [`elf`] and [`kdump`] are second, naive opinions on page tables and
//! cores.

#![allow(dead_code, unreachable_pub, unused_macros, reason = "each test binary uses its own part")]

pub mod clients;
pub mod cores;
pub mod dmp;
pub mod elf;
pub mod evicted;
pub mod guests;
pub mod judges;
pub mod kdump;
pub mod mt;
pub mod outputs;
pub mod production;
pub mod rand;
pub mod server;
pub mod stacks;
pub mod text;
pub mod vectors;
pub mod walker;
pub mod windows;

/// One module per guest of the lab, with each check, a function of the guest's
/// name, as a test: a failure tells both.
macro_rules! guest_tests {
    (@one ($($check:ident),*) $module:ident $guest:literal) => {
        mod $module {
            $(#[test]
            fn $check() -> anyhow::Result<()> {
                super::$check($guest)
            })*
        }
    };
    ($checks:tt $($module:ident: $guest:literal,)*) => {
        $(guest_tests!(@one $checks $module $guest);)*
    };
}

macro_rules! tests_of_64_bit_guests {
    ($($check:ident),*) => {
        guest_tests! {
            ($($check),*)
            five_level: "linux-6.1",
            isolated_four_level: "linux-6.1-4level",
            around_the_hole: "linux-6.1-6g",
            panicked: "linux-6.1-panic",
            linux_5_10: "linux-5.10",
            linux_6_12: "linux-6.12",
            newest: "linux-sid",
        }
    };
}

macro_rules! tests_of_32_bit_guests {
    ($($check:ident),*) => {
        guest_tests! {
            ($($check),*)
            pae: "linux-6.1-i386-pae",
            pae_5_10: "linux-5.10-i386-pae",
            two_level: "linux-6.1-i386",
            two_level_5_10: "linux-5.10-i386",
        }
    };
}

/// Kernels that are set up in another way.
macro_rules! tests_of_other_kernels {
    ($($check:ident),*) => {
        guest_tests! {
            ($($check),*)
            bare: "linux-6.1-bare",
            no_kallsyms: "linux-6.1-no-kallsyms",
            writable_code: "linux-6.1-i386-writable",
        }
    };
}

macro_rules! tests_of_all_guests {
    ($($check:ident),*) => {
        tests_of_64_bit_guests!($($check),*);
        tests_of_32_bit_guests!($($check),*);
    };
}
