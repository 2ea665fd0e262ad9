//! An entry point for fuzzing; not for use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vmss2core_machine::arch::ASSUMED;
use vmss2core_machine::paging::Permissions;
use vmss2core_machine::{Registers, Scope, Width};
use vmss2core_mem::{Gpa, PhysicalMemory};

use crate::connection;
use crate::description::Description;
use crate::session::Session;
use crate::target::{
    Attach, FileError, GuestFile, GuestFiles, Inferior, Library, LibraryAddresses, Monitor,
    MonitorCommand, Region, Selected, Slide, SystemTable, Target, Thread,
};

/// A target of two threads and a page of memory; process 7 can be attached.
pub struct Toy {
    memory: PhysicalMemory,
    kernel: Arc<ToyInferior>,
    /// How often a table was made.
    pub tables_made: AtomicUsize,
}

struct ToyInferior {
    pid: u32,
    threads: Vec<Thread>,
    description: Description,
}

struct ToyFile;

impl GuestFile for ToyFile {
    fn len_bytes(&self) -> u64 {
        0x1000
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let bytes = toy_bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        if (0x800..0x1000).contains(&start) && !buf.is_empty() {
            return Err(FileError::Unreadable);
        }
        let held = bytes.get(start..0x800).unwrap_or_default();
        for (to, from) in buf.iter_mut().zip(held) {
            *to = *from;
        }
        Ok(held.len().min(buf.len()))
    }
}

/// Where its memory lies.
pub const TOY_MEMORY: u64 = 0x1000;

impl Default for Toy {
    fn default() -> Self {
        let mut memory = PhysicalMemory::new();
        // It cannot overlap anything.
        let _ = memory.map(Gpa(TOY_MEMORY), 0x1000, Arc::new(toy_bytes()), 0);
        Self { memory, kernel: Arc::new(ToyInferior::new(1)), tables_made: AtomicUsize::new(0) }
    }
}

fn toy_bytes() -> Vec<u8> {
    (0..=255).cycle().take(0x1000).collect()
}

impl ToyInferior {
    fn new(pid: u32) -> Self {
        let thread = |tid| Thread {
            tid,
            name: format!("vCPU {}\"<", tid.saturating_sub(1)),
            extra: "halted".to_owned(),
            core: Some(tid.saturating_sub(1)),
        };
        let table = ASSUMED.table(Width::Bits64, Scope::Processors, &[]);
        let description = Description::new(table);
        Self { pid, threads: vec![thread(1), thread(2)], description }
    }
}

impl Inferior for ToyInferior {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        let registers = ASSUMED.registers_at(0xffff_ffff_8100_0000);
        let is_known = self.threads.iter().any(|thread| thread.tid == tid);
        is_known.then(|| registers.with_general(0, u64::from(tid)))
    }

    fn read(&self, _: u32, address: u64, buf: &mut [u8]) -> usize {
        let bytes = toy_bytes();
        let start = usize::try_from(address.wrapping_sub(TOY_MEMORY)).unwrap_or(usize::MAX);
        let held = bytes.get(start..).unwrap_or_default();
        let len = held.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(held) {
            *to = *from;
        }
        len
    }

    fn region(&self, _: u32, address: u64) -> Option<Region> {
        let range = TOY_MEMORY..TOY_MEMORY + 0x1000;
        let permissions = range.contains(&address).then_some(Permissions::ALL);
        Some(Region { range, permissions, name: None })
    }

    fn slide(&self) -> Option<Slide> {
        Some(Slide { text: 0xffff_ffff_8100_0000 + 0x1f00_0000, offset: 0x1f00_0000 })
    }

    fn libraries(&self) -> Option<Vec<Library>> {
        let addresses = LibraryAddresses::Sections(vec![0xffff_ffff_c000_0000]);
        Some(vec![Library { name: "a&b.ko".to_owned(), addresses }])
    }

    /// Process 7 is one.
    fn auxv(&self) -> Option<Vec<u8>> {
        (self.pid == 7).then(|| vec![0; 16])
    }

    fn problems(&self) -> Vec<String> {
        vec!["thread 9 is not listed".to_owned()]
    }

    fn triple(&self) -> Option<String> {
        Some("x86_64-unknown-linux-gnu".to_owned())
    }
}

impl Target for Toy {
    fn physical(&self) -> PhysicalMemory {
        self.memory.clone()
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        vec![self.kernel.clone()]
    }

    fn attach(&self) -> Option<&dyn Attach> {
        Some(self)
    }

    fn files(&self) -> Option<&dyn GuestFiles> {
        Some(self)
    }

    fn system_table(&self, name: &str) -> Option<SystemTable> {
        self.tables_made.fetch_add(1, Ordering::Relaxed);
        (name == "processes").then(|| SystemTable { kind: "processes", rows: Vec::new() })
    }
}

impl Attach for Toy {
    fn attach(&self, pid: u32) -> Result<Arc<dyn Inferior>, String> {
        if pid == 7 { Ok(Arc::new(ToyInferior::new(7))) } else { Err("no such process".into()) }
    }
}

impl GuestFiles for Toy {
    /// Only process 7 has files: `/bin/toy`, whose second half is not in memory.
    fn open(&self, pid: u32, path: &str) -> Result<Box<dyn GuestFile>, FileError> {
        match (pid, path) {
            (7, "/bin/toy") => Ok(Box::new(ToyFile)),
            _ => Err(FileError::NotFound),
        }
    }

    fn read_link(&self, pid: u32, path: &str) -> Result<String, FileError> {
        match (pid, path) {
            (_, "/proc/7/exe") => Ok("/bin/toy#".to_owned()),
            _ => Err(FileError::NotFound),
        }
    }
}

impl Monitor for Toy {
    fn commands(&self) -> &[MonitorCommand] {
        const ECHO: MonitorCommand = MonitorCommand {
            name: "echo",
            usage: "WORD",
            about: "Say it",
            details: "",
            is_hidden: false,
        };
        &[ECHO]
    }

    fn run(&self, _: &str, arguments: &[&str], _: Selected<'_>) -> Result<String, String> {
        Ok(arguments.concat())
    }
}

/// Serves what a client sends; returns what it gets.
pub fn converse(data: &[u8]) -> Vec<u8> {
    let toy = Arc::new(Toy::default());
    let mut out = Vec::new();
    // Neither side of it can fail.
    let _ = connection::serve(Session::new(toy.clone(), toy.clone()), &mut &*data, &mut out);
    out
}

/// The bytes as a client sends them; then each line as a packet with a right sum,
/// so that more gets through.
pub fn packets(data: &[u8]) {
    converse(data);
    let mut packets = b"$QStartNoAckMode#b0".to_vec();
    for line in data.split(|byte| *byte == b'\n').take(256) {
        packets.extend(crate::packet::encode(line));
    }
    converse(&packets);
}
