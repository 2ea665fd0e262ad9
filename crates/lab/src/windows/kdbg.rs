//! The debugger data block.
//!
//! Source of the layout: `KDDEBUGGER_DATA64` of the Windows SDK (`wdbgexts.h`);
//! one for all architectures, but for the list that the block is in: a 32-bit
//! kernel links it by 32-bit pointers, after which 8 bytes stay zero (seen in a
//! kernel of NT 5.2; what Xen's `kdd`, libvmi and volatility 2 search 32-bit
//! guests for).

use std::collections::BTreeMap;

use super::build::Build;
use super::truth::Keys;
use crate::bytes::Bytes;

/// Fields that hold the address of a variable, and which.
const ADDRESSES: [(u64, &str); 37] = [
    (0x20, "RtlpBreakWithStatusInstruction"),
    (0x38, "KiCallUserMode"),
    (0x40, "KeUserCallbackDispatcher"),
    (0x48, "PsLoadedModuleList"),
    (0x50, "PsActiveProcessHead"),
    (0x58, "PspCidTable"),
    (0x78, "KeTimeIncrement"),
    (0x80, "KeBugCheckCallbackListHead"),
    (0x88, "KiBugCheckData"),
    (0x90, "IopErrorLogListHead"),
    (0x98, "ObpRootDirectoryObject"),
    (0xa0, "ObpTypeObjectType"),
    (0xc0, "MmPfnDatabase"),
    (0xe0, "MmNumberOfPagingFiles"),
    (0xe8, "MmLowestPhysicalPage"),
    (0xf0, "MmHighestPhysicalPage"),
    (0xf8, "MmNumberOfPhysicalPages"),
    (0x110, "MmNonPagedPoolStart"),
    (0x118, "MmNonPagedPoolEnd"),
    (0x120, "MmPagedPoolStart"),
    (0x128, "MmPagedPoolEnd"),
    (0x130, "MmPagedPoolInfo"),
    (0x140, "MmSizeOfPagedPoolInBytes"),
    (0x1a8, "MmAvailablePages"),
    (0x1b8, "PoolTrackTable"),
    (0x1c8, "MmHighestUserAddress"),
    (0x1d0, "MmSystemRangeStart"),
    (0x1d8, "MmUserProbeAddress"),
    (0x1e0, "KdPrintDefaultCircularBuffer"),
    (0x200, "MmLoadedUserImageList"),
    (0x208, "NtBuildLab"),
    (0x218, "KiProcessorBlock"),
    (0x220, "MmUnloadedDrivers"),
    (0x228, "MmLastUnloadedDriver"),
    (0x240, "MmVerifierData"),
    (0x268, "CmNtCSDVersion"),
    (0x270, "MmPhysicalMemoryBlock"),
];

/// What the block says besides addresses.
pub(super) struct Values {
    pub(super) saved_context: u64,
    pub(super) pae: bool,
    pub(super) pte_base: u64,
}

/// The block as a debugger wants it.
pub(super) fn plain(
    build: &Build,
    symbols: &BTreeMap<&'static str, u64>,
    values: &Values,
) -> Vec<u8> {
    let mut out = Bytes::zeroed(build.kdbg_len.into());
    // 32-bit kernels extend the sign of their addresses.
    let wide = |va: u64| if build.bits == 64 || va == 0 { va } else { va | 0xffff_ffff_0000_0000 };
    let symbol = |name: &str| wide(symbols.get(name).copied().unwrap_or_default());
    let head = symbol("KdpDebuggerDataListHead");
    if build.bits == 64 {
        out.u64(0, head).u64(8, head);
    } else {
        out.u32(0, head & 0xffff_ffff).u32(4, head & 0xffff_ffff);
    }
    out.put(0x10, b"KDBG").u32(0x14, build.kdbg_len.into());
    out.u64(0x18, wide(build.base)).u64(0x28, wide(values.saved_context));
    out.u16(0x36, values.pae.into()).u64(0x138, 0x1000);
    for (at, name) in ADDRESSES {
        out.u64(at, symbol(name));
    }
    if build.kdbg_len >= 0x318 {
        members(&mut out, build);
    }
    if build.kdbg_len >= 0x340 && build.prcb.context != 0 {
        out.u16(0x338, build.prcb.context);
    }
    if build.kdbg_len >= 0x360 {
        out.u32(0x340, build.thread.stack_limit).u32(0x344, build.thread.stack_base);
        out.u16(0x350, idle_thread(build));
    }
    if build.kdbg_len >= 0x368 {
        out.u64(0x360, values.pte_base);
    }
    out.0.truncate(usize::try_from(build.kdbg_len).unwrap_or_default());
    out.0
}

