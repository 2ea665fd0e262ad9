//! A file that is mapped.

use std::collections::HashMap;
use std::sync::Arc;

use vmss2core_mem::Gva;

use super::super::{Kernel, LinuxError};
use super::fields::Fields;
use super::path::{PathGva, Paths};
use super::vma::MappedFile;

/// The inner file of a layered file system (`FMODE_BACKING`): its own path is none that
/// the process knows. Bit 25 from 6.5 on, bit 24 in later kernels, which have another
/// meaning for bit 25.
const MAYBE_BACKING: u64 = 3 << 24;
/// File systems that have nothing but the page cache (`include/uapi/linux/magic.h`).
const IN_MEMORY: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

/// Sockets and pipes (the same header), which are called by their numbers.
const SOCKETS: u64 = 0x534f_434b;
const PIPES: u64 = 0x5049_5045;

/// Files that are no files, as `epoll` and `perf` give them out (the same header).
const ANON_INODES: u64 = 0x0904_1934;

/// Reads files, each once.
#[derive(Debug)]
pub(super) struct Files<'k> {
    kernel: &'k Kernel,
    paths: Paths<'k>,
    file: Fields<5>,
    user_path: Fields<2>,
    dentry: Fields<1>,
    mapping: Fields<1>,
    inode: Fields<3>,
    super_block: Fields<2>,
    /// `kdev_t` of 2.4: 8 bits for the driver, 8 for what it drives.
    has_short_devices: bool,
    known: HashMap<Gva, Arc<MappedFile>>,
    /// Files whose path could not be read, and why the first could not.
    pub(super) without_path: u64,
    pub(super) first_error: Option<LinuxError>,
}

