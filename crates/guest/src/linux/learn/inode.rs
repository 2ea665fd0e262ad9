//! Members of an inode that `/proc/PID/maps` shows, and the length of its file.

use vmss2core_mem::{PAGE_SIZE, Sums, little_endian, up_to_page};

use super::members::{Members, offsets, only};
use super::memory::{Memory, Shot};

/// How much of a `struct super_block` is looked at.
const SUPER_BLOCK_LEN: u64 = 0x100;
/// How much of a `struct dentry` is looked at.
const DENTRY_LEN: u64 = 0x100;
/// How much of a `struct inode` is looked at.
const INODE_LEN: u64 = 0x180;
/// No file is longer, and no inode has a higher number (2^48).
const LARGEST: u64 = 1 << 48;
/// `dev_t`: 12 bits for the driver, 20 for what it drives.
const LARGEST_MAJOR: u64 = 0xfff;
/// Magic numbers of file systems that programs are run from
/// (`include/uapi/linux/magic.h` and the file systems themselves).
const MAGIC: [u64; 17] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x794c_7630, // overlayfs
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0xf2f5_2010, // F2FS
    0x6969,      // NFS
    0x0102_1997, // 9P
    0x6573_5546, // FUSE
    0x4d44,      // FAT
    0x9660,      // ISO 9660
    0x5265_4973, // ReiserFS
    0x3153_464a, // JFS
    0x2fc1_2fc1, // ZFS
];

/// Facts about a program's file from elsewhere.
pub(super) struct Evidence<'e> {
    pub(super) inode: &'e Shot,
    /// Its directory entry.
    pub(super) dentry: u64,
    /// Highest number of a page that is cached or mapped.
    pub(super) last_index: Option<u64>,
    /// The first bytes of the file; empty if they are not in memory.
    pub(super) header: Vec<u8>,
}

/// Learns from inodes of programs.
pub(super) fn learn(memory: &Memory<'_>, files: &[Evidence<'_>], members: &mut Members) {
    let inodes: Vec<&Shot> = files.iter().map(|file| file.inode).collect();
    if numbers(memory, files, members).is_none() {
        members.miss("inode.i_ino", "no number of a file follows i_mapping or its names");
    }
    if length(memory, files, members).is_none() {
        members.miss("inode.i_size", "no number agrees with what is cached of files");
    }
    if super_block(memory, &inodes, members).is_none() {
        members.miss("super_block.s_magic", "no number is that of a known file system");
    }
}

impl Evidence<'_> {
    /// How many bytes the file has at least: up to its last page that is cached or
    /// mapped, and what its ELF header says of its section headers, which are the last
    /// there is of most programs.
    fn least(&self) -> u64 {
        let cached = self.last_index.and_then(|last| last.checked_mul(PAGE_SIZE)?.checked_add(1));
        cached.unwrap_or(0).max(self.end_of_sections().unwrap_or(0))
    }

    fn end_of_sections(&self) -> Option<u64> {
        let number = |at: usize, len: usize| {
            let bytes = self.header.get(at..at.checked_add(len)?)?;
            Some(little_endian(bytes))
        };
        // EI_CLASS, then e_shoff, e_shentsize and e_shnum.
        let (start, size, count) = match self.header.get(..5)? {
            [0x7f, b'E', b'L', b'F', 2] => (number(40, 8)?, number(58, 2)?, number(60, 2)?),
            [0x7f, b'E', b'L', b'F', 1] => (number(32, 4)?, number(46, 2)?, number(48, 2)?),
            _ => return None,
        };
        start.checked_add(size.times(count)).filter(|end| *end < LARGEST)
    }
}

/// `i_size`: no file ends before what is known of it, and at least half end in the last
/// page that is known of them. It is the first such number, as what follows an inode may
/// be another one.
fn length(memory: &Memory<'_>, files: &[Evidence<'_>], members: &mut Members) -> Option<()> {
    let known: Vec<(&Shot, u64)> = files
        .iter()
        .map(|file| (file.inode, file.least()))
        .filter(|(_, least)| *least > 0)
        .collect();
    let is_length = |at: u64| {
        let lens = known.iter().filter_map(|(inode, least)| Some((inode.u64(at)?, *least)));
        let (mut fit, mut end_there) = (0, 0);
        for (len, least) in lens {
            fit = fit.plus(usize::from(len >= least && len < LARGEST));
            end_there = end_there.plus(usize::from((least..=up_to_page(least)).contains(&len)));
        }
        !known.is_empty() && fit == known.len() && end_there.times(2) >= known.len()
    };
    let at = offsets(0..INODE_LEN, memory.word_len(), is_length).next()?;
    members.put("inode", "i_size", (at, 8), "agrees with what is cached and mapped of files");
    Some(())
}

/// `i_ino` and `i_nlink`. A program has a number and a name, and is no device.
fn numbers(memory: &Memory<'_>, files: &[Evidence<'_>], members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    if let Some(at) = after_mapping(memory, files, members) {
        let how = "number and links of programs follow i_mapping";
        members.put("inode", "i_ino", (at, word_len), how);
        members.put("inode", "i_nlink", (at.plus(word_len), 4), how);
        members.put("inode", "i_rdev", (at.plus(word_len).plus(4), 4), how);
        return Some(());
    }
    let (at, links) = after_names(memory, files)?;
    let how = "the number follows the list of the names of programs";
    members.put("inode", "i_ino", (at, word_len), how);
    if let Some(links) = links {
        members.put("inode", "i_nlink", (links, 4), how);
    }
    Some(())
}

