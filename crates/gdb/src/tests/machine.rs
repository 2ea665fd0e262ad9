//! A machine that runs: one processor and a page of memory, with a loop in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};

use vmss2core_machine::paging::{AddressSpace, PagingMode};
use vmss2core_machine::x86::{self, Gpr};
use vmss2core_machine::{
    About, Arch, Breakpoints, Checkpoint, Control, ControlError, Interrupt, Registers, Resume,
    Scope, Source, SourceError, Stop, StopReason, Vcpu, Width, Writes,
};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use crate::description::Description;
use crate::target::{Inferior, Region, Target, Thread};

/// Where its memory and its loop begin: `nop` up to the last instruction, a jump back.
pub(super) const START: u64 = 0x1000;
pub(super) const JUMP: u64 = 0x100f;

#[derive(Default)]
pub(super) struct Machine(Mutex<State>);

struct State {
    rip: u64,
    rax: u64,
    steps: u64,
    memory: Vec<u8>,
    breakpoints: BTreeSet<u64>,
    resumed: Option<Resume>,
    stops: u64,
}

impl Default for State {
    fn default() -> Self {
        let mut memory = vec![0x90; 0x1000];
        memory[0xf..0x11].copy_from_slice(&[0xeb, 0xef]);
        let breakpoints = BTreeSet::new();
        Self { rip: START, rax: 0, steps: 0, memory, breakpoints, resumed: None, stops: 0 }
    }
}

impl State {
    fn step(&mut self) {
        self.steps += 1;
        self.rip = if self.rip == JUMP { START } else { self.rip + 1 };
    }

    /// Once around is enough to see that nothing stops it.
    fn run(&mut self) -> bool {
        (START..=JUMP).any(|_| {
            self.step();
            self.breakpoints.contains(&self.rip)
        })
    }

    fn stop(&mut self, reason: StopReason) -> Stop {
        self.resumed = None;
        self.stops += 1;
        Stop { cpu: Some(0), reason }
    }
}

impl Machine {
    pub(super) fn steps(&self) -> u64 {
        self.0.lock().unwrap().steps
    }
}

impl Source for Machine {
    fn checkpoint(&self) -> Result<Checkpoint, SourceError> {
        let state = self.0.lock().unwrap();
        if state.resumed.is_some() {
            return Err(SourceError::Running);
        }
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(START), 0x1000, Arc::new(state.memory.clone()), 0).unwrap();
        let mut cpu = x86::Registers { rip: Some(state.rip), ..x86::Registers::default() };
        cpu.set_gpr(Gpr::Rax, state.rax);
        let vcpu = Vcpu { index: 0, halted: None, registers: cpu.into() };
        let checkpoint = Checkpoint::new(memory, vec![vcpu], About::default());
        Ok(Checkpoint { number: state.stops, ..checkpoint })
    }

    fn control(&self) -> Option<&dyn Control> {
        Some(self)
    }
}

impl Control for Machine {
    fn resume(&self, how: Resume) -> Result<(), ControlError> {
        let mut state = self.0.lock().unwrap();
        if state.resumed.is_some() {
            return Err(ControlError::Running);
        }
        state.resumed = Some(how);
        Ok(())
    }

    fn wait(&self, interrupt: &Interrupt) -> Result<Stop, ControlError> {
        {
            let mut state = self.0.lock().unwrap();
            if let Some(Resume::Step(_)) = state.resumed {
                state.step();
                return Ok(state.stop(StopReason::Stepped));
            }
            if state.run() {
                return Ok(state.stop(StopReason::Breakpoint));
            }
        }
        // Around and around, which nobody can tell from once.
        let (asked, is_asked) = mpsc::channel();
        interrupt.when_asked(move || asked.send(()).unwrap());
        is_asked.recv().unwrap();
        Ok(self.0.lock().unwrap().stop(StopReason::Interrupted))
    }

    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        Some(self)
    }

    fn writes(&self) -> Option<&dyn Writes> {
        Some(self)
    }
}

impl Breakpoints for Machine {
    fn set(&self, at: Gva) -> Result<(), ControlError> {
        if !(START..=JUMP).contains(&at.0) {
            return Err(ControlError::Refused("no instruction is there".into()));
        }
        self.0.lock().unwrap().breakpoints.insert(at.0);
        Ok(())
    }

    fn clear(&self, at: Gva) -> Result<(), ControlError> {
        self.0.lock().unwrap().breakpoints.remove(&at.0);
        Ok(())
    }
}

impl Writes for Machine {
    fn memory(&self, at: Gpa, bytes: &[u8]) -> Result<(), ControlError> {
        let mut state = self.0.lock().unwrap();
        let start = usize::try_from(at.0.wrapping_sub(START)).unwrap();
        let end = start.saturating_add(bytes.len());
        let range = state.memory.get_mut(start..end);
        range.ok_or(ControlError::Refused("no memory is there".into()))?.copy_from_slice(bytes);
        Ok(())
    }

    fn register(&self, cpu: u32, name: &str, value: u128) -> Result<(), ControlError> {
        let mut state = self.0.lock().unwrap();
        let value = u64::try_from(value).unwrap();
        match (cpu, name) {
            (0, "rax") => state.rax = value,
            (0, "rip") => state.rip = value,
            _ => return Err(ControlError::Refused(format!("{name} cannot be set"))),
        }
        Ok(())
    }
}

/// The machine at one stop.
struct Stopped {
    checkpoint: Checkpoint,
    threads: Vec<Thread>,
    description: Description,
}

impl Target for Machine {
    fn physical(&self) -> PhysicalMemory {
        self.checkpoint().unwrap().memory
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        let checkpoint = self.checkpoint().unwrap();
        let thread = Thread {
            tid: 1,
            name: "vCPU 0".into(),
            extra: format!("stop {}", checkpoint.number),
            core: Some(0),
        };
        let description = Description::new(x86::X86.table(Width::Bits64, Scope::Processors, &[]));
        vec![Arc::new(Stopped { checkpoint, threads: vec![thread], description })]
    }

    fn control(&self) -> Option<&dyn Control> {
        Source::control(self)
    }
}

impl Inferior for Stopped {
    fn pid(&self) -> u32 {
        1
    }

    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        (tid == 1).then(|| self.checkpoint.vcpus[0].registers.clone())
    }

    fn read(&self, tid: u32, address: u64, buf: &mut [u8]) -> usize {
        let len = usize::try_from((START + 0x1000).saturating_sub(address)).unwrap();
        let len = len.min(buf.len());
        let read = self.space(tid).unwrap().read(Gva(address), &mut buf[..len]);
        read.map_or(0, |()| len)
    }

    fn region(&self, _: u32, _: u64) -> Option<Region> {
        None
    }

    fn space(&self, _: u32) -> Option<AddressSpace> {
        let mode = PagingMode::IDENTITY;
        Some(AddressSpace::new(&self.checkpoint.memory, mode, mode.root_of(0)))
    }
}
