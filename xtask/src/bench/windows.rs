//! Windows guests: dumps against a `cp` of the same bytes, and the list of
//! processes against the tools that find Windows in memory by themselves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmss2core_lab::judges::{self, Judge};
use vmss2core_lab::windows::Truth;

use super::inputs::{self, Input};
use super::measure::{self, Cache, Cost};
use super::table::Row;
use super::{Bench, RUNS};

const MEMPROCFS: &str = "\
import sys, memprocfs
options = ['-disable-symbolserver', '-disable-python', '-waitinitialize']
vmm = memprocfs.Vmm(['-device', 'file://' + sys.argv[1], *options])
for process in vmm.process_list():
    print(process.pid, process.name)
";

/// Conversion, discovery and processes.
pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let (sparse, truth) = inputs::windows(&bench.dir, 4)?;
    let (huge, _) = inputs::windows(&bench.dir, 64)?;
    let random = inputs::random_windows(&bench.dir)?;
    let mut rows = Vec::new();
    for input in [&sparse, &huge, &random] {
        rows.push(conversion(bench, input)?);
        rows.push(bench.info(input)?);
    }
    rows.push(search(bench, &random)?);
    rows.extend(processes(bench, &sparse, &truth)?);
    Ok(rows)
}

/// The search of all memory that `-WSCAN` asks for, against `grep` for the same tag.
fn search(bench: &Bench, input: &Input) -> Result<Row> {
    let package = ["--package", "vmss2core-guest", "--example", "debugger_blocks"];
    crate::build_release(crate::root()?, &package)?;
    let example = bench.tool.with_file_name("examples/debugger_blocks");
    let memory = input.memory.display().to_string();
    let ours = vec![example.display().to_string(), memory.clone()];
    // Exit code 1, as it would be without a match, is no failure of grep's.
    let theirs = ["sh", "-c", "LC_ALL=C grep -c KDBG \"$0\" || test $? = 1", &memory];
    let contestants = [ours, theirs.map(str::to_owned).to_vec()];
    let mut costs = [Vec::new(), Vec::new()];
    Cache::Warm.prepare(&input.memory, &bench.tool)?;
    for _ in 0..RUNS {
        for (costs, argv) in costs.iter_mut().zip(&contestants) {
            costs.push(measure::run(argv, &bench.dir)?);
        }
    }
    let [ours, theirs]: [Result<Cost>; 2] = costs.map(measure::best);
    Ok(Row {
        what: format!("search of all memory for debugger data, {}", input.name),
        ours: ours?,
        data_bytes: input.data_bytes,
        peer: Some(("grep", theirs?)),
        target: "3 GB/s per core: at most 0.36 CPU s/GiB",
    })
}

/// `--format windbg` against `cp`, taking turns.
fn conversion(bench: &Bench, input: &Input) -> Result<Row> {
    let out = bench.dir.join("out.dmp");
    let paths = [&input.memory, &out].map(|path| path.display().to_string());
    let cp = ["cp", "--sparse=auto"].map(str::to_owned).into_iter().chain(paths).collect();
    let contestants: [Vec<String>; 2] = [bench.convert(input, "windbg", &out), cp];
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..RUNS {
        for turn in 0..2 {
            let index = (round + turn) % 2;
            if out.exists() {
                fs::remove_file(&out)?;
            }
            Cache::Warm.prepare(&input.memory, &bench.tool)?;
            costs[index].push(measure::run(&contestants[index], &bench.dir)?);
        }
    }
    fs::remove_file(&out)?;
    let [ours, theirs]: [Result<Cost>; 2] = costs.map(measure::best);
    Ok(Row {
        what: format!("-W, {}, warm", input.name),
        ours: ours?,
        data_bytes: input.data_bytes,
        peer: Some(("cp --sparse=auto", theirs?)),
        target: "at most 1.1x, 64 MiB",
    })
}

/// `ps` against each of the others, on the same memory in one series of runs.
fn processes(bench: &Bench, input: &Input, truth: &Truth) -> Result<Vec<Row>> {
    let contestants = contestants(bench, input, truth)?;
    let mut costs: Vec<Vec<Cost>> = contestants.iter().map(|_| Vec::new()).collect();
    // The first round brings everything into the page cache.
    for round in 0..=RUNS {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let cost = measure::run(&contestants[index].1, &bench.dir)?;
            costs[index].extend((round > 0).then_some(cost));
        }
    }
    let best = costs.into_iter().map(measure::best).collect::<Result<Vec<_>>>()?;
    let ours = best.first().copied().unwrap_or_default();
    let peers = contestants.iter().zip(best).skip(1);
    let row = |((name, _), cost): (&(&'static str, Vec<String>), Cost)| Row {
        what: format!("ps, {}", input.name),
        ours,
        data_bytes: input.data_bytes,
        peer: Some((*name, cost)),
        target: "faster",
    };
    Ok(peers.map(row).collect())
}

/// Names and command lines, ours first.
fn contestants(
    bench: &Bench,
    input: &Input,
    truth: &Truth,
) -> Result<Vec<(&'static str, Vec<String>)>> {
    let symbols = bench.dir.join("windows-symbols");
    let (below, table) = truth.volatility_symbols();
    write(&symbols.join(below), &table)?;
    fs::create_dir_all(symbols.join("cache"))?;
    let script = bench.dir.join("memprocfs-ps.py");
    fs::write(&script, MEMPROCFS)?;
    let text = |path: &Path| path.display().to_string();
    let ours = vec![text(&bench.tool), "ps".to_owned(), text(&input.state)];
    let memory = text(&input.memory);
    let (cache, symbols) = (text(&symbols.join("cache")), text(&symbols));
    let volatility = [
        "-q",
        "--offline",
        "--cache-path",
        &cache,
        "-s",
        &symbols,
        "-f",
        &memory,
        "windows.pslist",
    ];
    Ok(vec![
        ("vmss2core", ours),
        ("MemProcFS", argv(&judges::python()?, &[&text(&script), &memory])),
        ("volatility 3", argv(&judges::volatility3()?, &volatility)),
    ])
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file without a folder")?)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn argv(judge: &Judge, arguments: &[&str]) -> Vec<String> {
    let command = judge.command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    words.chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
}
