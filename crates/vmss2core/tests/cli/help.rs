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
    for part in [".SH EXIT CODES", ".SH ORIGINAL OPTIONS", ".SH EXAMPLES", "\\-\\-progress"] {
        assert!(page.contains(part), "{part}");
    }
    place.run("man pages").expect(0);
    for name in ["vmss2core.1", "vmss2core-info.1", "vmss2core-convert.1"] {
        let page = std::fs::read_to_string(place.file("pages").join(name)).unwrap();
        assert!(page.contains(".TH "), "{name}");
    }
}
