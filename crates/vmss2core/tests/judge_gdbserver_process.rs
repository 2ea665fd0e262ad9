//! Processes of a served checkpoint in gdb 13, gdb 16 and lldb 19: stacks, values
//! that the guest said, registers against those of our cores of processes, mappings
//! against the guest's own list, and the cores that gdb's `gcore` writes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

#[macro_use]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, PROGRAM, Run, Wrap};
use common::elf::{Core, number};
use common::guests;
use common::judges;
use common::mt::{by_thread, ensure_stacks, tid_of};
use common::server::Server;
use common::text::ensure_contains;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, gdb, gdb_trixie, lldb};

/// A server, and what is known of its guest.
struct Served {
    guest: Guest,
    server: Server,
}

impl Served {
    fn of(name: &str) -> Result<Self> {
        let guest = guests::guest(name)?;
        let server = Server::of(&guest)?;
        Ok(Self { guest, server })
    }

    fn pid(&self, program: &str) -> Result<u32> {
        Ok(*self.guest.truth()?.programs()?.get(program).context("no such program")?)
    }

    fn connect(&self) -> String {
        format!("target extended-remote {}", self.server.socket().display())
    }

    /// A gdb that attaches to a program of the lab and runs commands.
    fn ask(&self, judge: &Judge, program: &str, lines: &[&str]) -> Result<String> {
        let attach = format!("attach {}", self.pid(program)?);
        let (connect, attach) = (self.connect(), attach);
        let front = [connect.as_str(), attach.as_str()];
        let lines: Vec<&str> = front.into_iter().chain(lines.iter().copied()).collect();
        ask(judge, &lines)
    }

    /// The core that `core --pid` writes of a program of the lab.
    fn core(&self, program: &str) -> Result<(Run, String)> {
        let pid = self.pid(program)?.to_string();
        let run = cores::converted(&self.guest, &Wrap::split(), &["core", "--pid", &pid])?;
        Ok((run, format!("core.{pid}")))
    }
}

/// A gdb that runs commands. It gets no symbols from this machine.
fn ask(judge: &Judge, lines: &[&str]) -> Result<String> {
    let mut gdb = judge.command();
    gdb.args(["-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex"]);
    gdb.args(["set debug-file-directory /nowhere", "-iex", "set width 0"]);
    for line in lines {
        gdb.args(["-ex", line]);
    }
    judges::output(&mut gdb)
}

/// Library frames and all, with nothing told but the number of the process.
fn stacks_in(judge: &Judge, name: &str) -> Result<()> {
    let served = Served::of(name)?;
    let said = served.ask(judge, "mt", &["thread apply all bt"])?;
    ensure_stacks(&served.guest, &said, ["target:/lib/libc.so.6"; 2])?;
    for thread in ["mt", "mt-sleeper", "mt-waiter", "mt-spinner"] {
        ensure_contains(name, &said, &format!("\"{thread}\""))?;
    }
    Ok(())
}

fn stacks(name: &str) -> Result<()> {
    stacks_in(&gdb()?, name)
}

fn stacks_in_gdb_16(name: &str) -> Result<()> {
    stacks_in(&gdb_trixie()?, name)
}

fn values(name: &str) -> Result<()> {
    let served = Served::of(name)?;
    let truth = served.guest.truth()?;
    let sleeper = tid_of(&served.guest, "mt-sleeper")?;
    let (mut commands, mut wanted) = (Vec::new(), Vec::new());
    for (value, address, expected) in truth.values("mt")? {
        commands
            .push(format!("printf \"{value} = %llx\\n\", *(unsigned long long *) {address:#x}"));
        wanted.push(format!("{value} = {expected:x}"));
        if value.starts_with("lab_") {
            commands.push(format!("printf \"by name {value} = %llx\\n\", {value}"));
            wanted.push(format!("by name {value} = {expected:x}"));
        }
    }
    commands.push(format!("python [t for t in gdb.selected_inferior().threads() if t.ptid[1] == {sleeper} or t.ptid[2] == {sleeper}][0].switch()"));
    commands.push("frame function lab_sleep_deep".to_owned());
    commands.push("printf \"local = %llx\\n\", (unsigned long long) local".to_owned());
    wanted.push("local = 5eed0000".to_owned());
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let said = served.ask(&gdb()?, "mt", &commands)?;
    for line in wanted {
        ensure!(said.lines().any(|said| said == line), "{name}: no {line:?}: {said}");
    }
    Ok(())
}

