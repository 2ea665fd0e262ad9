//! One file of the user's choice.

use std::path::{Path, PathBuf};

use vmss2core_dump::WriteOptions;

use super::{Format, Source};
use crate::args::{ConvertArgs, Global, ProgressWhen};

/// Write one file under a name of the user's choice.
#[derive(Debug)]
pub(crate) struct ConvertPlan {
    pub(crate) source: Source,
    pub(crate) format: Format,
    pub(crate) output: Target,
    pub(crate) options: WriteOptions,
    pub(crate) progress: ProgressWhen,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    File(PathBuf),
    Stdout,
}

impl ConvertPlan {
    pub(super) fn new(args: ConvertArgs, global: Global) -> Result<Self, String> {
        let format = Format::named(&args.format)?;
        check_output(&args, format)?;
        check_options(&args, format)?;
        let to_stdout = is_stdout(&args.output);
        let beside = || if to_stdout { std::env::temp_dir() } else { directory_of(&args.output) };
        let spill_dir = global.tmpdir.unwrap_or_else(beside);
        Ok(Self {
            source: Source { inputs: args.inputs, spill_dir },
            format,
            output: if to_stdout { Target::Stdout } else { Target::File(args.output) },
            options: WriteOptions {
                existing: super::existing(args.force, true),
                vcpu: args.vcpu.unwrap_or(0),
                all_threads: args.all_threads,
                no_dedup: args.no_dedup,
                cr3: args.cr3,
                gdb_script: args.gdb_script,
                kdump: args.kdump.options()?,
                windbg: args.windbg.options(),
            },
            progress: global.progress,
        })
    }
}

/// `-`; a file of that name is `./-`.
fn is_stdout(output: &Path) -> bool {
    output.as_os_str() == "-"
}

fn check_output(args: &ConvertArgs, format: Format) -> Result<(), String> {
    if is_stdout(&args.output) {
        return if format.0.is_stream() {
            Ok(())
        } else {
            Err("cannot write to standard output: the file is written with holes and not \
                 from front to back; give a file name (./- for a file called -), or use \
                 --format kdump"
                .into())
        };
    }
    if args.output.is_dir() {
        return Err(format!(
            "{} is a directory; -o needs the name of a file",
            args.output.display()
        ));
    }
    Ok(())
}

fn check_options(args: &ConvertArgs, format: Format) -> Result<(), String> {
    let name = format.0.name();
    let linear = [
        ("--vcpu", args.vcpu.is_some()),
        ("--all-threads", args.all_threads),
        ("--no-dedup", args.no_dedup),
        ("--cr3", args.cr3.is_some()),
    ];
    if let Some((option, _)) = linear.iter().find(|(_, given)| *given && name != Format::LINEAR) {
        return Err(format!("{option} goes with --format {}, not with {name}", Format::LINEAR));
    }
    if let Some(option) = args.kdump.given().filter(|_| name != Format::KDUMP) {
        return Err(format!("{option} goes with --format {}, not with {name}", Format::KDUMP));
    }
    if let Some(option) = args.windbg.given().filter(|_| !format.is_windbg()) {
        return Err(format!("{option} goes with --format {}, not with {name}", Format::WINDBG));
    }
    if args.gdb_script && !format.is_elf() {
        return Err(format!("--gdb-script goes with ELF formats; gdb does not open {name}"));
    }
    Ok(())
}

/// The directory that a file is in.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_bare_name_is_the_current_one() {
        assert_eq!(directory_of(Path::new("x.core")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/x.core")), Path::new("a"));
        assert_eq!(directory_of(Path::new("/x.core")), Path::new("/"));
    }
}
