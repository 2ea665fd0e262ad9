//! Guests of the lab, and what is known of them from themselves and from QEMU.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use vmss2core_lab::truth::Symbol;
use vmss2core_lab::{CpuRegisters, Guest, MemoryRange, hidden, make};

use super::rand::Rand;
use super::walker::{Leaf, Mode, Physical, Sample, Walker};
use super::{judges, stacks};

/// The guest of that name, made if need be; `NAME-hidden` is the one without its
/// types and symbols.
pub fn guest(name: &str) -> Result<Guest> {
    let made = match name.strip_suffix("-hidden") {
        Some(whole) => hidden::guest(whole),
        None => make::guest(name),
    };
    made.with_context(|| format!("making guest {name}"))
}

/// The guest of that name and its kernel with debug information.
pub fn guest_with_kernel(name: &str) -> Result<(Guest, PathBuf)> {
    let guest = make::guest_with_vmlinux(name).with_context(|| format!("making guest {name}"))?;
    let kernel = guest.vmlinux.clone().context("a guest without vmlinux")?;
    Ok((guest, kernel))
}

/// 64-bit Linux maps one page of each processor's stacks 65,536 times here, by
/// page tables that share tables (`Documentation/arch/x86/x86_64/mm.rst`,
/// "%esp fixup stacks"). A linear core holds a few of these and says how many it
/// left out.
const ESPFIX: std::ops::Range<u64> = 0xffff_ff00_0000_0000..0xffff_ff80_0000_0000;

/// Physical addresses of the old video memory: a memory file has bytes there,
/// but the guest sees a device.
const VIDEO_MEMORY: std::ops::Range<u64> = 0xa_0000..0xc_0000;

/// Where 32-bit Linux maps the first part of memory.
const LOWMEM: u64 = 0xc000_0000;

/// The memory of a guest as QEMU left it.
pub struct Ram {
    file: File,
    ranges: Vec<MemoryRange>,
}

impl Ram {
    pub fn of(guest: &Guest) -> Result<Self> {
        let file = File::open(&guest.ram).context("opening the RAM file")?;
        Ok(Self { file, ranges: guest.memory_map() })
    }

    /// The memory of a checkpoint in two files, as the guest sees it: without what
    /// it sees as a device.
    pub fn of_checkpoint(guest: &Guest, state: &Path) -> Result<Self> {
        let file = File::open(state.with_extension("vmem")).context("opening the memory file")?;
        let mut ram = Self { file, ranges: guest.memory_map() };
        let Some(first) = ram.ranges.first_mut() else { bail!("no memory") };
        let above = MemoryRange {
            gpa: VIDEO_MEMORY.end,
            len: first.len - VIDEO_MEMORY.end,
            file_offset: VIDEO_MEMORY.end,
        };
        first.len = VIDEO_MEMORY.start;
        ram.ranges.insert(1, above);
        Ok(ram)
    }

    /// The ranges of physical memory, and where in the file they lie.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    /// `count` reads by physical address, spread evenly over the ranges.
    pub fn samples(&self, count: usize) -> Result<Vec<Sample>> {
        let mut rand = Rand::new(0xfa5);
        let mut samples = Vec::new();
        while samples.len() < count {
            let range = rand.of(&self.ranges);
            let (pa, len) = (range.gpa + rand.below(range.len - 64), 1 + rand.index(64));
            let mut bytes = vec![0; len];
            ensure!(self.read(pa, &mut bytes)?, "not in the RAM file: {pa:#x}");
            samples.push(Sample { va: pa, len, bytes });
        }
        Ok(samples)
    }
}

impl Physical for Ram {
    fn read(&self, pa: u64, buf: &mut [u8]) -> Result<bool> {
        let end = pa.saturating_add(buf.len() as u64);
        let holds = |range: &&MemoryRange| range.gpa <= pa && end <= range.gpa + range.len;
        let Some(range) = self.ranges.iter().find(holds) else { return Ok(false) };
        self.file.read_exact_at(buf, range.file_offset + (pa - range.gpa))?;
        Ok(true)
    }
}

