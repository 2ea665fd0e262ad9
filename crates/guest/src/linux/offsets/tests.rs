use std::sync::Arc;

use vmss2core_mem::Found;

use super::*;
use crate::linux::Layout;

fn parsed(text: &str) -> LinuxOffsets {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn at(offsets: &LinuxOffsets, structure: &str, path: &str) -> Option<u64> {
    offsets.member(structure, path).map(|member| member.offset_bytes)
}

fn layout(text: &str) -> Layout {
    let mut layout = Layout::default();
    layout.push(Found::new(Arc::new(parsed(text)), "test"));
    layout
}

/// Ubuntu 7.04, as the technical note has it.
const UBUNTU: &str = "0x20614,0x80,0,0x68,0x194,0xa4,0x1b0,0x24,0x18,0x28,0x2000,0xc4,0xec,0x10";
/// Its other example, 2.4.7, with the end that its script prints.
const TWO_4: &str = "0x20407,0x2c,0x48,0,0x236,0x6c,0x260,0xc,0,0xc,0x2000,0,0,0x10";

#[test]
fn the_documented_lines_are_understood() {
    let ubuntu = parsed(UBUNTU);
    assert_eq!(ubuntu.version(), Some(KernelVersion(2, 6, 20)));
    assert_eq!(ubuntu.thread_size(), Some(0x2000));
    for (path, want) in [
        ("mm", Some(0x80)),
        ("next_task", None),
        ("tasks", Some(0x68)),
        ("comm", Some(0x194)),
        ("pid", Some(0xa4)),
        ("tgid", Some(0xa8)),
        ("thread", Some(0x1b0)),
        ("thread.esp0", Some(0x1c8)),
        ("thread.fs", Some(0x1d8)),
        ("group_leader", Some(0xc4)),
        ("thread_group", Some(0xec)),
    ] {
        assert_eq!(at(&ubuntu, "task_struct", path), want, "{path}");
    }
    assert_eq!(at(&ubuntu, "mm_struct", "pgd"), Some(0x24));
    assert_eq!(ubuntu.member("task_struct", "comm").and_then(|comm| comm.size_bytes), Some(16));
}

#[test]
fn kernels_2_4_have_no_groups_and_may_have_esp0_first() {
    let old = parsed(TWO_4);
    assert_eq!(at(&old, "task_struct", "next_task"), Some(0x48));
    assert_eq!(at(&old, "task_struct", "thread.esp0"), Some(0x260));
    for path in ["tasks", "tgid", "group_leader", "thread_group"] {
        assert_eq!(at(&old, "task_struct", path), None, "{path}");
    }
}

#[test]
fn missing_numbers_at_the_end_are_not_known() {
    let short = parsed("0x20614,128,0,0x68,0x194");
    assert_eq!(at(&short, "task_struct", "mm"), Some(128));
    assert_eq!(short.member("task_struct", "comm").and_then(|comm| comm.size_bytes), Some(16));
    assert_eq!((at(&short, "task_struct", "pid"), at(&short, "mm_struct", "pgd")), (None, None));
    assert!(parsed("0x20412").is_empty());
}

#[test]
fn items_are_understood() {
    let text = "version=6.1.0, thread_size=0x4000\ntask.tasks=0x8b0 # where tasks are\n\
                mm.pgd=0x78:8,task_struct.in_execve=0x928:1@2+1\tsizeof:page=64,vma.vm_end=8";
    let offsets = parsed(text);
    assert_eq!(offsets.version(), Some(KernelVersion(6, 1, 0)));
    assert_eq!(at(&offsets, "task_struct", "tasks"), Some(0x8b0));
    assert_eq!(at(&offsets, "vm_area_struct", "vm_end"), Some(8));
    let pgd = Member { offset_bytes: 0x78, size_bytes: Some(8), bits: None };
    assert_eq!(offsets.member("mm_struct", "pgd"), Some(pgd));
    let flag = offsets.member("task_struct", "in_execve").unwrap();
    assert_eq!((flag.size_bytes, flag.bits), (Some(1), Some((2, 1))));
    assert_eq!(
        (offsets.size_of("page"), offsets.size_of("thread_union")),
        (Some(64), Some(0x4000))
    );
}

#[test]
fn what_is_no_line_is_refused() {
    use OffsetsError as E;
    let error = |text: &str| text.parse::<LinuxOffsets>().unwrap_err();
    assert_eq!(error(" # nothing\n"), E::Empty);
    assert_eq!(error(&["0x1"; 15].join(",")), E::TooMany { count: 15 });
    assert_eq!(error("0x20614,0x80,0,0,0x194"), E::NoList);
    for text in ["xyz", "0x1,,0x2", "0x", "-1", "1,0x2,+3", "0x10000000000000000", "task.mm=+1"] {
        assert!(matches!(error(text), E::Number { .. }), "{text}");
    }
    for text in [
        "mm=0x8",
        "=1",
        "task.=1",
        ".mm=1",
        "version=x.y",
        "task.mm=1:2@9+1",
        "a.b=1:2@1",
        "task.mm=1,pgd",
    ] {
        assert!(matches!(error(text), E::Item { .. }), "{text}: {:?}", error(text));
    }
    for text in ["0x20614,0x1000000", "task.mm=0xffffffffffffffff", "sizeof:page=0x1000000"] {
        assert!(matches!(error(text), E::TooLarge { .. }), "{text}");
    }
}

#[test]
fn the_documented_lines_are_printed_as_they_were() {
    let version = |text: &str| parsed(text).version().unwrap();
    let digits = |text: &str| {
        text.split(',')
            .map(|n| u64::from_str_radix(n.trim_start_matches("0x"), 16).unwrap())
            .collect::<Vec<_>>()
    };
    for text in [UBUNTU, TWO_4] {
        let printed = line(&layout(text), version(text), false).unwrap();
        assert_eq!(digits(&printed), digits(text));
    }
    assert_eq!(line(&layout("task.mm=8"), KernelVersion(6, 1, 0), true), Err("task_struct.tasks"));
}

#[test]
fn a_printed_layout_is_understood_again() {
    let text = "task.tasks=0x8b0,task.comm=0xba0:16,mm.pgd=0x48:8,task.on_cpu=0x34:1@2+1,\
                sizeof:page=0x40";
    let items = known_layout(&layout(text));
    assert_eq!(items.len(), 5);
    let printed: Vec<String> = items.iter().map(|item| format!("{item} # {}", item.how)).collect();
    assert_eq!(parsed(&printed.join("\n")), parsed(text));
}

#[test]
fn versions_come_from_releases_and_codes() {
    assert_eq!(KernelVersion::of_release("6.1.0-28-amd64"), Some(KernelVersion(6, 1, 0)));
    assert_eq!(KernelVersion::of_release("2.6.20.1"), Some(KernelVersion(2, 6, 20)));
    assert_eq!(KernelVersion::of_release("6.12-rc1"), Some(KernelVersion(6, 12, 0)));
    assert_eq!(KernelVersion::of_release("none"), None);
    assert_eq!(KernelVersion(2, 6, 20).code(), 0x20614);
    assert_eq!(KernelVersion(4, 14, 336).code(), 0x40eff);
}
