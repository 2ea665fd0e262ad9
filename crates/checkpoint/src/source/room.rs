//! Room for temporary files: what an input unpacks to may be large, but it must not
//! fill the disk, or the memory that such a disk may be.

use std::fs::File;
use std::io;

/// Bytes written between two looks at what is left.
const BETWEEN_LOOKS: u64 = 64 << 20;

/// Room that is left free at most: others can go on with it.
const MAX_RESERVE: u64 = 1 << 30;

/// Watches what is free where a temporary file lies.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Bytes that may be written before the next look.
    left: u64,
}

impl Room {
    /// Fails if the file system has no room for `len` bytes more.
    pub(super) fn take(&mut self, file: &File, len: u64) -> io::Result<()> {
        if let Some(left) = self.left.checked_sub(len) {
            self.left = left;
            return Ok(());
        }
        let Some((free, reserve)) = free_and_reserve(file) else { return Ok(()) };
        let room = free.saturating_sub(reserve);
        self.left = room.min(BETWEEN_LOOKS).checked_sub(len).ok_or_else(|| {
            let mib = free >> 20;
            io::Error::new(
                io::ErrorKind::StorageFull,
                format!("only {mib} MiB are left there; choose a directory with more room"),
            )
        })?;
        Ok(())
    }
}

/// Free bytes, and how many of them are to stay free.
#[cfg(unix)]
fn free_and_reserve(file: &File) -> Option<(u64, u64)> {
    let system = rustix::fs::fstatvfs(file).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
    let free = bytes(system.f_bavail);
    // Some file systems do not know how large they are.
    (free > 0 || system.f_blocks > 0)
        .then(|| (free, (bytes(system.f_blocks) / 20).min(MAX_RESERVE)))
}

#[cfg(not(unix))]
fn free_and_reserve(_file: &File) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_is_free_is_refused_with_what_to_do() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room::default();
        room.take(&file, 4096).unwrap();
        let error = Room::default().take(&file, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("choose a directory with more room"), "{error}");
    }
}