impl<'k> Files<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Self {
        let file = [
            "f_path.mnt|__f_path.mnt",
            "f_path.dentry|__f_path.dentry",
            "f_mapping",
            "f_inode",
            "f_mode",
        ];
        Self {
            kernel,
            paths: Paths::new(kernel),
            file: Fields::of(kernel, "file", file),
            user_path: Fields::of(
                kernel,
                "backing_file",
                ["user_path.mnt|__user_path.mnt", "user_path.dentry|__user_path.dentry"],
            ),
            dentry: Fields::of(kernel, "dentry", ["d_inode"]),
            mapping: Fields::of(kernel, "address_space", ["host"]),
            inode: Fields::of(kernel, "inode", ["i_ino", "i_sb", "i_mapping"]),
            super_block: Fields::of(kernel, "super_block", ["s_dev", "s_magic"]),
            has_short_devices: has_short_devices(kernel),
            known: HashMap::new(),
            without_path: 0,
            first_error: None,
        }
    }

    /// The file whose `struct file` lies at `gva`.
    pub(super) fn at(&mut self, gva: Gva) -> Arc<MappedFile> {
        if let Some(known) = self.known.get(&gva) {
            return known.clone();
        }
        let file = self.read(gva).unwrap_or_else(|error| {
            self.failed(error);
            MappedFile { gva, ..MappedFile::default() }
        });
        let file = Arc::new(file);
        self.known.insert(gva, file.clone());
        file
    }

    fn failed(&mut self, error: LinuxError) {
        self.without_path = self.without_path.saturating_add(1);
        self.first_error.get_or_insert(error);
    }

    fn read(&mut self, gva: Gva) -> Result<MappedFile, LinuxError> {
        let [mount, dentry, mapping, inode, mode] = self.file.read(self.kernel, gva)?;
        let own = mount.zip(dentry).map(|(mount, dentry)| PathGva { mount, dentry });
        let user = self.user_path(gva, mode.unwrap_or(0));
        let path = user.or(own);
        // Of a layered file the kernel shows the inode of the layer, but of one whose
        // user path it remembers that of the path (`file_user_inode`).
        let by_path = |path: PathGva| self.inode_of(path.dentry);
        let named = user.and_then(by_path).or(inode).or_else(|| own.and_then(by_path));
        let mut file = MappedFile { gva, ..MappedFile::default() };
        let magic = named.and_then(|named| self.describe(&mut file, Gva(named)));
        file.mapping = mapping.or_else(|| self.mapping_of(inode.or(named)?)).map(Gva);
        let host = file.mapping.and_then(|mapping| self.host(mapping)).or(inode).or(named);
        file.len_bytes = host.and_then(|host| self.len_bytes(Gva(host)));
        file.lives_in_memory = host.is_some_and(|host| self.lives_in_memory(Gva(host)));
        let number = file.inode_number.unwrap_or(0);
        // As `d_dname` of their file systems has it.
        let name = |path| match magic {
            Some(ANON_INODES) => Ok((format!("anon_inode:{}", self.paths.last_name(path)?), false)),
            Some(SOCKETS) => Ok((format!("socket:[{number}]"), false)),
            Some(PIPES) => Ok((format!("pipe:[{number}]"), false)),
            _ => self.paths.name_and_fate(path),
        };
        match path.map(name) {
            Some(Ok((path, is_deleted))) => (file.path, file.is_deleted) = (path, is_deleted),
            Some(Err(error)) => self.failed(error),
            None => self.failed(LinuxError::UnknownMember {
                structure: "file".into(),
                member: "f_path".into(),
            }),
        }
        Ok(file)
    }

    /// The path by which the process knows the inner file of a layered file system.
    fn user_path(&self, file: Gva, mode: u64) -> Option<PathGva> {
        if mode & MAYBE_BACKING == 0 {
            return None;
        }
        let [mount, dentry] = self.user_path.read(self.kernel, file).ok()?;
        let path = PathGva { mount: mount?, dentry: dentry? };
        // After a file that is no such one there is anything but a path.
        self.paths.text(path).is_ok().then_some(path)
    }

    /// Number and file system of an inode; returns the magic number of the latter.
    fn describe(&self, file: &mut MappedFile, inode: Gva) -> Option<u64> {
        let [number, super_block, _] = self.inode.read(self.kernel, inode).ok()?;
        file.inode_number = number;
        let [device, magic] = self.super_block.read(self.kernel, Gva(super_block?)).ok()?;
        // `MAJOR` and `MINOR` of `include/linux/kdev_t.h`.
        let bits = if self.has_short_devices { 8 } else { 20 };
        file.device = device.and_then(|device| {
            let device = u32::try_from(device).ok()?;
            Some((device >> bits, device & !(u32::MAX << bits)))
        });
        magic
    }

    /// Whether what its page cache lacks is nowhere else.
    fn lives_in_memory(&self, inode: Gva) -> bool {
        let magic = || {
            let [_, super_block, _] = self.inode.read(self.kernel, inode).ok()?;
            let [_, magic] = self.super_block.read(self.kernel, Gva(super_block?)).ok()?;
            magic
        };
        magic().is_some_and(|magic| IN_MEMORY.contains(&magic))
    }

    fn inode_of(&self, dentry: u64) -> Option<u64> {
        let [inode] = self.dentry.read(self.kernel, Gva(dentry)).ok()?;
        inode.filter(|inode| *inode != 0)
    }

    fn mapping_of(&self, inode: u64) -> Option<u64> {
        let [_, _, mapping] = self.inode.read(self.kernel, Gva(inode)).ok()?;
        mapping
    }

    fn host(&self, mapping: Gva) -> Option<u64> {
        let [host] = self.mapping.read(self.kernel, mapping).ok()?;
        host.filter(|host| *host != 0)
    }

    /// `i_size` has 64 bits on 32-bit kernels too.
    fn len_bytes(&self, inode: Gva) -> Option<u64> {
        let at = self.kernel.object(inode, "inode").address_of("i_size").ok()?;
        self.kernel.read_uint(at, 8, "inode.i_size").ok().filter(|len| len >> 63 == 0)
    }
}

fn has_short_devices(kernel: &Kernel) -> bool {
    let device = kernel.layout().member("super_block", "s_dev");
    device.is_some_and(|device| device.value.size_bytes == Some(2))
}
