//! Where files of a guest go. Their names are the guest's, and it may be hostile.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use vmss2core_answers::ExtractedFile;
use vmss2core_dump::output::{self, Existing};
use vmss2core_machine::Provenance;

use super::args::{ExtractPlan, WantedFiles};
use crate::output::existing;

/// The directory for `--maps` where none is named.
const SYSROOT: &str = "sysroot";

/// Where files go.
#[derive(Debug)]
pub(super) enum Destination {
    /// This one file, under the user's own name for it.
    File(PathBuf),
    /// Into this directory, without the guest's directories.
    Flat(PathBuf),
    /// Below this directory, as in the guest.
    Tree(PathBuf),
}

impl Destination {
    pub(super) fn new(plan: &ExtractPlan, inputs: &Provenance) -> Result<Self> {
        let destination = Self::of(plan)?;
        if let Self::Tree(root) | Self::Flat(root) = &destination
            && plan.overwrite
        {
            refuse_inputs_in(root, inputs)?;
        }
        Ok(destination)
    }

    fn of(plan: &ExtractPlan) -> Result<Self> {
        if plan.files == WantedFiles::Programs {
            let root = plan.output.clone().unwrap_or_else(|| SYSROOT.into());
            make_directory(&root)?;
            return Ok(Self::Tree(root));
        }
        Ok(match &plan.output {
            Some(output) if output.is_dir() => Self::Flat(output.clone()),
            Some(output) => Self::File(output.clone()),
            None => Self::Flat(".".into()),
        })
    }

    /// Where the file goes that the guest calls so. Its directories are made.
    pub(super) fn path_of(&self, guest_path: &str) -> Result<PathBuf> {
        let parts = parts(guest_path)?;
        let Some((name, directories)) = parts.split_last() else {
            bail!("it has no name");
        };
        let (root, directories) = match self {
            Self::File(path) => return Ok(path.clone()),
            Self::Flat(directory) => (directory, [].as_slice()),
            Self::Tree(root) => (root, directories),
        };
        let mut path = root.clone();
        for part in directories {
            path.push(part);
            make_directory(&path)?;
        }
        path.push(name);
        let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        ensure!(!is_link, "{} is a symbolic link, which may lead anywhere", path.display());
        Ok(path)
    }

    /// Rule for a file that is there already.
    pub(super) fn existing(&self, overwrite: bool) -> Existing {
        existing(overwrite, matches!(self, Self::File(_)))
    }

    /// Gives a file a second name, if that is another one. Only in a tree.
    pub(super) fn link(
        &self,
        file: &Path,
        guest_path: &str,
        overwrite: bool,
        inputs: &Provenance,
    ) -> Result<Option<PathBuf>> {
        if !matches!(self, Self::Tree(_)) {
            return Ok(None);
        }
        let path = self.path_of(guest_path)?;
        if path == file {
            return Ok(None);
        }
        output::link(file, &path, self.existing(overwrite), inputs)?;
        Ok(Some(path))
    }
}

/// Where the guest chooses the names, it could choose those of the machine's disks.
fn refuse_inputs_in(root: &Path, inputs: &Provenance) -> Result<()> {
    let Ok(root) = root.canonicalize() else { return Ok(()) };
    let is_inside = |input: &&PathBuf| input.canonicalize().is_ok_and(|at| at.starts_with(&root));
    if let Some(input) = inputs.host_files.iter().find(is_inside) {
        bail!(
            "{} has {} in it, and the guest chooses the names of what would be replaced there: name \
             another directory",
            root.display(),
            input.display()
        );
    }
    Ok(())
}

/// The directory that `--maps` wrote to: where the first file's path in the guest
/// begins in the path it was written to.
pub(super) fn root_of(written: &[ExtractedFile]) -> Option<String> {
    let first = written.first()?;
    let inside = parts(&first.guest_path).ok()?.join("/");
    let root = first.path.strip_suffix(&inside)?.trim_end_matches('/');
    Some(if root.is_empty() { ".".to_owned() } else { root.to_owned() })
}

/// The parts of a guest's path as names of our own: none of them leads up, to the
/// root, or to another drive. What leads up within the guest's root is followed.
fn parts(guest_path: &str) -> Result<Vec<String>> {
    let is_odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
    let mut parts = Vec::new();
    for part in guest_path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            ensure!(parts.pop().is_some(), "its path leads upwards, out of the guest's root");
        } else {
            parts.push(part.replace(is_odd, "_"));
        }
    }
    Ok(parts)
}

