//! Kernel stacks as our `bt`, drgn and crash have them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmss2core_lab::Guest;
use vmss2core_lab::judges::crash as crash_judge;

use super::cores::{self, Wrap};
use super::{guests, judges};

/// Addresses of the functions on a stack, innermost first.
pub type Stack = Vec<u64>;

/// A number of our JSON.
pub fn address(value: &Value) -> Result<u64> {
    let text = value.as_str().context("no address")?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

/// The stack of an answer of `bt --json`.
pub fn addresses(stack: &Value) -> Result<Stack> {
    let frames = stack["frames"].as_array().context("no frames")?;
    frames.iter().map(|frame| address(&frame["ip"])).collect()
}

/// What calls return to if a return probe or the tracer of functions is in the way.
const TRAMPOLINES: [&str; 3] =
    ["arch_rethook_trampoline", "__kretprobe_trampoline", "return_to_handler"];

/// Addresses that hide return addresses.
pub fn trampolines(guest: &Guest) -> Result<Vec<u64>> {
    let truth = guest.truth()?;
    Ok(TRAMPOLINES.iter().filter_map(|name| truth.symbol(name).ok()).collect())
}

/// Whether a stack is as another debugger has it. None of them knows what probes and
/// tracers keep, so theirs end at a trampoline; ours goes on. The answer is whether
/// there is one.
pub fn ensure_same(trampolines: &[u64], ours: &Stack, theirs: &Stack, what: &str) -> Result<bool> {
    let cut = theirs.iter().position(|ip| trampolines.contains(ip));
    let len = cut.unwrap_or(theirs.len());
    let is_same = match cut {
        Some(len) => ours.len() > len && ours.get(..len) == theirs.get(..len),
        None => ours == theirs,
    };
    let hides_none = ours.iter().all(|ip| !trampolines.contains(ip));
    ensure!(is_same && hides_none, "{what}, {len} frames:\n{ours:x?}\nthere\n{theirs:x?}");
    Ok(cut.is_some())
}

/// What the kernel says of the stack of each thread (`/proc/PID/task/TID/stack`):
/// lines such as `[<0>] kjournald2+0x1d5/0x280 [jbd2]`, here without the length of
/// the function.
pub fn said_by_kernel(text: &str) -> Result<BTreeMap<u64, Vec<String>>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut current = 0;
    for line in text.lines() {
        if let Some(tid) = line.strip_prefix("task ") {
            current = tid.parse()?;
            found.entry(current).or_default();
        } else {
            let place = line.strip_prefix("[<0>] ").with_context(|| format!("no frame: {line}"))?;
            let (at, module) = place.split_once(' ').map_or((place, None), |(at, m)| (at, Some(m)));
            let at = at.rsplit_once('/').map_or(at, |(at, _)| at);
            let place = module.map_or(at.to_owned(), |module| format!("{at} {module}"));
            found.entry(current).or_default().push(place);
        }
    }
    Ok(found)
}

/// What the kernel said of where a thread sleeps.
pub struct Asleep {
    /// Its wait channel.
    pub channel: String,
    /// Its stack, as [`said_by_kernel`] has it.
    pub stack: Vec<String>,
}

/// What the lab's program `where` heard from the kernel of each thread.
pub fn said_to_program(text: &str) -> Result<BTreeMap<u64, Asleep>> {
    let (mut channels, mut stacks) = (BTreeMap::new(), String::new());
    for line in text.lines().filter(|line| *line != "up" && !line.starts_with("sleeps ")) {
        let task = line.strip_prefix("task ").and_then(|task| task.split_once(' '));
        let Some((tid, channel)) = task else {
            writeln!(stacks, "{line}")?;
            continue;
        };
        channels.insert(tid.parse::<u64>()?, channel.to_owned());
        writeln!(stacks, "task {tid}")?;
    }
    let mut stacks = said_by_kernel(&stacks)?;
    let asleep = |(tid, channel)| {
        let stack = stacks.remove(&tid).unwrap_or_default();
        (tid, Asleep { channel, stack })
    };
    Ok(channels.into_iter().map(asleep).collect())
}

/// The processes of `where`, by how they sleep.
pub fn sleepers(text: &str) -> Result<BTreeMap<String, u64>> {
    let sleepers = text.lines().filter_map(|line| line.strip_prefix("sleeps ")?.split_once(' '));
    sleepers.map(|(how, pid)| Ok((how.to_owned(), pid.parse()?))).collect()
}

