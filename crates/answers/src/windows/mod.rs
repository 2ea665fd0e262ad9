//! What is said about Windows guests.

mod bt;
mod info;
mod modules;
mod names;
mod ps;

pub use bt::{WindowsBtReport, WindowsFrame, WindowsStack};
pub use info::{
    BugcheckInfo, BugcheckParameter, PdbInfo, WindowsCpuInfo, WindowsForeign, WindowsImage,
    WindowsInfo,
};
pub use modules::{UnloadedModuleInfo, WindowsModuleInfo, WindowsModulesReport};
pub use ps::{WindowsProcess, WindowsPsReport, WindowsThread};

use crate::units::utc_time;

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;

/// A time of Windows (100 ns since 1601) in UTC; `None` before 1970 and for what
/// is no sound date.
pub(crate) fn windows_time(time: u64) -> Option<String> {
    utc_time((time / 10_000_000).checked_sub(EPOCH)?)
}
