//! The text printer of [`InfoReport`], for 80 columns.

use std::io::{self, Write};

use crate::escape::printable;
use crate::info::{
    Hex, InfoReport, KernelImage, Known, LinuxInfo, Location, MachineInfo, MemoryInfo, ProblemInfo,
    RangeInfo, SnapshotInfo, Space, VcpuInfo,
};
use crate::macos::write_macos;
use crate::next::Step;
use crate::state::{Blocked, BlockedPlace, KernelState, RunningTask, TaskCounts};
use crate::units::{human_size, utc_time};
use crate::windows::write_windows;

const WIDTH: usize = 80;
/// Column in which values start.
const INDENT: usize = 13;
/// Width of the names of fields, which are indented by two.
const NAME_WIDTH: usize = INDENT - 2;
/// Ranges of memory that are listed; a fragmented map is summed up after that.
const MAX_RANGES: usize = 64;

type Out<'a> = &'a mut dyn Write;

impl InfoReport {
    /// Writes the report for people.
    pub fn write_text(&self, out: Out<'_>) -> io::Result<()> {
        if let Some(headline) = &self.headline {
            wrapped(&format!("incomplete: {headline}"), 0, INDENT, out)?;
            writeln!(out)?;
        }
        self.write_checkpoint(out)?;
        write_machine(&self.machine, out)?;
        write_memory(&self.memory, out)?;
        self.write_vcpus(out)?;
        self.write_guest(out)?;
        write_problems(self.problems.get(usize::from(self.headline.is_some())..), out)?;
        write_next(&self.next, out)
    }

    fn write_checkpoint(&self, out: Out<'_>) -> io::Result<()> {
        title("checkpoint", &self.checkpoint.kind, out)?;
        for file in &self.checkpoint.files {
            // Paths are not wrapped, so that they can be copied.
            let (path, found) = (printable(&file.path), printable(&file.found));
            writeln!(out, "  {:<10} {path} ({found})", printable(file.role))?;
        }
        field("snapshot", self.checkpoint.snapshot.as_ref().map(snapshot).as_deref(), out)
    }

    fn write_vcpus(&self, out: Out<'_>) -> io::Result<()> {
        writeln!(out)?;
        if self.vcpus.is_empty() {
            let none = if self.has_misfit {
                "none whose registers fit the memory"
            } else {
                "none: the checkpoint holds no registers"
            };
            return title("vCPUs", none, out);
        }
        writeln!(out, "vCPU  mode              ring  halted  at")?;
        for vcpu in &self.vcpus {
            write_vcpu(vcpu, out)?;
        }
        Ok(())
    }

    fn write_guest(&self, out: Out<'_>) -> io::Result<()> {
        writeln!(out)?;
        let Some(os) = &self.guest.os else {
            return title("guest", "no operating system recognised", out);
        };
        if let Some(windows) = &self.guest.windows {
            let name = windows.name.as_deref().unwrap_or(os.value);
            title("guest", &format!("{name}, {}-bit ({})", windows.bits, os.how), out)?;
            return write_windows(windows, out);
        }
        if let Some(macos) = &self.guest.macos {
            let name = macos.name.as_deref().unwrap_or(os.value);
            title("guest", &format!("{name}, {}-bit", macos.bits), out)?;
            return write_macos(macos, out);
        }
        let Some(linux) = &self.guest.linux else {
            return title("guest", &with_how(os.value, &os.how), out);
        };
        let release = linux.release.as_ref().map_or("of unknown release", |r| r.value.as_str());
        title("guest", &format!("{} {release}, {}-bit", os.value, linux.bits), out)?;
        write_linux(linux, out)
    }
}

/// Its name and time.
fn snapshot(snapshot: &SnapshotInfo) -> String {
    let taken =
        snapshot.taken_unix.map_or_else(String::new, |taken| format!(", taken {}", time(taken)));
    format!("\"{}\"{taken} ({})", snapshot.name, snapshot.list)
}

fn write_machine(machine: &MachineInfo, out: Out<'_>) -> io::Result<()> {
    let product = [
        machine.product.clone(),
        machine.product_version.clone(),
        machine.product_build.as_ref().map(|build| build_number(build)),
    ];
    field("product", joined(product, " ").as_deref(), out)?;
    field("machine", machine_line(machine).as_deref(), out)?;
    field("configured", machine.configured_guest.as_deref(), out)?;
    field("uuid", machine.uuid.as_deref(), out)?;
    field("powered on", machine.powered_on_unix.map(time).as_deref(), out)?;
    field("suspended", machine.suspended_unix.map(time).as_deref(), out)
}

/// Some products write the word into the number.
fn build_number(build: &str) -> String {
    format!("build {}", build.strip_prefix("build-").unwrap_or(build))
}

