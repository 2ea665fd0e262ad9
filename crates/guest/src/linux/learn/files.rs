//! Files that are mapped: `vm_file` and what it leads to, names and page cache.
//!
//! The code of every process is mapped from its program: that area has a file, its
//! stack has none. A file has a path (3.9: of `struct vfsmount` and `struct dentry`)
//! whose names lead up to `/`, an inode, and an `address_space` whose `host` is that.

use std::collections::{BTreeMap, BTreeSet};

use vmss2core_mem::{Gva, Sums};

use super::areas::{Area, Areas, EXEC, GROWS_DOWN, WRITE};
use super::inode::{self, Evidence};
use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};
use super::page_cache;
use super::radix::MappedPage;
use super::tasks::nearly_all;

/// How much of a `struct file` and a `struct dentry` is looked at.
const FILE_LEN: u64 = 0x140;
const DENTRY_LEN: u64 = 0x60;
/// How much of a `struct inode` comes before its own `address_space`.
const INODE_LEN: u64 = 0x180;
/// `NAME_MAX`, and how deep paths are at most.
const LONGEST_NAME: u64 = 255;
const DEEPEST: usize = 64;
/// Among so many first members of tables of functions is one that is there.
const OPERATIONS: u64 = 4;
/// Pages of code that are looked at, of an area and of all.
const PAGES_OF_AREA: u64 = 64;
const MOST_PAGES: usize = 1024;
/// Bytes of an ELF header.
const HEADER_LEN: u64 = 64;

/// Mappings of a file: a process's program or a library.
#[derive(Debug)]
pub(super) struct Mapped<'a> {
    /// The area that a process's code is in.
    pub(super) code: &'a Area,
    stack: &'a Area,
    pub(super) areas: &'a Areas<'a>,
}

/// Members that lead from an area to a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) vm_file: u64,
    /// `f_path.dentry`.
    dentry: u64,
    /// `d_name.name`.
    name: u64,
}

pub(super) fn learn(memory: &Memory<'_>, all: &[Areas<'_>], members: &mut Members) {
    let Some(mapped) = mapped(all, members) else { return };
    let Some(places) = places(memory, &mapped) else {
        members.miss("vm_area_struct.vm_file", "nothing in areas of code leads to names of files");
        return;
    };
    let files = Files { memory, mapped: &mapped, places };
    files.put(members);
    if files.put_pgoff(members).is_none() {
        members.miss("vm_area_struct.vm_pgoff", "it is not before vm_file");
    }
    if files.put_exe(members).is_none() {
        members.miss("mm_struct.exe_file", "nothing leads to the file of the code");
    }
    if files.put_mount(members).is_none() {
        members.miss("vfsmount.mnt_root", "nothing leads from files to where they are mounted");
    }
    if files.put_inode(members).is_none() {
        members.miss("file.f_mapping", "nothing leads from files to their page cache");
    }
}

/// The areas of code and of the stack of each process.
fn mapped<'a>(all: &'a [Areas<'a>], members: &Members) -> Option<Vec<Mapped<'a>>> {
    let code = members.at("mm_struct", "end_code")?;
    let stack = members.at("mm_struct", "start_stack")?;
    let find = |areas: &'a Areas<'a>| {
        let mm = &areas.process.mm;
        let code = areas.at(mm.word(code)?.checked_sub(1)?)?;
        Some(Mapped { code, stack: areas.at(mm.word(stack)?)?, areas })
    };
    Some(all.iter().filter_map(find).collect())
}

/// Tries what there can be: few words lead anywhere, and fewer to a name.
fn places(memory: &Memory<'_>, mapped: &[Mapped<'_>]) -> Option<Places> {
    let word_len = memory.word_len();
    // Before it is what there is to do with it (`vm_ops`): functions. A file may have
    // pointers to such tables among its first members.
    let words = |at: u64| {
        (0..OPERATIONS).filter_map(move |index| memory.word(at.plus(index.times(word_len))))
    };
    let is_function =
        |word: u64| memory.is_code(word) && !words(word).any(|word| memory.is_code(word));
    let has_functions = |at: u64| words(at).any(is_function);
    let is_file = |at: u64| {
        nearly_all(mapped.iter(), |one| {
            one.code
                .shot
                .word(at)
                .is_some_and(|file| memory.is_pointer(file) && !has_functions(file))
                && one.stack.shot.word(at) == Some(0)
        })
    };
    let end = mapped.iter().map(|one| one.code.shot.len()).min()?;
    offsets(word_len.times(2)..end, word_len, is_file).find_map(|vm_file| {
        let file =
            |one: &Mapped<'_>| Some(Shot::take(memory, one.code.shot.word(vm_file)?, 0, FILE_LEN));
        let files: Vec<Shot> = mapped.iter().filter_map(file).collect();
        let (dentry, name) = path_of(memory, &files)?;
        Some(Places { vm_file, dentry, name })
    })
}