/// gdb finds them by what glibc says of its structures.
fn thread_local_values(name: &str) -> Result<()> {
    let served = Served::of(name)?;
    for judge in [gdb()?, gdb_trixie()?] {
        let said = served.ask(&judge, "mt", &["thread apply all p/x lab_thread_value"])?;
        let shown = by_thread(&said);
        for thread in served.guest.truth()?.program_threads()? {
            let part = shown.get(&thread.tid).with_context(|| format!("{name}: {said}"))?;
            ensure_contains(name, part, &format!("= {:#x}\n", thread.value))?;
        }
    }
    Ok(())
}

const REGISTERS_64: [&str; 27] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base",
    "orig_rax",
];
const REGISTERS_32: [&str; 17] = [
    "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "cs", "ss", "ds",
    "es", "fs", "gs", "orig_eax",
];

/// The same values of the same registers as in the core that we write, which other
/// tests compare with QEMU's and with the program's own.
fn registers(name: &str) -> Result<()> {
    let served = Served::of(name)?;
    for program in ["mt", "t32"] {
        let is_wide = served.guest.is_64_bit && program != "t32";
        let names: &[&str] = if is_wide { &REGISTERS_64 } else { &REGISTERS_32 };
        let vectors = ["xmm0.uint128", "xmm6.uint128", "mxcsr", "fctrl", "fstat"];
        let all = names.iter().copied().chain(vectors);
        let mut commands: Vec<String> =
            all.map(|register| format!("thread apply all p/x ${register}")).collect();
        commands.extend([0, 7].map(|st| format!("thread apply all p $st{st}")));
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        let shown = by_thread(&served.ask(&gdb()?, program, &commands)?);
        let (run, core) = served.core(program)?;
        let open = format!("core-file {}", run.path(&core).display());
        // For a 32-bit program gdb would otherwise follow a list of threads forever.
        let front = ["set libthread-db-search-path /", open.as_str()];
        let lines: Vec<&str> = front.into_iter().chain(commands.iter().copied()).collect();
        let expected = by_thread(&ask(&gdb()?, &lines)?);
        ensure!(shown.len() == expected.len() && shown.len() > 1, "{name}: {shown:?}");
        for (tid, values) in &expected {
            let got = shown.get(tid).with_context(|| format!("{name} {program}: no {tid}"))?;
            let of = |text: &str| -> Vec<String> {
                let values = text.lines().filter_map(|line| line.split_once(" = "));
                values.map(|(_, value)| value.to_owned()).collect()
            };
            ensure!(of(values).len() >= commands.len(), "{name} {program}: {values}");
            ensure!(of(got) == of(values), "{name} {program} {tid}:\n{got}\nin the core\n{values}");
        }
    }
    Ok(())
}

/// gdb's own core of the process has what ours has: registers of each thread, and the
/// bytes of each page.
fn gcore_in(judge: &Judge, name: &str) -> Result<()> {
    let served = Served::of(name)?;
    for program in ["mt", "t32"] {
        let theirs = served.server.dir().join(format!("gcore.{program}"));
        let said = served.ask(judge, program, &[&format!("gcore {}", theirs.display())])?;
        ensure_contains(name, &said, "Saved corefile")?;
        let theirs = Core::open(&theirs)?;
        let (run, core) = served.core(program)?;
        let ours = run.core(&core)?;
        ensure!(ours.machine == theirs.machine, "{name}: {} {}", ours.machine, theirs.machine);
        // The registers of `elf_prstatus`, by the thread's number.
        let (tid_at, start, end) =
            if ours.is_64_bit { (32, 112, 112 + 27 * 8) } else { (24, 72, 72 + 17 * 4) };
        let of = |core: &Core| -> Result<BTreeMap<u64, Vec<u8>>> {
            let notes = core.prstatus().into_iter();
            notes
                .map(|note| {
                    let registers = note.desc.get(start..end).context("short")?.to_vec();
                    Ok((number(&note.desc, tid_at, 4)?, registers))
                })
                .collect()
        };
        ensure!(of(&ours)? == of(&theirs)?, "{name} {program}: registers differ");
        let mut pages = 0;
        for load in &theirs.loads {
            for va in (load.va..load.va + load.len).step_by(4096) {
                let (own, other) = (ours.read_virtual(va, 4096)?, theirs.read_virtual(va, 4096)?);
                // Zeroes of untouched memory need no bytes in our file.
                let is_hole = own.is_empty() && other.iter().all(|byte| *byte == 0);
                ensure!(own == other || is_hole, "{name} {program}: page {va:#x} differs");
                pages += usize::from(!own.is_empty());
            }
        }
        ensure!(pages > 20, "{name} {program}: only {pages} pages");
    }
    Ok(())
}