/// The translation mode of a processor.
pub fn mode(cpu: &CpuRegisters) -> Result<Mode> {
    Mode::of(cpu.cr0, cpu.cr4, cpu.efer)
}

/// Privilege level: 3 is user mode.
pub fn privilege(cpu: &CpuRegisters) -> u16 {
    let [_, cs, ..] = cpu.segments;
    cs.selector & 3
}

/// The page tables that the linear core of this processor is about: its own; if
/// these are the user's half of an isolated pair, the kernel's half, which is the
/// page before. All of Linux' roots are such pairs then, the user's half being
/// the odd page (`PTI_PGTABLE_SWITCH_BIT` in `arch/x86/entry/calling.h`).
fn root(guest: &Guest, cpu: &CpuRegisters) -> Result<u64> {
    let truth = guest.truth()?;
    let isolated = truth.text("dmesg")?.contains("page tables isolation: enabled");
    Ok(if isolated { cpu.cr3 & !0x1000 } else { cpu.cr3 })
}

/// The address space that the linear core of this processor is about.
pub fn address_space<'a>(ram: &'a Ram, guest: &Guest, cpu: &CpuRegisters) -> Result<Walker<'a>> {
    Ok(Walker::new(ram, mode(cpu)?, root(guest, cpu)?))
}

/// The pages that a linear core must show, each of them.
pub fn pages(space: &Walker<'_>) -> Result<Vec<Leaf>> {
    Ok(space.leaves()?.into_iter().filter(|leaf| !ESPFIX.contains(&leaf.va)).collect())
}

/// The pages that every process has in common: the kernel's. Of a 32-bit kernel
/// only its direct map, because it brings the rest into a process when needed.
pub fn kernel_pages(space: &Walker<'_>) -> Result<Vec<Leaf>> {
    let is_common = |leaf: &Leaf| match space.mode() {
        Mode::TwoLevel | Mode::Pae => leaf.va == LOWMEM + leaf.pa,
        Mode::FourLevel | Mode::FiveLevel => leaf.va >> 63 == 1,
    };
    Ok(pages(space)?.into_iter().filter(is_common).collect())
}

/// Where the kernel's banner is, and its text. 32-bit kernels list no data, so
/// there it is looked for in the direct map.
pub fn banner(guest: &Guest, space: &Walker<'_>) -> Result<Sample> {
    let truth = guest.truth()?;
    let bytes = truth.bytes("version")?.to_vec();
    let va = match truth.symbol("linux_banner") {
        Ok(address) => address,
        Err(error) if guest.is_64_bit => return Err(error),
        Err(_) => find(space, &bytes)?.context("the banner is nowhere in the direct map")?,
    };
    Ok(Sample { va, len: bytes.len(), bytes })
}

fn find(space: &Walker<'_>, wanted: &[u8]) -> Result<Option<u64>> {
    for leaf in kernel_pages(space)? {
        let bytes = space.read(leaf.va, usize::try_from(leaf.len)? + wanted.len())?;
        if let Some(at) = memchr::memmem::find(&bytes, wanted) {
            return Ok(Some(leaf.va + at as u64));
        }
    }
    Ok(None)
}

/// Whether its kernel crashed and halted.
pub fn has_panicked(guest: &Guest) -> Result<bool> {
    Ok(guest.serial_log()?.contains("end Kernel panic"))
}

/// Whether its kernel has type information.
pub fn has_types(guest: &Guest) -> bool {
    guest.is_64_bit && !["linux-6.1-bare", "linux-6.1-no-kallsyms"].contains(&guest.name.as_str())
}

/// Whether its kernel has names of all functions.
pub fn has_symbols(guest: &Guest) -> bool {
    guest.name != "linux-6.1-no-kallsyms"
}

