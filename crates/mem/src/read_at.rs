//! Positional reads: what a segment of memory reads from.

use std::fs::File;
use std::io;

/// Bytes that can be read at any offset.
///
/// Implement it for whatever holds the guest's memory; only one method is
/// needed:
///
/// ```
/// use std::io;
/// use vmss2core_mem::ReadAt;
///
/// struct Repeated(u8);
///
/// impl ReadAt for Repeated {
///     fn read_exact_at(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
///         buf.fill(self.0);
///         Ok(())
///     }
/// }
/// ```
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes at `offset`.
    ///
    /// Fails with [`io::ErrorKind::UnexpectedEof`] if they are not all there.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The host file, and the offset in it, that holds the bytes at `offset` as
    /// they are, if there is one. Writers use it to clone or skip file extents.
    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        let _ = offset;
        None
    }
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(self, buf, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf = buf.split_at_mut(read).1;
            offset += read as u64;
        }
        Ok(())
    }

    fn file_at(&self, offset: u64) -> Option<(&File, u64)> {
        Some((self, offset))
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// Zeroes without end.
pub struct Zeroes;

impl ReadAt for Zeroes {
    fn read_exact_at(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }
}
