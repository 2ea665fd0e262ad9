//! Offsets as debugger data states them, and as processes and threads show them.

use vmss2core_mem::Gva;

use super::{Layout, Member};
use crate::windows::view::element;
use crate::windows::{Kernel, View, kdbg_fields, list};

/// Processes that are looked at.
const SAMPLES: usize = 64;
/// Bytes of an `EPROCESS` if debugger data does not say: the largest known.
const PROCESS_LEN: (usize, usize) = (0xb80, 0x4c0);
/// Bytes of an `ETHREAD` that are looked at, the largest known.
const THREAD_LEN: (u64, u64) = (0x900, 0x500);
/// 1 January 2001, and 2100, in 100 ns since 1601.
const EARLIEST: u64 = 126_227_808_000_000_000;
const LATEST: u64 = 157_469_184_000_000_000;

const SHOWN: &str = "shown by the guest's processes";
const SHOWN_BY_THREADS: &str = "shown by the running threads";
const STATED: &str = "stated by the debugger data";

/// Members whose offsets the debugger data states in 2 bytes.
const STATEMENTS: [(usize, Member); 8] = [
    (kdbg_fields::THREAD_TEB, Member::Teb),
    (kdbg_fields::THREAD_KERNEL_STACK, Member::KernelStack),
    (kdbg_fields::THREAD_INITIAL_STACK, Member::InitialStack),
    (kdbg_fields::THREAD_APC_PROCESS, Member::ApcProcess),
    (kdbg_fields::THREAD_STATE, Member::State),
    (kdbg_fields::PROCESS_PEB, Member::Peb),
    (kdbg_fields::PROCESS_PARENT, Member::InheritedFromUniqueProcessId),
    (kdbg_fields::PROCESS_ROOT, Member::DirectoryTableBase),
];
/// The value in 4 bytes.
const LONG_STATEMENTS: [(usize, Member); 2] = [
    (kdbg_fields::THREAD_STACK_LIMIT, Member::StackLimit),
    (kdbg_fields::THREAD_STACK_BASE, Member::StackBase),
];

/// The bytes of a process as far as they are in memory.
struct Sample {
    bytes: Vec<u8>,
}

struct Samples<'k> {
    kernel: &'k Kernel,
    word: usize,
    /// The System process first.
    all: Vec<Sample>,
}

/// Members of `EPROCESS`.
pub(super) fn processes(kernel: &Kernel, layout: &mut Layout) {
    if let Some(samples) = Samples::of(kernel, layout) {
        samples.show(layout);
    }
    let short = |at| kernel.kdbg()?.u16(at).map(u64::from);
    let long = |at| kernel.kdbg()?.u32(at).map(u64::from);
    let stated = STATEMENTS.into_iter().map(|(at, member)| (short(at), member));
    let stated = stated.chain(LONG_STATEMENTS.into_iter().map(|(at, member)| (long(at), member)));
    for (offset, member) in stated {
        if let Some(offset) = offset.filter(|offset| *offset != 0) {
            layout.add_stated(member, offset, STATED);
        }
    }
    // `InitialStack` is followed by `StackLimit` in every Windows.
    if let Some(stack) = layout.offset(Member::InitialStack) {
        let limit = stack.saturating_add(kernel.view().word_len());
        layout.add(Member::StackLimit, limit, "the member after KTHREAD.InitialStack");
    }
}

impl<'k> Samples<'k> {
    fn of(kernel: &'k Kernel, layout: &mut Layout) -> Option<Self> {
        let view = kernel.view();
        let word = view.word_len();
        let system = kernel.windows().system_process.as_ref()?.value;
        let head = kernel.process_head()?;
        let links = links_of(view, head, system)?;
        layout.add(Member::ActiveProcessLinks, links, SHOWN);
        let pid = links.checked_sub(word)?;
        if view.uint(Gva(system.0.checked_add(pid)?), word) == Some(4) {
            layout.add(Member::UniqueProcessId, pid, SHOWN);
        }
        let len = sample_len(kernel);
        let listed = list::walk(view, head, SAMPLES).entries;
        let starts = listed.iter().map(|entry| Gva(entry.0.wrapping_sub(links)));
        let others = starts.filter(|at| *at != system);
        let sample = |at: Gva| Sample { bytes: view.prefix(at, len) };
        let all: Vec<Sample> = [system].into_iter().chain(others).map(sample).collect();
        Some(Samples { kernel, word: usize::try_from(word).ok()?, all })
    }