/// Symbols of a kernel that tells none: those that `nm` finds in its file, where the
/// guest has them.
pub fn symbols_of_file(guest: &Guest) -> Result<Vec<Symbol>> {
    const LOWEST: u64 = 0xffff_ffff_8000_0000;
    let kernel = guest.vmlinux.as_ref().context("a guest without vmlinux")?;
    let said = judges::output(Command::new("nm").arg(kernel))?;
    let symbol = |line: &str| {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, name) = (words.next()?.chars().next()?, words.next()?.to_owned());
        Some(Symbol { address, kind, name, module: None })
    };
    let mut symbols: Vec<Symbol> = said.lines().filter_map(symbol).collect();
    let moved = how_far_it_moved(guest, &symbols)?;
    // Those of processors' own variables are no addresses.
    for symbol in symbols.iter_mut().filter(|symbol| symbol.address >= LOWEST) {
        symbol.address += moved;
    }
    Ok(symbols)
}

/// What the kernel says of the stack of its second thread ends where that began.
fn how_far_it_moved(guest: &Guest, symbols: &[Symbol]) -> Result<u64> {
    const STEP: u64 = 2 << 20;
    let begins = symbols.iter().find(|symbol| symbol.name == "ret_from_fork");
    let begins = begins.context("no ret_from_fork")?.address;
    let said = stacks::said_to_program(guest.truth()?.text("out where")?)?;
    let last = said.get(&2).and_then(|thread| thread.stack.last()).context("no stack")?;
    let last = u64::from_str_radix(last.trim_start_matches("0x"), 16)?;
    let moved = last.checked_sub(begins).context("below where it was linked")? / STEP * STEP;
    ensure!(last - begins - moved < 0x100, "{last:x} is not in ret_from_fork");
    Ok(moved)
}

/// Every task that the guest listed, as (number of the thread, name). `/proc`
/// shows kernel threads by longer names than `task_struct.comm` has room for.
pub fn tasks(guest: &Guest) -> Result<BTreeMap<u32, String>> {
    let name = |comm: &str| comm.chars().take(15).collect();
    let tasks = guest.truth()?.tasks()?;
    Ok(tasks.into_iter().map(|task| (task.tid, name(&task.comm))).collect())
}

/// Workers come, go and are renamed all the time.
pub fn is_fleeting(comm: &str) -> bool {
    comm.starts_with("kworker/")
}

/// What registers a debugger must show for this processor, by its names.
pub fn registers(guest: &Guest, cpu: &CpuRegisters) -> BTreeMap<String, u64> {
    let [es, cs, ss, ds, fs, gs, ..] = cpu.segments;
    let segments = [("cs", cs), ("ss", ss), ("ds", ds), ("es", es), ("fs", fs), ("gs", gs)];
    let mut all: BTreeMap<String, u64> =
        segments.map(|(name, segment)| (name.to_owned(), u64::from(segment.selector))).into();
    all.insert("eflags".to_owned(), cpu.rflags);
    if guest.is_64_bit {
        let bases = [("fs_base", fs.base), ("gs_base", gs.base), ("rip", cpu.rip)];
        all.extend(bases.map(|(name, value)| (name.to_owned(), value)));
        let general = vmss2core_lab::registers::GPR_NAMES.into_iter().zip(cpu.gpr);
        all.extend(general.map(|(name, value)| (name.to_owned(), value)));
    } else {
        all.insert("eip".to_owned(), cpu.rip);
        let names = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
        all.extend(names.into_iter().zip(cpu.gpr).map(|(name, value)| (name.to_owned(), value)));
    }
    all
}

/// The values that `mt` said it holds, if this address space is its own.
pub fn values_of_the_program(guest: &Guest, space: &Walker<'_>) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (_, va, value) in guest.truth()?.values("mt")? {
        let bytes = if guest.is_64_bit { 8 } else { 4 };
        let bytes = value.to_le_bytes().get(..bytes).unwrap_or_default().to_vec();
        if space.read(va, bytes.len())? != bytes {
            return Ok(Vec::new());
        }
        samples.push(Sample { va, len: bytes.len(), bytes });
    }
    Ok(samples)
}