/// Where in all these files there is a `dentry` with a name, and where that is in it:
/// the first place, as what follows a file may be another one.
fn path_of(memory: &Memory<'_>, files: &[Shot]) -> Option<(u64, u64)> {
    let word_len = memory.word_len();
    let dentries = |at: u64| files.iter().filter_map(move |file| file.word(at));
    let are_pointers = |at: u64| {
        dentries(at).count() == files.len() && dentries(at).all(|gva| memory.is_pointer(gva))
    };
    offsets(word_len..FILE_LEN, word_len, are_pointers).find_map(|at| {
        let are_names = |name: u64| dentries(at).all(|gva| path(memory, gva, name).is_some());
        Some((at, offsets(word_len.times(4)..DENTRY_LEN, word_len, are_names).next()?))
    })
}

/// From a `dentry` up to the root of its file system, which is its own parent. The
/// parent and the hash and length of the name come before the pointer to it.
fn path(memory: &Memory<'_>, dentry: u64, name: u64) -> Option<Vec<u64>> {
    let mut path = vec![dentry];
    let mut at = dentry;
    while path.len() < DEEPEST {
        let len = memory.u32(at.checked_add(name)?.checked_sub(4)?)?;
        let text = memory.word(at.plus(name)).filter(|text| memory.is_pointer(*text))?;
        if len == 0 || len > LONGEST_NAME || memory.text(text, len.plus(1))?.len() as u64 != len {
            return None;
        }
        let parent = memory.word(at.plus(name).minus(8).minus(memory.word_len()))?;
        if parent == at {
            return Some(path);
        }
        memory.is_pointer(parent).then_some(())?;
        path.push(parent);
        at = parent;
    }
    None
}

/// Mappings, and how names are found.
struct Files<'a, 'm, 'k> {
    memory: &'m Memory<'k>,
    mapped: &'a [Mapped<'a>],
    places: Places,
}

