//! `gdb`: what it takes to the first prompt and a list of threads, and what a read
//! costs against QEMU's own stub, which serves the same memory of a machine that
//! has not started.
//!
//! Packets come from a file, one behind the other, without acknowledgements: what
//! is measured is the servers' work, not the way between two processes.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::inputs::Input;
use super::measure::{self, Cost};
use super::table::Row;
use super::{Bench, RUNS};

/// What gdb 13 sends to its first prompt, then for `info threads`.
const TO_THE_PROMPT: [&str; 22] = [
    "qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+;xmlRegisters=i386",
    "vMustReplyEmpty",
    "Hgp0.0",
    "qXfer:features:read:target.xml:0,1000",
    "qXfer:features:read:target.xml:1000,1000",
    "qXfer:features:read:target.xml:2000,1000",
    "?",
    "qXfer:threads:read::0,1000",
    "qAttached:1",
    "Hc-1",
    "qOffsets",
    "g",
    "qXfer:libraries:read::0,1000",
    "qSymbol::",
    "qXfer:threads:read::0,1000",
    "Hgp1.1",
    "g",
    "Hgp1.2",
    "g",
    "Hgp1.1",
    "g",
    "k",
];

/// QEMU 7.2 takes no more in one packet.
const LARGE: u64 = 2000;
const SMALL: u64 = 8;
const READS: u64 = 20_000;

pub(super) fn rows(bench: &Bench, huge: &Input, guest: &Input) -> Result<Vec<Row>> {
    let mut rows = vec![bench.prompt(huge)?];
    for (what, len) in [("reads of 2000 bytes", LARGE), ("reads of 8 bytes", SMALL)] {
        rows.push(bench.reads(guest, what, len)?);
    }
    rows.push(bench.reads_of_process(guest)?);
    Ok(rows)
}

impl Bench {
    fn prompt(&self, input: &Input) -> Result<Row> {
        let packets = packet_file(&self.dir, TO_THE_PROMPT.map(str::to_owned))?;
        let argv = self.serve(input, &packets);
        let costs = (0..RUNS).map(|_| measure::run(&argv, &self.dir)).collect::<Result<_>>()?;
        Ok(Row {
            what: format!("gdb: to the prompt and info threads, {}", input.name),
            ours: measure::best(costs)?,
            data_bytes: input.data_bytes,
            peer: None,
            target: "under 1 s, 100 MiB",
        })
    }

    fn reads(&self, input: &Input, what: &str, len: u64) -> Result<Row> {
        let read = |index: u64| format!("m{:x},{len:x}", (1 << 20) + index * LARGE);
        let physical = std::iter::once("Qqemu.PhyMemMode:1".to_owned());
        let packets = physical.chain((0..READS).map(read)).chain(["k".to_owned()]);
        let packets = packet_file(&self.dir, packets)?;
        let contestants = [self.serve(input, &packets), qemu(&packets)?];
        let mut costs = [const { Vec::<Cost>::new() }; 2];
        for round in 0..RUNS {
            for turn in 0..contestants.len() {
                let index = (round + turn) % contestants.len();
                costs[index].push(measure::run(&contestants[index], &self.dir)?);
            }
        }
        let [ours, peer] = costs.map(measure::best);
        Ok(Row {
            what: format!("gdb: {READS} {what}, {}", input.name),
            ours: ours?,
            data_bytes: READS * len,
            peer: Some(("QEMU's stub, with its start", peer?)),
            target: "at most 1x",
        })
    }

    /// Reads of the memory of a process, through its mappings, its page tables and the page
    /// cache of its files.
    fn reads_of_process(&self, input: &Input) -> Result<Row> {
        const LEN: u64 = 64;
        let (pid, start, end) = self.code_of_a_process(input)?;
        let read = |index: u64| format!("m{:x},{LEN:x}", start + index * LEN % (end - start));
        let packets = (0..READS).map(read).chain(["k".to_owned()]);
        let packets = packet_file(&self.dir, packets)?;
        let argv = self.serve_with(&format!("--pid {pid}"), input, &packets);
        let costs = (0..RUNS).map(|_| measure::run(&argv, &self.dir)).collect::<Result<_>>()?;
        Ok(Row {
            what: format!("gdb: {READS} reads of {LEN} bytes of a process, {}", input.name),
            ours: measure::best(costs)?,
            data_bytes: READS * LEN,
            peer: None,
            target: "under 1 s",
        })
    }

    /// The first process that has a file's code mapped, and where.
    fn code_of_a_process(&self, input: &Input) -> Result<(u64, u64, u64)> {
        let listed = self.json(input, "ps --json")?;
        let tasks = listed["tasks"].as_array().context("ps lists tasks")?;
        for pid in tasks.iter().filter_map(|task| task["pid"].as_u64()) {
            let Ok(maps) = self.json(input, &format!("maps --json --pid {pid}")) else { continue };
            let mappings = maps["mappings"].as_array().map_or(&[][..], Vec::as_slice);
            let is_code = |mapping: &&Value| {
                mapping["permissions"] == "r-xp" && mapping["page_cache"].as_u64() > Some(0)
            };
            let Some(code) = mappings.iter().find(is_code) else { continue };
            let address = |name: &str| {
                let digits = code[name].as_str()?.strip_prefix("0x")?;
                u64::from_str_radix(digits, 16).ok()
            };
            return address("start")
                .zip(address("end"))
                .map(|(start, end)| (pid, start, end))
                .context("the mapping has addresses");
        }
        anyhow::bail!("no process has code in the page cache")
    }

    fn json(&self, input: &Input, command: &str) -> Result<Value> {
        let mut run = std::process::Command::new(&self.tool);
        let output = run.args(command.split(' ')).arg(&input.state).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn serve(&self, input: &Input, packets: &Path) -> Vec<String> {
        self.serve_with("", input, packets)
    }

    fn serve_with(&self, options: &str, input: &Input, packets: &Path) -> Vec<String> {
        let line = format!(
            "exec '{}' gdb --stdio {options} '{}' < '{}' > /dev/null",
            self.tool.display(),
            input.state.display(),
            packets.display()
        );
        ["sh".to_owned(), "-c".to_owned(), line].to_vec()
    }
}

/// A machine with the guest's memory that never starts.
fn qemu(packets: &Path) -> Result<Vec<String>> {
    let guest = vmss2core_lab::make::guest("linux-6.1-6g")?;
    let line = format!(
        "exec qemu-system-x86_64 -S -accel tcg -nodefaults -display none -gdb stdio \
         -object memory-backend-file,id=ram0,mem-path='{}',size={},share=off \
         -machine pc,memory-backend=ram0 -m {}M < '{}' > /dev/null",
        guest.ram.display(),
        guest.ram_bytes,
        guest.ram_bytes >> 20,
        packets.display()
    );
    Ok(["sh".to_owned(), "-c".to_owned(), line].to_vec())
}

fn packet_file(dir: &Path, packets: impl IntoIterator<Item = String>) -> Result<PathBuf> {
    let mut text = String::from("$QStartNoAckMode#b0+");
    for packet in packets {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(text, "${packet}#{sum:02x}")?;
    }
    let path = dir.join("packets");
    fs::write(&path, text)?;
    Ok(path)
}
