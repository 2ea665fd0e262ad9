//! Reports about what the kernel knows: symbols, modules and log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod schema;

use serde_json::Value;
use vmss2core_answers::{
    Answer, DmesgReport, ModuleList, ModulesReport, SymbolInfo, SymbolsReport, TimeStyle,
    write_json, write_text,
};
use vmss2core_guest::linux::{Caller, Clock, Log, Record, Symbol};
use vmss2core_guest::model::{Image, ImageUse, Images};
use vmss2core_mem::{Found, Gva, Problem};

fn checked(report: &impl Answer, name: &str) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    let json: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(schema::violations(&schema::load(name), &json), [""; 0]);
    let mut extra = json.clone();
    extra.as_object_mut().unwrap().insert("surprise".into(), Value::Null);
    assert_ne!(schema::violations(&schema::load(name), &extra), [""; 0]);
    json
}

#[test]
fn symbols_are_printed_as_nm_does() {
    let symbol = |address, kind, name| Symbol { address: Gva(address), kind, name };
    let all = vec![
        SymbolInfo::new(symbol(0x40, 'A', "percpu"), None),
        SymbolInfo::new(symbol(0xffff_ffff_8100_0000, 'T', "_text"), None).with_offset(0x1c),
        SymbolInfo::new(symbol(0xffff_ffff_c000_0010, 't', "bad\u{1b}[2J"), Some("loop")),
    ];
    let report = SymbolsReport::new("the test", all, 8, &[Problem::incomplete("some")]);
    let mut text = Vec::new();
    write_text(&report, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(
        text,
        "0000000000000040 A percpu\nffffffff81000000 T _text+0x1c\n\
         ffffffffc0000010 t bad\\u{1b}[2J\t[loop]\n"
    );
    let json = checked(&report, "symbols-1.json");
    assert_eq!(json["symbols"][2]["module"], "loop");
    assert_eq!(json["symbols"][1]["offset"], "0x1c");
    let narrow = vec![SymbolInfo::new(symbol(0xc000_0000, 'T', "_text"), None)];
    let mut text = Vec::new();
    write_text(&SymbolsReport::new("", narrow, 4, &[]), &mut text).unwrap();
    assert_eq!(text, b"c0000000 T _text\n");
}

fn log() -> Log {
    let record = |time_ns, level, text: &str| Record {
        time_ns,
        level,
        facility: Some(0),
        caller: Some(Caller::Thread(1)),
        text: text.to_owned(),
    };
    let records = vec![
        record(Some(0), Some(5), "Linux version 6.1.0"),
        record(Some(12_345_678_901), Some(3), "two\nlines,\ta tab\u{1b}[2J"),
        record(None, None, "old"),
    ];
    Log { records, how: "the test".into(), problems: Vec::new() }
}

fn printed(clock: &Clock, levels: &[u8], times: TimeStyle) -> String {
    let mut text = Vec::new();
    let report = DmesgReport::new(&log(), clock, levels, &[]).with_times(times);
    write_text(&report, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn messages_are_printed_as_dmesg_does() {
    let all: Vec<u8> = (0..8).collect();
    let booted = Found::new(1_735_689_590_000_000_000, "the test");
    let clock = Clock { boot_unix_ns: Some(booted), ..Clock::default() };
    assert_eq!(
        printed(&clock, &all, TimeStyle::SinceBoot),
        "[    0.000000] Linux version 6.1.0\n[   12.345678] two\n\
         [   12.345678] lines,\ta tab\\u{1b}[2J\nold\n"
    );
    assert_eq!(
        printed(&clock, &[3], TimeStyle::Date),
        "[Wed Jan  1 00:00:02 2025] two\n[Wed Jan  1 00:00:02 2025] lines,\ta tab\\u{1b}[2J\n"
    );
    // No clock, no dates.
    assert!(printed(&Clock::default(), &[5], TimeStyle::Date).starts_with("[    0.000000] "));
    let json = checked(&DmesgReport::new(&log(), &clock, &all, &[]), "dmesg-1.json");
    assert_eq!(json["messages"][1]["level"], "err");
    assert_eq!(json["messages"][1]["caller"], "T1");
    assert_eq!(json["messages"][1]["time"], "2025-01-01T00:00:02Z");
    assert_eq!(json["booted"]["value"], "2024-12-31T23:59:50Z");
}

#[test]
fn modules_are_listed_as_lsmod_and_proc_do() {
    let start = 0xffff_ffff_c02c_6000;
    let module = Image {
        name: "loop".into(),
        address: Some(Gva(start)),
        size_bytes: 0x8000,
        version: Some("1".into()),
        in_use: Some(ImageUse {
            state: "Live",
            parts: vec![start..start + 0x7000, start + 0x9000..start + 0xa000],
            users: Some(2),
            used_by: Some(vec!["a".into(), "b".into()]),
            is_permanent: true,
            taint: Some("OE".into()),
            text: Some(Gva(start)),
            symbols: 0,
        }),
        ..Image::default()
    };
    let unknown = Image {
        name: "other".into(),
        address: Some(Gva(0)),
        size_bytes: 0x8000,
        in_use: Some(ImageUse { state: "Live", ..ImageUse::default() }),
        ..Image::default()
    };
    let modules = Images {
        how: "the test".into(),
        word_len: 8,
        loaded: vec![module, unknown],
        ..Images::default()
    };
    let mut text = Vec::new();
    write_text(&ModulesReport::new(&modules, ModuleList::Proc), &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "loop 32768 2 a,b,[permanent], Live 0xffffffffc02c6000 (OE)\n\
         other 32768 ? - Live 0x0000000000000000\n"
    );
    let mut text = Vec::new();
    let report = ModulesReport::new(&modules, ModuleList::Table);
    write_text(&report, &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "Module                  Size  Address            Used by\n\
         loop                   32768  0xffffffffc02c6000 2 a,b,[permanent]\n\
         other                  32768  0x0000000000000000 ?\n"
    );
    let json = checked(&report, "modules-2.json");
    assert_eq!(json["modules"][0]["text"], "0xffffffffc02c6000");
}