impl Files<'_, '_, '_> {
    /// The files of the processes' code, each once.
    fn files(&self) -> Vec<Shot> {
        let file = |one: &Mapped<'_>| one.code.shot.word(self.places.vm_file);
        let files: BTreeSet<u64> = self.mapped.iter().filter_map(file).collect();
        files.into_iter().map(|gva| Shot::take(self.memory, gva, 0, FILE_LEN)).collect()
    }

    fn put(&self, members: &mut Members) {
        let (word_len, places) = (self.memory.word_len(), self.places);
        let how = "leads from areas of code to paths";
        members.put("vm_area_struct", "vm_file", (places.vm_file, word_len), how);
        members.put("file", "f_path.dentry", (places.dentry, word_len), how);
        members.put("dentry", "d_name.name", (places.name, word_len), how);
        members.put("dentry", "d_name.len", (places.name.minus(4), 4), "length of the name");
        members.put("dentry", "d_name.hash", (places.name.minus(8), 4), "before the length");
        let parent = places.name.minus(8).minus(word_len);
        members.put("dentry", "d_parent", (parent, word_len), "leads up to /");
        let pprev = parent.minus(word_len);
        let is_hashed = |file: &Shot| {
            let dentry = file.word(places.dentry).filter(|dentry| self.memory.is_pointer(*dentry));
            let pprev = dentry.and_then(|dentry| self.memory.word(dentry.plus(pprev)));
            pprev.is_some_and(|pprev| self.memory.is_pointer(pprev))
        };
        if nearly_all(self.files().iter(), |file| is_hashed(file)) {
            let how = "before d_parent; not null for what can be looked up";
            members.put("dentry", "d_hash.pprev", (pprev, word_len), how);
        }
    }

    /// `vm_ops`, `vm_pgoff`, `vm_file` and `vm_private_data` follow each other; where
    /// there is no file, `vm_pgoff` is the address itself.
    fn put_pgoff(&self, members: &mut Members) -> Option<()> {
        let (word_len, file) = (self.memory.word_len(), self.places.vm_file);
        let flags = members.at("vm_area_struct", "vm_flags")?;
        let at = file.checked_sub(word_len)?;
        let areas = || self.mapped.iter().flat_map(|one| &one.areas.list);
        let is_anonymous = |area: &&Area| {
            let flags = area.shot.word(flags).unwrap_or(0);
            flags & (WRITE | GROWS_DOWN) == WRITE && area.shot.word(file) == Some(0)
        };
        let is_own = |area: &&Area| area.shot.word(at) == Some(area.start >> 12);
        let of_code = |one: &&Mapped<'_>| one.code.shot.word(at).is_some_and(|page| page < 1 << 20);
        let is_pgoff = nearly_all(areas().filter(is_anonymous), is_own)
            && nearly_all(self.mapped.iter(), of_code);
        is_pgoff.then_some(())?;
        members.put(
            "vm_area_struct",
            "vm_pgoff",
            (at, word_len),
            "that of memory without a file is its address",
        );
        let ops = at.checked_sub(word_len)?;
        let is_ops = |one: &&Mapped<'_>| {
            let of_code = one.code.shot.word(ops).is_some_and(|ops| self.memory.is_pointer(ops));
            of_code && one.stack.shot.word(ops) == Some(0)
        };
        if nearly_all(self.mapped.iter(), is_ops) {
            members.put("vm_area_struct", "vm_ops", (ops, word_len), "of files only");
        }
        self.put_special(members);
        Some(())
    }

    /// The `vdso` has no file, but a name after `vm_private_data`.
    fn put_special(&self, members: &mut Members) {
        let (word_len, data) =
            (self.memory.word_len(), self.places.vm_file.plus(self.memory.word_len()));
        let mut areas = self.mapped.iter().flat_map(|one| &one.areas.list);
        let is_vdso = |area: &Area| {
            let special = area.shot.word(data).filter(|at| self.memory.is_pointer(*at));
            let name = special.and_then(|special| self.memory.word(special));
            name.and_then(|name| self.memory.text(name, 8)).as_deref() == Some("[vdso]")
        };
        if areas.any(is_vdso) {
            let how = "leads to the name of the vdso";
            members.put("vm_area_struct", "vm_private_data", (data, word_len), how);
            members.put("vm_special_mapping", "name", (0, word_len), how);
            self.put_image(&is_vdso, members);
        }
    }

    /// `context.vdso` and after it `context.vdso_image`, which begins with a pointer to
    /// the ELF file that the kernel maps there.
    fn put_image(&self, is_vdso: &dyn Fn(&Area) -> bool, members: &mut Members) -> Option<()> {
        let (memory, word_len) = (self.memory, self.memory.word_len());
        let all: Vec<(&Shot, u64)> = self
            .mapped
            .iter()
            .filter_map(|one| {
                let vdso = one.areas.list.iter().find(|area| is_vdso(area))?;
                Some((&one.areas.process.mm, vdso.start))
            })
            .collect();
        let is_image = |(mm, vdso): &(&Shot, u64), at: u64| {
            let image = mm.word(at).filter(|image| memory.is_pointer(*image))?;
            let data = memory.word(image).filter(|data| memory.is_pointer(*data))?;
            let is_elf = memory.u32(data) == Some(u32::from_le_bytes(*b"\x7fELF").into());
            (mm.word(at.checked_sub(word_len)?) == Some(*vdso) && is_elf).then_some(())
        };
        let end = all.iter().map(|(mm, _)| mm.len()).min()?;
        let holds = |at| nearly_all(all.iter(), |one| is_image(one, at).is_some());
        let at = offsets(word_len..end, word_len, holds).next()?;
        let how = "follows the address of the vdso, leads to its ELF file";
        members.put("mm_struct", "context.vdso_image", (at, word_len), how);
        members.put("vdso_image", "data", (0, word_len), how);
        Some(())
    }

    fn put_exe(&self, members: &mut Members) -> Option<()> {
        let (word_len, file) = (self.memory.word_len(), self.places.vm_file);
        let end = self.mapped.iter().map(|one| one.areas.process.mm.len()).min()?;
        let is_exe = |at: u64| {
            nearly_all(self.mapped.iter(), |one| {
                one.areas.process.mm.word(at) == one.code.shot.word(file)
            })
        };
        // The mm_struct that follows may be of the same program.
        let at = offsets(0..end, word_len, is_exe).next()?;
        members.put("mm_struct", "exe_file", (at, word_len), "the file of the code");
        Some(())
    }

    /// `f_path.mnt` comes before `f_path.dentry`; until 2.6.19 `f_vfsmnt` came after
    /// `f_dentry`. Since 3.3 it is inside of a `struct mount`, and begins with `mnt_root`.
    fn put_mount(&self, members: &mut Members) -> Option<()> {
        let (word_len, places) = (self.memory.word_len(), self.places);
        let before = places.dentry.checked_sub(word_len)?;
        if self.put_mount_at(before, members).is_some() {
            members.put("file", "f_path", (before, word_len.times(2)), "its two members");
            return Some(());
        }
        self.put_mount_at(places.dentry.plus(word_len), members)
    }

    fn put_mount_at(&self, mnt: u64, members: &mut Members) -> Option<()> {
        let (memory, word_len, places) = (self.memory, self.memory.word_len(), self.places);
        let is_in = |root: u64, dentry: u64| {
            path(memory, dentry, places.name).is_some_and(|path| path.contains(&root))
        };
        // `mnt_parent`, `mnt_mountpoint`, then what has `mnt_root` first.
        let is_mount = |root_at: u64| {
            let is_mount = |file: &Shot| {
                let mount = file.word(mnt).filter(|mount| memory.is_pointer(*mount))?;
                let root = mount.plus(root_at);
                let parent = memory.word(root.checked_sub(word_len.times(2))?)?;
                let mountpoint = memory.word(root.minus(word_len))?;
                memory.is_pointer(parent).then_some(())?;
                let above = memory.word(parent.checked_add(word_len.times(4))?)?;
                let is_right = is_in(memory.word(root)?, file.word(places.dentry)?)
                    && is_in(above, mountpoint);
                is_right.then_some(())
            };
            self.files().iter().all(|file| is_mount(file).is_some())
        };
        let root_at = [0, word_len.times(4)].into_iter().find(|at| is_mount(*at))?;
        members.put("file", "f_path.mnt", (mnt, word_len), "next to f_path.dentry");
        let how = "leads from files to the roots of their file systems";
        members.put("vfsmount", "mnt_root", (root_at, word_len), how);
        members.put("vfsmount", "mnt_sb", (root_at.plus(word_len), word_len), "follows mnt_root");
        let mount = if root_at == 0 { "mount" } else { "vfsmount" };
        members.put(mount, "mnt_parent", (word_len.times(2), word_len), how);
        members.put(mount, "mnt_mountpoint", (word_len.times(3), word_len), how);
        if root_at == 0 {
            members.put_unsized("mount", "mnt", word_len.times(4), how);
        }
        Some(())
    }

    /// `d_inode` follows the name, or comes before the links of the hash table that are before
    /// `d_parent` (until 2.6.37); `f_inode` is the same; `f_mapping` leads to the
    /// `address_space` of that inode, as `i_mapping` does.
    fn put_inode(&self, members: &mut Members) -> Option<()> {
        let (memory, word_len, places) = (self.memory, self.memory.word_len(), self.places);
        let files = self.files();
        let after = places.name.plus(word_len);
        let before = places.name.checked_sub(word_len.times(4).plus(8));
        let (d_inode, f_mapping) = std::iter::once(after)
            .chain(before)
            .find_map(|at| Some((at, self.f_mapping(&files, at)?)))?;
        let inode = |file: &Shot| {
            let inode = memory.word(file.word(places.dentry)?.checked_add(d_inode)?)?;
            memory.is_pointer(inode).then_some(inode)
        };
        let is_inode = |at: u64| files.iter().all(|file| file.word(at) == inode(file));
        let f_inode = offsets(word_len..FILE_LEN, word_len, is_inode).next();
        let mapping = |file: &Shot| file.word(f_mapping);
        let pairs: Vec<(Shot, u64)> = files
            .iter()
            .filter_map(|file| {
                Some((Shot::take(memory, inode(file)?, 0, INODE_LEN), mapping(file)?))
            })
            .collect();
        let dentries: BTreeMap<u64, u64> = files
            .iter()
            .filter_map(|file| Some((inode(file)?, file.word(places.dentry)?)))
            .collect();
        let is_same =
            |at: u64| pairs.iter().all(|(inode, mapping)| inode.word(at) == Some(*mapping));
        let i_mapping = only(offsets(0..INODE_LEN, word_len, is_same))?;
        let how = "leads from files to an address_space whose host is their inode";
        members.put("dentry", "d_inode", (d_inode, word_len), how);
        if let Some(f_inode) = f_inode {
            members.put("file", "f_inode", (f_inode, word_len), "equal to d_inode");
        }
        members.put("file", "f_mapping", (f_mapping, word_len), how);
        members.put("inode", "i_mapping", (i_mapping, word_len), how);
        members.put("address_space", "host", (0, word_len), how);
        self.put_super_block(&pairs, members);
        let pages = self.mapped_pages(f_mapping, members);
        let tree = page_cache::learn(memory, &pairs, &pages, members);
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
                header: self.header(*mapping, f_mapping, members).unwrap_or_default(),
            })
            .collect();
        inode::learn(memory, &evidence, members);
        Some(())
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
    fn header(&self, mapping: u64, f_mapping: u64, members: &Members) -> Option<Vec<u8>> {
        let pgoff = members.at("vm_area_struct", "vm_pgoff")?;
        self.areas().find_map(|(one, area)| {
            let is_first = area.shot.word(pgoff) == Some(0);
            (is_first && self.mapping_of(area, f_mapping) == Some(mapping)).then_some(())?;
            let mut bytes = vec![0; usize::try_from(HEADER_LEN).ok()?];
            one.areas.process.space.read(Gva(area.start), &mut bytes).ok()?;
            Some(bytes)
        })
    }

    /// The `address_space` of an area's file.
    fn mapping_of(&self, area: &Area, f_mapping: u64) -> Option<u64> {
        let file = area.shot.word(self.places.vm_file)?;
        let file = self.memory.is_pointer(file).then_some(file)?;
        self.memory.word(file.checked_add(f_mapping)?)
    }

    /// Pages of code that processes map: nobody has private copies of those.
    fn mapped_pages(&self, f_mapping: u64, members: &Members) -> Vec<MappedPage> {
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
            let mapping = self.mapping_of(area, f_mapping);
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

    fn areas(&self) -> impl Iterator<Item = (&Mapped<'_>, &Area)> {
        self.mapped.iter().flat_map(|one| one.areas.list.iter().map(move |area| (one, area)))
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
