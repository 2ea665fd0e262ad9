//! Kernel stacks of processors and tasks.

use std::borrow::Cow;

use serde::Serialize;
use vmss2core_guest::model::{Frame, FrameKind, Place, Stack, StackEnd, StackOwner, Stacks};

use crate::info::{Hex, ProblemInfo, problem_info};
use crate::page::{Answer, Column, Page};

/// Stacks of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct BtReport {
    /// The stacks.
    pub stacks: Vec<StackInfo>,
    /// Problems: missing, odd or broken data.
    pub problems: Vec<ProblemInfo>,
}

/// The stack of a task, or of a processor whose task is not known.
#[derive(Clone, Debug, Serialize)]
pub struct StackInfo {
    /// The vCPU that is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// The processor as the guest numbers it: that one, or where the task ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<StackTask>,
    /// Its frames, innermost first.
    pub frames: Vec<FrameInfo>,
    /// End of the stack, below the last frame: `user`, `bottom` or `lost`.
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
    /// Where the registers come from, if that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
}

/// The task that a stack belongs to.
#[derive(Clone, Debug, Serialize)]
pub struct StackTask {
    /// Process.
    pub pid: u64,
    /// Thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u64>,
    /// Name, as its structure has it.
    pub comm: String,
    /// The name that the guest's own tools show, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `R`, `S`, `D`... as `ps` has it, or the guest's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where its `task_struct` or `ETHREAD` lies.
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
    /// How far the address is into it; into the module if there is no function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The module that the function is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// All of that, as debuggers of that system write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl BtReport {
    /// A report of these stacks.
    pub fn new(found: &Stacks) -> Self {
        Self {
            stacks: found.stacks.iter().map(StackInfo::new).collect(),
            problems: found.problems.iter().map(problem_info).collect(),
        }
    }
}

impl BtReport {
    /// Adds the stacks of another report that are not in this one, and its problems.
    pub fn add(&mut self, other: Self) {
        for stack in other.stacks {
            let address = stack.task.as_ref().map(|task| task.address);
            let is_there = |one: &StackInfo| one.task.as_ref().map(|task| task.address) == address;
            if address.is_none() || !self.stacks.iter().any(is_there) {
                self.stacks.push(stack);
            }
        }
        for problem in other.problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}

impl Answer for BtReport {
    const SCHEMA: &'static str = "vmss2core/bt/2";

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
    fn new(stack: &Stack) -> Self {
        let backtrace = &stack.backtrace;
        let (end, user, lost) = match &backtrace.end {
            StackEnd::User { ip, sp } => ("user", Some((Hex(ip.0), Hex(sp.0))), None),
            StackEnd::Bottom => ("bottom", None, None),
            StackEnd::Lost(why) => ("lost", None, Some(why.clone())),
        };
        let places = stack.places.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let frames = backtrace.frames.iter().zip(places);
        Self {
            vcpu: stack.vcpu,
            cpu: stack.cpu,
            task: stack.owner.as_ref().map(StackTask::new),
            frames: frames.map(|(frame, place)| FrameInfo::new(frame, place)).collect(),
            end,
            user_ip: user.map(|(ip, _)| ip),
            user_sp: user.map(|(_, sp)| sp),
            lost,
            how: backtrace.how,
            from: backtrace.from,
        }
    }

    fn page(&self, page: &mut Page<'_>) {
        page.line(&self.title());
        let is_guess = |frame: &FrameInfo| frame.kind == "guess";
        let known = self.frames.iter().take_while(|frame| !is_guess(frame)).count();
        let mut rows = self.frames.iter().enumerate().map(|(number, frame)| frame.row(number));
        page.table(&FRAME, rows.by_ref().take(known));
        let is_guessed_on = known > 0 && known < self.frames.len();
        if let Some(why) = self.lost.as_ref().filter(|_| is_guessed_on) {
            page.note(&format!("unwinding ended: {why}; what follows is guessed"));
        }
        page.table(&FRAME, rows);
        match (&self.user_ip, &self.user_sp, &self.lost) {
            (Some(ip), Some(sp), _) => page.note(&format!("user mode at {ip}, stack {sp}")),
            (_, _, Some(why)) if !is_guessed_on => page.note(&format!("unwinding ended: {why}")),
            _ => {}
        }
    }

    fn title(&self) -> String {
        let mut words = Vec::new();
        if let Some(task) = &self.task {
            words.push(format!("PID {}", task.pid));
            let tid = task.tid.filter(|tid| *tid != task.pid);
            words.extend(tid.map(|tid| format!("TID {tid}")));
            words.push(format!("\"{}\"", task.name.as_ref().unwrap_or(&task.comm)));
            words.extend(task.state.clone());
        }
        match (self.vcpu, self.cpu) {
            (Some(vcpu), Some(cpu)) if vcpu != cpu => {
                words.push(format!("on CPU {cpu} (vCPU {vcpu})"));
            }
            (Some(_), Some(cpu)) => words.push(format!("on CPU {cpu}")),
            (Some(vcpu), None) => words.push(format!("on vCPU {vcpu}")),
            (None, _) => {}
        }
        words.extend(self.from.map(|from| format!("by {from}")));
        words.join("  ")
    }
}

impl StackTask {
    fn new(owner: &StackOwner) -> Self {
        Self {
            pid: owner.pid,
            tid: owner.tid,
            comm: owner.name.clone(),
            name: owner.long_name.clone(),
            state: owner.state.clone(),
            address: Hex(owner.address.0),
        }
    }
}

impl FrameInfo {
    fn new(frame: &Frame, place: Option<&Place>) -> Self {
        let kind = match frame.kind {
            FrameKind::Registers => "registers",
            FrameKind::Return => "return",
            FrameKind::Interrupted => "interrupted",
            FrameKind::Guess => "guess",
        };
        Self {
            ip: Hex(frame.ip.0),
            sp: Hex(frame.sp.0),
            kind,
            symbol: place.and_then(|place| place.symbol.clone()),
            offset: place.map(|place| place.offset),
            module: place.and_then(|place| place.module.clone()),
            place: place.map(|place| place.text.clone()),
        }
    }

    fn row(&self, number: usize) -> [Cow<'static, str>; 3] {
        let number =
            if self.kind == "guess" { "    ?".to_owned() } else { format!("{number:>4} ") };
        let place = self.place.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
        let note = if self.kind == "interrupted" { "  (interrupted)" } else { "" };
        [number, format!("{:016x}", self.ip.0), format!("{place}{note}")].map(Cow::from)
    }
}

/// Number, address and function of a frame.
const FRAME: [Column; 3] =
    [Column::left("", 5), Column::left("", 16), Column::left("", 0).after("")];
