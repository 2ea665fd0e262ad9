//! A small Windows or macOS guest with words of its memory changed: found, asked, and planned as
//! a dump. The data is a byte for the guest, then changes of 11 bytes: page (of those that
//! hold something), place in it, value.
#![no_main]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use vmss2core_dump::{Chosen, Existing, Job, Observer, format};
use vmss2core_guest::{Facts, analyse, windows};
use vmss2core_lab::macos;
use vmss2core_lab::vmware::{Shape, write_checkpoint};
use vmss2core_lab::windows::{fixture, make};
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Gpa, PhysicalMemory, ReadAt};

const GUESTS: [&str; 5] =
    ["win10-19041-x64", "win7-pae", "winxp-x86", "one-in-user-mode-shadowed", MACOS];
const MACOS: &str = "macos";
const PAGE: usize = 4096;
const MOST_CHANGES: usize = 64;

/// A guest, and the pages of it that are not empty.
struct Base {
    checkpoint: Arc<Checkpoint>,
    pages: Vec<u64>,
}

fn base(name: &str) -> Base {
    let machine = match name {
        MACOS => macos::make(macos::Fixture::default()).unwrap().machine,
        _ => make(&fixture(name).unwrap()).unwrap().machine,
    };
    let dir = std::env::temp_dir().join(format!("fuzz-windows-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let written = write_checkpoint(&machine, &Shape::default(), &dir, "vm").unwrap();
    let opened = vmss2core_checkpoint::open(&[written.state], &Default::default()).unwrap();
    let memory = &opened.checkpoint.memory;
    let mut page = [0; PAGE];
    let all = memory.ranges().into_iter().flat_map(|range| range.step_by(PAGE));
    let is_used = |at: &u64| memory.read(Gpa(*at), &mut page).is_ok() && page != [0; PAGE];
    let pages = all.filter(is_used).collect();
    // What is open can be read without its name.
    std::fs::remove_dir_all(&dir).unwrap();
    Base { checkpoint: Arc::new(opened.checkpoint), pages }
}

/// Memory with changes in it.
struct Changed {
    base: Arc<Checkpoint>,
    changes: Vec<(u64, [u8; 8])>,
}

impl ReadAt for Changed {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.base.memory.read(Gpa(offset), buf).map_err(io::Error::other)?;
        for (at, bytes) in &self.changes {
            for (address, byte) in (*at..).zip(bytes) {
                let place = address.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(slot) = place.and_then(|place| buf.get_mut(place)) {
                    *slot = *byte;
                }
            }
        }
        Ok(())
    }
}

fn changes(base: &Base, data: &[u8]) -> Vec<(u64, [u8; 8])> {
    let (parts, _) = data.as_chunks::<11>();
    let change = |part: &[u8; 11]| {
        let [page, high, at, value @ ..] = *part;
        let index = usize::from(u16::from_le_bytes([page, high])) % base.pages.len();
        // 256 places of 16 bytes.
        (base.pages[index] + u64::from(at) * 16, value)
    };
    parts.iter().take(MOST_CHANGES).map(change).collect()
}

/// Stops once something has been written.
struct Briefly(AtomicBool);

impl Observer for Briefly {
    fn progress(&self, _: u64, _: u64) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn dump(checkpoint: &Checkpoint, facts: Facts) {
    let facts = Box::new(facts);
    let path = format!("/dev/shm/fuzz-windows-{}.dmp", std::process::id());
    for name in ["windbg", "windbg-bitmap"] {
        let _ = format(name).unwrap().write(&Job {
            checkpoint,
            facts: &facts,
            path: Path::new(&path),
            existing: Existing::IsReplaced,
            chosen: Chosen::NOTHING,
            observer: &Briefly(AtomicBool::new(false)),
        });
        let _ = std::fs::remove_file(&path);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    let bases = BASES.get_or_init(|| GUESTS.iter().map(|name| base(name)).collect());
    let Some((guest, data)) = data.split_first() else { return };
    let base = &bases[usize::from(*guest) % bases.len()];
    let changed = Arc::new(Changed { base: base.checkpoint.clone(), changes: changes(base, data) });
    let mut memory = PhysicalMemory::new();
    for range in base.checkpoint.memory.ranges() {
        memory
            .map(Gpa(range.start), range.end - range.start, changed.clone(), range.start)
            .unwrap();
    }
    let checkpoint =
        Checkpoint { memory, vcpus: base.checkpoint.vcpus.clone(), ..Checkpoint::default() };
    let facts = analyse(&checkpoint);
    if let Some(found) = facts.windows() {
        let kernel = windows::Kernel::open(&checkpoint, &std::sync::Arc::new(found.clone()));
        let _ = kernel.modules();
        if let Ok(processes) = kernel.processes() {
            for thread in processes.processes.iter().flat_map(|one| &one.threads).take(8) {
                let _ = kernel.backtrace_of_thread(thread);
            }
        }
        for cpu in &found.cpus {
            let _ = kernel.backtrace_of_cpu(cpu.number);
        }
    }
    dump(&checkpoint, facts);
});
