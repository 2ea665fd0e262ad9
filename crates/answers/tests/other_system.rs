//! A system that is known here only: what is said of one that has nothing of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod forms;
mod schema;

use std::sync::Arc;

use vmss2core_answers::{InfoReport, Listed, PsReport, plain_line};
use vmss2core_guest::linux::GivenFiles;
use vmss2core_guest::model::{Task, Tasks};
use vmss2core_guest::{AskError, Boot, Effort, Facts, Look, Now, Seen, System, Told};
use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::Found;

use forms::{fits, json, text};

#[derive(Debug)]
struct Plan9;

impl System for Plan9 {
    fn name(&self) -> &'static str {
        "Plan 9"
    }

    fn look(&self, _: &mut Look<'_>, _: Effort) -> Option<Seen> {
        None
    }

    fn not_seen(&self, _: &Look<'_>) -> String {
        "no Glenda".to_owned()
    }
}

#[derive(Debug)]
struct Booted;

impl Boot for Booted {
    fn system(&self) -> &'static dyn System {
        &Plan9
    }

    fn is_64_bit(&self) -> bool {
        true
    }

    fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>> {
        None
    }

    fn now(
        self: Arc<Self>,
        _: &Checkpoint,
        _: &Facts,
        _: &GivenFiles,
    ) -> Result<Arc<dyn Now>, AskError> {
        Ok(self)
    }

    fn told(&self) -> Vec<Told> {
        vec![Told { name: "edition", fact: Found::new("fourth\x1b".to_owned(), "made") }]
    }
}

impl Now for Booted {
    fn tasks(&self) -> Option<Result<Tasks, AskError>> {
        let rio = Task { pid: 9, name: "rio".to_owned(), ..Task::default() };
        Some(Ok(Tasks { tasks: vec![rio], ..Tasks::default() }))
    }
}

#[test]
fn what_it_tells_is_said_and_what_it_does_not_is_not_offered() {
    let facts = Facts::of(Booted, "a white rabbit");
    let info = InfoReport::new(&Checkpoint::default(), &facts, &[], plain_line);
    fits("info-1.json", &json(&info));
    let said = text(&info);
    assert!(said.contains("guest        Plan 9 (a white rabbit)"), "{said}");
    assert!(said.contains("edition    fourth\\u{1b} (made)"), "{said}");
    let boot = facts.boot.as_ref().unwrap().value.clone();
    let now = boot.now(&Checkpoint::default(), &facts, &GivenFiles::default()).unwrap();
    let ps = PsReport::new(&now.tasks().unwrap().unwrap(), Listed::default());
    fits("ps-2.json", &json(&ps));
    assert!(text(&ps).ends_with("[rio]\n1 process with 0 threads\n"), "{}", text(&ps));
    assert!(now.images().is_none() && facts.linux().is_none());
}
