//! `btf`: the kernel's type information as a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use vmss2core_guest::linux::Kernel;

use super::kernel::with_kernel;
use crate::exit::Exit;
use crate::output;
use crate::plan::BtfPlan;

pub(super) fn run(plan: &BtfPlan) -> anyhow::Result<Exit> {
    with_kernel(&plan.guest, |kernel| {
        let (bytes, how) = match &plan.module {
            Some(name) => of_module(kernel, name)?,
            None => of_kernel(kernel)?,
        };
        if let Some(path) = &plan.output {
            write(path, &bytes, plan.overwrite)?;
        } else {
            let mut out = output::stdout();
            out.write_all(&bytes)?;
            out.flush()?;
        }
        output::talk(&format!("vmss2core: {how}"));
        Ok(Vec::new())
    })
}

fn of_kernel(kernel: &Kernel<'_>) -> anyhow::Result<(Vec<u8>, String)> {
    let btf = kernel.btf().ok_or_else(|| {
        anyhow!("the guest's kernel carries no BTF: it was built without CONFIG_DEBUG_INFO_BTF")
    })?;
    let how = format!("{} types: {}", btf.value.len(), btf.how);
    Ok((btf.value.bytes().to_vec(), how))
}

fn of_module(kernel: &Kernel<'_>, name: &str) -> anyhow::Result<(Vec<u8>, String)> {
    let modules = kernel.module_btfs().context("looking for the types of modules")?;
    let Some(module) = modules.iter().find(|module| module.module == name) else {
        let names: Vec<&str> = modules.iter().map(|module| module.module.as_str()).collect();
        bail!("the kernel keeps no types of a module {name}; it does of: {}", names.join(" "));
    };
    let bytes = module.read(kernel)?;
    Ok((bytes, format!("types of module {name}, which refer to those of the kernel")))
}

/// Gives the file its name when it is complete.
fn write(path: &Path, bytes: &[u8], overwrite: bool) -> anyhow::Result<()> {
    let context = || format!("writing {}", path.display());
    if !overwrite && path.try_exists().with_context(context)? {
        bail!("{} exists; --force replaces it", path.display());
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .make_in(dir, |temporary| File::create_new(temporary))
        .with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.persist(path).map_err(|error| error.error).with_context(context)?;
    Ok(())
}
