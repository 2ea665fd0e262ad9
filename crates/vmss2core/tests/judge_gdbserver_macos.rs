//! macOS guests in gdb 13 and lldb 19: the kernel is found where it was moved to, its
//! functions, variables and extensions are named, with and without its file.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::clients::{ask_gdb, ask_lldb};
use common::cores::PROGRAM;
use common::judges::output;
use common::server::Server;
use common::text::ensure_contains;
use tempfile::TempDir;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie};
use vmss2core_lab::macos::{Fixture, Loaded, MiniMac, Root, make};
use vmss2core_lab::vmware::{Placement, Shape, write_checkpoint};

/// A guest and its checkpoint and files in a folder.
struct Mac {
    guest: MiniMac,
    dir: TempDir,
    state: PathBuf,
}

impl Mac {
    fn new(fixture: Fixture) -> Result<Self> {
        let guest = make(fixture)?;
        let dir = TempDir::new()?;
        let shape = Shape { placement: Placement::Split, ..Shape::default() };
        let state = write_checkpoint(&guest.machine, &shape, dir.path(), "mac")?.state;
        std::fs::write(dir.path().join("mach_kernel"), guest.truth.kernel.bytes(0))?;
        for kext in &guest.truth.kexts {
            if let Some(file) = &kext.file {
                std::fs::write(dir.path().join(kext.name), file.bytes(0))?;
            }
        }
        Ok(Self { guest, dir, state })
    }

    fn kernel(&self) -> PathBuf {
        self.dir.path().join("mach_kernel")
    }

    fn say(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = Command::new(PROGRAM).args(arguments).arg(&self.state).output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), text))
    }

    fn search_path(&self) -> String {
        format!("settings set target.exec-search-paths {}", self.dir.path().display())
    }
}

/// lldb with nothing but the kernel's file and those of extensions.
fn seen_in_lldb(mac: &Mac, server: &Server) -> Result<String> {
    let lines = [
        "image list",
        "bt",
        "p/x (unsigned long)sample_counter",
        "image lookup -n alpha_start",
        "image lookup -n beta_start",
    ];
    let mut all = vec![mac.search_path()];
    all.extend(lines.map(str::to_owned));
    // The setting has to be made before the connection, as on a command line.
    lldb_with_settings(server, &mac.kernel(), &all)
}

fn lldb_with_settings(server: &Server, file: &Path, lines: &[String]) -> Result<String> {
    let mut lldb = vmss2core_lab::judges::lldb()?.command();
    lldb.args(["--no-lldbinit", "--batch"]).arg(file);
    let connect =
        format!("process connect --plugin gdb-remote unix-connect://{}", server.socket().display());
    let (settings, asked) = lines.split_first().context("no lines")?;
    for line in [settings, &connect].into_iter().chain(asked) {
        lldb.args(["-o", line]);
    }
    output(&mut lldb)
}

#[test]
fn lldb_finds_the_kernel_and_its_extensions_by_itself() -> Result<()> {
    found_by_lldb(&Mac::new(Fixture::default())?)
}

#[test]
fn lldb_finds_them_if_the_kernel_was_not_moved() -> Result<()> {
    found_by_lldb(&Mac::new(Fixture { slide: 0, ..Fixture::default() })?)
}

#[test]
fn lldb_finds_them_in_a_collection() -> Result<()> {
    found_by_lldb(&Mac::new(Fixture { loaded: Loaded::InCollection, ..Fixture::default() })?)
}

