//! Kernel extensions: the list of `kmod_info` (`osfmk/mach/kmod.h`).

use std::collections::HashSet;

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::Gva;

use super::macho::{Image, KEXT_BUNDLE, START_LEN, Start, text, u64_at};
use super::{Kext, KextList, Uuid};

/// More than any system has.
const MAX_KEXTS: usize = 4096;
/// `kmod_info_64_v1`, which is packed to 4 bytes.
const INFO_LEN: usize = 196;
const NAME: std::ops::Range<usize> = 16..80;
const VERSION: std::ops::Range<usize> = 80..144;
const ADDRESS: usize = 156;
const SIZE: usize = 164;

/// The list whose head is the variable at `kmod`; `None` if that cannot be read.
pub(super) fn read(space: &AddressSpace, kmod: Gva) -> Option<KextList> {
    let mut list = KextList::default();
    let mut seen = HashSet::new();
    let mut next = Gva(space.read_u64(kmod).ok()?);
    while next.0 != 0 {
        if !seen.insert(next.0) {
            list.torn = Some(format!("it comes back to {next}"));
            break;
        }
        if list.kexts.len() == MAX_KEXTS {
            list.torn = Some(format!("it has more than {MAX_KEXTS} entries"));
            break;
        }
        let mut info = [0; INFO_LEN];
        let read = space.read(next, &mut info).ok().and_then(|()| kext(space, next, &info));
        let Some((kext, behind)) = read else {
            list.torn = Some(format!("its entry at {next} is not in memory"));
            break;
        };
        list.kexts.push(kext);
        next = behind;
    }
    Some(list)
}

/// An extension and the address of the next one's.
fn kext(space: &AddressSpace, at: Gva, info: &[u8; INFO_LEN]) -> Option<(Kext, Gva)> {
    let base = Some(Gva(u64_at(info, ADDRESS)?)).filter(|base| base.0 != 0);
    let kext = Kext {
        info: at,
        name: text(info.get(NAME)?),
        version: text(info.get(VERSION)?),
        base,
        size_bytes: u64_at(info, SIZE)?,
        uuid: base.and_then(|base| uuid(space, base)),
    };
    Some((kext, Gva(u64_at(info, 0)?)))
}

/// The UUID of the extension whose image begins here.
fn uuid(space: &AddressSpace, base: Gva) -> Option<Uuid> {
    let mut bytes = [0; START_LEN];
    space.read(base, &mut bytes).ok()?;
    let start = Start::of(&bytes).filter(|start| start.filetype == KEXT_BUNDLE)?;
    let mut bytes = vec![0; start.len()];
    space.read(base, &mut bytes).ok()?;
    Image::of(start, &bytes).uuid
}
