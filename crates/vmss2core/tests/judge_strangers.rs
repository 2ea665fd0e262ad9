//! Files that are no checkpoint, made by the programs whose files they are: each is called what
//! it is, and none is taken for memory.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::guests;
use vmss2core_lab::judges;

/// Runs a line of shell in `dir`; it must succeed.
fn shell(dir: &Path, line: &str) -> Result<()> {
    let mut shell = Command::new("sh");
    let output = shell.args(["-e", "-c", line]).current_dir(dir).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line}: {}\n{said}", output.status);
    Ok(())
}

/// What the program says of `file`, which it must refuse as no checkpoint in every command.
fn refusal(dir: &Path, file: &str) -> Result<String> {
    let mut said = String::new();
    for line in [&["info"][..], &["ps"], &["convert", "-o", "out.core"], &["-M"]] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(line).arg(file).current_dir(dir).output()?;
        said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(3), "{line:?} {file}: {}\n{said}", output.status);
        ensure!(output.stdout.is_empty() || line == ["-M"], "{line:?} {file} wrote something");
    }
    ensure!(!dir.join("out.core").exists() && !dir.join("vmss.core").exists(), "wrote a file");
    Ok(said)
}

/// Each file with a part of what must be said of it.
fn refused(dir: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (file, wanted) in files {
        let said = refusal(dir, file)?;
        ensure!(said.contains(wanted), "{file}: {wanted:?} is missing in {said}");
        ensure!(said.lines().count() == 1, "{file}: more than a line: {said}");
    }
    Ok(())
}

/// A machine of 16 MiB that has not started, saved and dumped by QEMU.
fn qemu(dir: &Path) -> Result<()> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-S", "-nodefaults", "-display", "none", "-m", "16", "-monitor", "stdio"]);
    let log = fs::File::create(dir.join("qemu.log"))?;
    let mut child = command.current_dir(dir).stdin(Stdio::piped()).stdout(log).spawn()?;
    let mut monitor = child.stdin.take().context("no pipe to QEMU's monitor")?;
    monitor.write_all(
        b"migrate \"exec:cat > saved\"\ndump-guest-memory dump.elf\n\
          dump-guest-memory -z dump.kdump\nquit\n",
    )?;
    drop(monitor);
    ensure!(child.wait()?.success(), "QEMU failed");
    Ok(())
}

#[test]
fn what_qemu_writes_is_called_what_it_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    qemu(dir.path())?;
    refused(
        dir.path(),
        &[
            ("saved", "a machine that QEMU saved"),
            ("dump.elf", "with QEMU's notes and without VMCOREINFO"),
            ("dump.kdump", "a flattened kdump file"),
        ],
    )
}

/// A saved machine is not taken for the memory of a checkpoint either.
#[test]
fn a_saved_machine_in_place_of_the_memory_is_noticed() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let state = cores::checkpoint(&guest, &Wrap::split())?;
    let dir = tempfile::tempdir()?;
    qemu(dir.path())?;
    fs::copy(state, dir.path().join("vm.vmss"))?;
    fs::rename(dir.path().join("saved"), dir.path().join("vm.vmem"))?;
    refused(dir.path(), &[("vm.vmss", "a machine that QEMU saved")])
}

#[test]
fn disks_are_called_what_they_are() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (format, options, name) in [
        ("qcow2", "-o compat=1.1", "a disk of QEMU (qcow2)"),
        ("qcow2", "-o compat=0.10", "a disk of QEMU (qcow2)"),
        ("qed", "", "a disk of QEMU (QED)"),
        ("vmdk", "", "a disk of VMware (sparse VMDK)"),
        ("vmdk", "-o subformat=monolithicFlat", "the description of a VMware disk"),
        ("vdi", "", "a disk of VirtualBox (VDI)"),
        ("vhdx", "", "a disk of Hyper-V (VHDX)"),
        ("vpc", "", "a disk of Hyper-V (VHD)"),
        ("vpc", "-o subformat=fixed", "a disk of Hyper-V (VHD of fixed size)"),
    ] {
        shell(dir.path(), &format!("qemu-img create -q -f {format} {options} disk 4M"))?;
        refused(dir.path(), &[("disk", name)])?;
        fs::remove_file(dir.path().join("disk"))?;
    }
    Ok(())
}

