//! The lab's program `mt`, of four threads, as gdb shows it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use vmss2core_lab::Guest;

/// What gdb said about each thread, by its number in the guest: after `Thread 92.97`
/// of a server, `LWP 97` of a core.
pub fn by_thread(said: &str) -> BTreeMap<u32, String> {
    let mut parts = BTreeMap::new();
    for part in said.split("\nThread ").skip(1) {
        let head = part.lines().next().unwrap_or_default();
        let of_core = head.split_once("LWP ").map(|(_, rest)| rest);
        let Some(rest) = of_core.or(head.split_once('.').map(|(_, rest)| rest)) else { continue };
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let body = part.split_once('\n').map_or("", |(_, body)| body);
        if let Ok(tid) = digits.parse() {
            parts.entry(tid).or_insert_with(String::new).push_str(body);
        }
    }
    parts
}

/// The thread of `mt` that has this name.
pub fn tid_of(guest: &Guest, name: &str) -> Result<u32> {
    let threads = guest.truth()?.program_threads()?;
    Ok(threads.iter().find(|thread| thread.name == name).context("no such thread")?.tid)
}

/// The stacks of `thread apply all bt` end in the functions that they were started
/// in. The threads `mt` and `mt-waiter` wait in a library, which is shown as told.
pub fn ensure_stacks(guest: &Guest, said: &str, library: [&str; 2]) -> Result<()> {
    let stacks = by_thread(said);
    ensure!(stacks.len() == 4, "{}: not four threads: {said}", guest.name);
    let sleeper = [
        "nanosleep",
        "lab_sleep_deep (depth=0, seed=1592590336) at lablib.c",
        "lab_sleep_deep (depth=1, seed=1592590336) at lablib.c",
        "lab_sleep_deep (depth=2, seed=1592590336) at lablib.c",
        "lab_sleep_deep (depth=3, seed=1592590336) at lablib.c",
        " in sleeper (",
    ];
    for (thread, frames) in [
        ("mt", &[library[0], " in main () at mt.c"][..]),
        ("mt-sleeper", &sleeper),
        ("mt-waiter", &[library[1], " in waiter ("]),
        ("mt-spinner", &["#0  0x", " in spinner ("]),
    ] {
        let stack = stacks.get(&tid_of(guest, thread)?);
        let stack = stack.with_context(|| format!("{}: no {thread}: {said}", guest.name))?;
        let mut rest = stack.as_str();
        for frame in frames {
            // In this order.
            let at = rest.find(frame).with_context(|| format!("{thread}: no {frame}: {stack}"))?;
            rest = rest.get(at + frame.len()..).unwrap_or_default();
        }
    }
    Ok(())
}
