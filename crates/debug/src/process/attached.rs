//! A process as an inferior.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use vmss2core_gdb::description::Description;
use vmss2core_gdb::{Inferior, Linked, LinkedLibrary, Region, Thread};
use vmss2core_guest::linux::{
    Kernel, Libraries, Library, MappedFile, Process, RegisterFinder, Task, ThreadRegisters, Vma,
    VmaFlags, living_threads, thread_of_process,
};
use vmss2core_machine::paging::{AddressSpace, Permissions};
use vmss2core_machine::{Registers, Width};
use vmss2core_mem::Gva;

use super::registers;

/// Where the program headers are.
const AT_PHDR: u64 = 3;

/// A process with its threads.
pub struct Attached {
    /// The number that it was asked for by: its own, or that of one of its threads.
    number: u32,
    process: Process,
    tasks: Vec<Task>,
    threads: Vec<Thread>,
    registers: BTreeMap<u32, Registers>,
    description: Description,
    problems: Vec<String>,
    /// Remarks on files that a client has opened and that are not all in memory.
    incomplete: Mutex<BTreeMap<Gva, String>>,
    libraries: OnceLock<Option<Libraries>>,
    made_up: Mutex<BTreeMap<&'static str, Arc<Vec<u8>>>>,
}

impl Attached {
    /// The process that `task` is of, which is asked for by `number`; `tasks` are all of
    /// the guest's. The number of a thread is that thread's and its process's: clients
    /// name the process by it from then on, and find that thread in front. Threads whose
    /// registers cannot be found are left out; the error is a sentence.
    pub(super) fn new(
        kernel: &Kernel,
        finder: &RegisterFinder,
        (number, task): (u32, &Task),
        tasks: &[Task],
    ) -> Result<Self, String> {
        let pid = task.pid;
        let process = Process::of(kernel, task).map_err(|error| with_reasons(&error))?;
        let mut tasks: Vec<Task> = tasks.iter().filter(|task| task.pid == pid).cloned().collect();
        tasks.sort_by_key(|task| (task.tid != number, !task.is_leader()));
        let mut problems: Vec<String> =
            process.problems().iter().map(|problem| problem.message.clone()).collect();
        let asked_for = tasks.iter().find(|task| task.tid == number);
        problems.extend(asked_for.and_then(thread_of_process));
        let found = states(finder, living_threads(&tasks, pid), &mut problems);
        if found.is_empty() {
            return Err(format!(
                "no thread of process {pid} has registers: {}",
                problems.join("; ")
            ));
        }
        let registers: BTreeMap<u32, Registers> =
            found.iter().map(|(tid, of)| (*tid, registers::of_thread(of))).collect();
        let examples: Vec<&Registers> = registers.values().collect();
        let description = registers::description(!process.is_32_bit(), &examples);
        let threads = tasks.iter().filter(|task| found.contains_key(&task.tid)).map(thread);
        Ok(Self {
            number,
            threads: threads.collect(),
            registers,
            description,
            problems,
            process,
            tasks,
            incomplete: Mutex::default(),
            libraries: OnceLock::new(),
            made_up: Mutex::default(),
        })
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its threads as the kernel lists them, the first one in front.
    pub(super) fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The file that it has mapped from this path, or that its dynamic linker
    /// loaded by it, over symbolic links.
    pub(super) fn file(&self, path: &str) -> Option<&MappedFile> {
        let is_it = |file: &&MappedFile| file.path_when_it_existed() == path;
        let mapped = self.process.vmas().iter().filter_map(|vma| vma.file.as_deref());
        let by_path = || mapped.chain(self.process.executable()).find(is_it);
        by_path().or_else(|| {
            let libraries = self.libraries()?;
            let library = libraries.libraries.iter().find(|library| library.name == path)?;
            self.process.vma_at(library.dynamic)?.file.as_deref()
        })
    }

    fn libraries(&self) -> Option<&Libraries> {
        self.libraries.get_or_init(|| self.process.libraries()).as_ref()
    }

    /// Keeps what a client misses in a file that it opened.
    pub(super) fn keep_problem(&self, file: &MappedFile, problem: Option<String>) {
        let Some(problem) = problem else { return };
        let mut incomplete = self.incomplete.lock().unwrap_or_else(PoisonError::into_inner);
        incomplete.insert(file.mapping.unwrap_or(file.gva), format!("{}: {problem}", file.path));
    }

    /// A file of `/proc` that is made once.
    pub(super) fn made_up(
        &self,
        name: &'static str,
        make: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<Arc<Vec<u8>>> {
        let mut known = self.made_up.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return Some(known.clone());
        }
        let made = Arc::new(make()?);
        known.insert(name, made.clone());
        Some(made)
    }
}

/// An error with what it comes from.
fn with_reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut reason = error.source();
    while let Some(error) = reason {
        text.push_str(": ");
        text.push_str(&error.to_string());
        reason = error.source();
    }
    text
}

/// The registers of threads that live.
fn states<'t>(
    finder: &RegisterFinder,
    tasks: impl Iterator<Item = &'t Task>,
    problems: &mut Vec<String>,
) -> BTreeMap<u32, ThreadRegisters> {
    let mut found = BTreeMap::new();
    for task in tasks {
        match finder.registers(task) {
            Ok(of) => {
                problems.extend(of.problems.iter().map(|problem| problem.message.clone()));
                found.insert(task.tid, of);
            }
            Err(error) => problems.push(format!(
                "thread {} ({}) is not listed: {}",
                task.tid,
                task.comm,
                with_reasons(&error)
            )),
        }
    }
    found
}

