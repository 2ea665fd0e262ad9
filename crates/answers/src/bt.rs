//! Kernel stacks of processors and tasks.

use std::io::{self, Write};

use serde::Serialize;
use vmss2core_guest::linux::{Backtrace, Frame, FrameKind, Kernel, StackEnd, Task};

use crate::escape::printable;
use crate::info::Hex;

/// Name and version of the JSON form of [`BtReport`].
pub const BT_SCHEMA: &str = "vmss2core/bt/1";

/// Stacks of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct BtReport {
    /// Always [`BT_SCHEMA`].
    pub schema: &'static str,
    /// The stacks.
    pub stacks: Vec<StackInfo>,
}

/// The stack of a task, or of a processor whose task is not known.
#[derive(Clone, Debug, Serialize)]
pub struct StackInfo {
    /// The vCPU that is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// The processor as Linux numbers it: that one, or where the task ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<StackTask>,
    /// Its frames, innermost first.
    pub frames: Vec<FrameInfo>,
    /// What lies below the last frame: `user`, `bottom` or `lost`.
    pub end: &'static str,
    /// Where it goes on in user mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ip: Option<Hex>,
    /// The stack pointer in user mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_sp: Option<Hex>,
    /// Why the stack could not be followed to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// How the frames were found.
    pub how: &'static str,
}

/// The task that a stack belongs to.
#[derive(Clone, Debug, Serialize)]
pub struct StackTask {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name, as `task_struct.comm` has it.
    pub comm: String,
    /// The name that `ps` in the guest shows, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `R`, `S`, `D`... as `ps` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<char>,
    /// Where its `task_struct` lies.
    pub address: Hex,
}

/// One function on a stack.
#[derive(Clone, Debug, Serialize)]
pub struct FrameInfo {
    /// Address in the code.
    pub ip: Hex,
    /// Stack pointer; of a guess, where the word lies.
    pub sp: Hex,
    /// `registers`, `return`, `interrupted` or `guess`.
    pub kind: &'static str,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// How far the address is into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The module that the function is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

impl BtReport {
    /// A report of these stacks.
    pub fn new(stacks: Vec<StackInfo>) -> Self {
        Self { schema: BT_SCHEMA, stacks }
    }

    /// Prints it for people.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (index, stack) in self.stacks.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            stack.write_text(out)?;
        }
        Ok(())
    }
}

impl StackInfo {
    /// A stack that was unwound.
    pub fn new(
        kernel: &Kernel,
        vcpu: Option<u32>,
        task: Option<&Task>,
        backtrace: &Backtrace,
    ) -> Self {
        let of_vcpu = vcpu.and_then(|index| {
            let numbers = &kernel.linux().logical_cpus;
            numbers.get(usize::try_from(index).ok()?).copied().flatten()
        });
        let (end, user, lost) = match &backtrace.end {
            StackEnd::User { ip, sp } => ("user", Some((Hex(ip.0), Hex(sp.0))), None),
            StackEnd::Bottom => ("bottom", None, None),
            StackEnd::Lost(why) => ("lost", None, Some(why.clone())),
        };
        Self {
            vcpu,
            cpu: of_vcpu.or_else(|| task.and_then(|task| task.cpu)),
            task: task.map(StackTask::new),
            frames: backtrace.frames.iter().map(|frame| FrameInfo::new(kernel, frame)).collect(),
            end,
            user_ip: user.map(|(ip, _)| ip),
            user_sp: user.map(|(_, sp)| sp),
            lost,
            how: backtrace.how,
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.title())?;
        for (number, frame) in self.frames.iter().enumerate() {
            writeln!(out, "{}", frame.line(number))?;
        }
        match (&self.user_ip, &self.user_sp, &self.lost) {
            (Some(ip), Some(sp), _) => writeln!(out, "      user mode at {ip}, stack {sp}"),
            (_, _, Some(why)) => writeln!(out, "      unwinding ended: {why}"),
            _ => Ok(()),
        }
    }

    fn title(&self) -> String {
        let mut words = Vec::new();
        if let Some(task) = &self.task {
            words.push(format!("PID {}", task.pid));
            if task.tid != task.pid {
                words.push(format!("TID {}", task.tid));
            }
            words.push(format!("\"{}\"", printable(task.name.as_ref().unwrap_or(&task.comm))));
            words.extend(task.state.map(|state| state.to_string()));
        }
        match (self.vcpu, self.cpu) {
            (Some(vcpu), Some(cpu)) if vcpu != cpu => {
                words.push(format!("on CPU {cpu} (vCPU {vcpu})"));
            }
            (Some(_), Some(cpu)) => words.push(format!("on CPU {cpu}")),
            (Some(vcpu), None) => words.push(format!("on vCPU {vcpu}")),
            (None, _) => {}
        }
        words.join("  ")
    }
}

impl StackTask {
    fn new(task: &Task) -> Self {
        Self {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm.clone(),
            name: task.long_name.clone(),
            state: task.state.map(|state| state.letter),
            address: Hex(task.gva.0),
        }
    }
}

impl FrameInfo {
    fn new(kernel: &Kernel, frame: &Frame) -> Self {
        let found = kernel.symbolize(frame.code_address());
        let kind = match frame.kind {
            FrameKind::Registers => "registers",
            FrameKind::Return => "return",
            FrameKind::Interrupted => "interrupted",
            FrameKind::Guess => "guess",
        };
        let beyond = frame.ip.0.wrapping_sub(frame.code_address().0);
        let offset = found.as_ref().map(|found| found.offset.wrapping_add(beyond));
        Self {
            ip: Hex(frame.ip.0),
            sp: Hex(frame.sp.0),
            kind,
            offset,
            module: found.as_ref().and_then(|found| found.module.map(str::to_owned)),
            symbol: found.map(|found| found.name.to_owned()),
        }
    }

    fn line(&self, number: usize) -> String {
        let Hex(ip) = self.ip;
        let mark = if self.kind == "guess" { "    ?".to_owned() } else { format!("{number:>4} ") };
        let function = match (&self.symbol, self.offset) {
            (Some(symbol), Some(offset)) => format!("  {}+{offset:#x}", printable(symbol)),
            _ => String::new(),
        };
        let module = self.module.as_ref().map(|module| format!(" [{}]", printable(module)));
        let note = if self.kind == "interrupted" { "  (interrupted)" } else { "" };
        format!("{mark} {ip:016x}{function}{}{note}", module.unwrap_or_default())
    }
}
