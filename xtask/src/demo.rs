//! `make demo`: from a machine that has crashed to the cause, and to a debugger's prompt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};
use vmss2core_lab::{cache, make, windows};

/// A Debian kernel with address randomisation and five-level paging, which panics.
const GUEST: &str = "linux-6.1-panic";
/// A program that runs in it.
const PROGRAM: &str = "mt";

/// Boots a guest that panics, checkpoints it, and shows what a user would type next.
pub(crate) fn run(root: &Path) -> Result<()> {
    println!(
        "# Built first: the program (2 to 4 minutes on 2 cores). Then a Debian 6.1 guest is\n\
         # booted under QEMU, crashed and saved as a VMware checkpoint (2 minutes without KVM).\n\
         # About 100 MB are downloaded, once, to {}; make clean-lab removes them.",
        cache::dir()?.display()
    );
    let shell = Shell::new(root)?;
    let guest = make::guest(GUEST)?;
    write_checkpoint(&Machine::of_guest(&guest)?, &Shape::default(), &shell.dir, "demo")?;
    shell.show("ls -sh1 demo.vmss demo.vmem")?;
    println!("\n# What is it, and why did it stop?");
    shell.show("vmss2core info demo.vmss")?;
    println!("\n# What was each processor doing? Names and stacks come from the guest's memory.");
    shell.show("vmss2core bt demo.vmss")?;
    shell.show("vmss2core dmesg demo.vmss | tail -n 20")?;
    shell.show("vmss2core ps demo.vmss | head -n 12")?;
    println!("\n# A process of the guest in gdb, with its program read out of the guest's memory.");
    let pid = pid(&shell)?;
    shell.show(&format!(
        "gdb -q -batch -ex 'target extended-remote | vmss2core gdb --stdio demo.vmss' \
         -ex 'attach {pid}' -ex 'thread apply all bt 4'"
    ))?;
    println!("\n# A file for crash, drgn and makedumpfile.");
    shell.show("vmss2core convert demo.vmss -o vmcore --force")?;
    shell.end(&[
        "vmss2core gdb demo.vmss         the same in gdb and lldb, from another terminal",
        "vmss2core core --pid 1 demo.vmss",
        "vmss2core help",
    ]);
    Ok(())
}

/// Shows a Windows guest that has crashed, which is made up in a moment: nothing is
/// downloaded or booted.
pub(crate) fn instant(root: &Path) -> Result<()> {
    println!("# Built first: the program (2 to 4 minutes on 2 cores). Nothing is downloaded.");
    let shell = Shell::new(root)?;
    let fixture = windows::fixture("crashed").context("the lab has such a guest")?;
    let machine = windows::make(&fixture)?.machine;
    write_checkpoint(&machine, &Shape::default(), &shell.dir, "windows")?;
    shell.show("vmss2core info windows.vmss")?;
    shell.show("vmss2core ps windows.vmss")?;
    shell.show("vmss2core bt windows.vmss")?;
    println!("\n# A file for WinDbg.");
    shell.show("vmss2core convert windows.vmss -o memory.dmp --force")?;
    shell.end(&["vmss2core modules windows.vmss", "vmss2core help"]);
    Ok(())
}

/// The folder of the demo, and the program as users have it: by its name.
struct Shell {
    dir: PathBuf,
    tool: PathBuf,
}

impl Shell {
    fn new(root: &Path) -> Result<Self> {
        let dir = root.join("target/demo");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, tool: crate::release_binary(root)? })
    }

    fn command(&self, line: &str) -> Result<Command> {
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.tool.parent().context("the tool has a folder")?;
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.dir);
        command.env("PATH", format!("{}:{path}", own.display()));
        Ok(command)
    }

    /// Prints a line as typed, then what it prints.
    fn show(&self, line: &str) -> Result<()> {
        println!("\n$ {line}");
        ensure!(self.command(line)?.status()?.success(), "failed: {line}");
        Ok(())
    }

    /// What there is to try.
    fn end(&self, lines: &[&str]) {
        let own = self.tool.parent().unwrap_or(&self.dir);
        println!("\n# The files are in {}. To go on:", self.dir.display());
        println!("cd {}; PATH={}:$PATH", self.dir.display(), own.display());
        for line in lines {
            println!("{line}");
        }
    }
}

/// The number of the program, as the list of processes has it.
fn pid(shell: &Shell) -> Result<u64> {
    let output = shell.command("vmss2core ps --json demo.vmss")?.output()?;
    ensure!(output.status.success(), "ps --json failed");
    let list: Value = serde_json::from_slice(&output.stdout)?;
    let tasks = list["tasks"].as_array().context("ps lists tasks")?;
    let is_it = |task: &&Value| task["comm"].as_str().or(task["name"].as_str()) == Some(PROGRAM);
    let found = tasks.iter().find(is_it).context("the program runs in the guest")?;
    found["pid"].as_u64().context("a process has a number")
}
