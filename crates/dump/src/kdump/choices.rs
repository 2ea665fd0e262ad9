//! Choices about a kdump-compressed file.

use std::num::NonZeroUsize;

use super::codec::Compression;
use super::filter::DumpLevel;
use crate::{Choice, ChoiceError, Chosen, Takes};

/// In the order of the help.
pub(super) static ALL: &[&Choice] = &[&COMPRESS, &LEVEL, &DUMP_LEVEL, &FLATTEN, &THREADS];

static COMPRESS: Choice = Choice {
    name: "compress",
    takes: Takes::Word { called: "HOW", words: &Compression::NAMES, are_listed: true },
    help: "How pages are compressed",
    details: Some(
        "crash, drgn and libkdumpfile read all of them. makedumpfile reads zstd and snappy only \
         if it was built to; zlib is read by everything.",
    ),
    default: Some("zstd"),
    ..Choice::FLAG
};
static LEVEL: Choice = Choice {
    name: "level",
    takes: Takes::Number { called: "N", most: 255 },
    help: "Level of zstd (1 to 19) or zlib (1 to 9)",
    default: Some("1"),
    ..Choice::FLAG
};
static DUMP_LEVEL: Choice = Choice {
    name: "dump-level",
    letter: Some('d'),
    takes: Takes::Number { called: "SUM", most: DumpLevel::MOST as u32 },
    help: "Leave pages out: the sum of 1 (zero), 2 (cache), 4 (cache and private cache), 8 (user), \
           16 (free); 31 leaves the kernel's own",
    details: Some(
        "The numbers are makedumpfile's. What a page is for is read from the guest's kernel; no \
         symbol file is needed. Pages of zeroes share one in the file whether or not they are \
         asked for, as crash misses pages that are not there.",
    ),
    default: Some("0"),
    ..Choice::FLAG
};
static FLATTEN: Choice = Choice {
    name: "flatten",
    help: "Write the flattened form, as for standard output: makedumpfile -R restores the file, \
           crash and drgn open it as it is",
    ..Choice::FLAG
};
static THREADS: Choice = Choice {
    name: "threads",
    takes: Takes::Count { called: "N" },
    help: "Compress with this many threads",
    details: Some("The file is the same for any number."),
    default: Some("all processors"),
    ..Choice::FLAG
};

/// The choices made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KdumpOptions {
    /// How pages are stored.
    pub(super) compression: Compression,
    /// Pages to leave out.
    pub(super) level: DumpLevel,
    /// The flattened form, from which `makedumpfile -R` restores the file.
    pub(super) flatten: bool,
    /// How many threads compress; `None` for as many as there are processors.
    /// The file is the same for any number.
    pub(super) threads: Option<NonZeroUsize>,
}

impl KdumpOptions {
    /// The choices made, if they go together.
    pub(super) fn of(chosen: &Chosen) -> Result<Self, ChoiceError> {
        Ok(Self {
            compression: compression(chosen)?,
            level: level(chosen)?,
            flatten: chosen.has(&FLATTEN),
            threads: chosen
                .number(&THREADS)
                .and_then(|count| NonZeroUsize::new(usize::try_from(count).unwrap_or(usize::MAX))),
        })
    }
}

fn compression(chosen: &Chosen) -> Result<Compression, ChoiceError> {
    let name = chosen.word(&COMPRESS).unwrap_or("zstd");
    let level = chosen.number(&LEVEL).map(|level| u8::try_from(level).unwrap_or(u8::MAX));
    Compression::named(name, level).map_err(|error| ChoiceError::Unfit {
        name: COMPRESS.name,
        value: name.to_owned(),
        source: error.into(),
    })
}

fn level(chosen: &Chosen) -> Result<DumpLevel, ChoiceError> {
    let Some(level) = chosen.number(&DUMP_LEVEL) else { return Ok(DumpLevel::NOTHING) };
    u8::try_from(level).ok().and_then(DumpLevel::new).ok_or_else(|| ChoiceError::Unfit {
        name: DUMP_LEVEL.name,
        value: level.to_string(),
        source: "there is no such level".into(),
    })
}
