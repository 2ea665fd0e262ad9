//! Stacks of a Windows guest.

use serde::Serialize;
use vmss2core_guest::windows::{Backtrace, Frame, FrameKind, Kernel, Process, Thread};

use crate::info::Hex;
use crate::page::{Answer, Page};

/// Stacks of a Windows kernel.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsBtReport {
    /// The stacks.
    pub stacks: Vec<WindowsStack>,
}

/// One stack.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsStack {
    /// Windows' number of the processor that is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Number of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Number of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u64>,
    /// Name of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Where the registers come from.
    pub from: &'static str,
    /// Its frames, innermost first.
    pub frames: Vec<WindowsFrame>,
    /// Where it goes on in user mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ip: Option<Hex>,
    /// The stack pointer in user mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_sp: Option<Hex>,
    /// Why it could not be followed to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// One function on a stack.
#[derive(Clone, Debug, Serialize)]
pub struct WindowsFrame {
    /// Address in the code.
    pub ip: Hex,
    /// Stack pointer; of a guess, where the word lies.
    pub sp: Hex,
    /// `registers`, `return`, `interrupted` or `guess`.
    pub kind: &'static str,
    /// Image and distance from its start, or from an exported name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl WindowsBtReport {
    /// A report of these stacks.
    pub fn new(stacks: Vec<WindowsStack>) -> Self {
        Self { stacks }
    }
}

impl Answer for WindowsBtReport {
    const SCHEMA: &'static str = "vmss2core/windows-bt/1";

    fn page(&self, page: &mut Page<'_>) {
        for (index, stack) in self.stacks.iter().enumerate() {
            if index > 0 {
                page.gap();
            }
            stack.page(page);
        }
    }
}

impl WindowsStack {
    /// The stack of a thread, as far as process and thread are known.
    pub fn new(
        kernel: &Kernel,
        cpu: Option<u32>,
        owner: (Option<&Process>, Option<&Thread>),
        found: &Backtrace,
    ) -> Self {
        let (process, thread) = owner;
        Self {
            cpu,
            pid: process.map(|process| process.pid),
            tid: thread.and_then(|thread| thread.tid),
            process: process.map(|process| process.full_name().to_owned()),
            from: found.from,
            frames: found.frames.iter().map(|frame| WindowsFrame::new(kernel, frame)).collect(),
            user_ip: found.user.map(|(ip, _)| Hex(ip.0)),
            user_sp: found.user.map(|(_, sp)| Hex(sp.0)),
            lost: found.lost.clone(),
        }
    }

    fn page(&self, page: &mut Page<'_>) {
        page.line(&self.title());
        let is_guess = |frame: &WindowsFrame| frame.kind == "guess";
        let mut follows_known = false;
        for (number, frame) in self.frames.iter().enumerate() {
            if let Some(why) = self.lost.as_ref().filter(|_| is_guess(frame) && follows_known) {
                page.note(&format!("unwinding ended: {why}; what follows is guessed"));
            }
            page.line(&frame.line(number));
            follows_known = !is_guess(frame);
        }
        match (&self.user_ip, &self.user_sp, &self.lost) {
            (Some(ip), Some(sp), _) => page.note(&format!("user mode at {ip}, stack {sp}")),
            (_, _, Some(why)) if !self.frames.iter().any(is_guess) => {
                page.note(&format!("unwinding ended: {why}"));
            }
            _ => {}
        }
    }

    fn title(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.pid.map(|pid| format!("PID {pid}")));
        words.extend(self.tid.map(|tid| format!("TID {tid}")));
        words.extend(self.process.as_ref().map(|name| format!("\"{name}\"")));
        words.extend(self.cpu.map(|cpu| format!("on CPU {cpu}")));
        format!("{}  by {}", words.join("  "), self.from)
    }
}

impl WindowsFrame {
    fn new(kernel: &Kernel, frame: &Frame) -> Self {
        let kind = match frame.kind {
            FrameKind::Registers => "registers",
            FrameKind::Return => "return",
            FrameKind::Interrupted => "interrupted",
            FrameKind::Guess => "guess",
        };
        // The call may be the last instruction of its function.
        let ahead = frame.ip.0.wrapping_sub(frame.code_address().0);
        let place = kernel.place(frame.code_address()).map(|mut place| {
            place.offset = place.offset.wrapping_add(ahead);
            place.symbol = place.symbol.map(|(name, at)| (name, at.wrapping_add(ahead)));
            place.to_string()
        });
        Self { ip: Hex(frame.ip.0), sp: Hex(frame.sp.0), kind, place }
    }

    fn line(&self, number: usize) -> String {
        let Hex(ip) = self.ip;
        let mark = if self.kind == "guess" { "    ?".to_owned() } else { format!("{number:>4} ") };
        let place = self.place.as_deref().unwrap_or_default();
        let note = if self.kind == "interrupted" { "  (interrupted)" } else { "" };
        format!("{mark} {ip:016x}  {place}{note}").trim_end().to_owned()
    }
}
