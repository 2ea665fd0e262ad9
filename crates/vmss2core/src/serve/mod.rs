//! A guest that is served to gdb and lldb.

mod kernel_file;
mod monitor;

use std::path::PathBuf;
use std::sync::Arc;

use vmss2core_debug::kernel::{KernelInferior, KernelTarget, KernelView, Vcpus};
use vmss2core_debug::process::{Attached, Processes};
use vmss2core_debug::tasks::GuestTasks;
use vmss2core_gdb::{Inferior, Server, Target};
use vmss2core_guest::Which;
use vmss2core_guest::linux::Kernel as Linux;
use vmss2core_machine::Width;
use vmss2core_mem::Problem;

pub use kernel_file::kernel_file_advice;

use crate::{Error, Guest};
use monitor::Monitor;

/// Threads that a debugger sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// The virtual processors.
    #[default]
    Processors,
    /// Every task of a Linux.
    Tasks,
}

/// Options of serving a guest.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Threads that a debugger sees.
    pub threads: Threads,
    /// Where files of the kernel's modules are.
    pub modules: Option<PathBuf>,
    /// The one process that is served, instead of the whole guest.
    pub pid: Option<Which>,
    /// Where files of the guest are, by their paths in it.
    pub sysroot: Option<PathBuf>,
    /// Makes a sentence for the user of an error in an answer to `monitor`.
    pub explain: fn(&Error) -> String,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            threads: Threads::default(),
            modules: None,
            pid: None,
            sysroot: None,
            explain: Error::in_full,
        }
    }
}

/// A guest that is ready to be served.
pub struct Service {
    /// The server, for a connection or for whoever connects.
    pub server: Server,
    /// Whether the guest has 32 or 64 bits.
    pub width: Width,
    /// Problems in the way of all there is to be seen.
    pub problems: Vec<Problem>,
    processes: Option<Arc<Processes>>,
}

impl Service {
    /// The one process that is served.
    pub fn only(&self) -> Option<&Attached> {
        self.processes.as_ref()?.only()
    }
}

impl Guest {
    /// Makes the guest ready to be served.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let fixture = vmss2core_lab::windows::fixture("win7-x64").unwrap();
    /// # let machine = vmss2core_lab::windows::make(&fixture)?.machine;
    /// # vmss2core_lab::vmware::write_checkpoint(&machine, &Default::default(), dir.path(), "vm")?;
    /// # let vm = dir.path().join("vm.vmss");
    /// let service = vmss2core::Guest::open([vm])?.serve(&Default::default())?;
    /// // A debugger asks why the guest stands still, and goes.
    /// let (mut asked, mut answered) = (&b"+$?#3f+$D#44+"[..], Vec::new());
    /// service.server.serve(&mut asked, &mut answered)?;
    /// assert!(String::from_utf8(answered)?.contains("$T05thread:"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve(&self, options: &ServeOptions) -> Result<Service, Error> {
        let kernel = self.linux_if_known()?;
        let dir = options.modules.as_ref();
        let modules = dir.map(|dir| dir.canonicalize().unwrap_or_else(|_| dir.clone()));
        let view = KernelView::new(self.checkpoint(), self.facts(), self.shared_now().ok())
            .with_module_files(modules);
        let width = view.width();
        let mut problems = Vec::new();
        let whole: Arc<dyn Inferior> = match options.threads {
            Threads::Processors => {
                Arc::new(KernelInferior::new(view, Vcpus::of(self.checkpoint())))
            }
            Threads::Tasks => Arc::new(KernelInferior::new(view, tasks(kernel, &mut problems)?)),
        };
        let monitor = Arc::new(Monitor::new(self.clone(), options.explain));
        let processes = match kernel {
            Some(kernel) => Some(processes(options, kernel, whole.clone(), &mut problems)?),
            None => None,
        };
        let processes = processes.map(Arc::new);
        let target: Arc<dyn Target> = match &processes {
            Some(processes) => processes.clone(),
            None => Arc::new(without_processes(self, options, whole)?),
        };
        Ok(Service { server: Server::new(target, monitor), width, problems, processes })
    }

    /// Its kernel if a Linux was found. Files that were given are looked at in any case.
    fn linux_if_known(&self) -> Result<Option<&Linux>, Error> {
        if self.facts().linux().is_some() {
            return self.linux().map(Some);
        }
        self.better_sources().map(|_| None)
    }
}

/// View of debuggers of a Linux guest: all of it, or processes.
fn processes(
    options: &ServeOptions,
    kernel: &Linux,
    whole: Arc<dyn Inferior>,
    problems: &mut Vec<Problem>,
) -> Result<Processes, Error> {
    let processes = Processes::new(kernel, whole).with_sysroot(options.sysroot.clone());
    let Some(which) = &options.pid else { return Ok(processes) };
    let tasks = kernel.tasks()?.tasks;
    let pid = crate::ask::process_number(&tasks, which)?;
    let thread = tasks.iter().find(|task| *which == Which::Number(task.tid));
    problems.extend(thread.and_then(crate::ask::threads_number));
    processes.with_only(pid).map_err(|why| Error::NotServed { pid, why })
}

fn without_processes(
    guest: &Guest,
    options: &ServeOptions,
    whole: Arc<dyn Inferior>,
) -> Result<KernelTarget, Error> {
    if let Some(which) = &options.pid {
        return Err(Error::NoProcesses(which.clone()));
    }
    Ok(KernelTarget::new(&guest.checkpoint().memory, whole))
}

/// All tasks of the guest.
fn tasks(kernel: Option<&Linux>, problems: &mut Vec<Problem>) -> Result<GuestTasks, Error> {
    let kernel = kernel.ok_or(Error::NoTasks)?;
    let (tasks, found) = GuestTasks::list(kernel).map_err(Error::TaskList)?;
    problems.extend(found);
    Ok(tasks)
}
