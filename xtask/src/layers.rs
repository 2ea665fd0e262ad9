//! Checks the arrows between crates: ARCHITECTURE.md draws them, this table says
//! them, `cargo metadata` tells what is.

mod library;
mod modules;
mod options;
mod paths;
mod processors;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Which of our crates a crate may use outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("vmss2core-mem", &[]),
    ("vmss2core-formats", &[]),
    ("vmss2core-machine", &["vmss2core-mem"]),
    ("vmss2core-checkpoint", &["vmss2core-formats", "vmss2core-mem", "vmss2core-machine"]),
    ("vmss2core-guest", &["vmss2core-formats", "vmss2core-mem", "vmss2core-machine"]),
    (
        "vmss2core-dump",
        &["vmss2core-formats", "vmss2core-mem", "vmss2core-machine", "vmss2core-guest"],
    ),
    ("vmss2core-gdb", &["vmss2core-mem", "vmss2core-machine"]),
    (
        "vmss2core-debug",
        &["vmss2core-mem", "vmss2core-machine", "vmss2core-guest", "vmss2core-gdb"],
    ),
    (
        "vmss2core-answers",
        &["vmss2core-mem", "vmss2core-machine", "vmss2core-checkpoint", "vmss2core-guest"],
    ),
    (
        "vmss2core",
        &[
            "vmss2core-mem",
            "vmss2core-machine",
            "vmss2core-checkpoint",
            "vmss2core-guest",
            "vmss2core-dump",
            "vmss2core-gdb",
            "vmss2core-debug",
            "vmss2core-answers",
        ],
    ),
    ("vmss2core-lab", &[]),
    ("xtask", &["vmss2core-lab"]),
];

/// Crates that only these may use, tests included: what a terminal program needs
/// has no place in a library.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("clap", &["vmss2core", "xtask"]),
    ("anyhow", &["vmss2core", "xtask", "vmss2core-lab"]),
    ("indicatif", &["vmss2core"]),
    ("serde", &["vmss2core-answers", "vmss2core-lab"]),
];

/// What each crate begins with that handles numbers of guests and files.
const CHECKED: &str =
    "#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]";

/// Which do not: they handle none that a user gives.
const UNCHECKED: [&str; 2] = ["vmss2core-lab", "xtask"];

/// Which may name any processor anywhere: layouts of files, test guests, and this.
const ANY_PROCESSOR: [&str; 3] = ["vmss2core-formats", "vmss2core-lab", "xtask"];

/// Fails with every arrow that points the wrong way.
pub(crate) fn run(root: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root)
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("metadata has packages")?;
    let wrong: Vec<String> = packages.iter().flat_map(wrong_arrows).collect();
    ensure!(wrong.is_empty(), "wrong dependencies:\n{}", wrong.join("\n"));
    let unchecked = packages.iter().filter(|package| !has_checked_sums(package));
    let unchecked: Vec<&str> = unchecked.filter_map(|package| package["name"].as_str()).collect();
    ensure!(
        unchecked.is_empty(),
        "the root of {} lacks {CHECKED}",
        unchecked.join(" and that of ")
    );
    let wrong = packages.iter().map(wrong_lines).collect::<Result<Vec<_>>>()?.concat();
    ensure!(
        wrong.is_empty(),
        "libraries do not print, exit, read the environment or know command lines:\n{}",
        wrong.join("\n")
    );
    let wrong = modules::wrong_lines(root)?;
    ensure!(wrong.is_empty(), "modules that are to stay apart:\n{}", wrong.join("\n"));
    let wrong = packages.iter().map(|package| wrong_processors(root, package));
    let wrong = wrong.collect::<Result<Vec<_>>>()?.concat();
    ensure!(
        wrong.is_empty(),
        "processors are named below folders of their name only:\n{}",
        wrong.join("\n")
    );
    println!("layers: {} crates, all arrows point the right way", packages.len());
    Ok(())
}

/// Whether no sum of a crate can overflow, in whichever module.
fn has_checked_sums(package: &Value) -> bool {
    let is_root = |target: &&Value| {
        let kinds = target["kind"].as_array().map_or(&[][..], Vec::as_slice);
        kinds.iter().any(|kind| kind == "lib" || kind == "bin")
    };
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut roots = targets.iter().filter(is_root).filter_map(|target| target["src_path"].as_str());
    UNCHECKED.iter().any(|name| package["name"] == *name)
        || roots.all(|root| {
            std::fs::read_to_string(root).is_ok_and(|text| text.lines().any(|line| line == CHECKED))
        })
}

/// What libraries do not do, in those that users get.
fn wrong_lines(package: &Value) -> Result<Vec<String>> {
    if UNCHECKED.iter().any(|name| package["name"] == *name) {
        return Ok(Vec::new());
    }
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let is_lib = |target: &&Value| {
        target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"lib".into()))
    };
    let roots = targets.iter().filter(is_lib).filter_map(|target| target["src_path"].as_str());
    let found =
        roots.map(|root| library::wrong_lines(Path::new(root), package["name"] == "vmss2core"));
    Ok(found.collect::<Result<Vec<_>>>()?.concat())
}

/// What names a processor where it does not belong.
fn wrong_processors(root: &Path, package: &Value) -> Result<Vec<String>> {
    if ANY_PROCESSOR.iter().any(|name| package["name"] == *name) {
        return Ok(Vec::new());
    }
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let is_ours = |target: &&Value| {
        let kinds = target["kind"].as_array().map_or(&[][..], Vec::as_slice);
        kinds.iter().any(|kind| kind == "lib" || kind == "bin")
    };
    let roots = targets.iter().filter(is_ours).filter_map(|target| target["src_path"].as_str());
    let found = roots.map(|file| processors::wrong_lines(root, Path::new(file)));
    Ok(found.collect::<Result<Vec<_>>>()?.concat())
}

fn wrong_arrows(package: &Value) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let name = package["name"].as_str().unwrap_or_default();
    let Some(ours) = allowed.get(name) else {
        return vec![format!("{name}: not in the table of xtask/src/layers.rs")];
    };
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
    normal
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|used| {
            let against = allowed.contains_key(used) && !ours.contains(used);
            against || ONLY_IN.iter().any(|(only, by)| only == used && !by.contains(&name))
        })
        .map(|used| format!("{name} uses {used}"))
        .collect()
}
