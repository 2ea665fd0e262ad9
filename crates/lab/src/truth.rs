//! What the guest said of itself just before it was stopped.
//!
//! The guest's `emit` sends sections: a line `=== NAME LENGTH`, that many bytes,
//! and a line feed. Most are files of `/proc` as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// All sections.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    sections: BTreeMap<String, Vec<u8>>,
}

/// A symbol of `/proc/kallsyms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its address.
    pub address: u64,
    /// The letter that `nm` would print.
    pub kind: char,
    /// Its name.
    pub name: String,
    /// The module it belongs to, if not to the kernel itself.
    pub module: Option<String>,
}

/// A thread, from `/proc/PID/task/TID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process (thread group).
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Name of the thread; worker threads of the kernel have what they last
    /// worked on in it.
    pub comm: String,
    /// `R`, `S`, `D`, `I`...
    pub state: char,
    /// When it started, in hundredths of a second after boot.
    pub start: u64,
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `r-xp` and such.
    pub permissions: String,
    /// Offset in the file.
    pub offset: u64,
    /// Path, or `[heap]` and such, or nothing.
    pub path: String,
}

/// A thread of a program of the lab, as it said itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramThread {
    /// Its name.
    pub name: String,
    /// Its number.
    pub tid: u32,
    /// Address of its thread-local `lab_thread_value`.
    pub tls: u64,
    /// The value that lies there.
    pub value: u64,
}

/// A process, from `/proc/PID/status` and what lies beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Real and effective user.
    pub uid: (u32, u32),
    /// Real and effective group.
    pub gid: (u32, u32),
    /// When it started, in hundredths of a second after boot.
    pub start: u64,
    /// Its command line, each argument ended by a NUL.
    pub command_line: Vec<u8>,
}

/// A clock reading of the guest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// Seconds since 1970.
    pub date: u64,
    /// Seconds since boot.
    pub uptime: f64,
    /// Seconds since 1970 when it booted.
    pub boot: u64,
}

