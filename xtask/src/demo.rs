//! `make demo`: the whole way, from a running machine to a debugger's prompt.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_lab::make;
use vmss2core_lab::vmware::{Machine, Shape, write_checkpoint};

/// A Debian kernel with address randomisation and five-level paging.
const GUEST: &str = "linux-6.1";

/// Boots a guest, checkpoints it, and shows what a user would type next.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tool = crate::release_binary(root)?;
    println!(
        "# a Debian 6.1 guest is booted under QEMU, stopped, and saved as a VMware checkpoint"
    );
    let guest = make::guest_with_vmlinux(GUEST)?;
    let vmlinux = guest.vmlinux.as_ref().context("a guest with its vmlinux")?;
    let dir = root.join("target/demo");
    fs::create_dir_all(&dir)?;
    write_checkpoint(&Machine::of_guest(&guest)?, &Shape::default(), &dir, "demo")?;
    let shell = Shell { dir: &dir, path: tool.parent().context("the tool has a folder")? };
    shell.show("ls -sh1 demo.vmss demo.vmem")?;
    shell.show("vmss2core info demo.vmss")?;
    shell.show("vmss2core convert demo.vmss -o cpu0.core --format elf-linear --force")?;
    let vmlinux = vmlinux.display();
    let slide = slide(&shell)?;
    shell.show(&format!(
        "gdb -q -batch -ex 'symbol-file -o {slide} {vmlinux}' -c cpu0.core \
         -ex 'bt' -ex 'x/s linux_banner' -ex 'p init_task.comm'"
    ))?;
    shell.show("vmss2core convert demo.vmss -o vmcore --force")?;
    println!("# the files are in {}", dir.display());
    Ok(())
}

struct Shell<'a> {
    dir: &'a Path,
    path: &'a Path,
}

impl Shell<'_> {
    fn command(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir);
        command.env("PATH", format!("{}:{path}", self.path.display()));
        command
    }

    /// Prints a line as typed, then what it prints.
    fn show(&self, line: &str) -> Result<()> {
        println!("\n$ {line}");
        ensure!(self.command(line).status()?.success(), "failed: {line}");
        Ok(())
    }
}

fn slide(shell: &Shell<'_>) -> Result<String> {
    let output = shell.command("vmss2core info --json demo.vmss").output()?;
    ensure!(output.status.success(), "info --json failed");
    let info: Value = serde_json::from_slice(&output.stdout)?;
    let slide = info["guest"]["linux"]["kaslr_offset"]["value"].as_str();
    Ok(slide.context("info does not know the slide")?.to_owned())
}
