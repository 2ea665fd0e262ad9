//! Kernel stacks of processors and tasks.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::linux::{Backtrace, Frame, FrameKind, Kernel, StackEnd, Task};

use crate::info::Hex;
use crate::page::{Answer, Column, Page};

/// Stacks of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct BtReport {
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
        Self { stacks }
    }
}

impl Answer for BtReport {
    const SCHEMA: &'static str = "vmss2core/bt/1";

    fn page(&self, page: &mut Page<'_>) {
        for (index, stack) in self.stacks.iter().enumerate() {
            if index > 0 {
                page.gap();
            }
            stack.page(page);
        }
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
        let of_vcpu = vcpu.and_then(|index| kernel.logical_cpu(index));
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

    fn page(&self, page: &mut Page<'_>) {
        page.line(&self.title());
        let frames = self.frames.iter().enumerate();
        page.table(&FRAME, frames.map(|(number, frame)| frame.row(number)));
        match (&self.user_ip, &self.user_sp, &self.lost) {
            (Some(ip), Some(sp), _) => page.note(&format!("user mode at {ip}, stack {sp}")),
            (_, _, Some(why)) => page.note(&format!("unwinding ended: {why}")),
            _ => {}
        }
    }

    fn title(&self) -> String {
        let mut words = Vec::new();
        if let Some(task) = &self.task {
            words.push(format!("PID {}", task.pid));
            if task.tid != task.pid {
                words.push(format!("TID {}", task.tid));
            }
            words.push(format!("\"{}\"", task.name.as_ref().unwrap_or(&task.comm)));
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

    fn row(&self, number: usize) -> [Cow<'static, str>; 3] {
        let number =
            if self.kind == "guess" { "    ?".to_owned() } else { format!("{number:>4} ") };
        let function = match (&self.symbol, self.offset) {
            (Some(symbol), Some(offset)) => format!("  {symbol}+{offset:#x}"),
            _ => String::new(),
        };
        let module = self.module.as_ref().map(|module| format!(" [{module}]"));
        let note = if self.kind == "interrupted" { "  (interrupted)" } else { "" };
        let function = format!("{function}{}{note}", module.unwrap_or_default());
        [number, format!("{:016x}", self.ip.0), function].map(Cow::from)
    }
}

/// Number, address and function of a frame.
const FRAME: [Column; 3] =
    [Column::left("", 5), Column::left("", 16), Column::left("", 0).after("")];
