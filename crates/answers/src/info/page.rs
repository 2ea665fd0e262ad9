//! The page of the report about a checkpoint.

use std::borrow::Cow;

use vmss2core_mem::Setting;

use super::{
    FileInfo, Hex, InfoReport, KernelImage, LinuxInfo, Location, MachineInfo, MemoryInfo,
    ProblemInfo, RangeInfo, ScreenshotInfo, SnapshotInfo, Space, VcpuInfo,
};
use crate::next::Step;
use crate::page::{Answer, Column, Page, with_how};
use crate::state::{Blocked, BlockedPlace, KernelState, RunningTask, TaskCounts};
use crate::units::{counted, duration, human_size, utc_time};

/// Ranges of memory that are listed; a fragmented map is summed up after that.
const MAX_RANGES: usize = 64;
/// Registers that are named of a processor of which little else is known.
const MAX_REGISTERS: usize = 4;

/// The other form of an answer, in messages.
const JSON: Setting = Setting::named("json");

impl Answer for InfoReport {
    const SCHEMA: &'static str = "vmss2core/info/1";

    fn page(&self, page: &mut Page<'_>) {
        let incomplete = self.headline.as_ref().map(|headline| format!("incomplete: {headline}"));
        let headlines: Vec<String> = incomplete.into_iter().chain(self.failure()).collect();
        for headline in &headlines {
            page.headline(headline);
        }
        if !headlines.is_empty() {
            page.gap();
        }
        self.checkpoint(page);
        machine(&self.machine, page);
        page.field("screen", self.screenshot.as_ref().map(screenshot).as_deref());
        memory(&self.memory, page);
        self.vcpus(page);
        self.guest(page);
        let said = usize::from(self.headline.is_some());
        let (notes, troubles): (Vec<_>, Vec<_>) =
            self.problems.iter().skip(said).partition(|problem| problem.severity == "note");
        problems("problems", &troubles, page);
        problems("notes", &notes, page);
        next(&self.next, page);
    }
}

impl InfoReport {
    /// The failure that the guest stopped with, if it did.
    fn failure(&self) -> Option<String> {
        if let Some(windows) = &self.guest.windows {
            return windows.failure();
        }
        let state = self.guest.linux.as_ref()?.state.as_ref()?;
        let has_panicked = state.stopped.as_ref().is_some_and(|it| it.trouble == "panic");
        has_panicked.then(|| state.why_stopped().map(|why| why.value)).flatten()
    }

    fn checkpoint(&self, page: &mut Page<'_>) {
        page.part("checkpoint", &self.checkpoint.kind);
        // Paths are not wrapped, so that they can be copied.
        let row = |file: &FileInfo| {
            [file.role.to_owned(), format!("{} ({})", file.path, file.found)].map(Cow::from)
        };
        let columns = [Column::left("", 10), Column::left("", 0)];
        page.table(&columns, self.checkpoint.files.iter().map(row));
        page.field("snapshot", self.checkpoint.snapshot.as_ref().map(snapshot).as_deref());
    }

    fn vcpus(&self, page: &mut Page<'_>) {
        page.gap();
        if self.vcpus.is_empty() {
            let none = if self.has_misfit {
                "none whose registers fit the memory"
            } else {
                "none: the checkpoint holds no registers"
            };
            return page.part("vCPUs", none);
        }
        let columns = [
            Column::right("vCPU", 4),
            Column::left("mode", 16).after("  "),
            Column::right("ring", 4).after("  "),
            Column::left("halted", 6).after("  "),
            Column::left("at", 18).after("  "),
            Column::left("", 0).after("  "),
        ];
        page.table(&columns, self.vcpus.iter().map(vcpu));
    }

