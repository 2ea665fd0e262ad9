//! State that is kept for each client.

use std::fmt;
use std::sync::Arc;

use vmss2core_machine::{ControlError, Interrupt, Stop, StopReason};

use crate::handlers::{self, Files, Object, Symbols};
use crate::parse::{self, Which};
use crate::reply::Reply;
use crate::target::{Inferior, Monitor, Selected, Target};

/// Which debugger a client is, as its packets tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Client {
    #[default]
    Unknown,
    Gdb,
    Lldb,
}

/// Agreements between a client and the server.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature that was agreed on or not")]
pub(crate) struct Agreed {
    /// Threads are named with their process.
    pub(crate) multiprocess: bool,
    /// No acknowledgements.
    pub(crate) no_ack: bool,
    /// Errors with a sentence reach the user.
    pub(crate) error_message: bool,
    /// The client attaches by itself.
    pub(crate) extended: bool,
    /// Addresses are physical.
    pub(crate) physical: bool,
    /// The client is told that a stop is a breakpoint's.
    pub(crate) breakpoint_stops: bool,
}

/// The thread that a packet is about.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) inferior: Arc<dyn Inferior>,
    pub(crate) tid: u32,
}

/// The outcome of a packet.
#[derive(Debug)]
pub enum Outcome {
    /// An answer.
    Reply(Reply),
    /// Nothing until what is debugged stops: [`Session::stopped`] is the answer.
    Running(Running),
}

/// The target runs.
#[derive(Clone)]
pub struct Running {
    target: Arc<dyn Target>,
    interrupt: Interrupt,
}

impl Running {
    /// Waits until it stops, by itself or by [`Session::interrupt`].
    pub fn wait(&self) -> Result<Stop, ControlError> {
        match self.target.control() {
            Some(control) => control.wait(&self.interrupt),
            None => Ok(Stop { cpu: None, reason: StopReason::Interrupted }),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Running").field(&self.interrupt).finish()
    }
}

/// The state of one client.
pub struct Session {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) monitor: Arc<dyn Monitor>,
    pub(crate) inferiors: Vec<Arc<dyn Inferior>>,
    pub(crate) client: Client,
    pub(crate) agreed: Agreed,
    /// The choice of `Hg`: process and thread.
    pub(crate) selected: Option<(u32, u32)>,
    /// The threads that `qsThreadInfo` goes on with.
    pub(crate) listing: std::vec::IntoIter<(u32, u32)>,
    /// Text for the client's console before the answer.
    pub(crate) console: Vec<String>,
    pub(crate) ended: bool,
    /// Files of the guest that are open.
    pub(crate) files: Files,
    /// gdb's answers about symbols.
    pub(crate) symbols: Symbols,
    /// The object that is being read in parts.
    pub(crate) object: Option<Object>,
    /// Why something was refused last, for clients that only show that it was.
    pub(crate) refusal: Option<String>,
    /// Stops what runs, if it runs.
    pub(crate) interrupt: Option<Interrupt>,
}

impl Session {
    /// A client that has just come.
    pub fn new(target: Arc<dyn Target>, monitor: Arc<dyn Monitor>) -> Self {
        let inferiors = target.inferiors();
        Self {
            target,
            monitor,
            inferiors,
            client: Client::default(),
            agreed: Agreed::default(),
            selected: None,
            listing: Vec::new().into_iter(),
            console: Vec::new(),
            ended: false,
            files: Files::default(),
            symbols: Symbols::default(),
            object: None,
            refusal: None,
            interrupt: None,
        }
    }

    /// Answers one packet. While what is debugged runs no packet is answered.
    pub fn handle(&mut self, packet: &[u8]) -> Outcome {
        if self.interrupt.is_none() {
            let reply = handlers::handle(self, packet);
            if self.interrupt.is_none() {
                return Outcome::Reply(reply);
            }
        }
        let interrupt = self.interrupt.clone().unwrap_or_default();
        Outcome::Running(Running { target: self.target.clone(), interrupt })
    }

    /// Whether what is debugged runs.
    pub fn is_running(&self) -> bool {
        self.interrupt.is_some()
    }