fn gcore(name: &str) -> Result<()> {
    gcore_in(&gdb()?, name)
}

fn gcore_in_gdb_16(name: &str) -> Result<()> {
    gcore_in(&gdb_trixie()?, name)
}

/// A row of `info proc mappings`, of gdb 13 or 16: where gdb shows no rights or no
/// name, there are none.
fn row(line: &str) -> Option<(u64, u64, u64, String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [start, end, _, offset, permissions, ref name @ ..] = *words else { return None };
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    Some((hex(start)?, hex(end)?, hex(offset)?, permissions.to_owned(), name.join(" ")))
}

/// What `info proc` shows is the guest's own `/proc`.
fn proc_in(judge: &Judge, name: &str) -> Result<()> {
    let served = Served::of(name)?;
    for program in ["mt", "t32", "pages"] {
        let lines = ["info proc mappings", "info proc cmdline", "info proc exe", "info proc cwd"];
        let lines = [&lines[..], &["info proc status", "info proc stat", "info auxv"]].concat();
        let said = served.ask(judge, program, &lines)?;
        let rows: Vec<_> = said.lines().filter_map(row).collect();
        let mut wanted = Vec::new();
        for of in served.guest.truth()?.maps(program)? {
            // It is in no list of the process's own.
            if of.path != "[vsyscall]" {
                wanted.push((of.start, of.end, of.offset, of.permissions, of.path));
            }
        }
        ensure!(rows == wanted, "{name} {program}:\n{rows:x?}\nthe guest\n{wanted:x?}\n{said}");
        let pid = served.pid(program)?;
        for part in [
            format!("cmdline = '/programs/{program} --lab-argument'"),
            format!("exe = '/programs/{program}'"),
            format!("Name:\t{program}\n"),
            format!("Pid:\t{pid}\n"),
            format!("Process: {pid}\n"),
            "AT_PHDR".to_owned(),
            format!("\"/programs/{program}\""),
        ] {
            ensure_contains(name, &said, &part)?;
        }
        // 32-bit kernels of Debian do not carry their types.
        ensure!(said.contains("cwd = '/'") == served.guest.is_64_bit, "{name}: {said}");
    }
    Ok(())
}

fn proc_files(name: &str) -> Result<()> {
    proc_in(&gdb()?, name)
}

fn proc_files_in_gdb_16(name: &str) -> Result<()> {
    proc_in(&gdb_trixie()?, name)
}

/// Several at once, of different architectures; the processors beside them.
#[test]
fn processes_are_looked_at_side_by_side() -> Result<()> {
    let served = Served::of("linux-6.1")?;
    let second = format!("attach {}", served.pid("t32")?);
    let processors = format!("target remote {}", served.server.socket().display());
    for judge in [gdb()?, gdb_trixie()?] {
        let lines = [
            "add-inferior",
            "inferior 2",
            &second,
            "bt",
            "show architecture",
            "inferior 1",
            "show architecture",
            "p/x lab_main_value",
            "inferior 2",
            "p/x lab_t32_value",
            "add-inferior -no-connection",
            "inferior 3",
            &processors,
            "info threads",
            "p $cr3 != 0",
            "inferior 1",
            "p/x lab_main_value",
            "detach inferiors 2",
            "bt 1",
        ];
        let said = served.ask(&judge, "mt", &lines)?;
        let value = served.guest.truth()?.values("mt")?;
        let value = value.iter().find(|(of, ..)| of == "lab_main_value").context("no value")?.2;
        for part in [
            " in main () at t32.c",
            "currently \"i386\")",
            "currently \"i386:x86-64\")",
            "= 0x32b17532",
            "\"vCPU 1\"",
            "\"mt-spinner\"",
            "(process 111) detached",
        ] {
            ensure_contains("side by side", &said, part)?;
        }
        ensure!(said.matches(&format!("= {value:#x}\n")).count() == 2, "{said}");
    }
    Ok(())
}

