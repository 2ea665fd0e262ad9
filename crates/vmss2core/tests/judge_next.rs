//! What `info` suggests to type next, typed as it is: every line does what it says, in
//! the debugger that it is for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use common::cores::{self, PROGRAM, Wrap};
use common::judges;
use common::windows::Windows;
use common::{guests, text};
use serde_json::Value;
use tempfile::TempDir;
use vmss2core_lab::judges::{crash, python};
use vmss2core_lab::vmware::Placement;

/// A folder with a checkpoint under the name that commands have for it.
struct Desk {
    dir: TempDir,
    state: PathBuf,
}

impl Desk {
    fn new(state: &Path) -> Result<Self> {
        let dir = TempDir::new()?;
        let memory = state.with_extension("vmem");
        for file in [state, memory.as_path()] {
            symlink(file, dir.path().join(file.file_name().context("a file has a name")?))?;
        }
        let state = PathBuf::from(state.file_name().context("a file has a name")?);
        Ok(Self { dir, state })
    }

    /// Runs a line as a shell does, with the program in its path; what it printed, and its
    /// exit code.
    fn typed(&self, line: &str) -> Result<(String, Option<i32>)> {
        let own = Path::new(PROGRAM).parent().context("the program has a folder")?;
        let path = std::env::var("PATH")?;
        let output = Command::new("timeout")
            .args(["300", "sh", "-c", line])
            .env("PATH", format!("{}:{path}", own.display()))
            .current_dir(self.dir.path())
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), output.status.code()))
    }

    fn suggested(&self) -> Result<Vec<String>> {
        let (said, code) =
            self.typed(&format!("vmss2core info --json {}", self.state.display()))?;
        ensure!(code == Some(0), "{said}");
        let info: Value = serde_json::from_str(&said)?;
        let steps = info["next"].as_array().context("no steps")?;
        let lines = steps.iter().flat_map(|step| step["commands"].as_array().unwrap());
        Ok(lines.map(|line| line.as_str().unwrap().to_owned()).collect())
    }

    /// Types one of our own lines. What serves is ended when it has said that it does.
    fn own(&self, line: &str) -> Result<()> {
        if line.starts_with("vmss2core gdb ") {
            let (said, code) = self.typed(&format!("timeout -s INT 20 {line} --port 0"))?;
            return ensured(
                said.contains("serving the checkpoint on :") && code == Some(124),
                line,
                &said,
            );
        }
        let (said, code) = self.typed(line)?;
        ensured(code == Some(0) && !said.is_empty(), line, &said)?;
        for word in line.split(' ').skip_while(|word| *word != "-o").skip(1).take(1) {
            ensure!(self.dir.path().join(word).is_file(), "{line}: no file");
        }
        Ok(())
    }
}

fn ensured(is_right: bool, line: &str, said: &str) -> Result<()> {
    ensure!(is_right, "{line}:\n{said}");
    Ok(())
}

fn of_linux(name: &str) -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let desk = Desk::new(&cores::checkpoint(&guest, &Wrap::split())?)?;
    let truth = guest.truth()?;
    let release = truth.text("version")?.split(' ').nth(2).context("no release")?;
    let installed = format!("/usr/lib/debug/boot/vmlinux-{release}");
    let kernel = kernel.display().to_string();
    let mut seen = Vec::new();
    for line in desk.suggested()? {
        // The comment that a line may end with, as a shell has it.
        let typed = line.split("  #").next().context("a line is not empty")?;
        let program = typed.split(' ').next().context("a line is not empty")?;
        seen.push(program.to_owned());
        let here = typed.replace(&installed, &kernel);
        match program {
            "vmss2core" => desk.own(typed)?,
            "gdb" => {
                ensure!(here != typed, "{line}: another vmlinux than {installed}");
                let said = judges::output(&mut judges::gdb_line(
                    desk.dir.path(),
                    &here,
                    &["p linux_banner", "bt 2"],
                )?)?;
                text::ensure_contains(&line, &said, release)?;
            }
            "crash" => {
                let files: Vec<PathBuf> =
                    here.split(' ').skip(1).map(|word| desk.dir.path().join(word)).collect();
                let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
                let said = judges::crash(&crash()?, &files, "sys\nquit\n")?;
                text::ensure_contains(&line, &said, release)?;
            }
            "drgn" => {
                let words: Vec<&str> = here.split(' ').skip(1).collect();
                let mut drgn = python()?.command();
                drgn.current_dir(desk.dir.path()).args(["-m", "drgn", "-q"]).args(words);
                drgn.args(["-e", "print(prog['UTS_RELEASE'].string_().decode())"]);
                text::ensure_contains(&line, &judges::output(&mut drgn)?, release)?;
            }
            // The id is what counts: by it a server finds the file.
            fetch if fetch.starts_with("DEBUGINFOD_URLS=https://") => {
                let id = typed.rsplit(' ').next().context("a line has words")?;
                let notes = judges::output(Command::new("readelf").args(["-n", &kernel]))?;
                text::ensure_contains(&line, &notes, id)?;
            }
            "sudo" => {
                let package = format!("linux-image-{release}-dbg");
                ensure!(typed == format!("sudo apt install {package}"), "{line}");
            }
            _ => bail!("{line}: what is this?"),
        }
    }
    for program in ["vmss2core", "gdb", "crash", "drgn", "sudo"] {
        ensure!(seen.iter().any(|one| one == program), "{name}: no line for {program}: {seen:?}");
    }
    Ok(())
}

#[test]
fn of_windows() {
    let guest = Windows::guest("win10-19041-x64").unwrap();
    let desk = Desk::new(&guest.checkpoint(Placement::Split).unwrap()).unwrap();
    let lines = desk.suggested().unwrap();
    for line in &lines {
        desk.own(line).unwrap();
    }
    assert!(lines.iter().any(|line| line.starts_with("vmss2core -W ")), "{lines:?}");
    assert!(fs::metadata(desk.dir.path().join("memory.dmp")).unwrap().len() > 1 << 20);
}

guest_tests! {
    (of_linux)
    five_level: "linux-6.1",
    panicked: "linux-6.1-panic",
}
