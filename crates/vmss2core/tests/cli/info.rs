//! `info`: the report, the list of items, single items.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{MEMORY, Place};
use crate::schema;

#[test]
fn the_report_names_files_memory_and_vcpus() {
    let text = Place::with_checkpoint(2).run("info vm.vmss").expect(0).stdout;
    for part in ["vm.vmss", "vm.vmem", "24 MiB in one range", "\nvCPU ", "\nnext\n"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn json_fits_its_schema_and_says_the_same() {
    let place = Place::with_checkpoint(2);
    let json: Value =
        serde_json::from_str(&place.run("info --json vm.vmss").expect(0).stdout).unwrap();
    assert_eq!(schema::violations(&schema::load("info-1.json"), &json), [""; 0]);
    assert_eq!(json["memory"]["bytes"], MEMORY);
    assert_eq!(json["vcpus"].as_array().unwrap().len(), 2);
    assert_eq!(json["vcpus"][0]["mode"]["value"], "no paging");
    let files = json["checkpoint"]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["role"] == "memory"), "{files:?}");
}

#[test]
fn the_suggested_conversion_is_accepted() {
    let place = Place::with_checkpoint(1);
    let json: Value =
        serde_json::from_str(&place.run("info --json vm.vmss").expect(0).stdout).unwrap();
    let steps = json["next"].as_array().unwrap().iter();
    let commands = steps.flat_map(|step| step["commands"].as_array().unwrap());
    let own: Vec<&str> =
        commands.filter_map(|command| command.as_str()?.strip_prefix("vmss2core ")).collect();
    assert!(own.len() >= 2, "{own:?}");
    for line in own {
        place.run(line).expect(0);
    }
}

#[test]
fn tags_are_listed_with_offset_size_and_value() {
    let place = Place::with_checkpoint(2);
    let text = place.run("info --tags vm.vmss").expect(0).stdout;
    let line = text.lines().find(|line| line.contains("cpu/cpu:numVCPUs")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..], ["4", "cpu/cpu:numVCPUs", "2"]);
    let json = place.run("info --tags --json vm.vmss").expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(schema::violations(&schema::load("tags-1.json"), &json), [""; 0]);
    let tags = json["tags"].as_array().unwrap();
    assert_eq!(tags.len(), text.lines().count() - 1);
    let rip = tags.iter().find(|tag| tag["tag"] == "cpu/rip[1]").unwrap();
    assert_eq!(rip["size_in_file"], 8);
}

#[test]
fn a_tag_is_written_as_it_lies_in_the_file() {
    let place = Place::with_checkpoint(2);
    let output = place.command(&["info", "--tag", "cpu/rip[1]", "vm.vmss"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let json = place.run("info --tags --json vm.vmss").stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let tags = json["tags"].as_array().unwrap();
    let rip = tags.iter().find(|tag| tag["tag"] == "cpu/rip[1]").unwrap();
    let offset = u64::from_str_radix(&rip["offset"].as_str().unwrap()[2..], 16).unwrap();
    let offset = usize::try_from(offset).unwrap();
    let file = std::fs::read(place.file("vm.vmss")).unwrap();
    assert_eq!(output.stdout, &file[offset..offset + 8]);
}

#[test]
fn a_state_file_without_its_memory_tells_what_it_holds() {
    let place = Place::with_checkpoint(2);
    std::fs::remove_file(place.file("vm.vmem")).unwrap();
    let text = place.run("info vm.vmss").expect(4).stdout;
    for part in ["without its", "memory       none", "\nvCPU ", "looked for vm.vmem"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(place.run("info --tags vm.vmss").expect(4).stdout.contains("cpu/rip[1]"));
    assert!(place.run("-M vm.vmss").expect(1).stderr.contains("looked for vm.vmem"));
    assert_eq!(place.names(), ["vm.vmss"]);
}

#[test]
fn a_tag_that_is_not_there_lists_what_is_near() {
    let place = Place::with_checkpoint(2);
    for wanted in ["cpu/rip", "cpu/RIP[0]", "cpu/rip[7]", "rip"] {
        let ended = place.run(&format!("info --tag {wanted} vm.vmss")).expect(1);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains("cpu/rip[0] at 0x"), "{wanted}: {}", ended.stderr);
    }
    let ended = place.run("info --tag zebra vm.vmss").expect(1);
    assert!(ended.stderr.contains("--tags lists all"), "{}", ended.stderr);
}

#[test]
fn json_and_a_tag_exclude_each_other() {
    Place::with_checkpoint(1).run("info --json --tag cpu/rip[0] vm.vmss").expect(2);
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let place = Place::with_checkpoint(2);
    let mut command: Command = place.command(&["info", "--tags", "vm.vmss"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}