/// What cannot be attached to is refused, and gdb stays connected.
#[test]
fn what_cannot_be_attached_to_is_refused() -> Result<()> {
    let served = Served::of("linux-6.1")?;
    let refused =
        [("2", "is a thread of the kernel"), ("77777", "the guest has no process or thread 77777")];
    for (judge, shows_sentences) in [(gdb()?, false), (gdb_trixie()?, true)] {
        for (number, why) in &refused {
            let attach = format!(
                "python\ntry: gdb.execute('attach {number}')\nexcept gdb.error as error: print('refused:', error)\nend"
            );
            let lines =
                [served.connect(), attach, "monitor problems".into(), "monitor kaslr".into()];
            let dir = tempfile::tempdir()?;
            let file = dir.path().join("refused.gdb");
            fs::write(&file, lines.join("\n"))?;
            let said = ask(&judge, &[&format!("source {}", file.display())])?;
            ensure_contains("refusal", &said, "refused: Attaching to")?;
            ensure_contains("refusal", &said, why)?;
            ensure_contains("still there", &said, "_text ")?;
            let at_once = said.lines().find(|line| line.starts_with("refused: Att"));
            ensure!(!shows_sentences || at_once.is_some_and(|line| line.contains(why)), "{said}");
        }
    }
    Ok(())
}

/// The number of a thread attaches its process, that thread in front, and the process is
/// told; its other threads and its memory are the same.
#[test]
fn a_threads_number_attaches_its_process() -> Result<()> {
    let served = Served::of("linux-6.1")?;
    let (pid, sleeper) = (served.pid("mt")?, tid_of(&served.guest, "mt-sleeper")?);
    let value = served.guest.truth()?.values("mt")?;
    let value = value.iter().find(|(of, ..)| of == "lab_main_value").context("no value")?.2;
    let of_a_task = format!("monitor vtop 0xffffffff81000000 {sleeper}");
    for judge in [gdb()?, gdb_trixie()?] {
        let attach = format!("attach {sleeper}");
        let lines = [
            &served.connect(),
            &attach,
            "thread",
            "p/x lab_main_value",
            "monitor problems",
            "thread apply all bt",
            &of_a_task,
        ];
        let said = ask(&judge, &lines)?;
        ensure_contains("the thread itself", &said, &format!("Thread {sleeper}.{sleeper} "))?;
        ensure_contains("its value", &said, &format!("= {value:#x}\n"))?;
        let told = format!("{sleeper} (mt-sleeper) is a thread of process {pid}");
        ensure!(said.matches(&told).count() == 2, "problems and vtop say so: {said}");
        ensure!(by_thread(&said).len() == 4, "{said}");
    }
    Ok(())
}

/// The same for `--pid`, which takes names too.
#[test]
fn one_process_is_served_whichever_way_it_is_named() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let sleeper = tid_of(&guest, "mt-sleeper")?.to_string();
    for which in [sleeper.as_str(), "mt"] {
        let server = Server::start(&checkpoint, &["--pid", which])?;
        let remote = format!("target remote {}", server.socket().display());
        let said = ask(&gdb()?, &[&remote, "thread apply all bt"])?;
        ensure!(by_thread(&said).len() == 4, "{which}: {said}");
    }
    Ok(())
}

/// The same for `--pid`.
#[test]
fn a_process_that_cannot_be_served_is_refused() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    for (pid, why) in
        [("2", "is a thread of the kernel"), ("77777", "has no process or thread 77777")]
    {
        let output = Command::new(PROGRAM)
            .args(["gdb", "--pid", pid, "--port", "0"])
            .arg(&checkpoint)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{pid}: served");
        ensure_contains("refusal", &said, why)?;
    }
    Ok(())
}

