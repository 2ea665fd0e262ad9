//! Runs a guest under QEMU, without hardware help, until it says a line.
//!
//! Its memory is a file that both sides share; registers come from the control
//! socket and the gdb server. A QEMU never outlives the value that stands for it.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::gdbstub::GdbStub;
use crate::monitor;
use crate::qmp::Qmp;
use crate::recipe::Recipe;
use crate::registers::CpuRegisters;

/// A machine without KVM that is busy with other tests is slow.
const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// An installed system starts many things, and a debugger looks at each.
const SYSTEM_LIMIT: Duration = Duration::from_mins(25);
/// What the guest does last: processors go idle, the console drains.
const SETTLE: Duration = Duration::from_millis(300);

/// Name of the file with QEMU's own dump.
pub(crate) const DUMP: &str = "qemu.elf";

/// The files that a running guest writes.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Its memory.
    pub(crate) ram: PathBuf,
    /// What it prints on its first serial port.
    pub(crate) serial: PathBuf,
    /// What its `emit` sends.
    pub(crate) truth: PathBuf,
    /// What QEMU itself says.
    pub(crate) log: PathBuf,
    /// Its disk, if it has one.
    pub(crate) disk: PathBuf,
    /// QEMU's own dump of its first page, for the registers in it.
    pub(crate) dump: PathBuf,
    /// Its second disk, if it has one.
    pub(crate) second_disk: PathBuf,
}

impl Files {
    /// Those of a guest that is kept in `dir`.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        let file = |name| dir.join(name);
        Self {
            ram: file("ram"),
            serial: file("serial.log"),
            truth: file("truth"),
            log: file("qemu.log"),
            disk: file("disk"),
            second_disk: file("disk2"),
            dump: file(DUMP),
        }
    }
}

/// A running QEMU, killed when dropped.
pub(crate) struct Qemu {
    child: Child,
    sockets: TempDir,
    files: Files,
    limit: Duration,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Qemu {
    /// Starts the guest.
    pub(crate) fn start(
        recipe: &Recipe,
        kernel: &Path,
        initramfs: &Path,
        files: Files,
    ) -> Result<Self> {
        // The path of a socket may have 107 bytes: the cache's could be too long.
        let sockets = tempfile::Builder::new().prefix("vmss2core-lab-").tempdir()?;
        let log = fs::File::create(&files.log)?;
        // Ends QEMU even when a test is killed and nothing is dropped.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(arguments(recipe, &files, sockets.path()));
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting QEMU: cargo xtask setup installs it")?;
        let limit = if recipe.system().is_some() { SYSTEM_LIMIT } else { BOOT_LIMIT };
        Ok(Self { child, sockets, files, limit })
    }

    /// Waits for a line on the serial console.
    pub(crate) fn wait_for(&mut self, line: &str) -> Result<()> {
        let end = Instant::now() + self.limit;
        while Instant::now() < end {
            if self.serial().contains(line) {
                sleep(SETTLE);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU ended: {status}\n{}", self.last_words());
            }
            sleep(Duration::from_millis(50));
        }
        bail!("the guest did not say {line:?} in {:?}\n{}", self.limit, self.last_words())
    }

    /// Stops the guest and reads its registers.
    pub(crate) fn stop(&mut self) -> Result<Vec<CpuRegisters>> {
        let mut qmp = self.control()?;
        qmp.execute("stop", &json!({}))?;
        let mut cpus = monitor::parse(&qmp.monitor("info registers -a")?)?;
        let mut stub = GdbStub::connect(&self.sockets.path().join("gdb"))?;
        for (index, cpu) in cpus.iter_mut().enumerate() {
            // Shows that both number processors and registers alike.
            let cr3 = stub.register(index, "cr3")?;
            ensure!(cr3 == Some(cpu.cr3), "CR3 is {cr3:x?} for gdb, {:x} otherwise", cpu.cr3);
            cpu.kernel_gs_base = stub.register(index, "k_gs_base")?;
            cpu.cr8 = stub.register(index, "cr8")?;
        }
        let protocol = format!("file:{}", self.files.dump.display());
        let page = json!({"paging": false, "protocol": protocol, "begin": 0, "length": 4096});
        qmp.execute("dump-guest-memory", &page)?;
        Ok(cpus)
    }

    /// Lets a stopped guest run on, and tells the program in it that waits on the
    /// second serial port.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.control()?.execute("cont", &json!({}))?;
        let mut answer = UnixStream::connect(self.sockets.path().join("answer"))?;
        answer.write_all(b"go on\n").context("answering the guest")
    }

