//! Differences of operating systems: positional writes, holes, clones.

pub(crate) use imp::*;

#[cfg(target_os = "linux")]
mod imp {
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use rustix::fs::{Advice, SeekFrom, copy_file_range, fadvise, ioctl_ficlone, seek};
    use rustix::io::Errno;

    pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// The next part of `range` that is not a hole. A file system that cannot
    /// tell has no holes.
    pub(crate) fn next_data(file: &File, range: Range<u64>) -> Option<Range<u64>> {
        match seek(file, SeekFrom::Data(range.start)) {
            Ok(start) if start >= range.end => None,
            Ok(start) => {
                let end = seek(file, SeekFrom::Hole(start)).unwrap_or(range.end);
                Some(start..end.clamp(start.saturating_add(1), range.end))
            }
            Err(Errno::NXIO) => None,
            Err(_) => Some(range),
        }
    }

    /// Says that `file` will be read from front to back: the kernel then reads
    /// twice as far ahead, which a cold disk needs. Advice, so a refusal is none.
    pub(crate) fn read_ahead(file: &File) {
        let _ = fadvise(file, 0, None, Advice::Sequential);
    }

    /// Whether files in `directory` can share extents. Tried on two unnamed
    /// files rather than looked up by file system: XFS, for one, can or cannot
    /// depending on how it was made.
    pub(crate) fn can_clone_in(directory: &Path) -> bool {
        let probe = || -> io::Result<()> {
            let from = tempfile::tempfile_in(directory)?;
            from.write_all_at(&[1], 0)?;
            Ok(ioctl_ficlone(tempfile::tempfile_in(directory)?, from)?)
        };
        probe().is_ok()
    }

    /// Copies within the kernel; returns how many bytes. Where [`can_clone_in`]
    /// said yes and both files lie on the same file system, they share the
    /// extents after that. Fails with EXDEV between file systems.
    pub(crate) fn copy_range(
        from: &File,
        mut from_offset: u64,
        to: &File,
        mut to_offset: u64,
        len: usize,
    ) -> io::Result<u64> {
        let done = copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len)?;
        Ok(done as u64)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::path::Path;

    pub(crate) fn read_ahead(_file: &File) {}

    #[cfg(unix)]
    pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
    }

    #[cfg(windows)]
    pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let done = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
            if done == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.split_at(done).1;
            offset += done as u64;
        }
        Ok(())
    }

    pub(crate) fn next_data(_file: &File, range: Range<u64>) -> Option<Range<u64>> {
        Some(range)
    }

    pub(crate) fn can_clone_in(_directory: &Path) -> bool {
        false
    }

    pub(crate) fn copy_range(
        _from: &File,
        _from_offset: u64,
        _to: &File,
        _to_offset: u64,
        _len: usize,
    ) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