    fn guest(&self, page: &mut Page<'_>) {
        page.gap();
        let Some(os) = &self.guest.os else {
            let none = match self.memory.ranges.as_slice() {
                [] => "unknown: its memory is missing",
                _ => "no operating system recognised",
            };
            return page.part("guest", none);
        };
        if let Some(windows) = &self.guest.windows {
            let name = windows.name.as_deref().unwrap_or(os.value);
            page.part("guest", &format!("{name}, {}-bit ({})", windows.bits, os.how));
            return windows.describe(page);
        }
        if let Some(macos) = &self.guest.macos {
            let name = macos.name.as_deref().unwrap_or(os.value);
            page.part("guest", &format!("{name}, {}-bit", macos.bits));
            return macos.describe(page);
        }
        let Some(linux) = &self.guest.linux else {
            page.part("guest", &with_how(os.value, &os.how));
            return self.guest.facts.iter().for_each(|fact| {
                page.field(fact.name, Some(&with_how(&fact.value, &fact.how)));
            });
        };
        let release = linux.release.as_ref().map_or("of unknown release", |r| r.value.as_str());
        page.part("guest", &format!("{} {release}, {}-bit", os.value, linux.bits));
        linux.describe(page);
    }
}

/// Its name and time.
fn snapshot(snapshot: &SnapshotInfo) -> String {
    let taken =
        snapshot.taken_unix.map_or_else(String::new, |taken| format!(", taken {}", time(taken)));
    format!("\"{}\"{taken} ({})", snapshot.name, snapshot.list)
}

fn screenshot(picture: &ScreenshotInfo) -> String {
    format!("a picture of {} ({})", human_size(picture.bytes), picture.item)
}

fn machine(machine: &MachineInfo, page: &mut Page<'_>) {
    let product = [
        machine.product.clone(),
        machine.product_version.clone(),
        machine.product_build.as_ref().map(|build| build_number(build)),
    ];
    page.field("product", joined(product, " ").as_deref());
    page.field("machine", machine_line(machine).as_deref());
    page.field("configured", machine.configured_guest.as_deref());
    page.field("uuid", machine.uuid.as_deref());
    page.field("powered on", machine.powered_on_unix.map(time).as_deref());
    page.field("suspended", machine.suspended_unix.map(time).as_deref());
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

fn memory(memory: &MemoryInfo, page: &mut Page<'_>) {
    page.gap();
    let ranges = match memory.ranges.len() {
        0 => return page.part("memory", "none"),
        1 => "in one range".to_owned(),
        n => format!("in {n} ranges"),
    };
    page.part("memory", &format!("{} {ranges}", human_size(memory.bytes)));
    let digits = memory.ranges.last().map_or(1, |range| format!("{:x}", range.end.0).len());
    let digits = digits.saturating_add(2);
    let held = memory.ranges.iter().map(|range| (range, ""));
    let holes = memory.holes.iter().map(|hole| (hole, "hole"));
    let mut ranges: Vec<(&RangeInfo, &str)> = held.chain(holes).collect();
    ranges.sort_by_key(|(range, _)| range.start);
    let row = |(range, note): &(&RangeInfo, &'static str)| {
        let (start, last) = (range.start.0, range.end.0.saturating_sub(1));
        let range_text = format!("{start:#0digits$x}-{last:#0digits$x}");
        [range_text.into(), human_size(range.bytes).into(), Cow::from(*note)]
    };
    let columns =
        [Column::left("", 0), Column::right("", 10).after("  "), Column::left("", 0).after("  ")];
    page.table(&columns, ranges.iter().take(MAX_RANGES).map(row));
    match ranges.len().saturating_sub(MAX_RANGES) {
        0 => {}
        more => page.line(&format!("and {more} more; {JSON} lists all")),
    }
}

fn vcpu(vcpu: &VcpuInfo) -> [Cow<'static, str>; 6] {
    let mode = vcpu.mode.as_ref().map_or("?", |mode| mode.value);
    let ring = vcpu.privilege.map_or_else(|| "?".to_owned(), |ring| ring.to_string());
    let halted = vcpu.halted.map_or("?", |halted| if halted { "yes" } else { "no" });
    let ip = vcpu.instruction_pointer.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    let mut place = vcpu.location.as_ref().map_or_else(String::new, place);
    let mut task = ", ";
    if vcpu.in_crash_kernel {
        (place, task) = ("the second kernel".to_owned(), "; before: ");
    }
    if place.is_empty() {
        let known = vcpu.registers.iter().take(MAX_REGISTERS);
        place = known.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" ");
    }
    if let Some(RunningTask { tid, name, .. }) = &vcpu.task {
        place = format!("{place}{task}{name} ({tid})");
    }
    [
        vcpu.index.to_string().into(),
        mode.into(),
        ring.into(),
        halted.into(),
        ip.into(),
        place.into(),
    ]
}

