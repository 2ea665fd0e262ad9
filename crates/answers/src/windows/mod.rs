//! What is said about Windows guests.

mod bt;
mod info;
mod modules;
mod names;
mod ps;

pub use bt::{WINDOWS_BT_SCHEMA, WindowsBtReport, WindowsFrame, WindowsStack};
pub use info::{
    BugcheckInfo, BugcheckParameter, PdbInfo, WindowsCpuInfo, WindowsForeign, WindowsImage,
    WindowsInfo,
};
pub use modules::{
    UnloadedModuleInfo, WINDOWS_MODULES_SCHEMA, WindowsModuleInfo, WindowsModulesReport,
};
pub use ps::{WINDOWS_PS_SCHEMA, WindowsProcess, WindowsPsReport, WindowsThread};

pub(crate) use info::write_windows;

use crate::units::utc_time;

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;

/// A time of Windows (100 ns since 1601) in UTC; `None` before 1970 and for what
/// is no sound date.
pub(crate) fn windows_time(time: u64) -> Option<String> {
    utc_time((time / 10_000_000).checked_sub(EPOCH)?)
}
