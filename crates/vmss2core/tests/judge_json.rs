//! What commands print as JSON of a real guest, against the schemas that are
//! shipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;
#[path = "../../answers/tests/schema/mod.rs"]
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{PROGRAM, Wrap, checkpoint};
use common::{guests, judges};
use serde_json::Value;
use vmss2core_lab::judges::python;

/// Each command that can print JSON; `PID` stands for a process, `OUT` for a file
/// that it writes. The last one fails.
const COMMANDS: [&str; 18] = [
    "info",
    "info --tags",
    "ps",
    "ps --threads",
    "maps --pid PID",
    "bt -a",
    "bt --pid PID",
    "dmesg",
    "modules",
    "symbols",
    "crash-args",
    "core --pid PID -o OUT",
    "extract --pid PID --maps -o OUT",
    "vmcoreinfo",
    "linuxoffsets",
    "convert --format raw -o OUT",
    "btf -o OUT",
    "maps --pid 4194305",
];

fn fit_their_schemas(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let state = checkpoint(&guest, &Wrap::split())?;
    let programs = guest.truth()?.programs()?;
    let pid = programs.get("pages").context("no such program")?.to_string();
    let dir = tempfile::tempdir()?;
    let (mut used, mut documents) = (BTreeSet::new(), Vec::new());
    for (number, command) in COMMANDS.iter().enumerate() {
        let out = dir.path().join(number.to_string());
        let out = out.to_str().context("not UTF-8")?;
        let words = command.split(' ').map(|word| match word {
            "PID" => pid.as_str(),
            "OUT" => out,
            word => word,
        });
        let output = Command::new(PROGRAM).args(words).arg("--json").arg(&state).output()?;
        let talk = String::from_utf8_lossy(&output.stderr);
        let fails = Some(command) == COMMANDS.last() || lacks(name, command);
        ensure!(output.status.success() != fails, "{name}: {command}: {}\n{talk}", output.status);
        let json: Value = serde_json::from_slice(&output.stdout)?;
        let own = json["schema"].as_str().context("no schema")?;
        let own = own.strip_prefix("vmss2core/").context("another's schema")?.replace('/', "-");
        let found = schema::violations(&schema::load(&format!("{own}.json")), &json);
        ensure!(found.is_empty(), "{name}: {command}: {found:#?}");
        used.insert(format!("{own}.json"));
        let document = dir.path().join(format!("{number}.json"));
        fs::write(&document, &output.stdout)?;
        documents.extend([schema_dir().join(format!("{own}.json")), document]);
    }
    let mut shipped = shipped()?;
    if lacks(name, "btf -o OUT") {
        shipped.remove("btf-1.json");
    }
    ensure!(used == shipped, "{name}: {used:?} were checked, there are {shipped:?}");
    // Ours knows only what our schemas use.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/json_schema.py");
    let said = judges::output(python()?.command().arg(script).args(&documents))?;
    ensure!(said.trim() == "valid", "{name}: {said}");
    Ok(())
}

/// Whether the guest has not what a command is about: Debian's 32-bit kernels have no BTF.
fn lacks(name: &str, command: &str) -> bool {
    command.starts_with("btf") && name.ends_with("i386")
}

fn schema_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema")
}

/// Names of all schemas of what is known of a Linux guest. Those of Windows
/// and macOS are checked where their reports are (`crates/answers/tests/`).
fn shipped() -> Result<BTreeSet<String>> {
    let names =
        fs::read_dir(schema_dir())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    let names: Result<BTreeSet<String>> = names.collect();
    let is_other = |name: &String| name.starts_with("windows-") || name.starts_with("macos-");
    Ok(names?.into_iter().filter(|name| !is_other(name)).collect())
}

guest_tests! {
    (fit_their_schemas)
    five_level: "linux-6.1",
    panicked: "linux-6.1-panic",
    newest: "linux-sid",
    two_level: "linux-6.1-i386",
}