    fn view(&self) -> &View {
        self.kernel.view()
    }

    /// The value at an offset of every process.
    fn values(&self, offset: usize, len: usize) -> Vec<u64> {
        self.all.iter().filter_map(|sample| uint(&sample.bytes, offset, len)).collect()
    }

    fn len(&self) -> usize {
        self.all.first().map_or(0, |system| system.bytes.len())
    }

    /// The only offset for which this holds.
    fn only(&self, holds: impl Fn(usize) -> bool, step: usize) -> Option<u64> {
        let mut found = (0..self.len()).step_by(step).filter(|offset| holds(*offset));
        let first = found.next()?;
        if found.next().is_some() { None } else { u64::try_from(first).ok() }
    }

    fn show(&self, layout: &mut Layout) {
        let name = self.name();
        for (member, found) in [
            (Member::ImageFileName, name),
            (Member::CreateTime, self.create_time()),
            (Member::ExitTime, self.exit_time()),
            (Member::AuditName, name.and_then(|name| self.audit(name))),
            (Member::Peb, self.peb()),
        ] {
            if let Some(offset) = found {
                layout.add(member, offset, SHOWN);
            }
        }
        let stated = self.kernel.kdbg().and_then(|kdbg| kdbg.u16(kdbg_fields::PROCESS_PARENT));
        let stated = stated.is_some_and(|offset| offset != 0);
        if !stated && let Some(parent) = self.parent(layout) {
            layout.add(Member::InheritedFromUniqueProcessId, parent, SHOWN);
        }
    }

    /// Where the System process has its name, and all others something printable.
    fn name(&self) -> Option<u64> {
        let system = self.all.first()?;
        let found = system.bytes.windows(8).position(|part| part == b"System\0\0")?;
        let is_name = |sample: &Sample| {
            let text = sample.bytes.get(found..).unwrap_or_default();
            text.first().is_some_and(u8::is_ascii_graphic)
        };
        let good = self.all.iter().filter(|sample| is_name(sample)).count();
        // Three of four.
        let enough = self.all.len().saturating_sub(self.all.len() / 4);
        (good >= enough).then(|| u64::try_from(found).ok()).flatten()
    }

    fn latest(&self) -> u64 {
        let shared = self.kernel.windows().shared.as_ref();
        // A day is allowed for clocks that were set back.
        shared.map_or(LATEST, |shared| shared.system_time.saturating_add(864_000_000_000))
    }

    /// A time in all processes, the earliest that of System.
    fn create_time(&self) -> Option<u64> {
        let latest = self.latest();
        self.only(
            |offset| {
                let values = self.values(offset, 8);
                let first = values.first().copied().unwrap_or_default();
                let mut all = values.iter();
                values.len() == self.all.len()
                    && all.all(|time| (EARLIEST..latest).contains(time) && *time >= first)
            },
            8,
        )
    }

    /// A time in some processes, zero in all others.
    fn exit_time(&self) -> Option<u64> {
        let (create, latest) = (self.create_time()?, self.latest());
        let create = self.values(usize::try_from(create).ok()?, 8);
        self.only(
            |offset| {
                let values = self.values(offset, 8);
                let ended = values.iter().filter(|time| **time != 0).count();
                let mut all = values.iter().zip(&create);
                values.len() == create.len()
                    && (1..values.len()).contains(&ended)
                    && values.first() == Some(&0)
                    && all.all(|(time, create)| *time == 0 || (*create..latest).contains(time))
            },
            8,
        )
    }

