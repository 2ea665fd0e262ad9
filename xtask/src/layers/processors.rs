//! Processors, each of which is named in its own folders only, and where a layer lists
//! what it has.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result};

use super::library::{code, modules};
use super::paths::tokens;

/// A processor: the name of its folders, and of its types.
struct Processor {
    folder: &'static str,
    types: &'static [&'static str],
}

const PROCESSORS: &[Processor] = &[
    Processor { folder: "x86", types: &["X86", "Gpr"] },
    Processor { folder: "arm64", types: &["Arm64"] },
];

/// Lists of processors, one for each layer that has something of its own for each; and what
/// is asked there.
const LISTS: &[(&str, &str)] = &[
    ("crates/machine/src/arch/mod.rs", "registers, and what one is"),
    ("crates/checkpoint/src/vmware/arch/mod.rs", "tags of state files"),
    ("crates/checkpoint/src/flat/arch/mod.rs", "traces in memory without any description"),
    ("crates/guest/src/linux/arch/mod.rs", "where Linux is, and what it keeps of registers"),
    ("crates/guest/src/windows/arch/mod.rs", "where Windows is, its processors and stacks"),
    ("crates/guest/src/macos/arch/mod.rs", "where macOS is"),
    ("crates/dump/src/arch/mod.rs", "notes of ELF cores"),
    ("crates/dump/src/windbg/arch/mod.rs", "what Windows keeps of registers"),
];

/// Lines of a library's crate that name a processor elsewhere.
pub(super) fn wrong_lines(root: &Path, lib: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in modules(lib)? {
        let below = file.strip_prefix(root).unwrap_or(&file);
        if LISTS.iter().any(|(list, _)| below == Path::new(list)) {
            continue;
        }
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        wrong.extend(named(&text, below));
    }
    Ok(wrong)
}

fn named(text: &str, file: &Path) -> Vec<String> {
    let is_below = |processor: &&Processor| {
        file.components().any(|part| part == Component::Normal(processor.folder.as_ref()))
    };
    let others: Vec<&Processor> = PROCESSORS.iter().filter(|one| !is_below(one)).collect();
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        let line: Vec<&str> = tokens(line).collect();
        for other in others.iter().filter(|other| names(&line, other)) {
            wrong.push(format!("{}:{number}: names {}", file.display(), other.folder));
        }
    }
    wrong
}

/// Whether a line names a type of a processor, what is in a module of it, or a method that
/// is called as it is. A declaration of the module alone does not.
fn names(line: &[&str], processor: &Processor) -> bool {
    let is_type = line.iter().any(|token| processor.types.contains(token));
    let leads_in = line.windows(2).any(|pair| pair == [processor.folder, "::"]);
    let is_member =
        line.windows(2).any(|pair| matches!(pair, ["::" | ".", name] if *name == processor.folder));
    is_type || leads_in || is_member
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(file: &str, text: &str) -> Vec<String> {
        named(text, Path::new(file))
    }

    #[test]
    fn a_processor_that_is_named_elsewhere_is_found() {
        for line in [
            "use vmss2core_machine::x86;",
            "use x86::cpus;",
            "    let pc = vcpu.x86()?.rip;",
            "    Registers::X86(of) => of.rip,",
            "fn f(of: Gpr) {}",
        ] {
            assert_eq!(wrong("crates/dump/src/elf.rs", line).len(), 1, "{line}");
            assert_eq!(wrong("crates/dump/src/arch/x86/mod.rs", line), [""; 0], "{line}");
        }
        assert_eq!(
            wrong("crates/dump/src/arch/arm64/mod.rs", "\nuse super::x86::fpu;"),
            ["crates/dump/src/arch/arm64/mod.rs:2: names x86"]
        );
    }

    #[test]
    fn declarations_comments_and_tests_name_none() {
        let text = "mod x86;\n// x86::Registers\n/// As X86 has it.\nconst CONFIG_X86_PAE: u8 = 1;\n\
                    #[cfg(test)]\nmod tests {\n    use x86::Gpr;\n}\n";
        assert_eq!(wrong("crates/dump/src/elf.rs", text), [""; 0]);
    }

    #[test]
    fn all_of_the_crate_is_looked_at_but_for_the_lists() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("crates/dump/src");
        for (name, text) in [
            ("lib.rs", "mod arch;\nmod elf;\n"),
            ("arch/mod.rs", "mod x86;\npub(crate) use x86::notes;\n"),
            ("arch/x86.rs", "use vmss2core_machine::x86;\n"),
            ("elf.rs", "use crate::arch::x86::fpu;\n"),
        ] {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let wrong = wrong_lines(dir.path(), &source.join("lib.rs")).unwrap();
        assert_eq!(
            wrong,
            ["crates/dump/src/arch/x86.rs:1: names x86", "crates/dump/src/elf.rs:1: names x86"]
        );
    }

    #[test]
    fn every_list_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (list, _) in LISTS {
            assert!(root.join(list).is_file(), "{list}");
        }
    }
}
