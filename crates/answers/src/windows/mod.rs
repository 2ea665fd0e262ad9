//! Answers about Windows guests.

mod info;
mod names;

pub use info::{
    BugcheckInfo, BugcheckParameter, PdbInfo, WindowsCpuInfo, WindowsForeign, WindowsImage,
    WindowsInfo,
};

use crate::units::utc_time;

/// A time of Windows (100 ns since 1601) in UTC; `None` before 1970 and for what
/// is no sound date.
pub(crate) fn windows_time(time: u64) -> Option<String> {
    utc_time(vmss2core_guest::windows::unix_time(time)?)
}
