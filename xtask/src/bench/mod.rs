//! `cargo xtask bench`: speed as a ratio to `cp` in the same run, with peak
//! memory, as a table.

mod gdb;
mod inputs;
mod kdump;
mod measure;
mod ps;
mod reflink;
mod table;
mod windows;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use self::inputs::Input;
use self::measure::{Cache, Cost};
use self::table::Row;

/// Runs of each program; the fastest counts.
const RUNS: usize = 3;
/// Runs of each copy. An aim of 1.05x is less than the same copy differs from one
/// run to the next: by a fifth where it waits for the disk or the host.
const COPY_RUNS: usize = 8;

/// Measures everything, or what `only` names; `record` also writes
/// `benches/RESULTS.md`.
pub(crate) fn run(root: &Path, record: bool, only: Option<&str>) -> Result<()> {
    let tool = crate::release_binary(root)?;
    let dir = vmss2core_lab::cache::dir()?.join("bench");
    fs::create_dir_all(&dir)?;
    let bench = Bench { tool, dir };
    let mut rows = Vec::new();
    for (name, group) in GROUPS {
        if only.is_none_or(|only| only == *name) {
            rows.extend(group(&bench)?);
        }
    }
    let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
    ensure!(!rows.is_empty(), "nothing to measure; there are: {}", names.join(", "));
    let text = table::render(&rows)?;
    println!("{text}");
    if record {
        let path = root.join("benches/RESULTS.md");
        let text = match only {
            // Each ratio is of one run, so rows of several make a table.
            Some(_) => table::replaced(&fs::read_to_string(&path)?, &text)?,
            None => text,
        };
        fs::create_dir_all(path.parent().context("benches has a parent")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// Measures some rows of the table.
type Group = fn(&Bench) -> Result<Vec<Row>>;

/// In the order of the table.
const GROUPS: &[(&str, Group)] = &[
    ("sparse", |bench| bench.warm_and_cold(&inputs::sparse_guest(&bench.dir)?)),
    ("random", |bench| bench.warm_and_cold(&inputs::random(&bench.dir)?)),
    ("kdump", |bench| kdump::rows(bench, &inputs::sparse_guest(&bench.dir)?)),
    ("info", |bench| Ok(vec![bench.info(&inputs::huge_guest(&bench.dir)?)?])),
    ("ps", |bench| ps::rows(bench, &inputs::sparse_guest(&bench.dir)?)),
    ("windows", windows::rows),
    ("gdb", |bench| {
        gdb::rows(bench, &inputs::huge_guest(&bench.dir)?, &inputs::sparse_guest(&bench.dir)?)
    }),
    ("reflink", |bench| reflink::rows(bench, &inputs::random(&bench.dir)?)),
];

struct Bench {
    tool: PathBuf,
    dir: PathBuf,
}

impl Bench {
    fn warm_and_cold(&self, input: &Input) -> Result<Vec<Row>> {
        let mut rows = self.conversions(input, Cache::Warm)?;
        rows.extend(self.conversions(input, Cache::Cold)?);
        Ok(rows)
    }

    /// `-M` and `-N6` against `cp --sparse=auto` of the memory file, taking turns.
    fn conversions(&self, input: &Input, cache: Cache) -> Result<Vec<Row>> {
        let out = self.dir.join("out.tmp");
        let memory = input.memory.display().to_string();
        let cp = ["cp", "--sparse=auto", &memory, &out.display().to_string()].map(str::to_owned);
        let contestants = [
            cp.to_vec(),
            self.convert(input, "elf-physical", &out),
            self.convert(input, "elf", &out),
        ];
        let mut costs = [const { Vec::new() }; 3];
        for round in 0..COPY_RUNS {
            // Whoever follows a large write pays for part of it: nobody always does.
            for turn in 0..contestants.len() {
                let index = (round + turn) % contestants.len();
                let (argv, costs) = (&contestants[index], &mut costs[index]);
                if out.exists() {
                    fs::remove_file(&out)?;
                }
                cache.prepare(&input.memory, &self.tool)?;
                costs.push(measure::run(argv, &self.dir)?);
            }
        }
        fs::remove_file(&out)?;
        let [cp, physical, linux] = costs.map(measure::best);
        let (cp, physical, linux) = (cp?, physical?, linux?);
        let row = |what: &str, ours: Cost| Row {
            what: format!("{what}, {}, {}", input.name, cache.name()),
            ours,
            data_bytes: input.data_bytes,
            peer: Some(("cp --sparse=auto", cp)),
            target: "at most 1.05x, 64 MiB",
        };
        Ok(vec![row("-M", physical), row("-N6", linux)])
    }

    fn info(&self, input: &Input) -> Result<Row> {
        let argv = ["info", &input.state.display().to_string()].map(str::to_owned);
        let argv: Vec<String> = [self.tool.display().to_string()].into_iter().chain(argv).collect();
        let costs = (0..RUNS).map(|_| measure::run(&argv, &self.dir)).collect::<Result<_>>()?;
        Ok(Row {
            what: format!("info, {}", input.name),
            ours: measure::best(costs)?,
            data_bytes: input.data_bytes,
            peer: None,
            target: "under 0.5 s",
        })
    }

    /// The command line that converts `input` to `out`.
    fn convert(&self, input: &Input, format: &str, out: &Path) -> Vec<String> {
        let (tool, state) = (self.tool.display().to_string(), input.state.display().to_string());
        let out = out.display().to_string();
        [&tool, "convert", &state, "-o", &out, "--format", format, "--force", "--progress=never"]
            .map(str::to_owned)
            .to_vec()
    }
}