fn machine_line(machine: &MachineInfo) -> Option<String> {
    let parts = [
        machine.display_name.as_ref().map(|name| format!("\"{name}\"")),
        machine.architecture.map(str::to_owned),
        machine.memory_mib.map(human_mib),
        machine.firmware.clone(),
    ];
    joined(parts, ", ")
}

fn human_mib(mib: u64) -> String {
    mib.checked_mul(1 << 20).map_or_else(|| format!("{mib} MiB"), human_size)
}

fn time(unix: u64) -> String {
    utc_time(unix).unwrap_or_else(|| format!("{unix} seconds after 1970, which is no sound date"))
}

fn joined<const N: usize>(parts: [Option<String>; N], separator: &str) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(separator))
}

fn write_memory(memory: &MemoryInfo, out: Out<'_>) -> io::Result<()> {
    writeln!(out)?;
    let ranges = match memory.ranges.len() {
        0 => return title("memory", "none", out),
        1 => "in one range".to_owned(),
        n => format!("in {n} ranges"),
    };
    title("memory", &format!("{} {ranges}", human_size(memory.bytes)), out)?;
    let digits = memory.ranges.last().map_or(1, |range| format!("{:x}", range.end.0).len());
    let held = memory.ranges.iter().map(|range| (range, ""));
    let holes = memory.holes.iter().map(|hole| (hole, "  hole"));
    let mut lines: Vec<(&RangeInfo, &str)> = held.chain(holes).collect();
    lines.sort_by_key(|(range, _)| range.start);
    for (range, note) in lines.iter().take(MAX_RANGES) {
        let (start, last) = (range.start.0, range.end.0.saturating_sub(1));
        let (digits, size) = (digits.saturating_add(2), human_size(range.bytes));
        writeln!(out, "  {start:#0digits$x}-{last:#0digits$x}  {size:>10}{note}")?;
    }
    match lines.len().saturating_sub(MAX_RANGES) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more; --json lists all"),
    }
}

fn write_vcpu(vcpu: &VcpuInfo, out: Out<'_>) -> io::Result<()> {
    let mode = vcpu.mode.as_ref().map_or("?", |mode| mode.value);
    let ring = vcpu.privilege.map_or_else(|| "?".to_owned(), |ring| ring.to_string());
    let halted = vcpu.halted.map_or("?", |halted| if halted { "yes" } else { "no" });
    let ip = vcpu.instruction_pointer.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    let mut place = vcpu.location.as_ref().map_or_else(String::new, place);
    let mut task = ", ";
    if vcpu.in_crash_kernel {
        (place, task) = ("the second kernel".to_owned(), "; before: ");
    }
    if let Some(RunningTask { tid, name, .. }) = &vcpu.task {
        place = format!("{place}{task}{} ({tid})", printable(name));
    }
    let line = format!("{:>4}  {mode:<16}  {ring:>4}  {halted:<6}  {ip:<18}  {place}", vcpu.index);
    writeln!(out, "{}", line.trim_end())
}

fn place(location: &Location) -> String {
    if let Some(symbol) = &location.symbol {
        return printable(symbol);
    }
    match (location.space, location.kernel_text_offset) {
        (Space::User, _) => "a program".to_owned(),
        (Space::Kernel, Some(Hex(offset))) => format!("_text+{offset:#x}"),
        (Space::Kernel, None) => "kernel mode".to_owned(),
    }
}

fn write_linux(linux: &LinuxInfo, out: Out<'_>) -> io::Result<()> {
    field("banner", linux.banner.as_ref().map(|banner| banner.value.as_str()), out)?;
    known("image", linux.image.as_ref(), out, image)?;
    known("kdump", linux.crash_kernel.as_ref(), out, |kernel| {
        let place = kernel.image.as_ref().map(|text| format!(" at {}", text.start));
        format!(
            "this kernel has crashed; a second one, {}{}, runs on {}",
            kernel.release,
            place.unwrap_or_default(),
            vcpus(&kernel.vcpus)
        )
    })?;
    known("KASLR", linux.kaslr_offset.as_ref(), out, |slide| match slide {
        Hex(0) => "kernel lies where it was linked".to_owned(),
        slide => format!("kernel lies {slide} above its link address"),
    })?;
    known("phys_base", linux.phys_base.as_ref(), out, Clone::clone)?;
    known("direct map", linux.direct_map.as_ref(), out, Hex::to_string)?;
    known("page table", linux.page_tables.as_ref(), out, |root| format!("physical {root}"))?;
    known("VMCOREINFO", linux.vmcoreinfo.as_ref(), out, |info| {
        if info.synthesised {
            format!("not found in the guest; {} bytes made from other facts", info.bytes)
        } else {
            format!("{} bytes", info.bytes)
        }
    })?;
    linux.state.as_ref().map_or(Ok(()), |state| write_state(state, out))
}

