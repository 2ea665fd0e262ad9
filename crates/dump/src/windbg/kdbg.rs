//! Parts of the debugger data block that go over the guest's memory.

use vmss2core_guest::windows::Kdbg;

use super::patch::Patch;

/// The block as a debugger wants it, and the byte that says that it is encoded.
pub(super) fn patches(kdbg: &Kdbg) -> Vec<Patch> {
    let Some(encoding) = kdbg.encoding else { return Vec::new() };
    let what = "decoded debugger data".to_owned();
    let block = Patch { gva: kdbg.gva, bytes: kdbg.plain.clone(), what };
    let flag = encoding.keys.map(|keys| Patch {
        gva: keys.flag,
        bytes: vec![0],
        what: "KdpDataBlockEncoded".to_owned(),
    });
    [block].into_iter().chain(flag).collect()
}
