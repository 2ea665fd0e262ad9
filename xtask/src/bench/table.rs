//! The results as a Markdown table, with the machine they were measured on.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{COPY_RUNS, RUNS};
use super::measure::Cost;

const GIB: f64 = 1_073_741_824.0;

/// One line of the table.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) ours: Cost,
    /// Bytes of guest memory that had to be copied.
    pub(super) data_bytes: u64,
    pub(super) peer: Option<(&'static str, Cost)>,
    pub(super) target: &'static str,
}

/// The whole page.
pub(super) fn render(rows: &[Row]) -> Result<String> {
    let mut text = String::from("# Speed\n\n`cargo xtask bench --record` on this machine:\n\n");
    for line in machine()? {
        writeln!(text, "- {line}")?;
    }
    writeln!(
        text,
        "\nThe fastest of {RUNS} runs each, of {COPY_RUNS} for -M and -N6, taking turns with the peer.\n\
         CPU seconds are per GiB of data"
    )?;
    text.push_str(
        "\
         that is not a hole. `warm`: the memory file is in the page cache; `cold`: it is not.\n\
         The rest of the page cache is emptied before each run, if root runs this.\n\n\
         | what | seconds | peer | ratio | CPU s/GiB | peer's | peak MiB | aim |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        writeln!(text, "{}", line(row))?;
    }
    Ok(text)
}

fn line(row: &Row) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
    let gib = row.data_bytes as f64 / GIB;
    let per_gib = |cost: &Cost| format!("{:.2}", cost.cpu_seconds / gib);
    let (peer, ratio, peer_cpu) = match &row.peer {
        Some((name, cost)) => (
            format!("{:.3} ({name})", cost.seconds),
            format!("{:.2}", row.ours.seconds / cost.seconds),
            per_gib(cost),
        ),
        None => Default::default(),
    };
    format!(
        "| {} | {:.3} | {peer} | {ratio} | {} | {peer_cpu} | {:.0} | {} |",
        row.what,
        row.ours.seconds,
        per_gib(&row.ours),
        row.ours.peak_mib,
        row.target
    )
}

fn machine() -> Result<Vec<String>> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cp = Command::new("cp").arg("--version").output()?;
    let cp = String::from_utf8_lossy(&cp.stdout).lines().next().unwrap_or_default().to_owned();
    Ok(vec![
        format!("{model}, {cores} cores, {} GiB of memory", kib.unwrap_or(0) >> 20),
        format!("Linux {}, {cp}", kernel.trim()),
    ])
}