fn place(location: &Location) -> String {
    if let Some(symbol) = &location.symbol {
        return symbol.clone();
    }
    match (location.space, location.kernel_text_offset) {
        (Space::User, _) => "a program".to_owned(),
        (Space::Kernel, Some(Hex(offset))) => format!("_text+{offset:#x}"),
        (Space::Kernel, None) => "kernel mode".to_owned(),
    }
}

impl LinuxInfo {
    fn describe(&self, page: &mut Page<'_>) {
        page.field("banner", self.banner.as_ref().map(|banner| banner.value.as_str()));
        page.known("image", self.image.as_ref(), image);
        page.known("kdump", self.crash_kernel.as_ref(), |kernel| {
            let place = kernel.image.as_ref().map(|text| format!(" at {}", text.start));
            format!(
                "this kernel has crashed; a second one, {}{}, runs on {}",
                kernel.release,
                place.unwrap_or_default(),
                vcpu_list(&kernel.vcpus)
            )
        });
        page.known("KASLR", self.kaslr_offset.as_ref(), |slide| match slide {
            Hex(0) => "kernel lies where it was linked".to_owned(),
            slide => format!("kernel lies {slide} above its link address"),
        });
        page.known("phys_base", self.phys_base.as_ref(), Clone::clone);
        page.known("direct map", self.direct_map.as_ref(), Hex::to_string);
        page.known("page table", self.page_tables.as_ref(), |root| format!("physical {root}"));
        page.known("VMCOREINFO", self.vmcoreinfo.as_ref(), |info| {
            if info.synthesised {
                format!("not found in the guest; {} bytes made from other facts", info.bytes)
            } else {
                format!("{} bytes", info.bytes)
            }
        });
        if let Some(state) = &self.state {
            state.describe(page);
        }
    }
}

fn image(image: &KernelImage) -> String {
    format!("{} at physical {}, {}", image.start, image.physical, human_size(image.bytes))
}

/// "vCPUs 1 and 2"
fn vcpu_list(indices: &[u32]) -> String {
    let indices: Vec<String> = indices.iter().map(u32::to_string).collect();
    match indices.as_slice() {
        [] => "no vCPU".to_owned(),
        [only] => format!("vCPU {only}"),
        [first @ .., last] => format!("vCPUs {} and {last}", first.join(", ")),
    }
}

impl KernelState {
    fn describe(&self, page: &mut Page<'_>) {
        page.known("stopped", self.why_stopped().as_ref(), Clone::clone);
        page.field("blocked", self.blocked.as_ref().map(blocked).as_deref());
        page.known("tasks", self.tasks.as_ref(), |tasks| {
            let TaskCounts { processes, kernel_threads, threads } = tasks;
            format!(
                "{}, {}, {} in all",
                counted(*processes, "process", "es"),
                counted(*kernel_threads, "kernel thread", "s"),
                counted(*threads, "thread", "s")
            )
        });
        page.known("tainted", self.taints().as_ref(), Clone::clone);
        let uptime = self.uptime_seconds.as_ref();
        if let Some(time) = &self.time
            && let Some(uptime) = uptime.filter(|uptime| uptime.how == time.how)
        {
            return page.known("time", Some(time), |time| {
                format!("{time}, {} after boot", duration(uptime.value))
            });
        }
        page.known("time", self.time.as_ref(), Clone::clone);
        page.known("uptime", uptime, |seconds| duration(*seconds));
    }
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

fn problems(title: &str, problems: &[&ProblemInfo], page: &mut Page<'_>) {
    if problems.is_empty() {
        return;
    }
    page.gap();
    page.part(title, "");
    for problem in problems {
        page.item(&match problem.severity {
            "note" => problem.message.clone(),
            severity => format!("{severity}: {}", problem.message),
        });
    }
}

fn next(steps: &[Step], page: &mut Page<'_>) {
    if steps.is_empty() {
        return;
    }
    page.gap();
    page.part("next", "");
    for step in steps {
        page.commands(&step.purpose, &step.commands);
    }
}
