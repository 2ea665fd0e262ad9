//! The results as a Markdown table, with the machine they were measured on.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::measure::Cost;
use super::{COPY_RUNS, RUNS};

/// Between the table's head and its rows.
const RULE: &str = "|---|---|---|---|---|---|---|---|\n";
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
         | what | seconds | peer | ratio | CPU s/GiB | peer's | peak MiB | aim |\n",
    );
    text.push_str(RULE);
    for row in rows {
        writeln!(text, "{}", line(row))?;
    }
    Ok(text)
}

/// A recorded page with the rows of `newer` instead of its own of the same name and
/// peer.
pub(super) fn replaced(recorded: &str, newer: &str) -> Result<String> {
    fn name(line: &str) -> Option<(&str, &str)> {
        let mut cells = line.split('|').skip(1);
        let (what, peer) = (cells.next()?, cells.nth(1)?);
        Some((what, peer.split_once('(').map_or("", |(_, name)| name)))
    }
    let (head, old) = recorded.split_once(RULE).context("no table in benches/RESULTS.md")?;
    let (new_head, new) = newer.split_once(RULE).context("no table")?;
    ensure!(head == new_head, "benches/RESULTS.md is of another machine or way: record all rows");
    let mut lines: Vec<&str> = old.lines().collect();
    for row in new.lines().filter(|line| line.starts_with('|')) {
        match lines.iter_mut().find(|line| name(line) == name(row)) {
            Some(line) => *line = row,
            None => lines.push(row),
        }
    }
    Ok(format!("{head}{RULE}{}\n", lines.join("\n")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_rows_stand_where_the_old_ones_did() {
        let page = |rows: &str| format!("# Speed\n\n| what |\n{RULE}{rows}");
        let recorded = page("| a | 1 | |\n| b | 2 | 1 (cp) |\n| b | 2 | 1 (cat) |\n");
        let newer = page("| b | 3 | 4 (cat) |\n| c | 4 | |\n");
        let want = page("| a | 1 | |\n| b | 2 | 1 (cp) |\n| b | 3 | 4 (cat) |\n| c | 4 | |\n");
        assert_eq!(replaced(&recorded, &newer).unwrap(), want);
        assert!(replaced("nothing", &newer).is_err());
        assert!(replaced(&recorded.replace("Speed", "else"), &newer).is_err());
    }
}