/// Since 2.6.39 `i_mapping`, perhaps `i_security`, `i_ino`, `i_nlink`, `i_rdev`; a length
/// or a time follows. The first that looks so counts: the links and the length of a small
/// file may as well.
fn after_mapping(memory: &Memory<'_>, files: &[Evidence<'_>], members: &Members) -> Option<u64> {
    let word_len = memory.word_len();
    let mapping = members.at("inode", "i_mapping")?;
    let is_it = |inode: &Shot, at: u64| {
        let number = inode.word(at)?;
        let (links, device) =
            (inode.u32(at.plus(word_len))?, inode.u32(at.plus(word_len).plus(4))?);
        let next = inode.u64(at.plus(word_len).plus(8))?;
        let is_number = number != 0 && number < LARGEST && !memory.is_pointer(number);
        let is_file = links != 0 && links < 1 << 20 && device == 0;
        (is_number && is_file && next != 0 && next < LARGEST).then_some(())
    };
    let range = mapping.plus(word_len)..mapping.plus(word_len.times(4));
    let holds = |at| !files.is_empty() && files.iter().all(|file| is_it(file.inode, at).is_some());
    offsets(range, word_len, holds).next()
}

/// Before, `i_dentry`, the list of the names, which leads as far into all of their directory
/// entries; in 2.4 two more lists; `i_ino`; then counts, `i_nlink` as one of the first two
/// in 2.6.
fn after_names(memory: &Memory<'_>, files: &[Evidence<'_>]) -> Option<(u64, Option<u64>)> {
    let word_len = memory.word_len();
    let distance = |file: &Evidence<'_>, at: u64| {
        let (next, last) = (file.inode.word(at)?, file.inode.word(at.plus(word_len))?);
        let distance = next.checked_sub(file.dentry)?;
        (next == last && (1..DENTRY_LEN).contains(&distance)).then_some(distance)
    };
    let is_names = |at: u64| {
        let first = files.first().and_then(|file| distance(file, at));
        first.is_some() && files.iter().all(|file| distance(file, at) == first)
    };
    let names = only(offsets(0..INODE_LEN, word_len, is_names))?;
    let is_list = |at: u64| {
        files.iter().all(|file| {
            [at, at.plus(word_len)]
                .into_iter()
                .all(|at| file.inode.word(at).is_some_and(|word| memory.is_pointer(word)))
        })
    };
    let mut at = names.plus(word_len.times(2));
    let mut lists = 0_u64;
    while lists < 2 && is_list(at) {
        at = at.plus(word_len.times(2));
        lists = lists.plus(1);
    }
    let is_number = |file: &Evidence<'_>| {
        let number = file.inode.word(at).unwrap_or(0);
        number != 0 && number < LARGEST && !memory.is_pointer(number)
    };
    let are_counts = |at: u64| {
        let are_counts = |file: &Evidence<'_>| {
            let is_count =
                |at| file.inode.u32(at).is_some_and(|count| (1..1 << 20).contains(&count));
            is_count(at) && is_count(at.plus(4))
        };
        files.iter().all(are_counts)
    };
    let counts = at.plus(word_len);
    let links = (lists == 0 && are_counts(counts)).then(|| counts.plus(4));
    files.iter().all(is_number).then_some((at, links))
}

/// `s_dev` follows the list that all are on, in 2.4 with 16 bits; `s_magic` says what it is.
fn super_block(memory: &Memory<'_>, inodes: &[&Shot], members: &mut Members) -> Option<()> {
    let word_len = memory.word_len();
    let at = members.at("inode", "i_sb")?;
    let blocks: Vec<Shot> = inodes
        .iter()
        .filter_map(|inode| Some(Shot::take(memory, inode.word(at)?, 0, SUPER_BLOCK_LEN)))
        .collect();
    let device_at = word_len.times(2);
    let is_device = |block: &Shot| {
        block.u32(device_at).is_some_and(|device| device != 0 && device >> 20 <= LARGEST_MAJOR)
    };
    if have_short_devices(inodes, &blocks, device_at, members).is_some() {
        let how = "follows s_list, equal to i_dev of 16 bits";
        members.put("super_block", "s_dev", (device_at, 2), how);
    } else if !blocks.is_empty() && blocks.iter().all(is_device) {
        members.put("super_block", "s_dev", (device_at, 4), "follows s_list");
    }
    let is_magic = |at: u64| {
        let known = |block: &Shot| block.word(at).is_some_and(|word| MAGIC.contains(&word));
        !blocks.is_empty() && blocks.iter().all(known)
    };
    let magic = only(offsets(0..SUPER_BLOCK_LEN, word_len, is_magic))?;
    members.put("super_block", "s_magic", (magic, word_len), "that of a known file system");
    Some(())
}

/// In 2.4 inodes have `i_dev` of 16 bits too: after `i_ino` and `i_count`, before `i_mode`,
/// which is that of a file.
fn have_short_devices(
    inodes: &[&Shot],
    blocks: &[Shot],
    device_at: u64,
    members: &Members,
) -> Option<()> {
    const S_IFMT: u64 = 0xf000;
    const S_IFREG: u64 = 0x8000;
    let number = members.found.get(&("inode", "i_ino"))?.value;
    let at = number.offset_bytes.plus(number.size_bytes?).plus(4);
    let is_short = |(inode, block): (&&Shot, &Shot)| {
        let device = inode.number(at, 2).filter(|device| *device != 0);
        let is_file = inode.number(at.plus(2), 2).is_some_and(|mode| mode & S_IFMT == S_IFREG);
        device.is_some() && device == block.number(device_at, 2) && is_file
    };
    let are_all = !blocks.is_empty() && blocks.len() == inodes.len();
    (are_all && inodes.iter().zip(blocks).all(is_short)).then_some(())
}
