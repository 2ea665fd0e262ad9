//! `btf`: the kernel's type information as a file.

use std::io::Write;

use anyhow::{Context, anyhow, bail};
use vmss2core_dump::output::{self as file, check_existing};
use vmss2core_guest::linux::Kernel;

use super::kernel::with_kernel;
use crate::cancel::Cancel;
use crate::exit::Exit;
use crate::output;
use crate::plan::{BtfPlan, existing};

pub(super) fn run(plan: &BtfPlan) -> anyhow::Result<Exit> {
    let cancel = Cancel::install().context("cannot handle signals")?;
    let existing = existing(plan.overwrite, true);
    if let Some(path) = &plan.output {
        check_existing(path, existing)?;
    }
    with_kernel(&plan.guest, |kernel| {
        let (bytes, how) = match &plan.module {
            Some(name) => of_module(kernel, name)?,
            None => of_kernel(kernel)?,
        };
        if let Some(path) = &plan.output {
            let inputs = &kernel.checkpoint().about.provenance;
            cancel.deferred(|| file::write(path, existing, inputs, &bytes))?;
        } else {
            let mut out = output::stdout();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        output::talk(&format!("vmss2core: {how}"));
        Ok(Vec::new())
    })
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
        bail!("the kernel keeps no types of a module {name}; it does of: {}", names.join(" "));
    };
    let bytes = module.read(kernel)?;
    Ok((bytes, format!("types of module {name}, which refer to those of the kernel")))
}
