//! The list of processes, from the data up: what it says, in all forms.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod schema;

use std::collections::HashMap;

use serde_json::Value;
use vmss2core_answers::{PsOptions, PsReport, write_json, write_text};
use vmss2core_guest::linux::{Task, TaskState, Tasks};
use vmss2core_mem::{Gva, Problem};

fn task(tid: u32, pid: u32, ppid: u32, comm: &str) -> Task {
    Task {
        gva: Gva(0xffff_8880_0000_0000 + u64::from(tid) * 0x1000),
        tid,
        pid,
        ppid: Some(ppid),
        uid: Some(0),
        gid: Some(0),
        comm: comm.to_owned(),
        long_name: None,
        state: Some(TaskState { letter: 'S', bits: 1 }),
        mm: None,
        is_kernel_thread: false,
        stack: None,
        start_ns: Some(u64::from(tid) * 1_234_567_890),
        cpu: Some(0),
        on_vcpu: None,
    }
}

/// init, a shell with a threaded child, a kernel thread, an idle task.
fn tasks() -> Tasks {
    let mut tasks = vec![
        task(1, 1, 0, "init"),
        task(2, 2, 0, "kthreadd"),
        task(10, 10, 1, "sh"),
        task(12, 12, 10, "mt"),
        task(13, 12, 10, "mt-worker"),
        task(11, 11, 2, "kworker/0:1"),
        task(14, 14, 1, "gone"),
        task(0, 0, 0, "swapper/0"),
    ];
    for kernel_thread in [1, 5, 7] {
        tasks[kernel_thread].is_kernel_thread = true;
    }
    tasks[3].uid = Some(1000);
    tasks[4].on_vcpu = Some(1);
    tasks[4].state = Some(TaskState { letter: 'R', bits: 0 });
    tasks[6].state = Some(TaskState { letter: 'Z', bits: 0x20 });
    Tasks { tasks, problems: vec![Problem::warning("a list is torn")] }
}

fn command_lines() -> HashMap<Gva, Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    HashMap::from([
        (tasks().tasks[0].gva, words(&["/init", "--x"])),
        (tasks().tasks[2].gva, words(&["", ""])),
        (tasks().tasks[3].gva, words(&["./mt", "a b", "\u{1b}[2J"])),
        (tasks().tasks[4].gva, words(&["./mt", "a b", "\u{1b}[2J"])),
    ])
}

fn report(options: PsOptions) -> PsReport {
    PsReport::new(&tasks(), command_lines(), &[], options)
}

fn text(report: &PsReport) -> String {
    let mut out = Vec::new();
    write_text(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(report: &PsReport) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn processes_are_listed_by_number() {
    let report = report(PsOptions::default());
    assert_eq!(
        text(&report),
        "      PID    PPID    UID S NLWP CPU        START COMMAND
        0       0      0 S    1   0       0.00 s [swapper/0]
        1       0      0 S    1   0       1.23 s /init --x
        2       0      0 S    1   0       2.46 s [kthreadd]
       10       1      0 S    1   0      12.34 s [sh]
       11       2      0 S    1   0      13.58 s [kworker/0:1]
>      12      10   1000 S    2   0      14.81 s ./mt a b \\u{1b}[2J
       14       1      0 Z    1   0      17.28 s [gone] <defunct>
4 processes with 5 threads, 3 kernel threads: 1 R, 6 S, 1 Z
"
    );
}

#[test]
fn threads_have_lines_of_their_own_and_dates_where_the_clock_is_known() {
    let report = report(PsOptions {
        threads: true,
        tree: false,
        boot_unix_ns: Some(1_700_000_000_000_000_000),
    });
    let text = text(&report);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "      PID     TID    PPID    UID S NLWP CPU START               COMMAND");
    assert_eq!(
        lines[7],
        ">      12      13      10      0 R    2   0 2023-11-14 22:13:36 {mt-worker}"
    );
    assert!(lines[6].starts_with("       12      12 "), "{}", lines[6]);
}

#[test]
fn a_tree_has_every_process_below_its_parent() {
    let text = text(&report(PsOptions { tree: true, ..PsOptions::default() }));
    // The last line is not one of the table.
    let (text, _) = text.trim_end().rsplit_once('\n').unwrap();
    let column = text.find("COMMAND").unwrap();
    let commands: Vec<&str> = text.lines().map(|line| line.split_at(column).1).collect();
    assert_eq!(
        commands[1..8],
        [
            "[swapper/0]",
            "/init --x",
            " \\_ [sh]",
            "     \\_ ./mt a b \\u{1b}[2J",
            " \\_ [gone] <defunct>",
            "[kthreadd]",
            " \\_ [kworker/0:1]",
        ]
    );
}

#[test]
fn a_tree_of_tasks_that_are_each_others_parents_ends_and_loses_none() {
    let count = 5000;
    // A ring, and one that is its own parent.
    let mut tasks: Vec<Task> =
        (1..=count).map(|pid| task(pid, pid, pid % (count - 1) + 1, "x")).collect();
    tasks[9].ppid = Some(10);
    let tasks = Tasks { tasks, problems: Vec::new() };
    let options = PsOptions { tree: true, ..PsOptions::default() };
    let text = text(&PsReport::new(&tasks, HashMap::new(), &[], options));
    assert_eq!(text.lines().count(), count as usize + 2);
    assert!(text.lines().all(|line| line.len() < 300));
}

#[test]
fn what_is_not_known_is_a_question_mark_in_text_and_absent_in_json() {
    let unknown = Task {
        ppid: None,
        uid: None,
        gid: None,
        state: None,
        start_ns: None,
        cpu: None,
        ..task(5, 5, 1, "x")
    };
    let tasks = Tasks { tasks: vec![unknown], problems: Vec::new() };
    let report = PsReport::new(&tasks, HashMap::new(), &[], PsOptions::default());
    let text = text(&report);
    assert_eq!(
        text.lines().nth(1).unwrap(),
        "        5       ?      ? ?    1   ?            ? [x]"
    );
    let json = json(&report);
    assert!(json["tasks"][0].get("ppid").is_none());
    assert_eq!(schema::violations(&schema::load("ps-1.json"), &json), [""; 0]);
}

#[test]
fn json_fits_its_schema() {
    let schema = schema::load("ps-1.json");
    for threads in [false, true] {
        let report = report(PsOptions {
            threads,
            tree: false,
            boot_unix_ns: Some(1_700_000_000_000_000_000),
        });
        let json = json(&report);
        assert_eq!(schema::violations(&schema, &json), [""; 0]);
        assert_eq!(json["tasks"].as_array().unwrap().len(), if threads { 8 } else { 7 });
        assert_eq!(json["totals"]["states"]["S"], 6);
        assert_eq!(json["problems"][0]["message"], "a list is torn");
    }
}
