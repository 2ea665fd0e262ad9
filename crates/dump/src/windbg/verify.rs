//! A look at the dump that was written, as a debugger will take it: through its
//! header.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use vmss2core_guest::windows::{View, WindowsFacts, kdbg_fields};
use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gpa, Gva, PAGE_SIZE, PhysicalMemory, Problem, ReadAt};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::arch::Context;
use super::header_len;
use super::patch::Patch;
use super::runs::bitmap_at;
use vmss2core_formats::dmp::{BITMAP_SIGNATURE, BitmapHeader, FULL, Header32, Header64};

/// Problems that a debugger will have with the file.
pub(super) fn problems(path: &Path, facts: &WindowsFacts, patches: &[Patch]) -> Vec<Problem> {
    let found = File::open(path).map_err(|error| error.to_string()).and_then(|file| {
        let dump = Dump::open(file, facts.is_64_bit)?;
        Ok(dump.check(facts, patches))
    });
    match found {
        Ok(complaints) => complaints.into_iter().map(Problem::warning).collect(),
        Err(why) => vec![Problem::warning(format!(
            "the dump was written, but does not read as one ({why}): please report this"
        ))],
    }
}

/// The header, read again.
struct Head {
    root: u64,
    kdbg: u64,
    required_space: u64,
    context: Vec<u8>,
    is_full: bool,
    /// Pairs of first page and pages.
    runs: Vec<(u64, u64)>,
}

struct Dump {
    len_bytes: u64,
    head: Head,
    memory: PhysicalMemory,
}

impl Dump {
    fn open(file: File, is_64_bit: bool) -> Result<Self, String> {
        let len_bytes = file.metadata().map_err(|error| error.to_string())?.len();
        let source: Arc<dyn ReadAt> = Arc::new(file);
        let len = usize::try_from(header_len(is_64_bit)).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; len];
        source.read_exact_at(0, &mut bytes).map_err(|error| error.to_string())?;
        let head = if is_64_bit { head64(&bytes) } else { head32(&bytes) };
        let head = head.ok_or("its header is none")?;
        let memory = if head.is_full {
            full(&source, &head, header_len(is_64_bit))
        } else {
            bitmap(&source, is_64_bit)
        };
        Ok(Self { len_bytes, head, memory: memory.ok_or("its list of memory makes no sense")? })
    }

    fn check(&self, facts: &WindowsFacts, patches: &[Patch]) -> Vec<String> {
        let (mode, _) = facts.kernel_root.value;
        let root = mode.root_of(self.head.root);
        let space = AddressSpace::new(&self.memory, mode, root);
        let mut complaints = Vec::new();
        if self.len_bytes != self.head.required_space {
            complaints.push(format!(
                "the dump has {} bytes and not the {} that it says: please report this",
                self.len_bytes, self.head.required_space
            ));
        }
        for patch in patches.iter().filter(|patch| !is_there(patch, patches, &space)) {
            complaints
                .push(format!("{} did not arrive in the dump: please report this", patch.what));
        }
        complaints.extend(self.missing(facts, &space).into_iter().map(str::to_owned));
        if !patches.is_empty() && !self.begins_with_a_processor(facts, &space) {
            let text = "registers in the dump's header are those of no processor";
            complaints.push(text.to_owned());
        }
        complaints
    }

    /// Structures that a debugger will look for and not find.
    fn missing(&self, facts: &WindowsFacts, space: &AddressSpace) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if facts.kdbg.is_none() {
            return missing;
        }
        let pointer = |at| facts.kdbg_pointer(at).map(|gva| gva.0);
        let word = |gva: u64| read_word(space, gva);
        let base = pointer(kdbg_fields::KERN_BASE).unwrap_or(0);
        missing.extend(self.missing_header(space, Gva(base)));
        let tag = space.read_u32(Gva(self.head.kdbg.saturating_add(0x10)));
        if tag.ok().map(u32::to_le_bytes) != Some(*b"KDBG") {
            missing.push("debuggers will not find Windows' debugger data in the dump");
        }
        let dll_base = if facts.is_64_bit { 0x30 } else { 0x18 };
        let first = pointer(kdbg_fields::MODULE_LIST).and_then(word);
        if first.and_then(|entry| word(entry.checked_add(dll_base)?)) != Some(base) {
            missing.push("the list of modules does not begin with the kernel");
        }
        let first = pointer(kdbg_fields::PROCESS_HEAD).and_then(word);
        let is_system = |eprocess: u64| {
            first.is_some_and(|first| (eprocess..eprocess.saturating_add(0x1000)).contains(&first))
        };
        if facts.system_process.as_ref().is_some_and(|process| !is_system(process.value.0)) {
            missing.push("the list of processes does not begin with System");
        }
        missing
    }

    /// Faults of the kernel's header, by which debuggers know its symbols.
    fn missing_header(&self, space: &AddressSpace, base: Gva) -> Option<&'static str> {
        let mut magic = [0; 2];
        if space.read(base, &mut magic).is_ok() {
            let text = "no image begins where the debugger data says that the kernel does: is \
                        the address that was given for it right?";
            return (magic != *b"MZ").then_some(text);
        }
        let is_in_transition = View::new(&self.memory, space.mode(), space.root())
            .read(base, &mut magic)
            .is_ok_and(|()| magic == *b"MZ");
        Some(if is_in_transition {
            "the kernel's header is in a page in transition, which debuggers may not look into: \
             they may not find symbols"
        } else {
            "the kernel's header is not in memory: debuggers may not find symbols"
        })
    }

    /// Whether the header has the registers of one of the processors, as a
    /// debugger compares them; it may have none at all.
    fn begins_with_a_processor(&self, facts: &WindowsFacts, space: &AddressSpace) -> bool {
        let len = Context::len_bytes(facts.is_64_bit);
        let Some(context) = self.head.context.get(..len) else { return false };
        let places = facts.cpus.iter().flat_map(|cpu| [cpu.context, cpu.embedded_context]);
        let mut bytes = vec![0; len];
        let is_zero = context.iter().all(|byte| *byte == 0);
        is_zero
            || places.flatten().any(|gva| space.read(gva, &mut bytes).is_ok() && bytes == context)
    }
}

