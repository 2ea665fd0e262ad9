//! What the program can do, one file for each command.

mod bt;
mod btf;
mod completions;
mod convert;
mod core;
mod crash_args;
mod dmesg;
mod extract;
mod gdb;
mod info;
mod kernel;
mod linuxoffsets;
mod macos;
mod man;
mod maps;
mod modules;
mod original;
mod process;
mod ps;
mod source;
mod symbols;
mod tag;
mod vmcoreinfo;
mod windows;

use crate::exit::Exit;
use crate::plan::Plan;

/// Does what is to be done.
pub(crate) fn run(plan: Plan) -> anyhow::Result<Exit> {
    match plan {
        Plan::Info(plan) => info::run(&plan),
        Plan::Convert(plan) => convert::run(&plan),
        Plan::Core(plan) => core::run(&plan),
        Plan::Original(plan) => original::run(&plan),
        Plan::Maps(plan) => maps::run(&plan),
        Plan::Extract(plan) => extract::run(&plan),
        Plan::Ps(plan) => ps::run(&plan),
        Plan::CrashArgs(plan) => crash_args::run(&plan),
        Plan::Bt(plan) => bt::run(&plan),
        Plan::Gdb(plan) => gdb::run(&plan),
        Plan::Vmcoreinfo(plan) => vmcoreinfo::run(&plan),
        Plan::Offsets(plan) => linuxoffsets::run(&plan),
        Plan::Btf(plan) => btf::run(&plan),
        Plan::Symbols(plan) => symbols::run(&plan),
        Plan::Dmesg(plan) => dmesg::run(&plan),
        Plan::Modules(plan) => modules::run(&plan),
        Plan::Completions(shell) => completions::run(shell),
        Plan::Man(dir) => man::run(dir.as_deref()),
    }
}
