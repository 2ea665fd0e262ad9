//! Inodes of files and their page caches.

use std::collections::{BTreeMap, BTreeSet};

use vmss2core_mem::{Gva, Sums};

use super::super::areas::{Area, EXEC, WRITE};
use super::super::inode::{self, Evidence};
use super::super::members::{Members, offsets, only};
use super::super::memory::Shot;
use super::super::page_cache;
use super::super::radix::MappedPage;
use super::{FILE_LEN, Files};

/// How much of a `struct inode` comes before its own `address_space`.
const INODE_LEN: u64 = 0x180;
/// How far into an `address_space` its `host` is, at most.
const HOST_WITHIN: u64 = 0x80;
/// Pages of code that are looked at, of an area and of all.
const PAGES_OF_AREA: u64 = 64;
const MOST_PAGES: usize = 1024;
/// Bytes of an ELF header.
const HEADER_LEN: u64 = 64;

/// What leads from files to their inodes and their page caches.
#[derive(Clone, Copy, Debug)]
struct Inodes {
    d_inode: u64,
    /// Not in 2.4.
    f_mapping: Option<u64>,
    i_mapping: u64,
    /// Of an `address_space`.
    host: u64,
}

impl Files<'_, '_, '_> {
    /// `d_inode`, `f_inode`, `f_mapping`, `i_mapping` and what inodes hold.
    pub(super) fn put_inode(&self, members: &mut Members) -> Option<()> {
        let (memory, word_len) = (self.memory, self.memory.word_len());
        let files = self.files();
        let inodes = self.inodes(&files)?;
        let inode = |file: &Shot| self.inode(file, inodes.d_inode);
        let is_inode = |at: u64| files.iter().all(|file| file.word(at) == inode(file));
        let f_inode = offsets(word_len..FILE_LEN, word_len, is_inode).next();
        let pair = |file: &Shot| {
            let inode = Shot::take(memory, inode(file)?, 0, INODE_LEN);
            let mapping = inode.word(inodes.i_mapping)?;
            Some((inode, mapping))
        };
        let pairs: Vec<(Shot, u64)> = files.iter().filter_map(pair).collect();
        let dentries: BTreeMap<u64, u64> = files
            .iter()
            .filter_map(|file| Some((inode(file)?, file.word(self.places.dentry)?)))
            .collect();
        let how = "leads from files to an address_space whose host is their inode";
        members.put("dentry", "d_inode", (inodes.d_inode, word_len), how);
        if let Some(f_inode) = f_inode {
            members.put("file", "f_inode", (f_inode, word_len), "equal to d_inode");
        }
        if let Some(f_mapping) = inodes.f_mapping {
            members.put("file", "f_mapping", (f_mapping, word_len), how);
        }
        members.put("inode", "i_mapping", (inodes.i_mapping, word_len), how);
        members.put("address_space", "host", (inodes.host, word_len), how);
        self.put_super_block(&pairs, members);
        self.put_content(&inodes, &pairs, &dentries, members);
        Some(())
    }

    /// The page caches, and what agrees with them.
    fn put_content(
        &self,
        inodes: &Inodes,
        pairs: &[(Shot, u64)],
        dentries: &BTreeMap<u64, u64>,
        members: &mut Members,
    ) {
        let memory = self.memory;
        let pages = self.mapped_pages(inodes, members);
        let tree = page_cache::learn(memory, pairs, &pages, members);
        let cached = |mapping| tree.and_then(|tree| tree.last_index(memory, mapping));
        let mapped = |mapping| {
            pages.iter().filter(|page| page.mapping == mapping).map(|page| page.index).max()
        };
        let evidence: Vec<Evidence<'_>> = pairs
            .iter()
            .map(|(inode, mapping)| Evidence {
                inode,
                dentry: dentries.get(&inode.gva).copied().unwrap_or(0),
                last_index: cached(*mapping).max(mapped(*mapping)),
                header: self.header(*mapping, inodes, members).unwrap_or_default(),
            })
            .collect();
        inode::learn(memory, &evidence, members);
    }

    /// `d_inode` follows the name, or comes before the links of the hash table that are before
    /// `d_parent` (until 2.6.37), in 2.4 just before `d_parent`. `f_mapping` leads to the
    /// `address_space` of that inode, as `i_mapping` does; 2.4 has the latter only.
    fn inodes(&self, files: &[Shot]) -> Option<Inodes> {
        let (word_len, name) = (self.memory.word_len(), self.places.name);
        let before = [word_len.times(3), word_len].map(|less| name.parent.checked_sub(less));
        let places =
            || std::iter::once(name.text.plus(word_len)).chain(before.iter().copied().flatten());
        let by_file = places().find_map(|at| Some((at, self.f_mapping(files, at)?)));
        let Some((d_inode, f_mapping)) = by_file else {
            return places().find_map(|d_inode| {
                let (i_mapping, host) = self.own_mapping(files, d_inode)?;
                Some(Inodes { d_inode, f_mapping: None, i_mapping, host })
            });
        };
        let pair = |file: &Shot| {
            let inode = Shot::take(self.memory, self.inode(file, d_inode)?, 0, INODE_LEN);
            Some((inode, file.word(f_mapping)?))
        };
        let pairs: Vec<(Shot, u64)> = files.iter().filter_map(pair).collect();
        let is_same =
            |at: u64| pairs.iter().all(|(inode, mapping)| inode.word(at) == Some(*mapping));
        let i_mapping = only(offsets(0..INODE_LEN, word_len, is_same))?;
        Some(Inodes { d_inode, f_mapping: Some(f_mapping), i_mapping, host: 0 })
    }

    /// The inode of a file, by its directory entry.
    fn inode(&self, file: &Shot, d_inode: u64) -> Option<u64> {
        let inode = self.memory.word(file.word(self.places.dentry)?.checked_add(d_inode)?)?;
        self.memory.is_pointer(inode).then_some(inode)
    }

    /// Where inodes lead to their own `address_space`, which follows, and where that leads
    /// back to them.
    fn own_mapping(&self, files: &[Shot], d_inode: u64) -> Option<(u64, u64)> {
        let (memory, word_len) = (self.memory, self.memory.word_len());
        let inodes: Option<Vec<Shot>> = files
            .iter()
            .map(|file| Some(Shot::take(memory, self.inode(file, d_inode)?, 0, INODE_LEN)))
            .collect();
        let inodes = inodes.filter(|inodes| !inodes.is_empty())?;
        let is_own = |at: u64| {
            inodes.iter().all(|inode| inode.word(at) == inode.gva.checked_add(at.plus(word_len)))
        };
        offsets(0..INODE_LEN, word_len, is_own).find_map(|at| {
            let is_host = |host: u64| {
                let hosts = inodes.iter().map(|inode| {
                    memory
                        .word(inode.word(at)?.checked_add(host)?)
                        .filter(|back| *back == inode.gva)
                });
                hosts.into_iter().all(|host| host.is_some())
            };
            Some((at, offsets(word_len..HOST_WITHIN, word_len, is_host).next()?))
        })
    }

    /// Where all files have an `address_space` whose `host` is the inode that their
    /// directory entries have at `d_inode`.
    fn f_mapping(&self, files: &[Shot], d_inode: u64) -> Option<u64> {
        let (memory, word_len) = (self.memory, self.memory.word_len());
        let is_mapping = |file: &Shot, at: u64| {
            let dentry = file.word(self.places.dentry)?;
            let inode = memory.word(dentry.checked_add(d_inode)?)?;
            let mapping = file.word(at).filter(|mapping| memory.is_pointer(*mapping))?;
            (memory.is_pointer(inode) && memory.word(mapping)? == inode).then_some(())
        };
        let holds = |at: u64| files.iter().all(|file| is_mapping(file, at).is_some());
        offsets(word_len..FILE_LEN, word_len, holds).next()
    }

    /// The first bytes of a file as a process sees them.
    fn header(&self, mapping: u64, inodes: &Inodes, members: &Members) -> Option<Vec<u8>> {
        let pgoff = members.at("vm_area_struct", "vm_pgoff")?;
        self.areas().find_map(|(one, area)| {
            let is_first = area.shot.word(pgoff) == Some(0);
            (is_first && self.mapping_of(area, inodes) == Some(mapping)).then_some(())?;
            let mut bytes = vec![0; usize::try_from(HEADER_LEN).ok()?];
            one.areas.process.space.read(Gva(area.start), &mut bytes).ok()?;
            Some(bytes)
        })
    }

    /// The `address_space` of an area's file.
    fn mapping_of(&self, area: &Area, inodes: &Inodes) -> Option<u64> {
        let memory = self.memory;
        let member = |of: u64, at: u64| {
            let of = memory.is_pointer(of).then_some(of)?;
            memory.word(of.checked_add(at)?)
        };
        let file = area.shot.word(self.places.vm_file)?;
        if let Some(f_mapping) = inodes.f_mapping {
            return member(file, f_mapping);
        }
        let dentry = member(file, self.places.dentry)?;
        member(member(dentry, inodes.d_inode)?, inodes.i_mapping)
    }

    /// Pages of code that processes map: nobody has private copies of those.
    fn mapped_pages(&self, inodes: &Inodes, members: &Members) -> Vec<MappedPage> {
        let member = |path| members.at("vm_area_struct", path);
        let (Some(flags), Some(pgoff)) = (member("vm_flags"), member("vm_pgoff")) else {
            return Vec::new();
        };
        let mut found = BTreeSet::new();
        for (one, area) in self.areas() {
            let is_code = |flags: u64| flags & (WRITE | EXEC) == EXEC;
            if !area.shot.word(flags).is_some_and(is_code) {
                continue;
            }
            let mapping = self.mapping_of(area, inodes);
            let (Some(mapping), Some(first)) = (mapping, area.shot.word(pgoff)) else { continue };
            for (page, at) in (0..PAGES_OF_AREA).zip((area.start..area.end).step_by(4096)) {
                let Ok(place) = one.areas.process.space.translate(Gva(at)) else { continue };
                let (Some(index), frame) = (first.checked_add(page), place.gpa.0 >> 12) else {
                    continue;
                };
                found.insert(MappedPage { mapping, index, frame });
            }
        }
        found.into_iter().take(MOST_PAGES).collect()
    }

    /// `i_sb` is what `mnt_sb` leads to.
    fn put_super_block(&self, pairs: &[(Shot, u64)], members: &mut Members) -> Option<()> {
        let word_len = self.memory.word_len();
        let (mnt, sb) = (members.at("file", "f_path.mnt")?, members.at("vfsmount", "mnt_sb")?);
        let block = |file: &Shot| {
            let mount = file.word(mnt).filter(|mount| self.memory.is_pointer(*mount))?;
            self.memory.word(mount.plus(sb))
        };
        let known: Vec<u64> = self.files().iter().filter_map(block).collect();
        let is_sb = |at: u64| {
            known.len() == pairs.len()
                && pairs.iter().zip(&known).all(|((inode, _), sb)| inode.word(at) == Some(*sb))
        };
        let at = only(offsets(0..INODE_LEN, word_len, is_sb))?;
        members.put("inode", "i_sb", (at, word_len), "equal to mnt_sb of the file's mount");
        Some(())
    }
}