/// Whether the file has what the patch wrote. Of two at one address the later
/// one counts.
fn is_there(patch: &Patch, all: &[Patch], space: &AddressSpace) -> bool {
    let last = all.iter().rfind(|other| other.gva == patch.gva).unwrap_or(patch);
    let mut bytes = vec![0; last.bytes.len()];
    space.read(last.gva, &mut bytes).is_ok() && bytes == last.bytes
}

fn read_word(space: &AddressSpace, gva: u64) -> Option<u64> {
    if space.mode().is_64_bit() {
        return space.read_u64(Gva(gva)).ok();
    }
    space.read_u32(Gva(gva)).ok().map(u64::from)
}

fn head64(bytes: &[u8]) -> Option<Head> {
    let header = Header64::ref_from_bytes(bytes).ok()?;
    let is_full = header.dump_type.get() == FULL;
    Some(Head {
        root: header.directory_table_base.get(),
        kdbg: header.kdbg.get(),
        required_space: header.required_space.get(),
        context: header.context.to_vec(),
        is_full,
        runs: if is_full { runs64(&header.runs)? } else { Vec::new() },
    })
}

fn head32(bytes: &[u8]) -> Option<Head> {
    let header = Header32::ref_from_bytes(bytes).ok()?;
    let is_full = header.dump_type.get() == FULL;
    Some(Head {
        root: header.directory_table_base.get().into(),
        kdbg: header.kdbg.get().into(),
        required_space: header.required_space.get(),
        context: header.context.to_vec(),
        is_full,
        runs: if is_full { runs32(&header.runs)? } else { Vec::new() },
    })
}

fn runs64(list: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (runs, _) = list.get(16..)?.as_chunks::<16>();
    let runs = runs.get(..count(list)?)?.iter();
    runs.map(|run| <[U64; 2]>::read_from_bytes(run).ok().map(pair)).collect()
}

fn runs32(list: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (runs, _) = list.get(8..)?.as_chunks::<8>();
    let runs = runs.get(..count(list)?)?.iter();
    runs.map(|run| <[U32; 2]>::read_from_bytes(run).ok().map(pair)).collect()
}

/// How many runs a list has: its first 4 bytes.
fn count(list: &[u8]) -> Option<usize> {
    usize::try_from(U32::read_from_prefix(list).ok()?.0.get()).ok()
}

fn pair<T: Into<u64>>([first, pages]: [T; 2]) -> (u64, u64) {
    (first.into(), pages.into())
}

/// Memory of a full dump.
fn full(source: &Arc<dyn ReadAt>, head: &Head, header_len: u64) -> Option<PhysicalMemory> {
    let (mut memory, mut offset) = (PhysicalMemory::new(), header_len);
    for (first, pages) in &head.runs {
        let (start, len) = (first.checked_mul(PAGE_SIZE)?, pages.checked_mul(PAGE_SIZE)?);
        memory.map(Gpa(start), len, Arc::clone(source), offset).ok()?;
        offset = offset.checked_add(len)?;
    }
    Some(memory)
}

/// Bytes of the bitmap that are read at once.
const CHUNK: usize = 64 * 1024;

/// Memory of a dump with a bitmap.
fn bitmap(source: &Arc<dyn ReadAt>, is_64_bit: bool) -> Option<PhysicalMemory> {
    let mut bytes = vec![0; size_of::<BitmapHeader>()];
    source.read_exact_at(header_len(is_64_bit), &mut bytes).ok()?;
    let header = BitmapHeader::ref_from_bytes(&bytes).ok()?;
    if header.signature != BITMAP_SIGNATURE {
        return None;
    }
    let len = header.bits.get() / 8;
    let mut runs = Runs::default();
    for at in (0..len).step_by(CHUNK) {
        let mut chunk = vec![0; usize::try_from(len.saturating_sub(at)).ok()?.min(CHUNK)];
        let place = bitmap_at(is_64_bit).checked_add(at)?;
        source.read_exact_at(place, &mut chunk).ok()?;
        runs.chunk(at.checked_mul(8)?, &chunk);
    }
    let (mut memory, mut offset) = (PhysicalMemory::new(), header.first_page.get());
    for run in runs.0 {
        let (start, pages) = (run.start.checked_mul(PAGE_SIZE)?, run.end.checked_sub(run.start)?);
        let len = pages.checked_mul(PAGE_SIZE)?;
        memory.map(Gpa(start), len, Arc::clone(source), offset).ok()?;
        offset = offset.checked_add(len)?;
    }
    Some(memory)
}

/// Runs of bits that are set.
#[derive(Default)]
struct Runs(Vec<Range<u64>>);

impl Runs {
    fn chunk(&mut self, first_bit: u64, bytes: &[u8]) {
        for (byte, bit) in bytes.iter().zip((first_bit..).step_by(8)) {
            match byte {
                0 => {}
                0xff => self.push(bit..bit.saturating_add(8)),
                byte => {
                    let set = (0..8_u64).filter(|shift| byte >> shift & 1 == 1);
                    // The first bit's number is a multiple of 8.
                    set.map(|shift| bit | shift)
                        .for_each(|one| self.push(one..one.saturating_add(1)));
                }
            }
        }
    }

    fn push(&mut self, run: Range<u64>) {
        super::runs::push(&mut self.0, run);
    }
}
