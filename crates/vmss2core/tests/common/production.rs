//! The guest that runs an installed Debian: little memory, many modules, probes, a
//! hung disk, programs in many languages.
//!
//! It said twice what it knows of itself, before and after it was stopped. Only
//! what it said alike both times is taken for the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result};
use vmss2core_lab::truth::Task;
use vmss2core_lab::{Guest, Truth};

use super::guests;

/// Its name in the lab.
pub const NAME: &str = "linux-6.1-production";

/// Frames of threads, by number of the thread.
pub type Frames = BTreeMap<u32, Vec<Frame>>;

/// A frame that a debugger found.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub sp: u64,
    pub pc: u64,
    pub function: String,
}

/// The guest and both its truths.
pub struct Production {
    pub guest: Guest,
    pub before: Truth,
    pub after: Truth,
}

impl Production {
    pub fn get() -> Result<Self> {
        let guest = guests::guest(NAME)?;
        let (before, after) = (guest.truth()?, guest.truth_after()?);
        Ok(Self { guest, before, after })
    }

    /// Its kernel with debug information.
    pub fn kernel() -> Result<PathBuf> {
        Ok(guests::guest_with_kernel(NAME)?.1)
    }

    /// The folder with its modules that have debug information.
    pub fn debug_modules() -> Result<PathBuf> {
        Ok(Self::kernel()?.with_file_name("modules"))
    }

    /// A file of its root file system.
    pub fn file(&self, path: &str) -> PathBuf {
        self.guest.root().join(path.trim_start_matches('/'))
    }

    /// The number of one of the lab's programs in it.
    pub fn pid(&self, program: &str) -> Result<u32> {
        let programs = self.before.programs()?;
        programs.get(program).copied().with_context(|| format!("no program {program}"))
    }

    /// Numbers of the processes of this name.
    pub fn pids_of(&self, comm: &str) -> Result<Vec<u32>> {
        let tasks = self.tasks()?;
        let leaders = tasks.iter().filter(|task| task.comm == comm && task.pid == task.tid);
        Ok(leaders.map(|task| task.pid).collect())
    }