fn image(image: &KernelImage) -> String {
    format!("{} at physical {}, {}", image.start, image.physical, human_size(image.bytes))
}

/// "vCPUs 1 and 2"
fn vcpus(indices: &[u32]) -> String {
    let indices: Vec<String> = indices.iter().map(u32::to_string).collect();
    match indices.as_slice() {
        [] => "no vCPU".to_owned(),
        [only] => format!("vCPU {only}"),
        [first @ .., last] => format!("vCPUs {} and {last}", first.join(", ")),
    }
}

fn write_state(state: &KernelState, out: Out<'_>) -> io::Result<()> {
    known("stopped", state.why_stopped().as_ref(), out, Clone::clone)?;
    field("blocked", state.blocked.as_ref().map(blocked).as_deref(), out)?;
    known("tasks", state.tasks.as_ref(), out, |tasks| {
        let TaskCounts { processes, kernel_threads, threads } = tasks;
        format!("{processes} processes, {kernel_threads} kernel threads, {threads} threads in all")
    })?;
    known("tainted", state.taints().as_ref(), out, Clone::clone)?;
    let uptime = state.uptime_seconds.as_ref();
    if let Some(time) = &state.time
        && let Some(uptime) = uptime.filter(|uptime| uptime.how == time.how)
    {
        return known("time", Some(time), out, |time| {
            format!("{time}, {} after boot", duration(uptime.value))
        });
    }
    known("time", state.time.as_ref(), out, Clone::clone)?;
    known("uptime", uptime, out, |seconds| duration(*seconds))
}

/// "9 tasks in state D: 5 in jbd2_log_wait_commit [jbd2], 4 in io_schedule"
fn blocked(blocked: &Blocked) -> String {
    const MOST: usize = 8;
    let place = |place: &BlockedPlace| format!("{} in {}", place.tasks, place.symbol);
    let mut places: Vec<String> = blocked.places.iter().take(MOST).map(place).collect();
    let told: usize =
        blocked.places.iter().take(MOST).map(|place| place.tasks).fold(0, usize::saturating_add);
    match blocked.tasks.saturating_sub(told) {
        0 => {}
        others if places.is_empty() => places.push(format!("{others} where is not known")),
        others => places.push(format!("{others} elsewhere")),
    }
    let tasks = if blocked.tasks == 1 { "task" } else { "tasks" };
    format!("{} {tasks} in state D: {}", blocked.tasks, places.join(", "))
}

pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        days => format!("{days} days {hours:02}:{minutes:02}:{:02}", seconds % 60),
    }
}

fn write_problems(problems: Option<&[ProblemInfo]>, out: Out<'_>) -> io::Result<()> {
    let Some(problems @ [_, ..]) = problems else { return Ok(()) };
    writeln!(out, "\nproblems")?;
    for problem in problems {
        wrapped(&format!("{}: {}", problem.severity, problem.message), 2, 4, out)?;
    }
    Ok(())
}

fn write_next(steps: &[Step], out: Out<'_>) -> io::Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nnext")?;
    for step in steps {
        writeln!(out, "  # {}", printable(&step.purpose))?;
        for command in &step.commands {
            writeln!(out, "  {}", printable(command))?;
        }
    }
    Ok(())
}

/// A line that starts a part of the report.
fn title(name: &str, value: &str, out: Out<'_>) -> io::Result<()> {
    wrapped(&format!("{name:<INDENT$}{value}"), 0, INDENT, out)
}

pub(crate) fn field(name: &str, value: Option<&str>, out: Out<'_>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    wrapped(&format!("{name:<NAME_WIDTH$}{value}"), 2, INDENT, out)
}

pub(crate) fn known<T>(
    name: &str,
    value: Option<&Known<T>>,
    out: Out<'_>,
    show: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let text = value.map(|known| with_how(&show(&known.value), &known.how));
    field(name, text.as_deref(), out)
}

fn with_how(value: &str, how: &str) -> String {
    if how.is_empty() { value.to_owned() } else { format!("{value} ({how})") }
}

/// Writes text, made safe, broken at blanks to stay within the width. A word
/// that is longer than a line stays whole.
fn wrapped(text: &str, first: usize, rest: usize, out: Out<'_>) -> io::Result<()> {
    let text = printable(text);
    let mut line = " ".repeat(first);
    let mut fresh = true;
    for word in text.split_inclusive(' ') {
        let len = word.trim_end().chars().count();
        if !fresh && line.chars().count().saturating_add(len) > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(rest);
        }
        line.push_str(word);
        fresh = false;
    }
    writeln!(out, "{}", line.trim_end())
}
