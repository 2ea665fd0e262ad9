//! How users of this program type what libraries say by name: what may be given or
//! chosen, and what may be done next.

use vmss2core_answers::Action;
use vmss2core_guest::LinuxFacts;
use vmss2core_mem::Setting;

/// Something to give or to choose, as it is typed.
pub(crate) fn setting(setting: &Setting) -> String {
    match (setting.name, setting.value) {
        // Those that most users know from the original command line.
        ("offsets", _) => "-l".to_owned(),
        ("build", _) => "-W<BUILD>".to_owned(),
        (name, None) => format!("--{name}"),
        (name, Some(value)) => format!("--{name} {value}"),
    }
}

/// Something to do with `inputs`, as it is typed.
pub(crate) fn command_line(action: &Action, linux: Option<&LinuxFacts>, inputs: &str) -> String {
    match action {
        Action::Ask(question) => format!("vmss2core {question} {inputs}"),
        Action::Serve => format!("vmss2core gdb {inputs}"),
        Action::Save { item, path } => format!("vmss2core info --tag {item} {inputs} > {path}"),
        Action::Write { format, path, chosen } => match original(format, path, linux) {
            Some("") => format!("vmss2core {inputs}"),
            Some(option) => format!("vmss2core {option} {inputs}"),
            None => {
                let choice = chosen.map(|(name, value)| format!(" {} {value}", typed(name)));
                let choice = choice.unwrap_or_default();
                format!("vmss2core convert {inputs} -o {path} --format {format}{choice}")
            }
        },
        _ => String::new(),
    }
}

/// The option of the original command line that writes this format to this file.
fn original(format: &str, path: &str, linux: Option<&LinuxFacts>) -> Option<&'static str> {
    let release = linux.and_then(|linux| linux.release.as_ref());
    let is_24 = release.is_some_and(|release| release.value.starts_with("2.4."));
    match (format, path) {
        ("elf", "vmss.core") if is_24 => Some("-N4"),
        ("elf", "vmss.core") => Some("-N6"),
        ("elf-physical", "vmss.core") => Some("-M"),
        ("elf-linear", "vmss.core0") => Some(""),
        ("windbg", "memory.dmp") => Some("-W"),
        _ => None,
    }
}

/// A choice of a format: by its letter if it has one.
fn typed(name: &str) -> String {
    let choices = vmss2core_dump::choices();
    let choice = choices.into_iter().find(|choice| choice.name == name);
    match choice.and_then(|choice| choice.letter) {
        Some(letter) => format!("-{letter}"),
        None => format!("--{name}"),
    }
}

#[cfg(test)]
mod tests {
    use vmss2core_mem::Found;

    use super::*;

    fn line(action: Action) -> String {
        command_line(&action, None, "vm.vmss")
    }

    fn write(format: &'static str, path: &'static str) -> Action {
        Action::Write { format, path, chosen: None }
    }

    #[test]
    fn what_libraries_suggest_is_typed_like_this() {
        let chosen = Some(("dump-level", "31"));
        for (action, typed) in [
            (Action::Ask("ps"), "vmss2core ps vm.vmss"),
            (Action::Serve, "vmss2core gdb vm.vmss"),
            (write("elf", "vmss.core"), "vmss2core -N6 vm.vmss"),
            (write("elf-physical", "vmss.core"), "vmss2core -M vm.vmss"),
            (write("elf-linear", "vmss.core0"), "vmss2core vm.vmss"),
            (write("windbg", "memory.dmp"), "vmss2core -W vm.vmss"),
            (write("raw", "memory.raw"), "vmss2core convert vm.vmss -o memory.raw --format raw"),
            (
                Action::Write { format: "kdump", path: "kernel.kdump", chosen },
                "vmss2core convert vm.vmss -o kernel.kdump --format kdump -d 31",
            ),
        ] {
            assert_eq!(line(action), typed);
        }
        let release = Some(Found::new("2.4.20".to_owned(), "test"));
        let old = LinuxFacts { release, ..LinuxFacts::default() };
        let typed = command_line(&write("elf", "vmss.core"), Some(&old), "vm.vmss");
        assert_eq!(typed, "vmss2core -N4 vm.vmss");
    }

    #[test]
    fn settings_are_options_of_the_program() {
        let typed = |name, value| setting(&Setting { name, value });
        assert_eq!(typed("vmlinux", Some("FILE")), "--vmlinux FILE");
        assert_eq!(typed("no-dedup", None), "--no-dedup");
        assert_eq!(typed("offsets", None), "-l");
        assert_eq!(typed("build", None), "-W<BUILD>");
    }
}