impl Truth {
    /// Reads what `emit` sent.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("in {}", path.display()))
    }

    fn parse(mut rest: &[u8]) -> Result<Self> {
        let mut sections = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').context("no line feed")?;
            let (head, after) = rest.split_at(end);
            let head = std::str::from_utf8(head)?;
            let head = head.strip_prefix("=== ").with_context(|| format!("no section: {head}"))?;
            let (name, length) = head.rsplit_once(' ').context("a section without a length")?;
            let length: usize = length.parse()?;
            let content = after.get(1..=length).with_context(|| format!("{name} is cut off"))?;
            sections.insert(name.to_owned(), content.to_vec());
            rest = after.get(length + 2..).with_context(|| format!("{name} is cut off"))?;
        }
        ensure!(sections.contains_key("end"), "the guest did not come to an end");
        Ok(Self { sections })
    }

    /// Names of all sections.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// The bytes of a section.
    pub fn bytes(&self, section: &str) -> Result<&[u8]> {
        let found = self.sections.get(section);
        Ok(found.with_context(|| format!("the guest sent no {section}"))?)
    }

    /// The text of a section.
    pub fn text(&self, section: &str) -> Result<&str> {
        std::str::from_utf8(self.bytes(section)?).with_context(|| format!("{section} is not text"))
    }

    /// All symbols.
    pub fn symbols(&self) -> Result<Vec<Symbol>> {
        let lines = self.text("kallsyms")?.lines();
        lines.map(|line| symbol(line).with_context(|| format!("kallsyms: {line}"))).collect()
    }

    /// The address of a symbol of the kernel itself.
    pub fn symbol(&self, name: &str) -> Result<u64> {
        let found = self.symbols()?.into_iter().find(|symbol| symbol.name == name);
        Ok(found.with_context(|| format!("the kernel has no symbol {name}"))?.address)
    }

    /// Every thread there was, kernel threads included, by thread number; the idle
    /// threads (number 0) are not listed by any kernel.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        // A name may hold any byte, a line feed too.
        let text = String::from_utf8_lossy(self.bytes("stat")?);
        let lines = text.trim_start_matches("/proc/").split("\n/proc/");
        let parsed = lines.map(|line| task(line).with_context(|| format!("stat: {line}")));
        let mut tasks = parsed.collect::<Result<Vec<_>>>()?;
        tasks.sort_by_key(|task| task.tid);
        Ok(tasks)
    }

    /// The lab's programs and their process numbers.
    pub fn programs(&self) -> Result<BTreeMap<String, u32>> {
        let mut programs = BTreeMap::new();
        for line in self.text("programs")?.lines() {
            let (name, pid) = line.split_once(' ').with_context(|| format!("programs: {line}"))?;
            programs.insert(name.to_owned(), pid.parse()?);
        }
        Ok(programs)
    }

    /// The address space of a program of the lab.
    pub fn maps(&self, program: &str) -> Result<Vec<Mapping>> {
        let lines = self.text(&format!("maps {program}"))?.lines();
        lines.map(|line| mapping(line).with_context(|| format!("maps: {line}"))).collect()
    }

    /// The values that a program of the lab says it holds: name, address, value.
    pub fn values(&self, program: &str) -> Result<Vec<(String, u64, u64)>> {
        let lines = self.text(&format!("out {program}"))?.lines();
        let values = lines.filter_map(|line| line.strip_prefix("value "));
        values.map(|line| value(line).with_context(|| format!("value: {line}"))).collect()
    }

    /// The pages that a program of the lab had in memory: address, and the hash
    /// that [`page_hash`] gives. A page that its threads go on to write, as each
    /// running one's `rseq` area, may be another by the time of the checkpoint.
    pub fn pages(&self, program: &str) -> Result<BTreeMap<u64, u64>> {
        let lines = self.text(&format!("mem {program}"))?.lines();
        let page = |line: &str| {
            let (address, hash) = line.split_once(' ')?;
            Some((hex(address)?, hex(hash)?))
        };
        lines.map(|line| page(line).with_context(|| format!("mem: {line}"))).collect()
    }

    /// Every process there was.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let lines = self.text("procs")?.lines();
        lines.map(|line| process(line).with_context(|| format!("procs: {line}"))).collect()
    }

    /// The guest's clocks a moment before it was stopped.
    pub fn time(&self) -> Result<Time> {
        let text = self.text("time")?;
        time(text).with_context(|| format!("time: {text}"))
    }

    /// The threads of `mt`.
    pub fn program_threads(&self) -> Result<Vec<ProgramThread>> {
        let lines = self.text("out mt")?.lines().filter_map(|line| line.strip_prefix("thread "));
        lines.map(|line| thread(line).with_context(|| format!("thread: {line}"))).collect()
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
}

/// `ffffffffc0000000 t loop_exit [loop]`
fn symbol(line: &str) -> Option<Symbol> {
    let mut words = line.split_whitespace();
    Some(Symbol {
        address: hex(words.next()?)?,
        kind: words.next()?.chars().next()?,
        name: words.next()?.to_owned(),
        module: words.next().map(|name| name.trim_matches(['[', ']']).to_owned()),
    })
}

/// `92/task/95/stat 95 (mt-sleeper) S 1 ...`, below `/proc`: a name may hold anything.
fn task(line: &str) -> Option<Task> {
    let (path, stat) = line.split_once(' ')?;
    let (tid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some(Task {
        pid: path.split('/').next()?.parse().ok()?,
        tid: tid.parse().ok()?,
        comm: comm.to_owned(),
        state: words.next()?.chars().next()?,
        ppid: words.next()?.parse().ok()?,
        start: words.nth(17)?.parse().ok()?,
    })
}

/// `17 1000 1000 1001 1001 311 2f70726f...`
fn process(line: &str) -> Option<Process> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u32>().ok();
    let pid = number()?;
    let (uid, gid) = ((number()?, number()?), (number()?, number()?));
    let start = words.next()?.parse().ok()?;
    let digits = words.next()?.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let command_line = digits.map(byte).collect::<Option<_>>()?;
    Some(Process { pid, uid, gid, start, command_line })
}

