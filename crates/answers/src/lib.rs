//! Answers about a checkpoint: plain structures that each describe themselves once, as a
//! [`Page`], and the forms of it: text for people, JSON for programs.
//!
//! [`InfoReport`] says what a checkpoint holds, [`TagsReport`] lists the items of its
//! state file, [`PsReport`] the processes. All come from data that other crates found;
//! nothing here reads a checkpoint. The JSON forms carry a `schema` member, and
//! `docs/schema/` describes them. Strings of a guest or a checkpoint may hold
//! anything, so each form escapes what its reader would obey.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod bt;
mod core;
mod crash_args;
mod dmesg;
mod escape;
mod extract;
mod failure;
mod info;
mod json;
mod kernel_data;
mod macos;
mod maps;
mod modules;
mod next;
mod page;
mod ps;
mod state;
mod symbols;
mod tags;
mod text;
mod units;
mod windows;
mod written;

pub use self::core::{CoreInfo, CoreReport, CoreThread, MemoryCounts};
pub use bt::{BtReport, FrameInfo, StackInfo, StackTask};
pub use crash_args::CrashArgsReport;
pub use dmesg::{DmesgReport, MessageInfo, TimeStyle};
pub use escape::printable;
pub use extract::{ExtractReport, ExtractedFile};
pub use failure::ErrorReport;
pub use info::{
    CheckpointInfo, FactInfo, FileInfo, GuestInfo, Hex, InfoReport, KernelImage, Known, LinuxInfo,
    Location, MachineInfo, MemoryInfo, ProblemInfo, RangeInfo, ScreenshotInfo, Space, VcpuInfo,
    VmcoreInfoInfo,
};
pub use json::write_json;
pub use kernel_data::{OffsetInfo, OffsetsReport, VmcoreInfoReport};
pub use macos::{MacosImage, MacosInfo, MacosSegment};
pub use maps::{MappingInfo, MapsReport};
pub use modules::{ModuleInfo, ModuleList, ModuleUse, ModulesReport, UnloadedInfo};
pub use next::{Action, CommandLine, Step, plain_line};
pub use page::{Answer, Column, Forms, Page};
pub use ps::{Listed, Only, PsReport, TaskInfo, Totals};
pub use state::{KernelAnswers, KernelState, RunningTask, StoppedInfo, TaskCounts};
pub use symbols::{SymbolInfo, SymbolsReport, matches_pattern};
pub use tags::{TagInfo, Tags, TagsReport};
pub use text::{Look, write_text, write_text_as};
pub use units::{human_size, utc_time};
pub use windows::{
    BugcheckInfo, BugcheckParameter, PdbInfo, WindowsCpuInfo, WindowsForeign, WindowsImage,
    WindowsInfo,
};
pub use written::{BtfReport, ConvertReport};
