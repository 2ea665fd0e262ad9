//! The program on every small checkpoint that goes right or wrong in one way.

use serde_json::Value;
use vmss2core_lab::vmware::{Expect, Vector, vectors};

use crate::run::{Ended, Place};
use crate::schema;

struct Case {
    vector: Vector,
    place: Place,
}

fn cases() -> Vec<Case> {
    let lay_out = |vector: Vector| {
        let place = Place::new();
        for (name, contents) in &vector.files {
            let path = place.file(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            contents.write_to(&path).unwrap();
        }
        Case { vector, place }
    };
    vectors().unwrap().into_iter().map(lay_out).collect()
}

impl Case {
    fn run(&self, options: &[&str]) -> Ended {
        let inputs = self.vector.inputs.iter().map(String::as_str);
        let args: Vec<&str> = options.iter().copied().chain(inputs).collect();
        self.place.command(&args).output().unwrap().into()
    }

    fn check_code(&self, ended: &Ended) {
        self.check_code_of(ended, &[1, 3, 5]);
    }

    fn check_code_of(&self, ended: &Ended, failures: &[i32]) {
        let name = &self.vector.name;
        let allowed: &[i32] = match &self.vector.expect {
            Expect::Opens(_) => &[0, 4],
            Expect::Fails(_) => failures,
            Expect::Damaged(_) | Expect::Survives => &[0, 1, 3, 4, 5],
        };
        assert!(ended.code.is_some_and(|code| allowed.contains(&code)), "{name}: {ended:?}");
        let said = ended.stdout.chars().chain(ended.stderr.chars());
        assert!(said.clone().all(|c| c == '\n' || !c.is_control()), "{name}: {ended:?}");
    }

    fn opened(ended: &Ended) -> bool {
        matches!(ended.code, Some(0 | 4))
    }
}

#[test]
fn info_says_what_there_is_in_both_forms() {
    let schema = schema::load("info-1.json");
    for case in cases() {
        let text = case.run(&["info"]);
        // What has no memory to write still has something to tell.
        case.check_code_of(&text, &[1, 3, 4, 5]);
        let json = case.run(&["info", "--json"]);
        assert_eq!((json.code, &json.stderr), (text.code, &text.stderr), "{}", case.vector.name);
        if !Case::opened(&json) {
            let error: Value = serde_json::from_str(&json.stdout).unwrap();
            assert_eq!(error["exit"], json.code.unwrap(), "{error}");
            let failures = schema::load("error-1.json");
            assert_eq!(schema::violations(&failures, &error), [""; 0], "{error}");
            assert!(json.stderr.starts_with("vmss2core: "), "{}", json.stderr);
            continue;
        }
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(schema::violations(&schema, &json), [""; 0], "{}", case.vector.name);
        let problems = json["problems"].as_array().unwrap();
        let is_partial = problems.iter().any(|problem| problem["severity"] == "incomplete");
        assert_eq!(text.code, Some(if is_partial { 4 } else { 0 }), "{}", case.vector.name);
    }
}

/// Of Arm processors, for example, no page tables can be read.
#[cfg(unix)]
#[test]
fn what_info_suggests_is_not_refused() {
    let mut typed = 0;
    for case in cases() {
        let json = case.run(&["info", "--json"]);
        if !Case::opened(&json) || matches!(case.vector.expect, Expect::Damaged(_)) {
            continue;
        }
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        let steps = json["next"].as_array().unwrap();
        let lines = steps.iter().flat_map(|step| step["commands"].as_array().unwrap());
        let ours = lines.filter_map(|line| line.as_str().unwrap().strip_prefix("vmss2core "));
        for line in ours.filter(|line| !line.starts_with("gdb ")) {
            let line = format!("exec {} {line}", env!("CARGO_BIN_EXE_vmss2core"));
            let mut shell = std::process::Command::new("sh");
            shell.current_dir(case.place.path()).args(["-c", &line]);
            let ended: Ended = shell.output().unwrap().into();
            assert!(Case::opened(&ended), "{}: {line}: {ended:?}", case.vector.name);
            typed += 1;
        }
    }
    assert!(typed > 20, "{typed}");
}

#[test]
fn refusals_say_what_to_type_instead() {
    let arm = cases().into_iter().find(|case| case.vector.name.contains("arm64")).unwrap();
    let ended = arm.run(&["convert", "-f", "elf-linear", "-o", "out"]);
    let said = "no address space for vCPU 0: page tables other than x86's are not known; use the \
                physical view (-M)\n";
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with(said), "{ended:?}");
    let without_cr3 = cases().into_iter().find(|case| case.vector.name.contains("no-control"));
    let ended = without_cr3.unwrap().run(&[]);
    let said = "vmss.core0 was not written: no address space for vCPU 0: the checkpoint does not \
                have this register of the vCPU: CR3; name page tables (--cr3), or use the physical \
                view (-M)\n";
    assert!(ended.stderr.contains(said), "{ended:?}");
}

#[test]
fn refusals_say_why() {
    for case in cases() {
        let Expect::Fails(words) = &case.vector.expect else { continue };
        let said = case.run(&["-q", "-M"]).stderr.to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "{}: {word}: {said}", case.vector.name);
        }
    }
}

#[test]
fn a_core_is_there_exactly_if_the_exit_code_says_so() {
    for case in cases() {
        let before = case.place.names();
        let ended = case.run(&["-q", "-M"]);
        case.check_code(&ended);
        let mut after = case.place.names();
        let position = after.iter().position(|name| name == "vmss.core");
        assert_eq!(position.is_some(), Case::opened(&ended), "{}: {ended:?}", case.vector.name);
        position.map(|position| after.remove(position));
        assert_eq!(after, before, "{}", case.vector.name);
    }
}

#[test]
fn tags_are_listed_for_every_state_file() {
    let schema = schema::load("tags-1.json");
    let mut listed = 0;
    for case in cases() {
        let ended = case.run(&["info", "--tags", "--json"]);
        if Case::opened(&ended) {
            let json: Value = serde_json::from_str(&ended.stdout).unwrap();
            assert_eq!(schema::violations(&schema, &json), [""; 0], "{}", case.vector.name);
            listed += 1;
        }
    }
    assert!(listed > 20, "{listed}");
}
