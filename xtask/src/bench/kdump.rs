//! kdump-compressed files against makedumpfile on the ELF core of the same
//! guest, with the same compression and pages; raw ones against a `cp` that looks
//! for zeroes as we do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmss2core_lab::judges;

use super::inputs::Input;
use super::measure::{self, Cache, Cost};
use super::table::Row;
use super::{Bench, RUNS};

/// A duel over one kind of file.
struct Duel {
    what: &'static str,
    /// What we are given.
    ours: &'static [&'static str],
    /// What makedumpfile is given; `None` for `cp`.
    theirs: Option<&'static [&'static str]>,
    target: &'static str,
}

/// Level 1 of makedumpfile is what we always do: pages of zeroes share one.
const DUELS: [Duel; 5] = [
    Duel {
        what: "kdump zstd, one thread",
        ours: &["--compress", "zstd", "--threads", "1"],
        theirs: Some(&["-z", "-d", "1"]),
        target: "at most 0.67x, 256 MiB",
    },
    Duel {
        what: "kdump zstd",
        ours: &["--compress", "zstd"],
        theirs: Some(&["-z", "-d", "1"]),
        target: "at most 0.67x, 256 MiB",
    },
    Duel {
        what: "kdump zlib",
        ours: &["--compress", "zlib"],
        theirs: Some(&["-c", "-d", "1"]),
        target: "at most 0.67x, 256 MiB",
    },
    Duel {
        what: "kdump zstd -d 31",
        ours: &["--compress", "zstd", "-d", "31"],
        theirs: Some(&["-z", "-d", "31"]),
        target: "at most 0.67x, 256 MiB",
    },
    Duel {
        what: "kdump raw",
        ours: &["--compress", "raw"],
        theirs: None,
        target: "at most 1.1x, 256 MiB",
    },
];

/// One row for each duel.
pub(super) fn rows(bench: &Bench, input: &Input) -> Result<Vec<Row>> {
    let core = bench.dir.join("kdump.elf");
    measure::run(&bench.convert(input, "elf", &core), &bench.dir)?;
    let rows = DUELS.iter().map(|duel| row(bench, input, &core, duel)).collect();
    fs::remove_file(core)?;
    rows
}

fn row(bench: &Bench, input: &Input, core: &Path, duel: &Duel) -> Result<Row> {
    let out = bench.dir.join("out.kdump");
    let mut ours = bench.convert(input, "kdump", &out);
    ours.extend(duel.ours.iter().map(|&word| word.to_owned()));
    let (name, theirs, from) = match duel.theirs {
        Some(options) => ("makedumpfile", makedumpfile(options, core, &out)?, core),
        None => ("cp --sparse=always", cp(&input.memory, &out), input.memory.as_path()),
    };
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..RUNS {
        for turn in 0..2 {
            let index = (round + turn) % 2;
            if out.exists() {
                fs::remove_file(&out)?;
            }
            let (argv, from) =
                if index == 0 { (&ours, input.memory.as_path()) } else { (&theirs, from) };
            Cache::Warm.prepare(from, &bench.tool)?;
            costs[index].push(measure::run(argv, &bench.dir)?);
        }
    }
    fs::remove_file(&out)?;
    let [ours, theirs]: [Result<Cost>; 2] = costs.map(measure::best);
    Ok(Row {
        what: format!("{}, {}, warm", duel.what, input.name),
        ours: ours?,
        data_bytes: input.data_bytes,
        peer: Some((name, theirs?)),
        target: duel.target,
    })
}

/// makedumpfile without threads, which is its fastest: with `--num-threads 2` on
/// two processors it took five times as long, waiting.
fn makedumpfile(options: &[&str], core: &Path, out: &Path) -> Result<Vec<String>> {
    // The machine's own may not know zstd.
    let mut command = judges::makedumpfile_sid()?.command();
    command.args(["--message-level", "0"]).args(options).arg(core).arg(out);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| Ok(word.to_str().context("not a plain path")?.to_owned())).collect()
}

fn cp(from: &Path, to: &Path) -> Vec<String> {
    let paths = [from, to].map(|path| path.display().to_string());
    ["cp", "--sparse=always"].map(str::to_owned).into_iter().chain(paths).collect()
}