#[test]
fn packed_files_are_told_how_to_be_unpacked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("vm.vmem"), [0, 1, 2, 3].repeat(1 << 18))?;
    shell(
        dir.path(),
        "xz -k vm.vmem; zstd -qk vm.vmem; lz4 -q vm.vmem vm.vmem.lz4; bzip2 -k vm.vmem
         zip -q vm.zip vm.vmem; 7z a vm.7z vm.vmem
         rm vm.vmem",
    )?;
    for (file, name, line) in [
        ("vm.vmem.xz", "compressed with xz", "xz -dk vm.vmem.xz"),
        ("vm.vmem.zst", "compressed with zstd", "zstd -d vm.vmem.zst"),
        ("vm.vmem.lz4", "compressed with lz4", "lz4 -dm vm.vmem.lz4"),
        ("vm.vmem.bz2", "compressed with bzip2", "bzip2 -dk vm.vmem.bz2"),
        ("vm.zip", "a zip archive", "unzip vm.zip"),
        ("vm.7z", "a 7z archive", "7z x vm.7z"),
    ] {
        let said = refusal(dir.path(), file)?;
        ensure!(said.contains(name), "{file}: {said}");
        let advice = said.trim_end().rsplit("first: ").next().context("no advice")?;
        ensure!(advice.replace("./", "") == line, "{file}: {advice}");
        // What is advised works, and does no harm.
        if file != "vm.zip" {
            shell(dir.path(), advice)?;
            ensure!(dir.path().join(file).exists(), "{advice} took its input away");
            fs::remove_file(dir.path().join("vm.vmem")).context(line)?;
        }
    }
    Ok(())
}

#[test]
fn cores_of_linux_and_of_programs_are_told_apart() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let core = cores::linux(&guest)?.path("vmss.core");
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(&core, dir.path().join("linux.core"))?;
    let makedumpfile = judges::makedumpfile()?;
    let (from, to) = (core.display().to_string(), dir.path().join("kdump"));
    makedumpfile.run(["-c", "-d", "31", &from, &to.display().to_string()])?;
    shell(dir.path(), "makedumpfile -F -c -d 31 linux.core > flat")?;
    shell(dir.path(), "gdb -batch -ex starti -ex 'gcore program.core' /bin/true")?;
    refused(
        dir.path(),
        &[
            ("linux.core", "an ELF core of a Linux machine already"),
            ("kdump", "a kdump file already"),
            ("flat", "a flattened kdump file"),
            ("program.core", "an ELF core of one program"),
            ("/bin/true", "program or library"),
        ],
    )
}

#[test]
fn a_folder_without_a_checkpoint_says_what_lies_in_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    shell(dir.path(), "qemu-img create -q -f vmdk vm.vmdk 4M; echo note > note.txt")?;
    let output = Command::new(PROGRAM).arg("info").arg(dir.path()).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(3), "{said}");
    ensure!(said.contains("\n  vm.vmdk: it is a disk of VMware"), "{said}");
    Ok(())
}

#[test]
fn pieces_of_a_memory_file_are_told_how_to_be_joined() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let state = cores::checkpoint(&guest, &Wrap::split())?;
    let dir = tempfile::tempdir()?;
    fs::copy(&state, dir.path().join("vm.vmss"))?;
    let memory = state.with_extension("vmem").canonicalize()?;
    shell(dir.path(), &format!("split -d -b 200M '{}' vm.vmem.", memory.display()))?;
    let run = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(PROGRAM).args(args).current_dir(dir.path()).output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let line = "cat ./vm.vmem.?? > ./vm.vmem";
    for args in [["ps", "vm.vmss"], ["info", "vm.vmem.00"], ["ps", "."]] {
        let (code, said) = run(&args)?;
        ensure!(code == Some(1), "{args:?}: {code:?} {said}");
        ensure!(said.contains("3 pieces of vm.vmem") && said.contains(line), "{args:?}: {said}");
    }
    shell(dir.path(), line)?;
    let (code, said) = run(&["ps", "vm.vmss"])?;
    ensure!(code == Some(0), "{said}");
    Ok(())
}