    /// Ends QEMU: what it wrote is final then.
    pub(crate) fn end(mut self) -> Result<()> {
        self.control()?.execute("quit", &json!({}))?;
        self.child.wait().context("waiting for QEMU to end")?;
        Ok(())
    }

    fn control(&self) -> Result<Qmp> {
        Qmp::connect(&self.sockets.path().join("qmp"))
    }

    fn serial(&self) -> String {
        let bytes = fs::read(&self.files.serial).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_words(&self) -> String {
        let serial = self.serial();
        let lines: Vec<_> = serial.lines().rev().take(30).collect();
        let own = fs::read_to_string(&self.files.log).unwrap_or_default();
        let last: Vec<_> = lines.into_iter().rev().collect();
        format!("{own}{}", last.join("\n"))
    }
}

/// The table that tells a kernel without ACPI of processors has one of each socket.
fn processors(recipe: &Recipe) -> String {
    let count = recipe.cpus;
    if recipe.kernel.is_built() { format!("{count},sockets={count}") } else { count.to_string() }
}

fn arguments(recipe: &Recipe, files: &Files, sockets: &Path) -> Vec<String> {
    let memory = recipe.memory_mib;
    let file = |path: &Path| path.display().to_string();
    let (qmp, gdb) = (file(&sockets.join("qmp")), file(&sockets.join("gdb")));
    let backend =
        format!("memory-backend-file,id=ram,size={memory}M,mem-path={},share=on", file(&files.ram));
    let pairs = [
        ("-accel", "tcg,thread=multi".into()),
        // VMware's hole for devices starts at 3 GiB too.
        ("-machine", "pc,memory-backend=ram,max-ram-below-4g=3G".into()),
        ("-object", backend),
        ("-cpu", recipe.cpu.into()),
        ("-m", memory.to_string()),
        ("-smp", processors(recipe)),
        ("-append", format!("console=ttyS0 {}", recipe.command_line)),
        ("-display", "none".into()),
        ("-vga", "std".into()),
        ("-serial", format!("file:{}", file(&files.serial))),
        ("-chardev", format!("file,id=truth,path={}", file(&files.truth))),
        ("-device", "isa-debugcon,iobase=0xe9,chardev=truth".into()),
        ("-qmp", format!("unix:{qmp},server=on,wait=off")),
        ("-chardev", format!("socket,id=gdb,path={gdb},server=on,wait=off")),
        ("-gdb", "chardev:gdb".into()),
    ];
    let mut list: Vec<String> = vec!["-nodefaults".into(), "-no-reboot".into()];
    for (name, value) in pairs {
        list.extend([name.to_owned(), value]);
    }
    let drive = |path: &Path, id: &str, device: &str| {
        let drive = format!("file={},format=raw,if=none,id={id}", file(path));
        ["-drive", &drive, "-device", &format!("{device},drive={id}")].map(str::to_owned)
    };
    if recipe.extra().is_some_and(|extra| extra.disk_mib != 0) {
        // Every kernel has its driver built in.
        list.extend(drive(&files.disk, "disk", "nvme,serial=lab"));
    }
    if recipe.system().is_some() {
        list.extend(drive(&files.disk, "disk", "virtio-blk-pci"));
        list.extend(drive(&files.second_disk, "disk2", "virtio-blk-pci"));
        let answer = file(&sockets.join("answer"));
        let answer = format!("socket,id=answer,path={answer},server=on,wait=off");
        list.extend(["-chardev", &answer, "-serial", "chardev:answer"].map(str::to_owned));
        let network = ["-netdev", "user,id=net", "-device", "vmxnet3,netdev=net"];
        list.extend(network.map(str::to_owned));
    }
    list
}
