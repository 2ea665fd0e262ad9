//! A process as a whole.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::{Family, Notes, low};
use vmss2core_formats::notes::{CORE, NT_PRPSINFO, Prpsinfo32, Prpsinfo64};

/// Content of NT_PRPSINFO.
#[derive(Default)]
pub(crate) struct ProcessInfo<'a> {
    pub(crate) state: u8,
    /// The letter of the state.
    pub(crate) letter: u8,
    /// As a signed byte.
    pub(crate) nice: u8,
    pub(crate) flags: u64,
    pub(crate) uid_gid: [u32; 2],
    pub(crate) pid: u32,
    pub(crate) family: Family,
    pub(crate) name: &'a [u8],
    pub(crate) arguments: &'a [u8],
}

impl Notes {
    /// NT_PRPSINFO: one per file, a second would start a new thread in lldb.
    pub(crate) fn process(&mut self, info: &ProcessInfo<'_>) {
        let ppid_pgrp_sid = info.family.map(U32::new);
        let zombie = u8::from(info.letter == b'Z');
        let (fname, psargs) = (cut(info.name), cut(info.arguments));
        if self.machine.is_64_bit {
            let info = Prpsinfo64 {
                state: info.state,
                sname: info.letter,
                zombie,
                nice: info.nice,
                flag: info.flags.into(),
                uid_gid: info.uid_gid.map(U32::new),
                pid: info.pid.into(),
                ppid_pgrp_sid,
                fname,
                psargs,
                ..Prpsinfo64::new_zeroed()
            };
            self.push(CORE, NT_PRPSINFO, info.as_bytes());
        } else {
            // What does not fit is the overflow user, 65534.
            let short = |id: u32| U16::new(u16::try_from(id).unwrap_or(0xfffe));
            let info = Prpsinfo32 {
                state: info.state,
                sname: info.letter,
                zombie,
                nice: info.nice,
                flag: low(info.flags),
                uid_gid: info.uid_gid.map(short),
                pid: info.pid.into(),
                ppid_pgrp_sid,
                fname,
                psargs,
            };
            self.push(CORE, NT_PRPSINFO, info.as_bytes());
        }
    }
}

/// As much as fits, and a NUL.
fn cut<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().take(N.saturating_sub(1)).zip(text) {
        *to = *from;
    }
    out
}
