use super::*;
use crate::source::Folder;
use crate::testing::put;
use std::fmt::Write as _;

const LEN: usize = 8192;

/// The files that a state file `lead` leads to, with why.
fn found(lead: &str, files: &[(&str, &[u8])], vmx: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), lead, b"state");
    for (name, bytes) in files {
        put(dir.path(), name, bytes);
    }
    let folder = Folder::read(dir.path()).unwrap();
    let place = Place { folder: &folder, name: lead.to_owned() };
    let vmx = vmx.map(str::to_owned);
    let facts = StateFacts { expected_len: Some(LEN as u64), vmx };
    let mut text = String::new();
    for tie in ties(&place, &facts) {
        writeln!(text, "{}: {}", tie.entry.name, tie.found).unwrap();
    }
    text
}

const IMAGE: &[u8] = &[1; LEN];
const UUID: &str = "564debd5-e872-835f-0736-3b581ea625c9";

#[test]
fn the_same_name_comes_first_then_references_and_plain_before_packed() {
    let vmsd = b"snapshot0.filename = \"a.vmsn\"\nsnapshot0.mem = \"other\"\n";
    let files: [(&str, &[u8]); 5] =
        [("A.vmem", b""), ("a.vmem.gz", b""), ("a.vmem", b""), ("other", IMAGE), ("m.vmsd", vmsd)];
    assert_eq!(
        found("a.vmsn", &files, None),
        "a.vmem: same name\na.vmem.gz: same name\nA.vmem: same name\n\
         other: named with a.vmsn in m.vmsd\n"
    );
}

#[test]
fn a_list_of_snapshots_ties_only_what_stands_in_the_same_group() {
    let vmsd = b"snapshot0.filename = \"a.vmsn\"\nsnapshot0.disk0 = \"disk\"\n\
        snapshot1.filename = \"b.vmsn\"\nsnapshot1.memory = \"ds/dir/one\"\n";
    let files: [(&str, &[u8]); 4] =
        [("one", IMAGE), ("two", IMAGE), ("disk", b"short"), ("m.vmsd", vmsd)];
    assert_eq!(found("a.vmsn", &files, None), "");
    assert_eq!(found("b.vmsn", &files, None), "one: named with b.vmsn in m.vmsd\n");
}

#[test]
fn memory_named_after_the_configuration_that_names_the_state_is_found() {
    let files: [(&str, &[u8]); 2] =
        [("m.vmem", b"any size"), ("m.vmx", b"checkpoint.vmState = \"s-1.vmss\"")];
    assert_eq!(found("s-1.vmss", &files, None), "m.vmem: m.vmx names s-1.vmss\n");
}

#[test]
fn a_memory_object_is_found_by_its_exact_size() {
    assert_eq!(
        found("a.vmsn", &[(UUID, IMAGE), ("x", &[1; LEN - 1])], None),
        format!("{UUID}: exact size of 8192 bytes\n")
    );
    let two: [(&str, &[u8]); 2] = [(UUID, IMAGE), ("x", IMAGE)];
    assert_eq!(found("a.vmsn", &two, None), format!("{UUID}: exact size of 8192 bytes\n"));
    let two: [(&str, &[u8]); 2] = [("y", IMAGE), ("x", IMAGE)];
    assert_eq!(found("a.vmsn", &two, None), "");
}

#[test]
fn the_size_of_what_belongs_to_others_says_nothing() {
    let other_snapshot: [(&str, &[u8]); 2] = [("b.vmsn", b""), ("b.vmem", IMAGE)];
    assert_eq!(found("a.vmsn", &other_snapshot, None), "");
    assert_eq!(found("a.vmsn", &[("a.vmdk", IMAGE)], None), "");
    let running = format!("{UUID}.vmem");
    let vmx = "uuid.location = \"56 4d eb d5 e8 72 83 5f-07 36 3b 58 1e a6 25 c9\"";
    assert_eq!(found("a.vmsn", &[(&running, IMAGE)], Some(vmx)), "");
    assert_ne!(found("a.vmsn", &[(&running, IMAGE)], None), "");
}

#[test]
fn configurations_are_known_by_what_they_set() {
    assert!(is_configuration(b".encoding = \"UTF-8\"\nvirtualHW.version = \"19\"\n"));
    assert!(is_configuration(b"snapshot.numSnapshots = \"1\"\n"));
    assert!(!is_configuration(b"virtualHW.version = \"19\"\n\0"));
    assert!(!is_configuration(b"key = value\n"));
}
