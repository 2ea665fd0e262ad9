//! Choices about a Windows dump.

use crate::{Choice, Chosen, Takes};

/// In the order of the help.
pub(super) static ALL: &[&Choice] = &[&SPARSE, &RUNS, &BUGCHECK, &LIVE_CONTEXT, &NO_PATCH, &BUILD];

static SPARSE: Choice = Choice {
    name: "sparse",
    help: "Leave out stretches of zeroes; the dump gets a bitmap of its pages",
    details: Some(
        "Debuggers show such memory as missing and not as zeroes. As holes of the file zeroes take \
         no space anyway; but they count in the file's length.",
    ),
    ..Choice::FLAG
};
static RUNS: Choice = Choice {
    name: "runs",
    takes: Takes::Word { called: "WHOSE", words: &["machine", "guest"], are_listed: false },
    help: "Which memory to write: all that the machine has, or what the guest's Windows would \
           write itself",
    default: Some("machine"),
    ..Choice::FLAG
};
static BUGCHECK: Choice = Choice {
    name: "bugcheck",
    takes: Takes::Hex { called: "HEX", bits: 32 },
    help: "Bugcheck to state for a guest that has not crashed",
    default: Some("0x161"),
    ..Choice::FLAG
};
pub(super) static LIVE_CONTEXT: Choice = Choice {
    name: "live-context",
    help: "Of a crashed guest: registers of its vCPUs, not those that it saved",
    ..Choice::FLAG
};
static NO_PATCH: Choice = Choice {
    name: "no-patch",
    help: "Write the guest's memory as it is, nothing over it",
    details: Some(
        "Otherwise the dump has its debugger data decoded, and the registers of each vCPU where \
         debuggers look for them. The input is never changed.",
    ),
    ..Choice::FLAG
};
pub(super) static BUILD: Choice = Choice {
    name: "build",
    takes: Takes::Number { called: "N", most: u32::MAX },
    help: "Build number to state instead of the guest's",
    ..Choice::FLAG
};

/// The choices made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WindbgOptions {
    /// Build number to state instead of the guest's.
    pub(super) build: Option<u32>,
    /// Bugcheck to state for a guest that has not crashed.
    pub(super) bugcheck: Option<u32>,
    /// Which memory to write.
    pub(super) runs: MemoryRuns,
    /// Leave out stretches of zeroes.
    pub(super) sparse: bool,
    /// Of a crashed guest: registers of its vCPUs, not those that Windows saved.
    pub(super) live_context: bool,
    /// The guest's memory as it is, nothing written over it.
    pub(super) no_patch: bool,
}

/// Which memory to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MemoryRuns {
    /// All that the checkpoint holds.
    #[default]
    Machine,
    /// The memory that Windows itself would write: `MmPhysicalMemoryBlock`.
    Guest,
}

impl WindbgOptions {
    /// The choices made.
    pub(super) fn of(chosen: &Chosen) -> Self {
        Self {
            build: chosen.number_32(&BUILD),
            bugcheck: chosen.number_32(&BUGCHECK),
            runs: match chosen.word(&RUNS) {
                Some("guest") => MemoryRuns::Guest,
                _ => MemoryRuns::Machine,
            },
            sparse: chosen.has(&SPARSE),
            live_context: chosen.has(&LIVE_CONTEXT),
            no_patch: chosen.has(&NO_PATCH),
        }
    }
}