    /// Threads that were there before and after, in the same state.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let after: BTreeMap<u32, Task> =
            self.after.tasks()?.into_iter().map(|task| (task.tid, task)).collect();
        let mut tasks = self.before.tasks()?;
        tasks.retain(|task| after.get(&task.tid) == Some(task));
        Ok(tasks)
    }

    /// Lines of a section that stands in both.
    pub fn lines(&self, section: &str) -> Result<Vec<&str>> {
        let after: BTreeSet<&str> = self.after.text(section)?.lines().collect();
        let before = self.before.text(section)?.lines();
        Ok(before.filter(|line| after.contains(line)).collect())
    }

    /// Numbers of the processes of which there is a section of this kind (`maps`,
    /// `mem`, `swapped`, `auxv`) in both.
    pub fn processes_with(&self, kind: &str) -> Vec<u32> {
        let number = |name: &str| name.strip_prefix(kind)?.strip_prefix(' ')?.parse().ok();
        let after: BTreeSet<u32> = self.after.sections().filter_map(number).collect();
        let before = self.before.sections().filter_map(number);
        before.filter(|pid| after.contains(pid)).collect()
    }

    /// Pages of a process in memory, by address, with the hash of what is in them.
    pub fn pages(&self, pid: u32) -> Result<BTreeMap<u64, u64>> {
        let after = self.after.pages(&pid.to_string())?;
        let mut pages = self.before.pages(&pid.to_string())?;
        pages.retain(|address, hash| after.get(address) == Some(hash));
        Ok(pages)
    }

    /// Swapped pages of a process: address, number of the device, place there.
    pub fn swapped(&self, pid: u32) -> Result<Vec<(u64, u32, u64)>> {
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let device = words.next()?.parse().ok()?;
            Some((address, device, u64::from_str_radix(words.next()?, 16).ok()?))
        };
        let lines = self.lines(&format!("swapped {pid}"))?;
        lines.into_iter().map(|line| parse(line).with_context(|| line.to_owned())).collect()
    }

    /// What the pages of the program that waits to be swapped held, by address.
    pub fn swapped_hashes(&self) -> Result<BTreeMap<u64, u64>> {
        let lines = self.before.text("out swapped")?.lines();
        let lines = lines.filter_map(|line| line.strip_prefix("page "));
        let parse = |line: &str| {
            let (address, hash) = line.split_once(' ')?;
            Some((u64::from_str_radix(address, 16).ok()?, u64::from_str_radix(hash, 16).ok()?))
        };
        lines.map(|line| parse(line).with_context(|| line.to_owned())).collect()
    }

    /// The number of the swap file among the devices that pages are swapped to.
    pub fn swap_file(&self) -> Result<u32> {
        let devices = self.before.text("swaps")?.lines().skip(1);
        let found = devices.into_iter().position(|line| line.starts_with("/swapfile "));
        Ok(u32::try_from(found.context("no swap file")?)?)
    }

    /// Stack pointer and program counter of the threads that sleep in a system call.
    pub fn places(&self) -> Result<BTreeMap<u32, (u64, u64)>> {
        let mut places = BTreeMap::new();
        for line in self.lines("syscall")? {
            let words: Vec<&str> = line.split(' ').collect();
            // The number of the thread, that of the call, six arguments.
            if let [tid, _, _, _, _, _, _, _, sp, pc] = words.as_slice() {
                let place = (hex(sp)?, hex(pc)?);
                // Threads of the kernel have none.
                if place != (0, 0) {
                    places.insert(tid.parse()?, place);
                }
            }
        }
        Ok(places)
    }

    /// How many of the frames that gdb found are no guesses: code without a file, which
    /// the program made itself, has no description, and some versions of gdb end at
    /// `main` of other languages than C.
    pub fn sure_frames(&self, pid: u32, frames: &[Frame]) -> Result<usize> {
        let files = self.lines(&format!("maps {pid}"))?.into_iter().filter_map(mapped_file);
        let files: Vec<_> = files.collect();
        let is_of_file = |frame: &Frame| files.iter().any(|range| range.contains(&frame.pc));
        let guessed = frames.iter().position(|frame| !is_of_file(frame));
        let main = frames.iter().position(|frame| frame.function.ends_with("::main"));
        Ok(guessed.unwrap_or(frames.len()).min(main.map_or(frames.len(), |at| at + 1)))
    }

    /// What gdb found in the guest: programs, their numbers, frames of their threads.
    pub fn frames(&self) -> Result<Vec<(String, u32, Frames)>> {
        let mut found = Vec::new();
        for part in self.before.text("frames")?.split("process ").skip(1) {
            let (head, rest) = part.split_once('\n').context("no threads")?;
            let (name, pid) = head.split_once(' ').context("no number")?;
            found.push((name.to_owned(), pid.parse()?, frames_in(rest)));
        }
        Ok(found)
    }
}

/// The frames among the lines that the lab's script for gdb prints.
pub fn frames_in(text: &str) -> Frames {
    let mut frames = Frames::new();
    let mut thread = None;
    for line in text.lines() {
        if let Some(tid) = line.strip_prefix("thread ") {
            thread = tid.parse().ok();
        } else if let (Some(tid), Some(frame)) = (thread, frame(line)) {
            frames.entry(tid).or_default().push(frame);
        }
    }
    frames
}

fn frame(line: &str) -> Option<Frame> {
    let mut words = line.splitn(3, ' ');
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (sp, pc) = (number()?, number()?);
    Some(Frame { sp, pc, function: words.next()?.to_owned() })
}

/// The addresses of a line of `/proc/PID/maps` that names a file.
fn mapped_file(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    line.contains('/').then_some(hex(start).ok()?..hex(end).ok()?)
}

fn hex(word: &str) -> Result<u64> {
    let digits = word.trim_start_matches("0x");
    u64::from_str_radix(digits, 16).with_context(|| word.to_owned())
}
