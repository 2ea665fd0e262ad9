//! What `convert --format kdump` takes.

use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::PossibleValuesParser;
use vmss2core_dump::{Compression, DumpLevel, KdumpOptions};

const HEADING: &str = "Options of --format kdump";

/// How pages are stored, and which are left out.
#[derive(Clone, Debug, Args)]
pub(crate) struct KdumpArgs {
    /// How pages are compressed [default: zstd]
    ///
    /// crash, drgn and libkdumpfile read all of them. makedumpfile reads zstd
    /// and snappy only if it was built to; zlib is read by everything.
    #[arg(long, value_name = "HOW", value_parser = PossibleValuesParser::new(Compression::NAMES),
        help_heading = HEADING)]
    compress: Option<String>,
    /// Level of zstd (1 to 19) or zlib (1 to 9) [default: 1]
    #[arg(long, value_name = "N", help_heading = HEADING)]
    level: Option<u8>,
    /// Leave pages out: the sum of 1 (zero), 2 (cache), 4 (cache and private
    /// cache), 8 (user), 16 (free); 31 leaves the kernel's own [default: 0]
    ///
    /// The numbers are makedumpfile's. What a page is for is read from the
    /// guest's kernel; no symbol file is needed. Pages of zeroes share one in
    /// the file whether or not they are asked for, as crash misses pages that
    /// are not there.
    #[arg(short, long, value_name = "SUM",
        value_parser = clap::value_parser!(u8).range(..=i64::from(DumpLevel::MOST)),
        help_heading = HEADING)]
    dump_level: Option<u8>,
    /// Write the flattened form, as for standard output: makedumpfile -R
    /// restores the file, crash and drgn open it as it is
    #[arg(long, help_heading = HEADING)]
    flatten: bool,
    /// Compress with this many threads [default: all processors]
    ///
    /// The file is the same for any number.
    #[arg(long, value_name = "N", help_heading = HEADING)]
    threads: Option<NonZeroUsize>,
}

impl KdumpArgs {
    /// The first option that was given, by name.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let options = [
            ("--compress", self.compress.is_some()),
            ("--level", self.level.is_some()),
            ("--dump-level", self.dump_level.is_some()),
            ("--flatten", self.flatten),
            ("--threads", self.threads.is_some()),
        ];
        options.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }

    /// What they mean.
    pub(crate) fn options(&self) -> Result<KdumpOptions, String> {
        let name = self.compress.as_deref().unwrap_or("zstd");
        let compression = Compression::named(name, self.level);
        let level = self.dump_level.unwrap_or(0);
        Ok(KdumpOptions {
            compression: compression.map_err(|error| format!("--compress {name}: {error}"))?,
            level: DumpLevel::new(level).ok_or_else(|| format!("no dump level: {level}"))?,
            flatten: self.flatten,
            threads: self.threads,
        })
    }
}
