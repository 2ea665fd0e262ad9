//! Files of the guest from a directory of the host.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use vmss2core_gdb::{FileError, GuestFile};
use vmss2core_mem::ReadAt;

/// More symbolic links on one path are a loop (`MAXSYMLINKS` of Linux).
const MOST_LINKS: usize = 40;

/// A directory that is the guest's root.
pub(super) struct Sysroot {
    dir: PathBuf,
}

struct HostFile {
    file: File,
    len_bytes: u64,
}

impl Sysroot {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A regular file by its path in the guest; `None` if there is none.
    pub(super) fn open(&self, path: &str) -> Option<Box<dyn GuestFile>> {
        let place = self.place(path)?;
        // Others, such as pipes, would wait when they are opened.
        if !fs::symlink_metadata(&place).ok()?.is_file() {
            return None;
        }
        let file = File::open(&place).ok()?;
        let len_bytes = file.metadata().ok()?.len();
        Some(Box::new(HostFile { file, len_bytes }))
    }

    /// Where on the host that is. Symbolic links are followed as in the guest, where
    /// the directory is the root that nothing leads out of.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let mut rest: VecDeque<OsString> = parts(Path::new(path))?;
        let mut inside = PathBuf::new();
        let mut links = 0_usize;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                inside.pop();
                continue;
            }
            let next = inside.join(&part);
            let Ok(target) = fs::read_link(self.dir.join(&next)) else {
                inside = next;
                continue;
            };
            links = links.saturating_add(1);
            if links > MOST_LINKS {
                return None;
            }
            if target.has_root() {
                inside = PathBuf::new();
            }
            for part in parts(&target)?.into_iter().rev() {
                rest.push_front(part);
            }
        }
        Some(self.dir.join(inside))
    }
}

/// The names on a path; `None` if it begins with a drive of Windows.
fn parts(path: &Path) -> Option<VecDeque<OsString>> {
    let mut parts = VecDeque::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) => return None,
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => parts.push_back("..".into()),
            Component::Normal(name) => parts.push_back(name.to_owned()),
        }
    }
    Some(parts)
}

impl GuestFile for HostFile {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let left = self.len_bytes.saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buf.get_mut(..len).unwrap_or_default();
        self.file.read_exact_at(offset, part).map_err(|_| FileError::Unreadable)?;
        Ok(len)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn content(sysroot: &Sysroot, path: &str) -> Option<Vec<u8>> {
        let file = sysroot.open(path)?;
        let mut bytes = vec![0; 64];
        let got = file.read(0, &mut bytes).ok()?;
        bytes.truncate(got);
        Some(bytes)
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(root.join("usr/lib/a.so"), "inside").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/usr/lib/a.so", root.join("absolute")).unwrap();
        symlink("../../../usr/lib/a.so", root.join("usr/above")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(dir.path().join("secret"), root.join("out-absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("../..", root.join("up")).unwrap();
        let sysroot = Sysroot::new(root);
        for path in ["/usr/lib/a.so", "/lib/a.so", "/absolute", "/usr/above", "/../lib/./a.so"] {
            assert_eq!(content(&sysroot, path).as_deref(), Some(&b"inside"[..]), "{path}");
        }
        for path in [
            "/../secret",
            "/usr/../../secret",
            "/out",
            "/out-absolute",
            "/loop",
            "/up/secret",
            "/usr/lib",
            "/",
            "",
            "/nothing",
        ] {
            assert_eq!(content(&sysroot, path), None, "{path}");
        }
    }

    #[test]
    fn a_file_ends_where_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "0123456789").unwrap();
        let file = Sysroot::new(dir.path().to_owned()).open("/a").unwrap();
        let mut bytes = [0; 4];
        assert_eq!((file.len_bytes(), file.read(8, &mut bytes)), (10, Ok(2)));
        assert_eq!(&bytes[..2], b"89");
        assert_eq!(file.read(u64::MAX, &mut bytes), Ok(0));
    }
}