fn found_by_lldb(mac: &Mac) -> Result<()> {
    let server = Server::start(&mac.state, &[])?;
    let said = seen_in_lldb(mac, &server)?;
    let truth = &mac.guest.truth;
    let slide = truth.gpa - 0x20_0000;
    if slide > 0 {
        ensure_contains("slide", &said, &format!("Kernel slid {slide:#x} in memory."))?;
    }
    ensure_contains("UUID", &said, &format!("Kernel UUID: {}", truth.uuid()))?;
    for (number, (function, pc)) in truth.frames.iter().enumerate() {
        let frame = format!("frame #{number}: {pc:#018x} mach_kernel`{function}");
        ensure_contains("stack", &said, &frame)?;
    }
    let value = format!("(unsigned long) {:#018x}", truth.counter);
    ensure_contains("variable", &said, &value)?;
    for kext in truth.kexts.iter().filter(|kext| kext.file.is_some()) {
        let line = said.lines().find(|line| {
            line.starts_with('[')
                && line.contains(kext.name)
                && line.contains(&kext.uuid().unwrap())
        });
        let line = line.with_context(|| format!("{} is not listed: {said}", kext.name))?;
        ensure_contains(kext.name, line, &format!("{:#018x}", kext.base))?;
    }
    ensure_contains("extension", &said, "alpha_start")
}

#[test]
fn lldb_finds_them_if_all_processors_are_on_page_tables_of_programs() -> Result<()> {
    let mac = Mac::new(Fixture { root: Root::Shadow, ..Fixture::default() })?;
    let server = Server::start(&mac.state, &[])?;
    let said = seen_in_lldb(&mac, &server)?;
    ensure_contains("slide", &said, "Kernel slid 0x1400000 in memory.")?;
    ensure_contains(
        "variable",
        &said,
        &format!("(unsigned long) {:#018x}", mac.guest.truth.counter),
    )?;
    ensure_contains("extension", &said, "org.example.alpha")
}

#[test]
fn lldb_without_the_file_shows_registers_and_memory() -> Result<()> {
    let mac = Mac::new(Fixture::default())?;
    let server = Server::start(&mac.state, &[])?;
    let truth = &mac.guest.truth;
    let counter = truth.symbols["sample_counter"];
    let read = format!("memory read -f x -s 8 -c 1 {counter:#x}");
    let said = ask_lldb(&server, None, &["register read rip rsp", &read, "thread list"])?;
    let (_, pc) = truth.frames[0];
    for part in [format!("rip = {pc:#018x}"), format!("{counter:#x}: {:#018x}", truth.counter)] {
        ensure_contains("no file", &said, &part)?;
    }
    ensure_contains("no file", &said, "name = 'vCPU 1'")
}

/// gdb reads no Mach-O file; what it can show without is there.
#[test]
fn gdb_shows_registers_memory_and_extensions() -> Result<()> {
    seen_in_gdb(&gdb()?)
}

#[test]
fn gdb_16_shows_registers_memory_and_extensions() -> Result<()> {
    seen_in_gdb(&gdb_trixie()?)
}

fn seen_in_gdb(judge: &Judge) -> Result<()> {
    let mac = Mac::new(Fixture::default())?;
    let server = Server::start(&mac.state, &[])?;
    let truth = &mac.guest.truth;
    let read = format!("x/gx {:#x}", truth.symbols["sample_counter"]);
    let lines = ["p/x $rip", &read, "info sharedlibrary", "monitor mods", "monitor kaslr"];
    let said = ask_gdb(judge, &server, None, &lines)?;
    let (_, pc) = truth.frames[0];
    ensure_contains("register", &said, &format!("= {pc:#x}"))?;
    ensure_contains("memory", &said, &format!("{:#018x}", truth.counter))?;
    let (list, monitor) = said.split_once("Module ").context("monitor mods says nothing")?;
    for kext in &truth.kexts {
        if kext.file.is_some() {
            ensure_contains("info sharedlibrary", list, kext.name)?;
        }
        ensure_contains("monitor mods", monitor, kext.name)?;
    }
    ensure_contains("monitor kaslr", monitor, &format!("slide      {:#x}", truth.gpa - 0x20_0000))?;
    let said = ask_gdb(judge, &server, None, &["monitor ps", "monitor info"])?;
    ensure_contains("monitor ps", &said, "this is a macOS guest")?;
    let (_, info) = mac.say(&["info"])?;
    ensure_contains("info", &info, "mach_kernel+0x1105")?;
    ensure_contains("monitor info", &said, &info)
}