/// `date +%s`, `/proc/uptime`, and the line `btime` of `/proc/stat`.
fn time(text: &str) -> Option<Time> {
    let mut lines = text.lines();
    Some(Time {
        date: lines.next()?.parse().ok()?,
        uptime: lines.next()?.split(' ').next()?.parse().ok()?,
        boot: lines.next()?.strip_prefix("btime ")?.parse().ok()?,
    })
}

/// The hash that `tell mem` prints: FNV-1a, eight bytes at a time.
pub fn page_hash(page: &[u8]) -> u64 {
    page.chunks_exact(8).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?.to_owned();
    let offset = hex(words.next()?)?;
    let path = words.nth(2).unwrap_or_default().trim().to_owned();
    Some(Mapping { start: hex(start)?, end: hex(end)?, permissions, offset, path })
}

fn value(line: &str) -> Option<(String, u64, u64)> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), hex(words.next()?)?, hex(words.next()?)?))
}

fn thread(line: &str) -> Option<ProgramThread> {
    let mut words = line.split(' ');
    Some(ProgramThread {
        name: words.next()?.to_owned(),
        tid: words.next()?.parse().ok()?,
        tls: hex(words.next()?.strip_prefix("tls=")?)?,
        value: hex(words.next()?.strip_prefix("value=")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_taken_by_length() {
        let truth = Truth::parse(b"=== out mt 10\na\n=== b 1\n\n=== end 0\n\n").unwrap();
        assert_eq!(truth.text("out mt").unwrap(), "a\n=== b 1\n");
        assert!(truth.text("b").is_err());
    }

    #[test]
    fn a_guest_that_was_cut_off_is_no_truth() {
        assert!(Truth::parse(b"=== stat 5\nab").is_err());
        assert!(Truth::parse(b"=== stat 1\na\n").is_err());
    }

    #[test]
    fn a_task_may_be_called_anything() {
        let line = "9/task/10/stat 10 (a) (b c) S 2 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 \
                    20 21 311 23";
        let task = task(line).unwrap();
        assert_eq!(task.start, 311);
        assert_eq!((task.pid, task.tid, task.ppid, task.state), (9, 10, 2, 'S'));
        assert_eq!(task.comm, "a) (b c");
    }

    #[test]
    fn processes_and_clocks_are_read() {
        let found = process("9 0 1 2 3 311 612d6200").unwrap();
        assert_eq!((found.pid, found.uid, found.gid, found.start), (9, (0, 1), (2, 3), 311));
        assert_eq!(found.command_line, b"a-b\0");
        assert!(process("2 0 0 0 0 1 ").unwrap().command_line.is_empty());
        let time = time("1700000000\n12.34 20.00\nbtime 1699999988\n").unwrap();
        assert_eq!((time.date, time.boot), (1_700_000_000, 1_699_999_988));
    }

    #[test]
    fn symbols_and_mappings_are_read() {
        let found = symbol("ffffffffc0000000 t loop_exit\t[loop]").unwrap();
        assert_eq!((found.kind, found.module.as_deref()), ('t', Some("loop")));
        let line = "7f00-7f10 r-xp 00026000 00:02 13                         /lib/libc.so.6";
        let found = mapping(line).unwrap();
        assert_eq!(
            (found.end, found.offset, found.path.as_str()),
            (0x7f10, 0x26000, "/lib/libc.so.6")
        );
        assert_eq!(mapping("7f00-7f10 rw-p 00000000 00:00 0 ").unwrap().path, "");
    }
}
