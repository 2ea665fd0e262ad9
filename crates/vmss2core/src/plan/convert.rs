//! One file of the user's choice.

use std::path::{Path, PathBuf};

use vmss2core_dump::{DUMP_FORMATS, Existing};

use super::{Format, Request, Source};
use crate::args::{ConvertArgs, Global, ProgressWhen};

/// Write one file under a name of the user's choice.
#[derive(Debug)]
pub(crate) struct ConvertPlan {
    pub(crate) source: Source,
    pub(crate) what: Request,
    pub(crate) output: Target,
    pub(crate) existing: Existing,
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
        check_output(&args.output, format)?;
        let what = Request::new(format, args.chosen.0)?;
        let to_stdout = is_stdout(&args.output);
        let beside = || if to_stdout { std::env::temp_dir() } else { directory_of(&args.output) };
        let spill_dir = global.tmpdir.unwrap_or_else(beside);
        Ok(Self {
            source: Source { inputs: args.inputs, spill_dir },
            what,
            output: if to_stdout { Target::Stdout } else { Target::File(args.output) },
            existing: super::existing(args.force, true),
            progress: global.progress,
        })
    }
}

/// `-`; a file of that name is `./-`.
fn is_stdout(output: &Path) -> bool {
    output.as_os_str() == "-"
}

fn check_output(output: &Path, format: Format) -> Result<(), String> {
    if is_stdout(output) {
        return if format.0.stream().is_some() { Ok(()) } else { Err(no_stream()) };
    }
    if output.is_dir() {
        return Err(format!("{} is a directory; -o needs the name of a file", output.display()));
    }
    Ok(())
}

fn no_stream() -> String {
    let streams = DUMP_FORMATS.iter().filter(|format| format.stream().is_some());
    let names: Vec<String> = streams.map(|one| format!("--format {}", one.name())).collect();
    format!(
        "cannot write to standard output: the file is written with holes and not from front to \
         back; give a file name (./- for a file called -), or use {}",
        names.join(" or ")
    )
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