fn one_process(name: &str) -> Result<(Guest, Server)> {
    let guest = guests::guest(name)?;
    let pid = guest.truth()?.programs()?.get("mt").context("no mt")?.to_string();
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let server = Server::start(&checkpoint, &["--pid", &pid])?;
    Ok((guest, server))
}

/// `--pid` serves one process to lldb, and to gdb's plain `target remote`.
fn lldb_sees_one_process(name: &str) -> Result<()> {
    let (guest, server) = one_process(name)?;
    let mut lldb = lldb()?.command();
    lldb.args(["--no-lldbinit", "--batch"]).arg(guest.program("mt"));
    let connect =
        format!("process connect --plugin gdb-remote unix-connect://{}", server.socket().display());
    let sleeper = tid_of(&guest, "mt-sleeper")?;
    let commands = [
        &connect,
        "thread list",
        "thread backtrace all",
        "image list",
        "print/x lab_main_value",
        "print/x lab_library_value",
        "continue",
        "thread list",
    ];
    for line in commands {
        lldb.args(["-o", line]);
    }
    let said = judges::output(&mut lldb)?;
    for part in ["`sleeper", "`waiter", "`spinner", "`main", "`lab_sleep_deep(depth=3", "liblab.so"]
    {
        ensure_contains(&format!("{name} lldb"), &said, part)?;
    }
    ensure_contains(name, &said, &format!("tid = {sleeper}"))?;
    ensure_contains(name, &said, "name = 'mt-spinner'")?;
    for (value, _, expected) in guest.truth()?.values("mt")? {
        if value.starts_with("lab_") {
            ensure_contains(&format!("{name} {value}"), &said, &format!("0x{expected:016x}"))?;
        }
    }
    let lines = [&format!("target remote {}", server.socket().display()), "thread apply all bt"];
    let said = ask(&gdb()?, &lines.map(|line| line as &str))?;
    ensure!(by_thread(&said).len() == 4, "{name}: {said}");
    ensure_contains(name, &said, "lab_sleep_deep (depth=3, seed=1592590336) at lablib.c")
}

/// The lines that are printed for one process are those that work.
#[test]
fn the_lines_that_are_proposed_work() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let pid = guest.truth()?.programs()?.get("mt").context("no mt")?.to_string();
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let extract = ["extract", "--pid", &pid, "--maps", "-o"];
    let dir = tempfile::tempdir()?;
    let sysroot = dir.path().join("files");
    judges::output(Command::new(PROGRAM).args(extract).arg(&sysroot).arg(&checkpoint))?;
    let files = sysroot.display().to_string();
    let server = Server::start(&checkpoint, &["--pid", &pid, "--port", "0", "--sysroot", &files])?;
    let line = |beginning: &str| {
        let found = server.said.lines().map(str::trim).find(|line| line.starts_with(beginning));
        found.map(str::to_owned).with_context(|| format!("no {beginning:?}: {}", server.said))
    };
    let said = judges::output(&mut judges::gdb_line(server.dir(), &line("gdb")?, &["bt"])?)?;
    ensure_contains("gdb", &said, " in main () at mt.c")?;
    let said = judges::output(&mut judges::lldb_line(server.dir(), &line("lldb")?, &["bt"])?)?;
    ensure_contains("lldb", &said, "`main at mt.c")?;
    // Those for all processes.
    let server = Server::start(&checkpoint, &["--port", "0"])?;
    let found = server.said.lines().find(|line| line.contains("extended-remote"));
    let line = found.with_context(|| server.said.clone())?.split("    (").next();
    let line = line.context("no line")?.trim();
    let attach = format!("attach {pid}");
    let said = judges::output(&mut judges::gdb_line(server.dir(), line, &[&attach, "bt"])?)?;
    ensure_contains("gdb", &said, " in main () at mt.c")
}

