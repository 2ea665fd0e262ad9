//! Answers about a checkpoint: plain structures, and their printers for people
//! (text) and programs (JSON).
//!
//! [`InfoReport`] is what `vmss2core info` shows, [`TagsReport`] what
//! `info --tags` shows, [`PsReport`] what `ps` shows. All come from data that other crates found; nothing
//! here reads a checkpoint. The JSON forms carry a `schema` member, and
//! `docs/schema/` describes them. Strings of a guest or a checkpoint may hold
//! anything, so both printers escape what a terminal would obey.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod bt;
mod core;
mod crash_args;
mod dmesg;
mod escape;
mod extract;
mod info;
mod json;
mod kernel_files;
mod macos;
mod maps;
mod modules;
mod next;
mod ps;
mod state;
mod symbols;
mod tags;
mod text;
mod units;
mod windows;

pub use self::core::{CORE_SCHEMA, CoreInfo, CoreReport, CoreThread, MemoryCounts};
pub use bt::{BT_SCHEMA, BtReport, FrameInfo, StackInfo, StackTask};
pub use crash_args::{CRASH_ARGS_SCHEMA, CrashArgsReport};
pub use dmesg::{DMESG_SCHEMA, DmesgReport, MessageInfo, TimeStyle};
pub use escape::{printable, shell_word};
pub use extract::{EXTRACT_SCHEMA, ExtractReport, ExtractedFile};
pub use info::{
    CheckpointInfo, FileInfo, GuestInfo, Hex, INFO_SCHEMA, InfoReport, KernelImage, Known,
    LinuxInfo, Location, MachineInfo, MemoryInfo, ProblemInfo, RangeInfo, Space, VcpuInfo,
    VmcoreInfoInfo,
};
pub use json::write_json;
pub use kernel_files::{DebugSymbols, debug_symbols};
pub use macos::{
    MACOS_MODULES_SCHEMA, MacosImage, MacosInfo, MacosKernelInfo, MacosKext, MacosModulesReport,
    MacosSegment,
};
pub use maps::{MAPS_SCHEMA, MappingInfo, MapsReport};
pub use modules::{MODULES_SCHEMA, ModuleInfo, ModuleList, ModulesReport};
pub use next::Step;
pub use ps::{PS_SCHEMA, PsOptions, PsReport, TaskInfo, Totals};
pub use state::{KernelAnswers, KernelState, RunningTask, StoppedInfo, TaskCounts};
pub use symbols::{SYMBOLS_SCHEMA, SymbolInfo, SymbolsReport, matches_pattern};
pub use tags::{TAGS_SCHEMA, TagInfo, Tags, TagsReport};
pub use units::{human_size, utc_time};
pub use windows::{
    BugcheckInfo, BugcheckParameter, PdbInfo, UnloadedModuleInfo, WINDOWS_BT_SCHEMA,
    WINDOWS_MODULES_SCHEMA, WINDOWS_PS_SCHEMA, WindowsBtReport, WindowsCpuInfo, WindowsForeign,
    WindowsFrame, WindowsImage, WindowsInfo, WindowsModuleInfo, WindowsModulesReport,
    WindowsProcess, WindowsPsReport, WindowsStack, WindowsThread,
};
