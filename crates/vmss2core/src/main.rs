//! `vmss2core`: from a virtual machine checkpoint to any debugger.
//!
//! One flow: the command line, in the original grammar ([`legacy`]) or in
//! subcommands ([`args`]), becomes a plan, and the plan is run. Each of the
//! [`commands`] is a file with its arguments, its plan and what it does. Only this crate prints, exits, and reads the environment.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

mod args;
mod cancel;
mod commands;
mod exit;
mod failure;
mod legacy;
mod output;
mod progress;
mod spelling;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Style;
use exit::Exit;

fn main() -> ExitCode {
    vmss2core_mem::spell_settings(spelling::setting);
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let style = Style::of(argv.iter().any(|word| word == "--json"));
    let exit = run(&argv).unwrap_or_else(|error| exit::report(&error, style));
    ExitCode::from(exit.code())
}

fn run(argv: &[OsString]) -> anyhow::Result<Exit> {
    if argv.is_empty() {
        output::talk(&legacy::usage());
        return Ok(Exit::Usage);
    }
    let plan = if legacy::is_original(argv) {
        legacy::parse(argv).map_err(exit::usage)?.into_plan()
    } else {
        match args::parse(argv) {
            Ok(cli) => cli.command.plan(&cli.global),
            Err(error) if error.use_stderr() => return Err(exit::usage(args::said(&error, argv))),
            // Help and version.
            Err(error) => return exit::clap(&error),
        }
    };
    plan.map_err(exit::usage)?.run()
}
