//! Which files of a process are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use vmss2core_guest::linux::{Backing, MappedFile, Process, VmaFlags};
use vmss2core_mem::Problem;

use super::args::WantedFiles;

const ELF: [u8; 4] = *b"\x7fELF";
/// How many others are named where nothing fits.
const SUGGESTIONS: usize = 5;

/// A file, and by which other names the program knows it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) file: Arc<MappedFile>,
    pub(super) also: Vec<String>,
}

/// The files of a process that are asked for.
pub(super) fn files(
    process: &Process,
    wanted: &WantedFiles,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<Wanted>> {
    let alone = |file| Ok(vec![Wanted { file, also: Vec::new() }]);
    match wanted {
        WantedFiles::Executable => alone(executable(process)?),
        WantedFiles::Path(path) => alone(by_path(process, path)?),
        WantedFiles::Programs => Ok(programs(process, problems)),
    }
}

fn executable(process: &Process) -> anyhow::Result<Arc<MappedFile>> {
    let file = process.executable().cloned().map(Arc::new);
    file.context("it is not known which file the process runs")
}

/// Files that are mapped, each once; the executable first.
fn mapped(process: &Process) -> Vec<Arc<MappedFile>> {
    let mut seen = BTreeSet::new();
    let mapped = process.vmas().iter().filter(|vma| vma.backing == Backing::File);
    let files = mapped.filter_map(|vma| vma.file.clone());
    let all = executable(process).ok().into_iter().chain(files);
    all.filter(|file| file.mapping.is_some_and(|mapping| seen.insert(mapping))).collect()
}

fn by_path(process: &Process, path: &str) -> anyhow::Result<Arc<MappedFile>> {
    let files = mapped(process);
    let named = files.iter().find(|file| file.path == path);
    let found = named.or_else(|| files.iter().find(|file| file.path_when_it_existed() == path));
    if let Some(file) = found {
        return Ok(file.clone());
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let like = files.iter().filter(|file| !name.is_empty() && file.path.contains(name));
    let like: Vec<&str> = like.take(SUGGESTIONS).map(|file| file.path.as_str()).collect();
    let there_is = if like.is_empty() {
        "; vmss2core maps lists all".to_owned()
    } else {
        format!("; there is {}", like.join(", "))
    };
    bail!("the process has not mapped {path}{there_is}");
}

/// The executable and all libraries: what is mapped for execution, or begins like one.
fn programs(process: &Process, problems: &mut Vec<Problem>) -> Vec<Wanted> {
    let executable = |file: &MappedFile| {
        let of_file = |other: &Option<Arc<MappedFile>>| {
            other.as_ref().is_some_and(|other| other.mapping == file.mapping)
        };
        let vmas = process.vmas().iter();
        vmas.into_iter().any(|vma| vma.flags.contains(VmaFlags::EXECUTE) && of_file(&vma.file))
    };
    let mut paths = BTreeSet::new();
    let mut found = Vec::new();
    for file in mapped(process) {
        let begins_like_one = || process.read_file(&file, 0, 4).is_some_and(|bytes| bytes == ELF);
        if !file.path.starts_with('/') || !(executable(&file) || begins_like_one()) {
            continue;
        }
        // A file that was replaced and the one that took its place.
        if !paths.insert(file.path_when_it_existed().to_owned()) {
            problems.push(Problem::warning(format!(
                "two files have been called {}: only the first is written",
                file.path_when_it_existed()
            )));
            continue;
        }
        found.push(Wanted { file, also: Vec::new() });
    }
    for library in process.libraries().unwrap_or_default().libraries {
        let of = process.vma_at(library.dynamic).and_then(|vma| vma.file.as_ref()?.mapping);
        let file = found.iter_mut().find(|wanted| of.is_some() && wanted.file.mapping == of);
        if let Some(wanted) = file.filter(|wanted| wanted.file.path != library.name) {
            wanted.also.push(library.name);
        }
    }
    found
}
