//! The program serving a checkpoint.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use vmss2core_lab::Guest;

use super::cores::{self, PROGRAM, Wrap};

/// A server; it ends with this.
pub struct Server {
    child: Child,
    /// Holds the socket.
    dir: TempDir,
    /// What it said before it began to serve.
    pub said: String,
}

impl Server {
    /// Serves a guest's checkpoint on a Unix socket.
    pub fn of(guest: &Guest) -> Result<Self> {
        Self::start(&cores::checkpoint(guest, &Wrap::split())?, &[])
    }

    /// Serves a checkpoint; on a Unix socket unless `options` say something else.
    pub fn start(state: &Path, options: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut program = Command::new(PROGRAM);
        program.arg("gdb").arg(state).args(options).current_dir(dir.path());
        if !options.contains(&"--port") {
            program.arg("--unix").arg(dir.path().join("socket"));
        }
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().context("starting the server")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let said = lines_until_it_serves(&mut BufReader::new(stderr));
        let server = Self { child, dir, said: said? };
        Ok(server)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The folder that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client without a debugger.
    pub fn connect(&self) -> Result<Client> {
        let stream = UnixStream::connect(self.socket()).context("connecting")?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Ends it as Ctrl-C does; returns its exit code.
    pub fn interrupt(mut self) -> Result<Option<i32>> {
        let pid = self.pid().to_string();
        ensure!(Command::new("kill").args(["-INT", &pid]).status()?.success(), "kill failed");
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the server goes on");
    }
}

/// The last line that is said before clients are answered begins with the name of
/// the file with symbols, or with that of a debugger.
fn lines_until_it_serves(stderr: &mut dyn BufRead) -> Result<String> {
    let mut said = String::new();
    while !said.contains("\n  lldb") {
        ensure!(stderr.read_line(&mut said)? > 0, "the server ended: {said}");
    }
    Ok(said)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Packets by hand.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub fn ask(&mut self, packet: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.ask_bytes(packet)?).into_owned())
    }

    /// A file of the guest: parts that cannot be read are zero, and counted in bytes.
    pub fn file(&mut self, path: &str) -> Result<(Vec<u8>, usize)> {
        const PIECE: usize = 0x1000;
        const STEP: usize = 8;
        let name: Vec<String> = path.bytes().map(|byte| format!("{byte:02x}")).collect();
        let name = name.concat();
        let opened = self.ask(&format!("vFile:open:{name},0,0"))?;
        let number = opened.strip_prefix('F').with_context(|| format!("{path}: {opened}"))?;
        let (mut bytes, mut missing) = (Vec::new(), 0);
        loop {
            let wanted = PIECE - bytes.len() % PIECE;
            let at = bytes.len();
            let read = self.ask_bytes(&format!("vFile:pread:{number},{wanted:x},{at:x}"))?;
            if read.starts_with(b"F-1") {
                // What is missing may end anywhere.
                let skipped = STEP - at % STEP;
                bytes.resize(at + skipped, 0);
                missing += skipped;
                continue;
            }
            let behind = read.iter().position(|byte| *byte == b';').context("no data")?;
            let mut escaped = read.iter().skip(behind + 1);
            while let Some(byte) = escaped.next() {
                let is_escape = *byte == b'}';
                bytes.push(if is_escape { escaped.next().context("cut")? ^ 0x20 } else { *byte });
            }
            if bytes.len() == at {
                return Ok((bytes, missing));
            }
        }
    }

    fn ask_bytes(&mut self, packet: &str) -> Result<Vec<u8>> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.stream.get_mut(), "${packet}#{sum:02x}")?;
        let mut before = Vec::new();
        self.stream.read_until(b'$', &mut before)?;
        let mut answer = Vec::new();
        self.stream.read_until(b'#', &mut answer)?;
        ensure!(answer.pop() == Some(b'#'), "the server broke off");
        self.stream.read_exact(&mut [0; 2])?;
        Ok(answer)
    }
}