/// Makes a directory that only the user can read, or finds one that is no link.
fn make_directory(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    private(&mut builder);
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let metadata = path.symlink_metadata();
            let is_directory = metadata.is_ok_and(|metadata| metadata.is_dir());
            ensure!(is_directory, "{} exists and is no directory", path.display());
            Ok(())
        }
        other => other.with_context(|| format!("making {}", path.display())),
    }
}

#[cfg(unix)]
fn private(builder: &mut DirBuilder) {
    use std::os::unix::fs::DirBuilderExt;
    builder.mode(0o700);
}

#[cfg(not(unix))]
fn private(_builder: &mut DirBuilder) {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_name_of_a_guest_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("out");
        make_directory(&root).unwrap();
        let tree = Destination::Tree(root.clone());
        for hostile in ["/../x", "/a/../../x", "..", "", "/", "/.", "//"] {
            assert!(tree.path_of(hostile).is_err(), "{hostile}");
        }
        for (guest, here) in [
            ("/lib/x.so", "lib/x.so"),
            ("lib/x.so", "lib/x.so"),
            ("//lib/./x.so", "lib/x.so"),
            ("/lib/...", "lib/..."),
            ("/usr/jvm/bin/../lib/x.so", "usr/jvm/lib/x.so"),
            ("/C:\\x", "C__x"),
            ("/a\u{1b}\0b", "a__b"),
        ] {
            assert_eq!(tree.path_of(guest).unwrap(), root.join(here));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let flat = Destination::Flat(root.clone());
        assert_eq!(flat.path_of("/lib/x.so").unwrap(), root.join("x.so"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_are_there_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("out"), dir.path().join("outside"));
        make_directory(&root).unwrap();
        make_directory(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("lib")).unwrap();
        std::os::unix::fs::symlink(outside.join("x"), root.join("x")).unwrap();
        let tree = Destination::Tree(root);
        assert!(tree.path_of("/lib/x.so").is_err());
        assert!(tree.path_of("/x").is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn directories_are_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let tree = Destination::Tree(dir.path().to_owned());
        let path = tree.path_of("/usr/lib/x.so").unwrap();
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_second_name_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Destination::Tree(dir.path().to_owned());
        let file = tree.path_of("/usr/lib/libc-2.31.so").unwrap();
        fs::write(&file, b"x").unwrap();
        let link = |name, overwrite| tree.link(&file, name, overwrite, &Provenance::default());
        assert_eq!(link("/usr/lib/libc-2.31.so", false).unwrap(), None);
        let second = link("/lib/libc.so.6", false).unwrap().unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"x");
        assert!(link("/lib/libc.so.6", false).is_err());
        assert!(link("/lib/libc.so.6", true).unwrap().is_some());
        assert!(link("/../libc.so.6", true).is_err());
        // In place of the link: the file would change with it.
        fs::remove_file(&second).unwrap();
        fs::write(&second, b"another").unwrap();
        assert!(link("/lib/libc.so.6", true).unwrap().is_some());
        assert_eq!(fs::read(&second).unwrap(), b"x");
        let there = fs::read_dir(second.parent().unwrap()).unwrap();
        assert_eq!(there.count(), 1, "a temporary name is left");
    }

    #[test]
    fn a_second_name_never_takes_that_of_an_input() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Destination::Tree(dir.path().to_owned());
        let (file, input) = (dir.path().join("libc.so.6"), dir.path().join("g.vmem"));
        fs::write(&file, b"libc").unwrap();
        fs::write(&input, b"memory").unwrap();
        let inputs = Provenance { host_files: vec![input.clone()], ..Provenance::default() };
        let refused = tree.link(&file, "/g.vmem", true, &inputs).unwrap_err();
        assert!(refused.to_string().contains("part of the checkpoint"), "{refused}");
        assert_eq!(fs::read(&input).unwrap(), b"memory");
        let refused = refuse_inputs_in(dir.path(), &inputs).unwrap_err();
        assert!(refused.to_string().contains("name another directory"), "{refused}");
        refuse_inputs_in(&dir.path().join("out"), &inputs).unwrap();
    }
}