    /// Asks what runs to stop.
    pub fn interrupt(&self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt.ask();
        }
    }

    /// The answer once what was [`Running`] has stopped.
    pub fn stopped(&mut self, stop: &Stop) -> Reply {
        self.interrupt = None;
        self.renew();
        handlers::stopped_by(self, stop)
    }

    /// The answer if it cannot be told whether what was [`Running`] has stopped.
    pub fn lost(&mut self, why: &ControlError) -> Reply {
        self.interrupt = None;
        self.renew();
        handlers::not_run(self, &why.to_string())
    }

    /// Takes the inferiors as they are now in place of those of before.
    pub(crate) fn renew(&mut self) {
        let now = if self.agreed.extended {
            self.target.extended_inferiors()
        } else {
            self.target.inferiors()
        };
        let again = |pid: u32| {
            let same = now.iter().find(|inferior| inferior.pid() == pid).cloned();
            same.or_else(|| self.target.attach()?.attach(pid).ok())
        };
        self.inferiors = self.inferiors.iter().filter_map(|before| again(before.pid())).collect();
        self.object = None;
    }

    /// Looks at what a processor executes.
    pub(crate) fn look_at_cpu(&mut self, cpu: u32) {
        let thread_of = |inferior: &Arc<dyn Inferior>| {
            let mut tids = inferior.threads().iter().map(|thread| thread.tid);
            let tid = tids.find(|tid| inferior.cpu(*tid) == Some(cpu))?;
            Some((inferior.pid(), tid))
        };
        let found = self.inferiors.iter().find_map(thread_of);
        self.selected = found.or(self.selected);
    }

    /// Text of the last packet for the client's console before its answer, as
    /// payloads.
    pub fn take_console(&mut self) -> Vec<Vec<u8>> {
        let line = |text: String| format!("O{}", crate::reply::hex(text.as_bytes())).into_bytes();
        std::mem::take(&mut self.console).into_iter().map(line).collect()
    }

    /// Whether packets come without acknowledgements from now on.
    pub fn is_without_acks(&self) -> bool {
        self.agreed.no_ack
    }

    /// Whether the client has taken its leave.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The thread that packets mean which name none: what `Hg` chose, else the
    /// first.
    pub(crate) fn current(&self) -> Option<Current> {
        self.selected.and_then(|(pid, tid)| self.thread(pid, tid)).or_else(|| self.first())
    }

    fn first(&self) -> Option<Current> {
        let first_of = |inferior: &Arc<dyn Inferior>| {
            let tid = inferior.threads().first()?.tid;
            Some(Current { inferior: inferior.clone(), tid })
        };
        self.inferiors.iter().find_map(first_of)
    }

    pub(crate) fn inferior(&self, pid: u32) -> Option<&Arc<dyn Inferior>> {
        self.inferiors.iter().find(|inferior| inferior.pid() == pid)
    }

    fn thread(&self, pid: u32, tid: u32) -> Option<Current> {
        let inferior = self.inferior(pid)?;
        let exists = inferior.threads().iter().any(|thread| thread.tid == tid);
        exists.then(|| Current { inferior: inferior.clone(), tid })
    }

    /// The one thread that a name in a packet means; `None` if there is none.
    pub(crate) fn named(&self, name: &[u8]) -> Option<Current> {
        let name = parse::thread(name)?;
        let pids: Vec<u32> = match name.pid {
            Which::One(pid) => vec![pid],
            _ => self.inferiors.iter().map(|inferior| inferior.pid()).collect(),
        };
        let current = self.current().filter(|current| pids.contains(&current.inferior.pid()));
        match (name.tid, current) {
            (Which::One(tid), _) => pids.into_iter().find_map(|pid| self.thread(pid, tid)),
            // gdb 16 names a process alone for reads in the thread that it chose before.
            (_, Some(current)) => Some(current),
            _ => pids.into_iter().find_map(|pid| {
                let tid = self.inferior(pid)?.threads().first()?.tid;
                self.thread(pid, tid)
            }),
        }
    }

    /// A packet without the `;thread:N;` that lldb adds, and the thread that is
    /// meant by it.
    pub(crate) fn addressed<'p>(&self, packet: &'p [u8]) -> (&'p [u8], Option<Current>) {
        const SUFFIX: &[u8] = b";thread:";
        let found = packet.windows(SUFFIX.len()).position(|window| window == SUFFIX);
        let Some((front, suffix)) = found.and_then(|at| packet.split_at_checked(at)) else {
            return (packet.strip_suffix(b";").unwrap_or(packet), self.current());
        };
        let name = suffix.get(SUFFIX.len()..).unwrap_or_default();
        (front, self.named(name.strip_suffix(b";").unwrap_or(name)))
    }

    /// How a thread is named to this client.
    pub(crate) fn name_of(&self, pid: u32, tid: u32) -> String {
        if self.agreed.multiprocess { format!("p{pid:x}.{tid:x}") } else { format!("{tid:x}") }
    }

    /// For `monitor` commands.
    pub(crate) fn look<T>(&self, look: impl FnOnce(Selected<'_>) -> T) -> T {
        let current = self.current();
        look(Selected {
            inferior: current.as_ref().map(|current| &*current.inferior),
            tid: current.as_ref().map_or(0, |current| current.tid),
        })
    }

    /// An answer that refuses, in the way that this client stays connected and shows
    /// the sentence if it can.
    pub(crate) fn refuse(&self, sentence: &str, number: u8) -> Reply {
        if self.client == Client::Gdb { Reply::refusal(sentence) } else { Reply::error(number) }
    }
}
