//! The report about cores of processes, against its schema.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop")]

mod schema;

use serde_json::Value;
use vmss2core_answers::{
    CoreInfo, CoreReport, CoreThread, MemoryCounts, ProblemInfo, write_json, write_text,
};
use vmss2core_mem::Problem;

fn thread(tid: u32, registers: Option<&str>, unreliable: Vec<&'static str>) -> CoreThread {
    CoreThread {
        tid,
        comm: "web \u{1b}[2J".into(),
        registers: registers.map(str::to_owned),
        vector_registers: registers.is_some(),
        unreliable,
    }
}

fn json(report: &CoreReport) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn the_report_fits_its_schema() {
    let problems = [Problem::incomplete("swapped out: 4 KiB"), Problem::note("n")];
    let core = CoreInfo {
        path: "core.92".into(),
        bytes: 1 << 40,
        pid: 92,
        comm: "web".into(),
        bits: 64,
        executable: Some("/usr/sbin/web (deleted)".into()),
        threads: vec![thread(92, Some("vCPU 1"), vec!["rbx"]), thread(93, None, Vec::new())],
        memory: MemoryCounts { present: 4096, swapped: 4096, ..MemoryCounts::default() },
        segments_with_bytes: 1,
        segments_unavailable: 1,
        problems: ProblemInfo::all(&problems),
        open_with: vec!["gdb -c core.92".into()],
        incomplete_files: vec!["/lib/\u{1b}c.so".into()],
    };
    let bare = CoreInfo { executable: None, threads: Vec::new(), bits: 32, ..core.clone() };
    let report = CoreReport::new(vec![core, bare], &problems);
    let mut text = Vec::new();
    write_text(&report, &mut text).unwrap();
    let told = "wrote core.92: process 92 (web), 1 thread\n  memory: 4 KiB present, 4 KiB swapped out \
                (unavailable)\nto open it:\n  gdb -c core.92\nstacks are surer with the guest's own files \
                in place of these, parts of which its memory lacks:\n  /lib/\\u{1b}c.so\n";
    assert!(String::from_utf8(text).unwrap().starts_with(told));
    let report = json(&report);
    let schema = schema::load("core-1.json");
    assert_eq!(schema::violations(&schema, &report), Vec::<String>::new());
    assert_eq!(report["cores"][0]["threads"][1].get("registers"), None);
    assert_eq!(report["cores"][0]["problems"][0]["severity"], "incomplete");

    // The schema can say no.
    let mut wrong = report;
    wrong["cores"][0]["bits"] = Value::from(16);
    assert_eq!(schema::violations(&schema, &wrong).len(), 1);
}