/// A core of a processor's address space has the kernel too where programs do not see it.
#[test]
fn cores_of_processors_in_programs_have_the_kernel() -> Result<()> {
    let mac = Mac::new(Fixture { root: Root::Shadow, ..Fixture::default() })?;
    let core = mac.dir.path().join("cpu0.core");
    let (code, said) =
        mac.say(&["convert", "--format", "elf-linear", "-o", &core.display().to_string()])?;
    ensure!(core.exists(), "{code:?}: {said}");
    let truth = &mac.guest.truth;
    let mut gdb = gdb()?.command();
    gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-c"]).arg(&core);
    gdb.args(["-ex", &format!("x/gx {:#x}", truth.symbols["sample_counter"])]);
    ensure_contains("core", &output(&mut gdb)?, &format!("{:#018x}", truth.counter))
}

/// What lldb is told, and that it is told no slide: it moves segments by what is in
/// memory, and would move them twice.
#[test]
fn lldb_is_told_the_kernels_place_and_need_not_search() -> Result<()> {
    let mac = Mac::new(Fixture::default())?;
    let server = Server::start(&mac.state, &[])?;
    let mut client = server.connect()?;
    client.ask("QThreadSuffixSupported")?;
    ensure!(client.ask("qOffsets")?.is_empty(), "a slide is told");
    let truth = &mac.guest.truth;
    let place = format!("{:x}", truth.base);
    ensure!(client.ask("qShlibInfoAddr")? == place, "another place");
    let process = client.ask("qProcessInfo")?;
    ensure_contains("qProcessInfo", &process, &format!("main-binary-uuid:{};", truth.uuid()))?;
    ensure_contains("qProcessInfo", &process, &format!("main-binary-address:{place};"))?;
    // x86_64-apple-macosx
    ensure_contains("triple", &process, "triple:7838365f36342d6170706c652d6d61636f7378;")
}

#[test]
fn what_is_not_there_for_macos_names_what_is() -> Result<()> {
    let mac = Mac::new(Fixture::default())?;
    for arguments in [&["ps"][..], &["bt"], &["dmesg"], &["symbols"]] {
        let (code, said) = mac.say(arguments)?;
        ensure!(code != Some(0), "{arguments:?}: {said}");
        ensure_contains("refusal", &said, "for this one there are info and modules")?;
    }
    for format in ["kdump", "windbg"] {
        let out = mac.dir.path().join(format);
        let output = Command::new(PROGRAM)
            .args(["convert", "--format", format, "-o"])
            .arg(&out)
            .arg(&mac.state)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && !out.exists(), "{format}: {said}");
        ensure_contains(format, &said, "raw")?;
    }
    Ok(())
}

/// lldb reads the files that the lab makes as it reads Apple's.
#[test]
fn the_files_are_sound_to_lldb() -> Result<()> {
    let mac = Mac::new(Fixture::default())?;
    let mut lldb = vmss2core_lab::judges::lldb()?.command();
    lldb.args(["--no-lldbinit", "--batch"]).arg(mac.kernel());
    let said = output(lldb.args(["-o", "image dump symtab", "-o", "image dump sections"]))?;
    for (name, address) in &mac.guest.truth.kernel.symbols {
        let is_symbol = |line: &&str| line.ends_with(&format!(" {name}"));
        let line = said.lines().find(is_symbol);
        let line = line.with_context(|| format!("{name} is not in {said}"))?;
        ensure_contains(name, line, &format!("{address:#018x}"))?;
    }
    for segment in ["mach_kernel.__KLD", "mach_kernel.__LINKEDIT", "mach_kernel.__TEXT.__text"] {
        ensure_contains("sections", &said, segment)?;
    }
    Ok(())
}