/// The code that the kernel leaves out of the stacks that it tells, and of wait
/// channels.
pub fn scheduler(guest: &Guest) -> Result<[Range<u64>; 2]> {
    let has_symbols = guests::has_symbols(guest);
    let symbols =
        if has_symbols { guest.truth()?.symbols()? } else { guests::symbols_of_file(guest)? };
    let section = |name: &str| {
        let edge = |edge| {
            let name = format!("__{name}_text_{edge}");
            let found = symbols.iter().find(|symbol| symbol.name == name);
            anyhow::Ok(found.with_context(|| format!("no {name}"))?.address)
        };
        anyhow::Ok(edge("start")?..edge("end")?)
    };
    Ok([section("sched")?, section("lock")?])
}

/// The functions of an answer of `bt --json` in the same form, without those that
/// `is_left_out`.
pub fn places(stack: &Value, is_left_out: impl Fn(u64) -> bool) -> Result<Vec<String>> {
    let frames = stack["frames"].as_array().context("no frames")?;
    let mut places = Vec::new();
    for frame in frames {
        if is_left_out(address(&frame["ip"])?) {
            continue;
        }
        let name = frame["symbol"].as_str().with_context(|| format!("no name: {frame}"))?;
        let offset = frame["offset"].as_u64().context("no offset")?;
        let module = frame["module"].as_str().map(|module| format!(" [{module}]"));
        places.push(format!("{name}+{offset:#x}{}", module.unwrap_or_default()));
    }
    Ok(places)
}

/// The callers that nothing but a return address at the stack pointer of a function
/// without a frame tells: after what was interrupted, by their place in the stack.
pub fn callers_without_frames(stack: &Value) -> Result<Vec<u64>> {
    let frames = stack["frames"].as_array().context("no frames")?;
    let pairs = frames.iter().zip(frames.iter().skip(1));
    let mut found = Vec::new();
    for (frame, caller) in pairs.filter(|(frame, _)| frame["kind"] == "interrupted") {
        if address(&caller["sp"])? == address(&frame["sp"])? + 8 {
            found.push(address(&caller["ip"])?);
        }
    }
    Ok(found)
}

/// What drgn finds for each thread, without addresses of user mode; those of idle
/// processors, which all have 0, one after the other.
pub fn in_drgn(guest: &Guest, kernel: &Path) -> Result<Vec<(u64, Stack)>> {
    let core = cores::linux(guest)?.path("vmss.core");
    let mut drgn = judges::drgn_script(&core, "drgn_stacks.py")?;
    let said = judges::output(drgn.env("VMLINUX", kernel))?;
    let line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let tid: u64 = words.next().context("no number")?.parse()?;
        let ips = words.map(|word| u64::from_str_radix(word, 16));
        let ips: Stack = ips.collect::<Result<_, _>>()?;
        Ok((tid, ips.into_iter().filter(|ip| *ip >> 63 == 1).collect()))
    };
    said.lines().map(line).collect()
}

/// Lines ` #3 [ffffc90000013eb0] kthread at ffffffff810bf9ca`.
fn crash_frame(line: &str) -> Option<u64> {
    let (_, at) = line.trim_start().strip_prefix('#')?.rsplit_once(" at ")?;
    u64::from_str_radix(at.split_whitespace().next()?, 16).ok()
}

/// What crash finds for each thread, with the debug information of modules that is
/// beside the kernel's.
pub fn in_crash(guest: &Guest, kernel: &Path) -> Result<BTreeMap<u64, Stack>> {
    let checkpoint = cores::checkpoint(guest, &Wrap::split())?;
    let modules = kernel.with_file_name("modules");
    let load =
        if modules.is_dir() { format!("mod -S {}\n", modules.display()) } else { String::new() };
    let commands = format!("{load}foreach bt\nquit\n");
    let said = judges::crash(&crash_judge()?, &[kernel, &checkpoint], &commands)?;
    let mut found: BTreeMap<u64, Stack> = BTreeMap::new();
    let mut current = 0;
    for line in said.lines() {
        if let Some(rest) = line.strip_prefix("PID: ") {
            current = rest.split_whitespace().next().context("no number")?.parse()?;
        } else if let Some(ip) = crash_frame(line) {
            found.entry(current).or_default().push(ip);
        }
    }
    Ok(found)
}
