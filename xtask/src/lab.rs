//! `cargo xtask lab`: make and keep real guests.

use anyhow::Result;
use vmss2core_lab::{make, recipes};

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
    }
}

fn list() -> Result<()> {
    for recipe in recipes() {
        let made = make::guest_dir(recipe.name)?.exists();
        let made = if made { "made" } else { "not made" };
        println!("{:<20} {:<8} {}", recipe.name, made, recipe.about);
    }
    Ok(())
}

fn make_all(names: &[String], vmlinux: bool) -> Result<()> {
    let all = recipes().iter().map(|recipe| recipe.name.to_owned()).collect();
    let names: Vec<String> = if names == ["all"] { all } else { names.to_vec() };
    for name in names {
        let guest = if vmlinux { make::guest_with_vmlinux(&name) } else { make::guest(&name) }?;
        println!("{name}: {}", guest.dir.display());
    }
    Ok(())
}
