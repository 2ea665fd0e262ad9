//! Where the parts of guest dumps lie, by version.

/// Unused bytes at the end of every processor's record.
pub(super) const RECORD_TAIL: u64 = 4096;

/// Where things are in one version.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) product: &'static str,
    /// Offset of `MainMem`, or of `OldMainMem` in version 1.
    pub(super) main_mem: usize,
    /// Offset of the processors, without what version 1 adds for each hole.
    pub(super) vcpus: u64,
    /// Bytes between the two parts of a processor's record.
    pub(super) gap: u64,
    /// Offset of the architecture, a `u32`, if there is one.
    pub(super) architecture: Option<usize>,
}

/// The versions whose layout is known.
pub(super) static VERSIONS: &[Version] = &[
    Version {
        number: 1,
        product: "ESXi to 6.7",
        main_mem: 21,
        vcpus: 61,
        gap: 45,
        architecture: None,
    },
    Version {
        number: 3,
        product: "ESXi 6.8",
        main_mem: 22,
        vcpus: 78,
        gap: 45,
        architecture: None,
    },
    Version {
        number: 4,
        product: "ESXi 7.0",
        main_mem: 22,
        vcpus: 78,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 5,
        product: "ESXi 8.0",
        main_mem: 22,
        vcpus: 78,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 6,
        product: "ESXi 8.0u2",
        main_mem: 23,
        vcpus: 79,
        gap: 42,
        architecture: None,
    },
    Version {
        number: 7,
        product: "ESXi 9.0",
        main_mem: 16,
        vcpus: 83,
        gap: 42,
        architecture: Some(72),
    },
];

/// The value of the architecture field that means x86; 0 is AArch64.
pub(super) const ARCHITECTURE_X86: u32 = 1;

/// Bytes of a file that hold all there is before the processors.
pub(super) const HEAD_LEN: usize = 96;
