//! Files that are mapped: `vm_file` and what it leads to, names and page cache.
//!
//! The code of every process is mapped from its program: that area has a file, its
//! stack has none. A file has a path (3.9: of `struct vfsmount` and `struct dentry`)
//! whose names lead up to `/`, an inode, and an `address_space` whose `host` is that.

use std::collections::BTreeSet;

use vmss2core_mem::Sums;

use super::areas::{Area, Areas, GROWS_DOWN, WRITE};
use super::members::{Members, offsets};
use super::memory::{Memory, Shot};
use super::tasks::nearly_all;

mod inodes;
mod names;

use names::{Name, path, path_of};

/// How much of a `struct file` is looked at.
const FILE_LEN: u64 = 0x140;
/// Among so many first members of tables of functions is one that is there.
const OPERATIONS: u64 = 4;

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
    name: Name,
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
        let name = places.name;
        members.put("dentry", "d_name.name", (name.text, word_len), how);
        members.put("dentry", "d_name.len", (name.len, 4), "length of the name");
        members.put("dentry", "d_name.hash", (name.hash, 4), "next to the length");
        members.put("dentry", "d_parent", (name.parent, word_len), "leads up to /");
        self.put_hash(members);
    }

    /// The links in the hash table of names: before `d_parent`; in 2.4 a list after it.
    fn put_hash(&self, members: &mut Members) {
        let (word_len, name) = (self.memory.word_len(), self.places.name);
        let (path, at, how) = if name.is_of_2_4() {
            ("d_hash.prev", name.parent.plus(word_len.times(2)), "a list after d_parent")
        } else {
            let how = "before d_parent; not null for what can be looked up";
            ("d_hash.pprev", name.parent.minus(word_len), how)
        };
        let is_hashed = |file: &Shot| {
            let dentry = file.word(self.places.dentry);
            let dentry = dentry.filter(|dentry| self.memory.is_pointer(*dentry));
            let link = dentry.and_then(|dentry| self.memory.word(dentry.plus(at)));
            link.is_some_and(|link| self.memory.is_pointer(link))
        };
        if nearly_all(self.files().iter(), |file| is_hashed(file)) {
            members.put("dentry", path, (at, word_len), how);
        }
    }

    /// `vm_ops`, `vm_pgoff`, `vm_file` and `vm_private_data` follow each other; where
    /// there is no file, `vm_pgoff` is the address itself, in 2.4 nothing.
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
        // What was split by `mprotect` counts from where the whole began.
        let are_null = || {
            let of = |value| {
                areas()
                    .filter(is_anonymous)
                    .filter(move |area| value == (area.shot.word(at) == Some(0)))
            };
            of(true).count() > of(false).count()
        };
        let of_code = |one: &&Mapped<'_>| one.code.shot.word(at).is_some_and(|page| page < 1 << 20);
        let how = if nearly_all(areas().filter(is_anonymous), is_own) {
            "that of memory without a file is its address"
        } else {
            (are_null() && self.grows(at)).then_some("grows in a file, null without one")?
        };
        nearly_all(self.mapped.iter(), of_code).then_some(())?;
        members.put("vm_area_struct", "vm_pgoff", (at, word_len), how);
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

    /// Whether a member grows with the addresses of the areas of a file, and no faster.
    fn grows(&self, at: u64) -> bool {
        let file = |area: &Area| area.shot.word(self.places.vm_file).filter(|file| *file != 0);
        let pairs = self.mapped.iter().flat_map(|one| {
            let list = &one.areas.list;
            list.iter().zip(list.iter().skip(1))
        });
        let pairs = pairs.filter(|(one, next)| file(one).is_some() && file(one) == file(next));
        let (mut rises, mut is_fine) = (0_u64, true);
        for (one, next) in pairs {
            let pages = next.start.minus(one.start) >> 12;
            let growth = next.shot.word(at).zip(one.shot.word(at));
            let growth = growth.and_then(|(next, one)| next.checked_sub(one));
            is_fine &= growth.is_some_and(|growth| growth <= pages);
            rises = rises.plus(u64::from(growth.is_some_and(|growth| growth > 0)));
        }
        is_fine && rises > 0
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

    fn areas(&self) -> impl Iterator<Item = (&Mapped<'_>, &Area)> {
        self.mapped.iter().flat_map(|one| one.areas.list.iter().map(move |area| (one, area)))
    }
}
