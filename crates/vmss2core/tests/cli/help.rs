//! What the program says about itself. `VMSS2CORE_UPDATE=1 cargo test` accepts
//! what it says now.

use crate::run::Place;

fn assert_golden(name: &str, got: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("VMSS2CORE_UPDATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == want, "{path} differs; VMSS2CORE_UPDATE=1 accepts this:\n{got}");
}

#[test]
fn help_reads_as_accepted() {
    let place = Place::new();
    for (line, name) in [
        ("--help", "help.txt"),
        ("-h", "help-short.txt"),
        ("info --help", "help-info.txt"),
        ("convert --help", "help-convert.txt"),
    ] {
        let ended = place.run(line).expect(0);
        assert_eq!(ended.stderr, "");
        assert_golden(name, &ended.stdout);
    }
}

#[test]
fn help_may_be_asked_for_as_a_command() {
    let place = Place::new();
    let run = |line: &str| place.run(line).expect(0).stdout;
    assert_eq!(run("help"), run("--help"));
    assert_eq!(run("help info"), run("info --help"));
    let said = place.run("help inof").expect(2).stderr;
    assert!(
        said.starts_with("vmss2core: no command is called inof; did you mean info?\n"),
        "{said}"
    );
}

#[test]
fn mistakes_are_told_in_one_voice_with_what_was_meant() {
    let place = Place::new();
    for (line, want) in [
        ("inof x", "inof: no such file, and no command is called inof; did you mean info?"),
        ("pslist x", "pslist: no such file, and no command is called pslist; did you mean ps?"),
        ("info -x y", "unknown option -x\nvmss2core help info says more"),
        ("info --jsn y", "unknown option --jsn; did you mean --json?"),
        (
            "info -N6 y",
            "unknown option -N6; it is of the original's command line: vmss2core -N6 FILE",
        ),
        ("info --tree y", "unknown option --tree; it belongs to vmss2core ps"),
        ("dmesg -w y", "unknown option -w\nvmss2core help dmesg says more"),
        (
            "core y",
            "--pid <PID|TID|NAME> or --name <NAME> is missing\nvmss2core help core says more",
        ),
        ("convert y", "--output <OUT> is missing\nvmss2core help convert says more"),
        (
            "info -",
            "standard input cannot be read, as a checkpoint is not read from front to back: name a file",
        ),
        ("-P 96", "96: no such file; the number is glued to its option: -P96"),
        ("-W 19041", "19041: no such file; the number is glued to its option: -W19041"),
    ] {
        let said = place.run(line).expect(2).stderr;
        assert!(said.starts_with(&format!("vmss2core: {want}")), "{line}: {said}");
        assert!(!said.contains("tip:") && !said.contains("error:"), "{line}: {said}");
    }
}

#[test]
fn a_failure_is_json_where_an_answer_would_be() {
    let place = Place::new();
    place.add_file("text", b"nothing");
    for (line, code, kind) in [
        ("info --json text", 3, "not-a-checkpoint"),
        ("ps --json gone.vmss", 1, "file-missing"),
        ("ps --json --tree text", 2, "usage"),
    ] {
        let ended = place.run(line).expect(code);
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let want = serde_json::json!([kind, code, "vmss2core/error/1"]);
        assert_eq!(serde_json::json!([json["kind"], json["exit"], json["schema"]]), want);
        let schema = crate::schema::load("error-1.json");
        assert_eq!(crate::schema::violations(&schema, &json), [""; 0]);
        assert!(ended.stderr.contains(json["message"].as_str().unwrap()), "{ended:?}");
    }
}

#[test]
fn no_argument_prints_the_usage_on_stderr() {
    let ended = Place::new().run("").expect(2);
    assert_eq!(ended.stdout, "");
    assert_golden("usage.txt", &ended.stderr);
}

#[test]
fn help_fits_80_columns() {
    let place = Place::new();
    for line in ["--help", "-h", "info --help", "convert --help", "man --help"] {
        for text in place.run(line).expect(0).stdout.lines() {
            assert!(text.chars().count() <= 80, "{line}: {text}");
        }
    }
    for text in place.run("").stderr.lines() {
        assert!(text.chars().count() <= 80, "{text}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let want = format!("vmss2core {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Place::new().run("-V").expect(0).stdout, want);
    assert_eq!(Place::new().run("--version").expect(0).stdout, want);
}

#[test]
fn completions_name_commands_options_and_formats() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&format!("completions {shell}")).expect(0).stdout;
        for word in ["info", "convert", "completions", "gdb-script", "tmpdir"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // The generators for the other shells know no values.
        let values = matches!(shell, "bash" | "zsh" | "fish");
        assert_eq!(script.contains("elf-linear"), values, "{shell}");
    }
}

#[test]
fn manual_pages_have_what_help_has() {
    let place = Place::new();
    let page = place.run("man").expect(0).stdout;
    assert!(page.contains(".TH vmss2core 1"), "{page}");
    let of_ps = place.run("man ps").expect(0).stdout;
    assert!(of_ps.contains(".TH vmss2core-ps 1") && of_ps.contains(".BR vmss2core (1)"), "{of_ps}");
    let said = place.run("man inof").expect(2).stderr;
    assert_eq!(said, "vmss2core: no command is called inof; did you mean info?\n");
    assert!(page.contains(".BR vmss2core\\-ps (1)"), "{page}");
    for part in [".SH EXIT CODES", ".SH ORIGINAL OPTIONS", ".SH EXAMPLES", "\\-\\-progress"] {
        assert!(page.contains(part), "{part}");
    }
    place.run("man --all pages").expect(0);
    for name in ["vmss2core.1", "vmss2core-info.1", "vmss2core-convert.1"] {
        let page = std::fs::read_to_string(place.file("pages").join(name)).unwrap();
        assert!(page.contains(".TH "), "{name}");
    }
}