/// Files come from a directory if it has them; nothing leads out of it.
#[test]
fn files_come_from_a_directory_first() -> Result<()> {
    let guest = guests::guest("linux-6.1")?;
    let dir = tempfile::tempdir()?;
    fs::create_dir_all(dir.path().join("real"))?;
    // A program with a mark, by way of a link that means the guest's root.
    std::os::unix::fs::symlink("/real", dir.path().join("programs"))?;
    let mut bytes = fs::read(guest.program("mt"))?;
    bytes.extend(b"of the directory");
    fs::write(dir.path().join("real/mt"), &bytes)?;
    fs::write(dir.path().with_extension("outside"), "outside")?;
    let checkpoint = cores::checkpoint(&guest, &Wrap::split())?;
    let sysroot = dir.path().display().to_string();
    let server = Server::start(&checkpoint, &["--sysroot", &sysroot])?;
    let pid = guest.truth()?.programs()?.get("mt").context("no mt")?.to_string();
    let copy = server.dir().join("copy");
    let lines = [
        format!("target extended-remote {}", server.socket().display()),
        format!("attach {pid}"),
        format!("remote get /programs/mt {}", copy.display()),
        "bt".to_owned(),
    ];
    let said = ask(&gdb()?, &lines.each_ref().map(String::as_str))?;
    ensure_contains("sysroot", &said, " in main () at mt.c")?;
    ensure!(fs::read(&copy)? == bytes, "not the file of the directory");
    // From the page cache.
    let lines = [&lines[..2], &[format!("remote get /lib/liblab.so {}", copy.display())]].concat();
    ask(&gdb()?, &lines.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(fs::read(&copy)? == fs::read(guest.program("liblab.so"))?, "not the guest's file");
    fs::remove_file(dir.path().with_extension("outside"))?;
    Ok(())
}

fn count(dir: &str) -> Result<usize> {
    Ok(fs::read_dir(dir)?.count())
}

/// One after the other: each attaches, reads files and leaves them open.
#[test]
fn fifty_clients_leave_nothing_behind() -> Result<()> {
    let served = Served::of("linux-6.1")?;
    let pid = served.pid("mt")?;
    let hex = |text: &str| {
        let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        bytes.concat()
    };
    let session = || -> Result<()> {
        let mut client = served.server.connect()?;
        client.ask("qSupported:multiprocess+;swbreak+")?;
        client.ask("!")?;
        ensure!(client.ask(&format!("vAttach;{pid:x}"))?.starts_with("T05"), "not attached");
        for path in [format!("/proc/{pid}/smaps"), "/lib/libc.so.6".into(), "/programs/mt".into()] {
            let number = client.ask(&format!("vFile:open:{},0,0", hex(&path)))?;
            let number = number.strip_prefix('F').context("no file")?;
            ensure!(client.ask(&format!("vFile:pread:{number},1000,0"))?.starts_with("F1000;"));
        }
        client.ask("qXfer:osdata:read:processes:0,7000")?;
        client.ask("g")?;
        Ok(())
    };
    session()?;
    let used = || -> Result<(usize, usize)> {
        let id = served.server.pid();
        let (fds, threads) = (format!("/proc/{id}/fd"), format!("/proc/{id}/task"));
        for _ in 0..100 {
            // A thread ends soon after its client has gone.
            if count(&threads)? <= 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok((count(&fds)?, count(&threads)?))
    };
    let before = used()?;
    for _ in 0..50 {
        session()?;
    }
    let after = used()?;
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

guest_tests! {
    (stacks, values, thread_local_values, registers, gcore, proc_files)
    five_level: "linux-6.1",
    newest: "linux-sid",
    two_level: "linux-6.1-i386",
}

mod of_other_kernels {
    guest_tests! {
        (stacks, registers, thread_local_values)
        isolated_four_level: "linux-6.1-4level",
        panicked: "linux-6.1-panic",
        linux_5_10: "linux-5.10",
        linux_6_12: "linux-6.12",
        pae: "linux-6.1-i386-pae",
        two_level_5_10: "linux-5.10-i386",
    }

    use super::{registers, stacks, thread_local_values};
}

mod in_gdb_16 {
    guest_tests! {
        (stacks_in_gdb_16, gcore_in_gdb_16, proc_files_in_gdb_16)
        five_level: "linux-6.1",
        newest: "linux-sid",
        two_level: "linux-6.1-i386",
    }

    use super::{gcore_in_gdb_16, proc_files_in_gdb_16, stacks_in_gdb_16};
}

mod in_lldb {
    guest_tests! {
        (lldb_sees_one_process)
        five_level: "linux-6.1",
        newest: "linux-sid",
    }

    use super::lldb_sees_one_process;
}
