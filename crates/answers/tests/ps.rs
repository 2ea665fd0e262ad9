//! The list of processes, from the data up: what it says, in all forms.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod schema;

use serde_json::Value;
use vmss2core_answers::{Listed, PsReport, write_json, write_text};
use vmss2core_guest::model::{Started, Task, TaskKind, Tasks};
use vmss2core_mem::{Gva, Problem};

fn task(tid: u64, pid: u64, ppid: u64, name: &str) -> Task {
    Task {
        kind: if tid == pid { TaskKind::FirstThread } else { TaskKind::Thread },
        address: Gva(0xffff_8880_0000_0000 + tid * 0x1000),
        tid: Some(tid),
        pid,
        parent: Some(ppid),
        uid: Some(0),
        gid: Some(0),
        name: name.to_owned(),
        state: Some("S".to_owned()),
        is_kernel_thread: Some(false),
        started: Started { since_boot_ns: Some(tid * 1_234_567_890), unix: None },
        cpu: Some(0),
        ..Task::default()
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
        tasks[kernel_thread].is_kernel_thread = Some(true);
    }
    tasks[3].uid = Some(1000);
    tasks[4].on_vcpu = Some(1);
    tasks[4].state = Some("R".to_owned());
    tasks[6].state = Some("Z".to_owned());
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    tasks[0].command_line = words(&["/init", "--x"]);
    tasks[2].command_line = words(&["", ""]);
    tasks[3].command_line = words(&["./mt", "a b", "\u{1b}[2J"]);
    tasks[4].command_line = words(&["./mt", "a b", "\u{1b}[2J"]);
    let problems = vec![Problem::warning("a list is torn")];
    Tasks { how: "made".to_owned(), boot_unix_ns: None, tasks, problems }
}

/// The same where the guest's clock is known.
fn dated() -> Tasks {
    const BOOT: u64 = 1_700_000_000_000_000_000;
    let mut tasks = tasks();
    tasks.boot_unix_ns = Some(BOOT);
    for task in &mut tasks.tasks {
        task.started.unix = task.started.since_boot_ns.map(|start| (BOOT + start) / 1_000_000_000);
    }
    tasks
}

fn listing(tasks: Vec<Task>) -> Tasks {
    Tasks { tasks, ..Tasks::default() }
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
    let report = PsReport::new(&tasks(), Listed::default());
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
    let report = PsReport::new(&dated(), Listed { threads: true, tree: false });
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
    let text = text(&PsReport::new(&tasks(), Listed { tree: true, threads: false }));
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
    tasks[9].parent = Some(10);
    let text = text(&PsReport::new(&listing(tasks), Listed { tree: true, threads: false }));
    assert_eq!(text.lines().count(), 5002);
    assert!(text.lines().all(|line| line.len() < 300));
}

#[test]
fn what_is_not_known_is_a_question_mark_in_text_and_absent_in_json() {
    let unknown = Task {
        parent: None,
        uid: None,
        gid: None,
        state: None,
        started: Started::default(),
        cpu: None,
        ..task(5, 5, 1, "x")
    };
    let known = task(6, 6, 5, "y");
    let report = PsReport::new(&listing(vec![unknown.clone(), known]), Listed::default());
    let text = text(&report);
    assert_eq!(
        text.lines().nth(1).unwrap(),
        "        5       ?      ? ?    1                ? [x]"
    );
    let json = json(&report);
    assert!(json["tasks"][0].get("ppid").is_none());
    // A column that would hold nothing else is left out.
    let alone = self::text(&PsReport::new(&listing(vec![unknown]), Listed::default()));
    assert!(!alone.contains("UID") && !alone.contains(" S "), "{alone}");
    assert_eq!(schema::violations(&schema::load("ps-2.json"), &json), [""; 0]);
}

#[test]
fn json_fits_its_schema() {
    let schema = schema::load("ps-2.json");
    for threads in [false, true] {
        let report = PsReport::new(&dated(), Listed { threads, tree: false });
        let json = json(&report);
        assert_eq!(schema::violations(&schema, &json), [""; 0]);
        assert_eq!(json["tasks"].as_array().unwrap().len(), if threads { 8 } else { 7 });
        assert_eq!(json["totals"]["states"]["S"], 6);
        assert_eq!(json["problems"][0]["message"], "a list is torn");
    }
}

/// Windows: processes are no threads, states are words, and a process may run on several
/// processors.
#[test]
fn processes_that_are_no_threads_are_listed_besides_them() {
    let process = |pid: u64, parent, name: &str, path: Option<&str>| Task {
        pid,
        parent: Some(parent),
        name: name.to_owned(),
        path: path.map(str::to_owned),
        started: Started { since_boot_ns: None, unix: Some(1_705_538_745) },
        ..Task::default()
    };
    let thread = |pid, tid, vcpu: Option<u32>| Task {
        kind: TaskKind::Thread,
        pid,
        tid: Some(tid),
        name: "smss.exe".to_owned(),
        state: Some(if vcpu.is_some() { "running" } else { "deferred ready" }.to_owned()),
        cpu: vcpu.map(|vcpu| vcpu + 4),
        on_vcpu: vcpu,
        entry: Some(Gva(0x7ff6_0000_1000)),
        ..Task::default()
    };
    let smss = r"\Device\HarddiskVolume3\smss.exe";
    let tasks = vec![
        process(4, 0, "System\x1b[31m", None),
        process(308, 4, "smss.exe", Some(smss)),
        thread(308, 400, Some(1)),
        thread(308, 312, Some(0)),
        thread(308, 404, None),
        Task { ended_unix: Some(1), ..process(500, 308, "gone", None) },
    ];
    let tasks = listing(tasks);
    let report = PsReport::new(&tasks, Listed::default());
    assert_eq!(
        text(&report),
        "      PID    PPID NLWP CPU START               COMMAND
        4       0    0     2024-01-18 00:45:45 [System\\u{1b}[31m]
>     308       4    3 4,5 2024-01-18 00:45:45 \\Device\\HarddiskVolume3\\smss.exe
      500     308    0     2024-01-18 00:45:45 [gone] <ended>
3 processes with 3 threads: 1 deferred ready, 2 running
"
    );
    let threads = PsReport::new(&tasks, Listed { threads: true, tree: false });
    let lines = text(&threads);
    assert_eq!(
        lines.lines().nth(3).unwrap(),
        ">     308     312       ? running           3   4                     {smss.exe} began at \
         0x7ff600001000"
    );
    let tree = text(&PsReport::new(&tasks, Listed { threads: false, tree: true }));
    assert!(tree.contains(r" \_ \Device\HarddiskVolume3\smss.exe"), "{tree}");
    let json = json(&threads);
    assert_eq!(schema::violations(&schema::load("ps-2.json"), &json), [""; 0]);
    assert_eq!(json["tasks"].as_array().unwrap().len(), 6);
    assert_eq!(json["tasks"][1]["running_on"], serde_json::json!([0, 1]));
}
