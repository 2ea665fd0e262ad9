//! The path of a file, put together from `struct path`.
//!
//! As `d_path` and `prepend_path` in `fs/d_path.c` do, seen from the root of the
//! mount namespace. Loops of directory entries or mounts end with the limits.

use vmss2core_mem::Gva;

use super::super::{Kernel, LinuxError};
use super::fields::Fields;
use super::vma::DELETED;

/// No path of Linux is longer (`PATH_MAX`), nor has more parts than half of that.
const MAX_LEN: usize = 4096;
const MAX_PARTS: usize = 2048;
/// `NAME_MAX`.
const MAX_NAME: u64 = 255;
const MAX_MOUNTS: usize = 64;

/// Reads paths.
#[derive(Debug)]
pub(super) struct Paths<'k> {
    kernel: &'k Kernel,
    dentry: Fields<5>,
    /// Offset of `d_hash`, where that is a list (in 2.4).
    hash_list: Option<u64>,
    mount: Fields<2>,
    root: Fields<1>,
    mnt_in_mount: Option<u64>,
}

/// A place in a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathGva {
    /// The `struct vfsmount`.
    pub(super) mount: u64,
    /// The `struct dentry`.
    pub(super) dentry: u64,
}

struct Dentry {
    parent: u64,
    name: Gva,
    name_len: Option<u64>,
    /// `None` where it is not known.
    is_hashed: Option<bool>,
}

impl<'k> Paths<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Self {
        let names = ["d_parent", "d_name.name", "d_name.len", "d_hash.pprev", "d_hash.prev"];
        let layout = kernel.layout();
        let hash = layout.member("dentry", "d_hash.prev").map(|member| member.value.offset_bytes);
        let mnt = layout.member("mount", "mnt").map(|member| member.value.offset_bytes);
        // Before 3.3 all of it was in the `vfsmount`.
        let is_whole = mnt.is_none() && layout.member("vfsmount", "mnt_parent").is_some();
        let structure = if is_whole { "vfsmount" } else { "mount" };
        Self {
            kernel,
            dentry: Fields::of(kernel, "dentry", names),
            hash_list: hash.map(|prev| prev.saturating_sub(kernel.word_len())),
            mount: Fields::of(kernel, structure, ["mnt_parent", "mnt_mountpoint"]),
            root: Fields::of(kernel, "vfsmount", ["mnt_root"]),
            mnt_in_mount: mnt.or_else(|| is_whole.then_some(0)),
        }
    }

    /// The path as the guest's `/proc` prints it.
    pub(super) fn text(&self, path: PathGva) -> Result<String, LinuxError> {
        Ok(self.name_and_fate(path)?.0)
    }

    /// Path of a file, and whether the file has lost that name.
    pub(super) fn name_and_fate(&self, path: PathGva) -> Result<(String, bool), LinuxError> {
        let first = self.dentry(path.dentry)?;
        let root = self.mnt_root(path.mount)?;
        let is_root = first.parent == path.dentry || first.parent == 0;
        if is_root && root != path.dentry {
            // Files without a place in any directory are such roots: shared memory,
            // memfd (`simple_dname`).
            let mut bytes = b"/".to_vec();
            bytes.extend(self.name(&first)?);
            return Ok((text(bytes) + DELETED, true));
        }
        let is_deleted = first.is_hashed == Some(false) && !is_root;
        let deleted = if is_deleted { DELETED } else { "" };
        Ok((self.walk(path)? + deleted, is_deleted))
    }

    /// The name of the file itself.
    pub(super) fn last_name(&self, path: PathGva) -> Result<String, LinuxError> {
        Ok(text(self.name(&self.dentry(path.dentry)?)?))
    }

    fn walk(&self, path: PathGva) -> Result<String, LinuxError> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let (mut mount, mut dentry) = (path.mount, path.dentry);
        let (mut hops, mut len) = (0_usize, 0_usize);
        let mut root = self.mnt_root(mount)?;
        loop {
            if dentry == root {
                let Some(above) = self.mounted_on(mount)? else { break };
                hops = hops.saturating_add(1);
                (mount, dentry) = above;
                root = self.mnt_root(mount)?;
            } else {
                let found = self.dentry(dentry)?;
                if found.parent == dentry || found.parent == 0 {
                    break;
                }
                let name = self.name(&found)?;
                len = len.saturating_add(name.len().saturating_add(1));
                parts.push(name);
                dentry = found.parent;
            }
            if hops > MAX_MOUNTS || parts.len() > MAX_PARTS || len > MAX_LEN {
                return Err(corrupt(path.dentry, "its path does not end"));
            }
        }
        if parts.is_empty() {
            return Ok("/".into());
        }
        let joined = parts.iter().rev().flat_map(|name| b"/".iter().chain(name)).copied();
        Ok(text(joined.collect()))
    }

    /// The mount below a mount; `None` for that at the top.
    fn mounted_on(&self, vfsmount: u64) -> Result<Option<(u64, u64)>, LinuxError> {
        let Some(inside) = self.mnt_in_mount else { return Ok(None) };
        let mount = vfsmount.wrapping_sub(inside);
        let [parent, mountpoint] = self.mount.read(self.kernel, Gva(mount))?;
        let (Some(parent), Some(mountpoint)) = (parent, mountpoint) else { return Ok(None) };
        Ok((parent != mount && parent != 0 && mountpoint != 0)
            .then(|| (parent.wrapping_add(inside), mountpoint)))
    }

    fn mnt_root(&self, vfsmount: u64) -> Result<u64, LinuxError> {
        let [root] = self.root.read(self.kernel, Gva(vfsmount))?;
        root.ok_or_else(|| unknown("vfsmount", "mnt_root"))
    }

    fn dentry(&self, gva: u64) -> Result<Dentry, LinuxError> {
        let [parent, name, name_len, pprev, prev] = self.dentry.read(self.kernel, Gva(gva))?;
        // An empty list leads to itself.
        let in_list = || Some(prev? != gva.wrapping_add(self.hash_list?));
        Ok(Dentry {
            parent: parent.ok_or_else(|| unknown("dentry", "d_parent"))?,
            name: Gva(name.ok_or_else(|| unknown("dentry", "d_name.name"))?),
            name_len,
            is_hashed: pprev.map(|pprev| pprev != 0).or_else(in_list),
        })
    }

    /// A name is never empty and has neither NUL nor slash, but those of files without
    /// a place in a directory.
    fn name(&self, dentry: &Dentry) -> Result<Vec<u8>, LinuxError> {
        let len = dentry.name_len.filter(|len| *len <= MAX_NAME).unwrap_or(MAX_NAME);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if self.kernel.read(dentry.name, &mut bytes, "name").is_err() {
            // A short name may end just before memory that is not there.
            bytes = self.name_byte_by_byte(dentry.name)?;
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }

    fn name_byte_by_byte(&self, gva: Gva) -> Result<Vec<u8>, LinuxError> {
        let mut bytes = Vec::new();
        while bytes.len() < 256 && bytes.last() != Some(&0) {
            let at = Gva(gva.0.wrapping_add(bytes.len() as u64));
            bytes.push(u8::try_from(self.kernel.read_uint(at, 1, "name")?).unwrap_or(0));
        }
        Ok(bytes)
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn unknown(structure: &str, member: &str) -> LinuxError {
    LinuxError::UnknownMember { structure: structure.into(), member: member.into() }
}

fn corrupt(at: u64, why: &str) -> LinuxError {
    LinuxError::Corrupt { what: "dentry".into(), at: Gva(at), why: why.into() }
}
