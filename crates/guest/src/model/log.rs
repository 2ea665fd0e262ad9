//! Messages of a kernel.

use vmss2core_mem::Problem;

/// Names of levels, as `dmesg --level` has them.
pub const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds after boot, by the clock of messages; `None` where the kernel
    /// does not keep it.
    pub time_ns: Option<u64>,
    /// 0 (emergency) to 7 (debugging); `None` where the kernel does not keep it.
    pub level: Option<u8>,
    /// Who it is from: 0 for the kernel, else as for syslog.
    pub facility: Option<u8>,
    /// Who wrote it, if the kernel keeps that.
    pub caller: Option<Caller>,
    /// Its text; may have several lines.
    pub text: String,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread, by number.
    Thread(u32),
    /// A CPU outside of any thread, by its number.
    Cpu(u32),
}

impl Caller {
    pub(crate) fn of(id: u32) -> Self {
        match id & 0x8000_0000 {
            0 => Self::Thread(id),
            _ => Self::Cpu(id & 0x7fff_ffff),
        }
    }
}

impl std::fmt::Display for Caller {
    /// As the kernel prints it: `T1`, `C0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Thread(number) => write!(f, "T{number}"),
            Self::Cpu(number) => write!(f, "C{number}"),
        }
    }
}

/// All messages that are still there, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The messages.
    pub records: Vec<Record>,
    /// How they were found.
    pub how: String,
    /// Missing ones.
    pub problems: Vec<Problem>,
}