    /// A pointer to a string that ends in the process's own name.
    fn audit(&self, name: u64) -> Option<u64> {
        let name = usize::try_from(name).ok()?;
        self.only(
            |offset| {
                let fits = |sample: &&Sample| self.names_itself(sample, offset, name);
                let named = self.all.iter().filter(fits).count();
                named >= 2 && named >= self.all.len().div_ceil(2)
            },
            self.word,
        )
    }

    fn names_itself(&self, sample: &Sample, offset: usize, name: usize) -> bool {
        let Some(pointer) = uint(&sample.bytes, offset, self.word).map(Gva) else { return false };
        if !self.view().is_kernel(pointer) {
            return false;
        }
        let Some(path) = self.view().unicode(pointer) else { return false };
        let file = path.rsplit('\\').next().unwrap_or_default();
        let short = short_name(&sample.bytes, name);
        path.starts_with('\\') && !short.is_empty() && file.starts_with(&short)
    }

    /// A page of user mode that is no image but names one; none in System.
    fn peb(&self) -> Option<u64> {
        self.only(
            |offset| {
                let values = self.values(offset, self.word);
                let user = |value: u64| value != 0 && value.is_multiple_of(4096);
                let mut some = values.iter().filter(|value| **value != 0).peekable();
                values.first() == Some(&0)
                    && some.peek().is_some()
                    && some.all(|value| user(*value) && !self.view().is_kernel(Gva(*value)))
                    && self.all.iter().filter(|sample| self.has_peb(sample, offset)).count() > 1
            },
            self.word,
        )
    }

    /// `PEB.ImageBaseAddress` is the third pointer; the `EPROCESS` has it as well.
    fn has_peb(&self, sample: &Sample, offset: usize) -> bool {
        let read = || {
            let peb = uint(&sample.bytes, offset, self.word).filter(|peb| *peb != 0)?;
            let base = if self.word == 8 { 0x28 } else { 0x18 };
            let root = uint(&sample.bytes, base, self.word)?;
            let view = self.kernel.view_of(root);
            let image = view.pointer(element(Gva(peb), 2, view.word_len())?)?;
            Some(image.0 != 0 && image.0 % 0x1_0000 == 0)
        };
        read().unwrap_or(false)
    }

    /// 0 in System, 4 in one of its children, numbers of processes in all.
    fn parent(&self, layout: &Layout) -> Option<u64> {
        let pid = usize::try_from(layout.offset(Member::UniqueProcessId)?).ok()?;
        let pids = self.values(pid, self.word);
        self.only(
            |offset| {
                let values = self.values(offset, self.word);
                let is_parent = |(parent, pid): (&u64, &u64)| {
                    *parent != 0 && parent % 4 == 0 && *parent < 0x10_0000 && parent != pid
                };
                let others = || values.iter().zip(&pids).skip(1);
                values.len() == pids.len()
                    && values.first() == Some(&0)
                    && values.contains(&4)
                    && others().all(is_parent)
                    && others().any(|(parent, _)| *parent != 4 && pids.contains(parent))
            },
            self.word,
        )
    }
}

/// The offset of the System process's links: the ring passes through it once.
fn links_of(view: &View, head: Gva, system: Gva) -> Option<u64> {
    let listed = list::walk(view, head, SAMPLES).entries;
    let word = view.word_len();
    let distance = |entry: &Gva| entry.0.checked_sub(system.0);
    let near = listed.iter().filter_map(distance).filter(|at| (word..0x1000).contains(at));
    // Another process may lie close after it in memory.
    near.min()
}

fn sample_len(kernel: &Kernel) -> usize {
    let (wide, narrow) = PROCESS_LEN;
    let usual = if kernel.is_64_bit() { wide } else { narrow };
    let stated =
        kernel.kdbg().and_then(|kdbg| kdbg.u16(kdbg_fields::PROCESS_SIZE)).map(usize::from);
    stated.filter(|len| (0x200..0x2000).contains(len)).unwrap_or(usual)
}