fn idle_thread(build: &Build) -> u64 {
    if build.bits == 64 { 0x18 } else { 0xc }
}

/// Offsets of members, which the block has since Windows Server 2003.
fn members(out: &mut Bytes, build: &Build) {
    let (thread, process, prcb) = (&build.thread, &build.process, &build.prcb);
    let wide = build.bits == 64;
    out.u16(0x298, 0x30).u16(0x29a, thread.teb).u16(0x29c, thread.kernel_stack);
    out.u16(0x29e, thread.initial_stack);
    out.u16(0x2a0, thread.apc_state + if wide { 0x20 } else { 0x10 }).u16(0x2a2, thread.state);
    out.u16(0x2a8, process.size).u16(0x2aa, process.peb).u16(0x2ac, process.parent);
    out.u16(0x2ae, if wide { 0x28 } else { 0x18 });
    out.u16(0x2b0, prcb.size).u16(0x2b4, if wide { 8 } else { 4 }).u16(0x2b6, prcb.mhz);
    out.u16(0x2b8, 0x40).u16(0x2ba, prcb.vendor).u16(0x2bc, context(build));
    out.u16(0x2be, prcb.number).u16(0x2c0, thread.size);
    out.u16(0x2e0, pcr_len(build)).u16(0x2e2, if wide { 0x18 } else { 0x1c }).u16(0x2e4, 0x20);
    out.u16(0x2e6, pcr_head(build)).u16(0x2ec, thread.initial_stack);
    out.u16(0x2ee, thread.stack_limit).u16(0x2f2, special_registers(build));
    let selectors: [u64; 10] = if wide {
        [0x10, 0x18, 0, 0x33, 0x2b, 0, 0, 0x40, 0x23, 0x53]
    } else {
        [8, 0x10, 0x30, 0x1b, 0x23, 0x3b, 0x48, 0x28, 0, 0]
    };
    for (index, selector) in (0..).zip(selectors) {
        out.u16(0x2f4 + index * 2, selector);
    }
}

/// Bytes of the `KPCR` before the `KPRCB` in it.
pub(super) fn pcr_head(build: &Build) -> u64 {
    if build.bits == 64 { 0x180 } else { 0x120 }
}

/// Bytes of the `KPCR`.
pub(super) fn pcr_len(build: &Build) -> u64 {
    pcr_head(build) + build.prcb.size
}

/// Offset of the `CONTEXT` in the `KPRCB`: after the special registers on x64,
/// whose structure has grown by 16 bytes in build 15063, before them on x86.
pub(super) fn context(build: &Build) -> u64 {
    let special = if build.number < 15063 { 0xe0 } else { 0xf0 };
    build.prcb.state + if build.bits == 64 { special } else { 0 }
}

/// Offset of the `KSPECIAL_REGISTERS` in the `KPRCB`.
pub(super) fn special_registers(build: &Build) -> u64 {
    build.prcb.state + if build.bits == 64 { 0 } else { 0x2cc }
}

/// The block as it lies in memory while no debugger is attached.
pub(super) fn encode(plain: &[u8], keys: Keys) -> Vec<u8> {
    let rotation = u32::try_from(keys.never & 0x3f).unwrap_or_default();
    let encode = |word: &[u8; 8]| {
        let swapped = (u64::from_le_bytes(*word) ^ keys.always).swap_bytes();
        ((swapped ^ keys.flag).rotate_right(rotation) ^ keys.never).to_le_bytes()
    };
    plain.as_chunks().0.iter().flat_map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_encoded_as_by_the_kernel() {
        let keys = Keys {
            never: 0x0123_4567_89ab_cdef,
            always: 0xfedc_ba98_7654_3210,
            flag: 0xffff_f804_7c65_0ba0,
        };
        let vectors = [
            (0x0000_0380_4742_444b_u64, 0xdd49_8cde_2716_84fc_u64),
            (0xffff_f804_7ba0_0000, 0x1930_8529_d8e8_1275),
            (0xffff_f804_7c64_0770, 0x913e_8529_d8e8_f27a),
            (0, 0x59c6_8cd8_2716_1274),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(encode(&plain.to_le_bytes(), keys), encoded.to_le_bytes());
        }
    }
}
