//! The lab's vectors: sound ones open with every page and register, broken ones
//! are refused or opened with a word about it, never with wrong bytes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops where it is wrong"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{assert_memory, assert_registers, chain, open_in, problems, wrong_or_missing_pages};
use vmss2core_checkpoint::{OpenError, Opened};
use vmss2core_lab::vmware::{Expect, Machine, Opens, Vector, vectors};

type Outcome = Result<Opened, OpenError>;

fn open_vector(vector: &Vector, dir: &Path) -> Outcome {
    for (name, contents) in &vector.files {
        // Names in archives may point outside; names of files here do not.
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        contents.write_to(&path).unwrap();
    }
    let inputs: Vec<PathBuf> = vector.inputs.iter().map(|name| dir.join(name)).collect();
    open_in(dir, &inputs)
}

fn judge(vector: &Vector, outcome: Outcome) {
    match &vector.expect {
        Expect::Opens(opens) => judge_opens(opens, outcome),
        Expect::Fails(words) => judge_fails(words, outcome),
        Expect::Damaged(machine) => judge_damaged(machine, outcome),
        Expect::Survives => judge_survives(outcome),
    }
}

fn judge_opens(opens: &Opens, outcome: Outcome) {
    let checkpoint =
        outcome.unwrap_or_else(|error| panic!("refused: {}", chain(&error))).checkpoint;
    assert_memory(&checkpoint, &opens.machine, &opens.absent);
    assert_registers(&checkpoint, &opens.machine, opens.registers);
    let problems = problems(&checkpoint);
    for word in &opens.problems {
        assert!(problems.to_lowercase().contains(word), "{word:?} is not among: {problems}");
    }
}

fn judge_fails(words: &[String], outcome: Outcome) {
    let error = outcome.expect_err("opened what cannot be");
    let message = chain(&error);
    for word in words {
        assert!(message.to_lowercase().contains(word), "{word:?} is not in: {message}");
    }
}

fn judge_damaged(machine: &Machine, outcome: Outcome) {
    let checkpoint = match outcome {
        Ok(opened) => opened.checkpoint,
        Err(error) => {
            let message = chain(&error);
            return assert!(message.contains("0x"), "says not where: {message}");
        }
    };
    let (wrong, missing) = wrong_or_missing_pages(&checkpoint, machine);
    let told = !checkpoint.about.problems.is_empty();
    assert!(told || wrong == 0, "{wrong} wrong pages and not a word about it");
    assert!(told || missing > 0, "opened as if it were whole");
}

/// Whatever was opened must be readable without surprise.
fn judge_survives(outcome: Outcome) {
    let Ok(opened) = outcome else { return };
    for segment in opened.checkpoint.memory.segments().iter().take(8) {
        let mut page = [0; 4096];
        let last = segment.end().0.saturating_sub(4096);
        for at in [segment.start().0, last] {
            let _ = opened.checkpoint.memory.read_or_zero(vmss2core_mem::Gpa(at), &mut page);
        }
    }
}

#[test]
fn every_vector_meets_its_expectation() {
    let mut failures = Vec::new();
    for vector in vectors().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let run = || judge(&vector, open_vector(&vector, dir.path()));
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            failures.push(format!("{}: {}", vector.name, text.unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn names_in_archives_do_not_lead_outside() {
    let vectors = vectors().unwrap();
    let vector = vectors.iter().find(|v| v.name == "18-bundle-escaping-names").unwrap();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/c");
    std::fs::create_dir_all(&dir).unwrap();
    judge(vector, open_vector(vector, &dir));
    for path in [root.path().join("a/escaped.vmss"), "/tmp/vmss2core-escaped.vmss".into()] {
        assert!(!path.exists(), "{} was written", path.display());
    }
}
