//! Signs of a guest's memory other than 64-bit page tables.

use crate::OpenError;
use crate::source::Source;

/// Whether `source` begins like the memory of a PC with a BIOS.
///
/// The first KiB holds 256 interrupt vectors, which the BIOS points into its
/// own segment; operating systems leave that page alone. Vectors of extension
/// ROMs and boot loaders differ, so a good part is enough.
pub(in crate::flat) fn is_memory(source: &Source) -> Result<bool, OpenError> {
    if source.len < 1 << 20 {
        return Ok(false);
    }
    let mut vectors = [0; 1024];
    source.read(0, &mut vectors)?;
    let into_bios = |vector: &&[u8; 4]| vector[2..] == [0x00, 0xf0] && vector[..2] != [0, 0];
    Ok(vectors.as_chunks::<4>().0.iter().filter(into_bios).count() >= 64)
}