/// Members of `ETHREAD` and the list of threads, by the threads that run.
pub(super) fn threads(kernel: &Kernel, layout: &mut Layout) {
    let cpus = kernel.windows().cpus.iter();
    let running = cpus.filter_map(|cpu| Some((cpu.process?, cpu.thread?)));
    for (process, thread) in running {
        let Some((head, links)) = thread_list(kernel, process, thread) else { continue };
        layout.add(Member::ThreadListHead, head, SHOWN_BY_THREADS);
        layout.add(Member::ThreadListEntry, links, SHOWN_BY_THREADS);
        if let Some(cid) = client_id(kernel, layout, (process, thread)) {
            layout.add(Member::Cid, cid, SHOWN_BY_THREADS);
            return;
        }
    }
}

/// The last list in a process that passes through a thread, and where in it. The
/// `KPROCESS` at its start has such a list, too.
fn thread_list(kernel: &Kernel, process: Gva, thread: Gva) -> Option<(u64, u64)> {
    let view = kernel.view();
    let word = view.word_len();
    let (wide, narrow) = THREAD_LEN;
    let len = if kernel.is_64_bit() { wide } else { narrow };
    let through = |offset: u64| {
        let head = Gva(process.0.checked_add(offset)?);
        let first = view.pointer(head)?;
        if !view.is_kernel(first) {
            return None;
        }
        let back = view.pointer(Gva(first.0.checked_add(word)?))?;
        if back != head {
            return None;
        }
        let listed = list::walk(view, head, 4096).entries;
        // After a short process lie its threads, whose links pass for heads: their
        // ring comes by the true one first.
        if listed.iter().any(|entry| (process.0..head.0).contains(&entry.0)) {
            return None;
        }
        let distances = listed.iter().filter_map(|entry| entry.0.checked_sub(thread.0));
        let links = distances.filter(|at| *at < len).min()?;
        Some((offset, links))
    };
    let offsets = (0..sample_len(kernel) as u64).step_by(usize::try_from(word).ok()?);
    offsets.filter_map(through).last()
}

/// Where a thread has the number of its process and, after it, its own.
fn client_id(kernel: &Kernel, layout: &Layout, (process, thread): (Gva, Gva)) -> Option<u64> {
    let view = kernel.view();
    let word = view.word_len();
    let number = layout.offset(Member::UniqueProcessId)?;
    let pid = view.uint(Gva(process.0.checked_add(number)?), word)?;
    let (wide, narrow) = THREAD_LEN;
    let len = usize::try_from(if kernel.is_64_bit() { wide } else { narrow }).ok()?;
    let bytes = view.prefix(thread, len);
    let word = usize::try_from(word).ok()?;
    let is_cid = |offset: &usize| {
        let own = uint(&bytes, *offset, word);
        let tid = offset.checked_add(word).and_then(|at| uint(&bytes, at, word));
        let tid = tid.unwrap_or_default();
        own == Some(pid) && pid != 0 && tid != 0 && tid.is_multiple_of(4) && tid < 0x100_0000
    };
    let mut found = (0..bytes.len()).step_by(word).filter(is_cid);
    let first = found.next()?;
    if found.next().is_some() { None } else { u64::try_from(first).ok() }
}

/// `ImageFileName`: at most 15 characters.
pub(in crate::windows) fn short_name(bytes: &[u8], offset: usize) -> String {
    let text = bytes.get(offset..).unwrap_or_default();
    let text = text.get(..15).unwrap_or(text);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().iter().map(|byte| char::from(*byte)).collect()
}

/// The little-endian number of `len` (at most 8) bytes at an offset.
fn uint(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let part = bytes.get(offset..offset.checked_add(len)?)?;
    let mut number = [0; 8];
    number.get_mut(..len)?.copy_from_slice(part);
    Some(u64::from_le_bytes(number))
}
