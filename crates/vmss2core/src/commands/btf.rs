//! `btf`: the kernel's type information as a file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueHint};
use vmss2core_answers::{BtfReport, printable};
use vmss2core_dump::output::{self as file, check_existing};
use vmss2core_guest::linux::Kernel;

use super::open::ask_linux;
use super::{Arguments, JSON_AND_STDOUT, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::cancel::Cancel;
use crate::exit::Exit;
use crate::output;
use crate::output::existing;

/// Write the type information of the guest's kernel (BTF) to a file
///
/// Kernels since 5.2 carry it for BPF programs, if they were built with
/// CONFIG_DEBUG_INFO_BTF. The file is as /sys/kernel/btf/vmlinux in the guest:
/// bpftool and pahole open it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vmss2core btf vm.vmss -o kernel.btf
  pahole -C task_struct kernel.btf
  bpftool btf dump file kernel.btf format c
  vmss2core btf vm.vmss --module nf_tables -o nf_tables.btf
  bpftool -B kernel.btf btf dump file nf_tables.btf")]
pub(crate) struct BtfArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// File to write, - for stdout
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Write the types of a module, which refer to those of the kernel
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON (docs/schema/btf-1.json)
    #[arg(long)]
    json: bool,
}

impl Arguments for BtfArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        let output = Some(self.output).filter(|path| path.as_os_str() != "-");
        if self.json && output.is_none() {
            return Err(JSON_AND_STDOUT.to_owned());
        }
        Ok(Box::new(BtfPlan {
            guest: self.guest.plan(global),
            module: self.module,
            output,
            overwrite: self.force,
            style: Style::of(self.json),
        }))
    }
}

/// Write the kernel's BTF.
#[derive(Debug)]
struct BtfPlan {
    guest: GuestPlan,
    module: Option<String>,
    /// Standard output if there is none.
    output: Option<PathBuf>,
    overwrite: bool,
    style: Style,
}

impl Plan for BtfPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        let cancel = Cancel::install().context("cannot handle signals")?;
        let existing = existing(self.overwrite, true);
        if let Some(path) = &self.output {
            check_existing(path, existing)?;
        }
        ask_linux(&self.guest, |kernel| {
            let (bytes, how) = match &self.module {
                Some(name) => of_module(kernel, name)?,
                None => of_kernel(kernel)?,
            };
            if let Some(path) = &self.output {
                let inputs = &kernel.checkpoint().about.provenance;
                cancel.deferred(|| file::write(path, existing, inputs, &bytes))?;
            } else {
                let mut out = output::stdout();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            self.guest.source.talk.how(&how);
            if self.style == Style::Json
                && let Some(path) = &self.output
            {
                let report = BtfReport {
                    path: path.to_string_lossy().into_owned(),
                    bytes: bytes.len() as u64,
                    module: self.module.clone(),
                    how,
                };
                output::answer(&report, Style::Json)?;
            }
            Ok(Vec::new())
        })
    }
}

fn of_kernel(kernel: &Kernel) -> anyhow::Result<(Vec<u8>, String)> {
    let btf = kernel.btf().ok_or_else(|| {
        anyhow!("the guest's kernel carries no BTF: it was built without CONFIG_DEBUG_INFO_BTF")
    })?;
    let how = format!("{} types: {}", btf.value.len(), btf.how);
    Ok((btf.value.bytes().to_vec(), how))
}

fn of_module(kernel: &Kernel, name: &str) -> anyhow::Result<(Vec<u8>, String)> {
    let modules = kernel.module_btfs().context("looking for the types of modules")?;
    let Some(module) = modules.iter().find(|module| module.module == name) else {
        let names: Vec<&str> = modules.iter().map(|module| module.module.as_str()).collect();
        let of = if names.is_empty() { "no module".to_owned() } else { names.join(", ") };
        bail!("the kernel keeps no types of a module {}; it does of {of}", printable(name));
    };
    let bytes = module.read(kernel)?;
    Ok((bytes, format!("types of module {name}, which refer to those of the kernel")))
}
