//! `ps` against the tools that list tasks from a kernel's debug information. What
//! they cannot read themselves is converted for them beforehand: crash opens the
//! checkpoint, drgn and volatility 3 our core of it.
//!
//! volatility 3 would need a symbol file of the kernel, which nothing here can
//! make; its plugin that lists banners shows what it needs before its first answer.

use std::fs;
use std::path::Path;

use anyhow::Result;
use vmss2core_lab::judges::{self, Judge};

use super::inputs::Input;
use super::measure::{self, Cost};
use super::table::Row;
use super::{Bench, RUNS};

const DRGN: &str = "\
import sys, drgn
from drgn.helpers.linux import for_each_task
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
prog.load_debug_info([sys.argv[2]])
for task in for_each_task(prog):
    print(task.pid.value_(), task.comm.string_().decode(errors='replace'))
";

/// One row for each of the others, all of one series of runs.
pub(super) fn rows(bench: &Bench, input: &Input) -> Result<Vec<Row>> {
    let core = bench.dir.join("ps.core");
    measure::run(&bench.convert(input, "elf", &core), &bench.dir)?;
    let contestants = contestants(bench, input, &core)?;
    let mut costs: Vec<Vec<Cost>> = contestants.iter().map(|_| Vec::new()).collect();
    // The first round brings everything into the page cache: files, symbols, programs.
    measure::shell(&format!("cat '{}' '{}' > /dev/null", input.memory.display(), core.display()))?;
    for round in 0..=RUNS {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let ((_, argv), costs) = (&contestants[index], &mut costs[index]);
            let cost = measure::run(argv, &bench.dir)?;
            costs.extend((round > 0).then_some(cost));
        }
    }
    fs::remove_file(&core)?;
    let mut best = costs.into_iter().map(measure::best).collect::<Result<Vec<_>>>()?.into_iter();
    let ours = best.next().unwrap_or_default();
    let peers = contestants.iter().skip(1).zip(best);
    let row = |((name, _), cost): (&(&'static str, Vec<String>), Cost)| Row {
        what: format!("ps, {}", input.name),
        ours,
        data_bytes: input.data_bytes,
        peer: Some((*name, cost)),
        target: "at most 0.3 s, 0.2x of drgn, 150 MiB",
    };
    Ok(peers.map(row).collect())
}

/// Names and command lines, ours first.
fn contestants(
    bench: &Bench,
    input: &Input,
    core: &Path,
) -> Result<Vec<(&'static str, Vec<String>)>> {
    let kernel = vmss2core_lab::make::guest_with_vmlinux("linux-6.1-6g")?.vmlinux;
    let kernel = kernel.unwrap_or_default().display().to_string();
    let (state, core) = (input.state.display().to_string(), core.display().to_string());
    let (drgn, crash) = (bench.dir.join("ps.py"), bench.dir.join("ps.crash"));
    fs::write(&drgn, DRGN)?;
    fs::write(&crash, "ps\nquit\n")?;
    let (drgn, crash) = (drgn.display().to_string(), crash.display().to_string());
    let ours = [bench.tool.display().to_string(), "ps".to_owned(), state.clone()].to_vec();
    Ok(vec![
        ("vmss2core", ours),
        ("crash", argv(&judges::crash()?, &["-s", "-i", &crash, &kernel, &state])),
        ("drgn", argv(&judges::python()?, &[&drgn, &core, &kernel])),
        (
            "volatility 3, banners only",
            argv(&judges::volatility3()?, &["-q", "-f", &core, "banners"]),
        ),
    ])
}

fn argv(judge: &Judge, arguments: &[&str]) -> Vec<String> {
    let command = judge.command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    words.chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
}
