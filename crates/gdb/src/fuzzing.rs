//! An entry point for fuzzing; not for use.

use std::sync::Arc;

use vmss2core_guest::paging::Permissions;
use vmss2core_mem::{Gpa, Gpr, PhysicalMemory};

use crate::connection;
use crate::description::{Description, Feature, Width};
use crate::session::Session;
use crate::target::{
    Inferior, Library, LibraryAddresses, Monitor, MonitorCommand, Region, Registers, Selected,
    Slide, Target, Thread,
};

/// A target of two threads and a page of memory; process 7 can be attached.
pub struct Toy {
    memory: PhysicalMemory,
    kernel: Arc<ToyInferior>,
}

struct ToyInferior {
    pid: u32,
    threads: Vec<Thread>,
    description: Description,
}

/// Where its memory lies.
pub const TOY_MEMORY: u64 = 0x1000;

impl Default for Toy {
    fn default() -> Self {
        let mut memory = PhysicalMemory::new();
        // It cannot overlap anything.
        let _ = memory.map(Gpa(TOY_MEMORY), 0x1000, Arc::new(toy_bytes()), 0);
        Self { memory, kernel: Arc::new(ToyInferior::new(1)) }
    }
}

fn toy_bytes() -> Vec<u8> {
    (0..=255).cycle().take(0x1000).collect()
}

impl ToyInferior {
    fn new(pid: u32) -> Self {
        let thread = |tid| Thread {
            tid,
            name: format!("vCPU {}\"<", tid - 1),
            extra: "halted".to_owned(),
            core: Some(tid - 1),
        };
        let features = [Feature::Core, Feature::Sse, Feature::Segments, Feature::System];
        let description = Description::new(Width::Bits64, &features);
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
        let mut registers = Registers::default();
        registers.cpu.set_gpr(Gpr::Rax, u64::from(tid));
        registers.cpu.rip = Some(0xffff_ffff_8100_0000);
        self.threads.iter().any(|thread| thread.tid == tid).then_some(registers)
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

    fn triple(&self) -> Option<String> {
        Some("x86_64-unknown-linux-gnu".to_owned())
    }
}

impl Target for Toy {
    fn physical(&self) -> &PhysicalMemory {
        &self.memory
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior + '_>> {
        vec![self.kernel.clone()]
    }

    fn attach(&self, pid: u32) -> Result<Arc<dyn Inferior + '_>, String> {
        if pid == 7 { Ok(Arc::new(ToyInferior::new(7))) } else { Err("no such process".into()) }
    }
}

impl Monitor for Toy {
    fn commands(&self) -> &[MonitorCommand] {
        const ECHO: MonitorCommand =
            MonitorCommand { name: "echo", usage: "WORD", about: "Say it", details: "" };
        &[ECHO]
    }

    fn run(&self, _: &str, arguments: &[&str], _: Selected<'_>) -> Result<String, String> {
        Ok(arguments.concat())
    }
}

/// Serves what a client sends; returns what it gets.
pub fn converse(data: &[u8]) -> Vec<u8> {
    let toy = Toy::default();
    let mut out = Vec::new();
    // Neither side of it can fail.
    let _ = connection::serve(Session::new(&toy, &toy), &mut &*data, &mut out);
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
