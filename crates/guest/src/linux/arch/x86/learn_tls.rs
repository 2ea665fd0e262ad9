//! `thread_struct`: where thread-local storage of programs is.
//!
//! The C libraries keep a pointer to their thread's block in that block itself, at
//! its start, and again two words further (`tcbhead_t` of glibc; musl has the first
//! only).

use vmss2core_machine::x86;
use vmss2core_mem::{Gva, Sums};

use crate::linux::learn::{Members, Memory, Process, Shot};

/// `tls_array`: three descriptors.
const TLS_LEN: u64 = 24;

pub(in crate::linux) fn learn_tls(
    memory: &Memory<'_>,
    processes: &[Process],
    members: &mut Members,
) {
    let Some(sp) = members.task("thread.sp") else { return };
    let found = if memory.word_len() == 8 {
        bases(processes, sp, members)
    } else {
        descriptors(processes, sp, members)
    };
    if found.is_none() {
        members.miss("thread-local storage", "no process has any where it is expected");
    }
}

/// Whether a thread's block is at this address of a process.
fn is_block(process: &Process, at: u64, word_len: u64) -> bool {
    let mut word = [0; 8];
    let Some(bytes) = word.get_mut(..usize::try_from(word_len).unwrap_or(8)) else { return false };
    at != 0 && process.space.read(Gva(at), bytes).is_ok() && u64::from_le_bytes(word) == at
}

/// On 64 bits `es`, `ds`, `fsindex`, `gsindex`, `fsbase` and `gsbase` follow `sp`;
/// `tls_array` is before it, with `sp0` between until 4.14. Until 4.1 `usersp` was between
/// `sp` and `es`; up to 2.6.24 the bases followed it.
fn bases(processes: &[Process], sp: u64, members: &mut Members) -> Option<()> {
    const FSBASES: [u64; 2] = [0x10, 0x18];
    let at = FSBASES.into_iter().map(|at| sp.plus(at)).find(|at| are_bases(processes, *at))?;
    let how = "leads to the blocks of threads in processes";
    members.put("task_struct", "thread.fsbase", (at, 8), how);
    members.put("task_struct", "thread.gsbase", (at.plus(8), 8), "follows fsbase");
    Some(())
}

/// Whether some lead to a thread's block, and none of those that follow is the kernel's.
fn are_bases(processes: &[Process], at: u64) -> bool {
    let fs = |process: &&Process| {
        let base = process.task.u64(at);
        base.is_some_and(|base| is_block(process, base, 8))
    };
    let gs = |task: &Shot| task.u64(at.plus(8)).is_some_and(|base| base < 1 << 56);
    processes.iter().any(|process| fs(&process)) && processes.iter().all(|one| gs(&one.task))
}

/// On 32 bits `sp0` is between `tls_array` and `sp`, and a descriptor has the address.
fn descriptors(processes: &[Process], sp: u64, members: &mut Members) -> Option<()> {
    let tls = sp.checked_sub(4 + TLS_LEN)?;
    let is_one = |process: &&Process| {
        (0..3).any(|index| {
            let descriptor = process.task.u64(tls.plus(index.times(8))).unwrap_or(0);
            is_block(process, x86::descriptor_base(descriptor), 4)
        })
    };
    if processes.iter().filter(is_one).count() == 0 {
        return None;
    }
    let how = "describes the blocks of threads in processes";
    members.put("task_struct", "thread.tls_array", (tls, TLS_LEN), how);
    Some(())
}
