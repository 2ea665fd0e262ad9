//! `cargo xtask lab`: make and keep real guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use vmss2core_lab::vmware::write_checkpoint;
use vmss2core_lab::wrap::shapes;
use vmss2core_lab::{cache, judges, make, recipes};

/// What to do with the lab.
#[derive(clap::Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(clap::Subcommand)]
enum LabCommand {
    /// Say which guests there are
    List,
    /// Boot guests, stop and keep them
    Make {
        /// Names of guests, or `all`
        #[arg(required = true)]
        names: Vec<String>,
        /// Fetch their kernels' DWARF too
        #[arg(long)]
        vmlinux: bool,
    },
    /// Print the folder of a guest
    Path {
        /// Name of the guest
        name: String,
    },
    /// Write a guest as a VMware checkpoint
    Wrap {
        /// Name of the guest
        name: String,
        /// How the checkpoint looks: see `cargo xtask lab list`
        shape: String,
        /// Folder that the files go to
        to: PathBuf,
    },
    /// Fetch the programs that judge: crash, drgn, volatility3, LeechCore...
    Judges,
    /// Forget everything downloaded and made
    Clean,
}

/// Does it.
pub(crate) fn run(args: LabArgs) -> Result<()> {
    match args.command {
        LabCommand::List => list(),
        LabCommand::Make { names, vmlinux } => make_all(&names, vmlinux),
        LabCommand::Path { name } => {
            println!("{}", make::guest_dir(&name)?.display());
            Ok(())
        }
        LabCommand::Wrap { name, shape, to } => wrap_guest(&name, &shape, &to),
        LabCommand::Judges => judges::make_all(),
        LabCommand::Clean => {
            let dir = cache::dir()?;
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
        }
    }
}

fn list() -> Result<()> {
    for recipe in recipes() {
        let made = make::guest_dir(recipe.name)?.exists();
        let made = if made { "made" } else { "not made" };
        println!("{:<20} {:<8} {}", recipe.name, made, recipe.about);
    }
    let shapes: Vec<_> = shapes().into_iter().map(|(name, _)| name).collect();
    println!("shapes of checkpoints: {}", shapes.join(" "));
    Ok(())
}

fn wrap_guest(name: &str, shape: &str, to: &Path) -> Result<()> {
    let shapes = shapes();
    let known = shapes.iter().find(|(known, _)| *known == shape);
    let (_, shape) = known.with_context(|| format!("no shape is called {shape}"))?;
    let machine = make::guest(name)?.machine()?;
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for file in write_checkpoint(&machine, shape, to, name)?.files {
        println!("{}", file.display());
    }
    Ok(())
}

fn make_all(names: &[String], vmlinux: bool) -> Result<()> {
    let all = recipes().iter().map(|recipe| recipe.name.to_owned()).collect();
    let mut names: Vec<String> = if names == ["all"] { all } else { names.to_vec() };
    let mut of_built_kernels = Vec::new();
    for name in &names {
        of_built_kernels.extend(make::builds_kernel(name)?.then(|| name.clone()));
    }
    names.sort_by_key(|name| of_built_kernels.contains(name));
    // A kernel is compiled while other guests are fetched and boot.
    thread::scope(|scope| {
        let kernels =
            scope.spawn(|| of_built_kernels.iter().try_for_each(|name| make::kernel(name)));
        let guests = names.iter().try_for_each(|name| make_guest(name, vmlinux));
        let kernels = kernels.join().map_err(|_| anyhow!("building a kernel panicked"))?;
        guests.and(kernels)
    })
}

fn make_guest(name: &str, vmlinux: bool) -> Result<()> {
    let guest = if vmlinux { make::guest_with_vmlinux(name) } else { make::guest(name) }?;
    println!("{name}: {}", guest.dir.display());
    Ok(())
}