fn thread(task: &Task) -> Thread {
    let extra = match (task.on_vcpu, task.state) {
        (Some(vcpu), _) => format!("running on vCPU {vcpu}"),
        (None, Some(state)) => state_in_words(state.letter).to_owned(),
        (None, None) => String::new(),
    };
    Thread { tid: task.tid, name: task.comm.clone(), extra, core: task.on_vcpu }
}

/// As `/proc/PID/status` names states (`task_state_array`, fs/proc/array.c).
pub(super) fn state_in_words(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        't' => "tracing stop",
        'X' => "dead",
        'Z' => "zombie",
        'P' => "parked",
        'I' => "idle",
        _ => "unknown",
    }
}

/// The mapping at an address, or what is free between two.
fn region(vmas: &[Vma], gva: Gva, end: u64) -> Region {
    let behind = vmas.partition_point(|vma| vma.start <= gva);
    let before = behind.checked_sub(1).and_then(|at| vmas.get(at));
    if let Some(vma) = before.filter(|vma| vma.contains(gva)) {
        let permissions = Permissions {
            write: vma.flags.contains(VmaFlags::WRITE),
            execute: vma.flags.contains(VmaFlags::EXECUTE),
            ..Permissions::ALL
        };
        let name = (!vma.name.is_empty()).then(|| vma.name.clone());
        return Region { range: vma.start.0..vma.end.0, permissions: Some(permissions), name };
    }
    let start = before.map_or(0, |vma| vma.end.0);
    let end = vmas.get(behind).map_or(end, |vma| vma.start.0);
    Region { range: start..end.max(gva.0), permissions: None, name: None }
}

/// The dynamic linker's list as debuggers are told it.
fn linked(libraries: &Libraries) -> Linked {
    let library = |library: &Library| LinkedLibrary {
        name: library.name.clone(),
        entry: library.entry,
        bias: library.bias,
        dynamic: library.dynamic,
    };
    Linked {
        debug: libraries.debug,
        debug_pointer: libraries.debug_pointer,
        program: libraries.program.as_ref().map(|program| program.entry),
        libraries: libraries.libraries.iter().map(library).collect(),
    }
}

impl Inferior for Attached {
    fn pid(&self) -> u32 {
        self.number
    }

    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        self.registers.get(&tid).cloned()
    }

    fn read(&self, _: u32, address: u64, buf: &mut [u8]) -> usize {
        self.process.read_prefix(Gva(address), buf)
    }

    fn region(&self, _: u32, address: u64) -> Option<Region> {
        let end = if self.process.is_32_bit() { 1 << 32 } else { u64::MAX };
        Some(region(self.process.vmas(), Gva(address), end))
    }

    fn space(&self, _: u32) -> Option<AddressSpace> {
        Some(self.process.space().clone())
    }

    fn linked(&self) -> Option<Linked> {
        // gdb follows the program's own headers as long as it can read them.
        let headers = self.process.auxv().into_iter().find(|(kind, _)| *kind == AT_PHDR)?.1;
        let is_readable = self.process.read(Gva(headers), &mut [0; 32]).is_ok();
        self.libraries().filter(|_| !is_readable).map(linked)
    }

    fn auxv(&self) -> Option<Vec<u8>> {
        let len = if self.description.width() == Width::Bits64 { 8 } else { 4 };
        let words = self.process.auxv().into_iter().flat_map(|(kind, value)| [kind, value]);
        let bytes: Vec<u8> =
            words.flat_map(|word| word.to_le_bytes().into_iter().take(len)).collect();
        (!bytes.is_empty()).then_some(bytes)
    }

    fn executable(&self) -> Option<String> {
        let path = self.process.executable()?.path_when_it_existed();
        (!path.is_empty()).then(|| path.to_owned())
    }

    fn triple(&self) -> Option<String> {
        let arch = self.registers.values().next()?.arch();
        Some(format!("{}-unknown-linux-gnu", arch.triple_name(self.description.width())))
    }

    fn problems(&self) -> Vec<String> {
        let files = self.incomplete.lock().unwrap_or_else(PoisonError::into_inner);
        self.problems.iter().chain(files.values()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_mappings_is_a_region_too() {
        let vma = |start, end| Vma::new(Gva(start)..Gva(end), VmaFlags(5), Arc::default());
        let vmas = [vma(0x1000, 0x2000), vma(0x5000, 0x6000)];
        for (at, range, is_mapped) in [
            (0x0, 0x0..0x1000, false),
            (0x1fff, 0x1000..0x2000, true),
            (0x2000, 0x2000..0x5000, false),
            (0x7000, 0x6000..u64::MAX, false),
            (u64::MAX, 0x6000..u64::MAX, false),
        ] {
            let found = region(&vmas, Gva(at), u64::MAX);
            assert_eq!((found.range, found.permissions.is_some()), (range, is_mapped), "{at:#x}");
        }
        let executable = region(&vmas, Gva(0x1000), u64::MAX).permissions.unwrap();
        assert!(executable.execute && !executable.write);
    }
}
