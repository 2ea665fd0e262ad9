//! Symbols, modules, log and clock against what the guest said of them itself.

#[macro_use]
mod common;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::guests;
use common::text::{ensure_contains, same_lines};
use serde_json::Value;
use vmss2core_lab::Guest;
use vmss2core_lab::truth::Symbol;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// `/proc/kallsyms` as a 64-bit kernel and a 32-bit one print it.
fn kallsyms(guest: &Guest) -> Result<Vec<String>> {
    let mut symbols = lines(guest.truth()?.text("kallsyms")?);
    symbols.sort();
    Ok(symbols)
}

fn symbols(guest: &Guest, wrap: &Wrap) -> Result<Vec<String>> {
    let mut symbols = lines(&cores::converted(guest, wrap, &["symbols"])?.stdout);
    symbols.sort();
    Ok(symbols)
}

/// Every symbol that the guest prints, address, type, name and module, and none
/// beyond them.
fn symbols_are_those_of_proc_kallsyms(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let said = kallsyms(&guest)?;
    ensure!(said.len() > 8_000, "{name}: the guest listed only {} symbols", said.len());
    ensure!(said.iter().any(|line| line.ends_with("\t[loop]")), "{name}: no symbol of a module");
    same_lines(name, &symbols(&guest, &Wrap::split())?, &said)
}

/// What a kernel without kallsyms tells: each name that modules may use, where the kernel's own
/// file has it, and what kind of thing it is.
fn symbols_are_those_that_modules_may_use(name: &str) -> Result<()> {
    const EXPORTED: &str = "__ksymtab_";
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::split(), &["symbols"])?;
    ensure_contains(name, &run.stderr, "no kallsyms were found")?;
    let file = guests::symbols_of_file(&guest)?;
    let wanted: BTreeSet<&str> =
        file.iter().filter_map(|symbol| symbol.name.strip_prefix(EXPORTED)).collect();
    let known: BTreeSet<(u64, &str, char)> =
        file.iter().map(|symbol| (symbol.address, symbol.name.as_str(), kind_of(symbol))).collect();
    let (mut found, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in run.stdout.lines() {
        let mut words = line.split([' ', '\t']);
        let (address, kind, symbol) = (words.next(), words.next(), words.next());
        let address = u64::from_str_radix(address.unwrap_or_default(), 16)?;
        let kind = kind.and_then(|kind| kind.chars().next()).unwrap_or_default();
        let symbol = symbol.unwrap_or_default();
        found.insert(symbol);
        wrong.extend((!known.contains(&(address, symbol, kind))).then_some(line));
    }
    let missed: Vec<&&str> = wanted.difference(&found).collect();
    ensure!(wrong.is_empty(), "{name}: {} are wrong: {wrong:#?}", wrong.len());
    ensure!(missed.is_empty(), "{name}: {} are missed: {missed:?}", missed.len());
    ensure!(wanted.len() > 3_000 && found == wanted, "{name}: {} found", found.len());
    Ok(())
}

/// Code, variables with a value and without, and offsets, whatever else is known of them:
/// linkers put constants and variables that are set once together.
fn kind_of(symbol: &Symbol) -> char {
    match symbol.kind.to_ascii_uppercase() {
        _ if symbol.address < 1 << 32 => 'A',
        'W' => 'T',
        'R' | 'V' => 'D',
        kind => kind,
    }
}

/// The same where VMCOREINFO does not lead to the tables: they are searched for.
fn symbols_are_found_without_vmcoreinfo(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::without_vmcoreinfo(), &["symbols", "-v"])?;
    ensure_contains(name, &run.stderr, "kallsyms tables found by their tokens at ")?;
    same_lines(name, &symbols(&guest, &Wrap::without_vmcoreinfo())?, &kallsyms(&guest)?)
}

/// As `/proc/modules`; what could not be told of a kernel without type
/// information is said to be missing.
fn modules_are_those_of_proc_modules(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::split(), &["modules", "--proc"])?;
    let said = lines(guest.truth()?.text("modules")?);
    ensure!(!said.is_empty(), "{name}: the guest has no module");
    if guests::has_symbols(&guest) {
        return same_lines(name, &lines(&run.stdout), &said);
    }
    // Without kallsyms the kernel shows no addresses.
    let without_address = |line: &str| line.rsplit_once(' ').map(|(rest, _)| rest.to_owned());
    let ours: Vec<String> = run.stdout.lines().filter_map(without_address).collect();
    let said: Vec<String> = said.iter().filter_map(|line| without_address(line)).collect();
    same_lines(name, &ours, &said)
}

/// Debuggers want the address of `.text`: where the first function is.
fn the_text_of_modules_is_known(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::split(), &["modules", "--json"])?;
    let report: Value = serde_json::from_str(&run.stdout)?;
    let text = at(&report, "/modules/0/text").as_str().context("no address of .text")?.to_owned();
    let text = u64::from_str_radix(text.trim_start_matches("0x"), 16)?;
    let symbols = guest.truth()?.symbols()?;
    let first = symbols
        .iter()
        .filter(|symbol| symbol.module.is_some() && "tT".contains(symbol.kind))
        .map(|symbol| symbol.address)
        .min();
    ensure!(first == Some(text), "{name}: .text at {text:#x}, first function at {first:x?}");
    Ok(())
}

/// The log begins as the guest's own `dmesg` printed it, all of it. What came
/// after that is on the serial console.
fn the_log_is_that_of_dmesg(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::split(), &["dmesg"])?;
    let said = lines(guest.truth()?.text("dmesg")?);
    ensure!(said.iter().any(|line| line.ends_with("] lab-dmesg-mark")), "{name}: no mark");
    let printed = lines(&run.stdout);
    let (first, rest) = printed.split_at_checked(said.len()).context("lines are missing")?;
    same_lines(name, first, &said)?;
    let serial = guest.serial_log()?;
    let console: Vec<String> = serial.lines().map(|line| line.trim_end().to_owned()).collect();
    for line in rest {
        ensure!(console.iter().any(|shown| shown == line.trim_end()), "{name}: not shown: {line}");
    }
    Ok(())
}

/// A log without VMCOREINFO, through symbols and type information.
fn the_log_is_found_without_vmcoreinfo(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::converted(&guest, &Wrap::without_vmcoreinfo(), &["dmesg"])?;
    let with = cores::converted(&guest, &Wrap::split(), &["dmesg"])?;
    same_lines(name, &lines(&run.stdout), &lines(&with.stdout))
}

/// The last lines of the console, and what `info` makes of them.
#[test]
fn a_panic_is_told_with_its_cpu() -> Result<()> {
    let guest = guests::guest("linux-6.1-panic")?;
    let log = cores::converted(&guest, &Wrap::split(), &["dmesg"])?.stdout;
    let serial = guest.serial_log()?;
    let console = serial.lines().map(str::trim_end).filter(|line| line.starts_with('['));
    let console: Vec<&str> = console.collect();
    let printed: Vec<&str> = log.lines().map(str::trim_end).collect();
    let last = console.len().checked_sub(30).and_then(|from| console.get(from..));
    let last = last.context("the console has few lines")?;
    ensure!(printed.ends_with(last), "{printed:?}\nagainst\n{last:?}");

    let report = info(&guest)?;
    let state = at(&report, "/guest/linux/state");
    let stopped = at(state, "/stopped");
    ensure!(*at(stopped, "/trouble") == "panic", "{state}");
    let message = "Kernel panic - not syncing: sysrq triggered crash";
    ensure!(*at(stopped, "/message") == message, "{state}");
    let cpu = log.lines().find_map(|line| line.split_once("] CPU: ")?.1.split(' ').next());
    let panic_cpu = at(state, "/panic_cpu/value").to_string();
    ensure!(Some(panic_cpu.as_str()) == cpu, "{state}, the log says {cpu:?}");
    Ok(())
}

/// A member by its path; null where there is none.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn info(guest: &Guest) -> Result<Value> {
    Ok(serde_json::from_str(&cores::converted(guest, &Wrap::split(), &["info", "--json"])?.stdout)?)
}

fn no_trouble_is_told_of_a_running_guest(name: &str) -> Result<()> {
    let report = info(&guests::guest(name)?)?;
    let state = at(&report, "/guest/linux/state");
    ensure!(*at(state, "/stopped/trouble") == "none", "{name}: {state}");
    ensure!(state.get("panic_cpu").is_none(), "{name}: {state}");
    Ok(())
}

/// `date +%s`, `/proc/uptime` and `btime`, some seconds before the guest was
/// stopped.
fn the_clock_is_that_of_the_guest(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let truth = guest.truth()?;
    let mut said = truth.text("time")?.lines();
    let now: u64 = said.next().context("no date")?.parse()?;
    let uptime = said.next().and_then(|line| line.split('.').next()).context("no uptime")?;
    let uptime: u64 = uptime.parse()?;
    let booted = said.next().and_then(|line| line.strip_prefix("btime ")).context("no btime")?;
    let report = info(&guest)?;
    let state = at(&report, "/guest/linux/state");
    let shown = at(state, "/uptime_seconds/value").as_u64().context("no uptime")?;
    ensure!((uptime..uptime + 300).contains(&shown), "{name}: {shown} after boot, not {uptime}");
    let date = |unix: u64| vmss2core_answers::utc_time(unix).unwrap_or_default();
    let booted: u64 = booted.parse()?;
    let near = |shown: &Value, range: std::ops::Range<u64>| {
        range.into_iter().any(|unix| *shown == date(unix).as_str())
    };
    ensure!(near(at(state, "/booted/value"), booted - 1..booted + 2), "{name}: {state}, {booted}");
    ensure!(near(at(state, "/time/value"), now..now + 300), "{name}: {state}, {now}");
    let dated = cores::converted(&guest, &Wrap::split(), &["dmesg", "-T"])?.stdout;
    let first = dated.lines().next().context("no message")?;
    let year = date(booted);
    let year = year.get(..4).context("no year")?;
    ensure!(first.contains(&format!(" {year}] ")), "{name}: {first}");
    Ok(())
}

tests_of_all_guests!(
    symbols_are_those_of_proc_kallsyms,
    modules_are_those_of_proc_modules,
    the_log_is_that_of_dmesg
);

mod of_a_small_kernel {
    guest_tests! {
        (
            symbols_are_those_of_proc_kallsyms,
            symbols_are_found_without_vmcoreinfo,
            modules_are_those_of_proc_modules,
            the_log_is_that_of_dmesg,
            the_text_of_modules_is_known,
            the_clock_is_that_of_the_guest
        )
        frame_pointers: "linux-6.1-frame-pointers",
    }

    use super::{
        modules_are_those_of_proc_modules, symbols_are_found_without_vmcoreinfo,
        symbols_are_those_of_proc_kallsyms, the_clock_is_that_of_the_guest,
        the_log_is_that_of_dmesg, the_text_of_modules_is_known,
    };
}

mod of_other_kernels {
    guest_tests! {
        (symbols_are_those_of_proc_kallsyms)
        functions_only: "linux-6.1-bare",
        of_writable_code: "linux-6.1-i386-writable",
    }
    guest_tests! {
        (symbols_are_those_that_modules_may_use)
        exported_only: "linux-6.1-no-kallsyms",
    }
    tests_of_other_kernels!(modules_are_those_of_proc_modules, the_log_is_that_of_dmesg);

    use super::{
        modules_are_those_of_proc_modules, symbols_are_those_of_proc_kallsyms,
        symbols_are_those_that_modules_may_use, the_log_is_that_of_dmesg,
    };
}

/// Nothing but VMCOREINFO and what is learned: type information and the symbol
/// table are wiped.
mod without_symbols {
    guest_tests! {
        (modules_are_those_of_proc_modules, the_log_is_that_of_dmesg)
        hidden: "linux-6.1-hidden",
    }

    use super::{modules_are_those_of_proc_modules, the_log_is_that_of_dmesg};
}

/// Nothing at all: the log is found by what it holds. 32-bit kernels have names of functions.
mod without_symbols_and_vmcoreinfo {
    guest_tests! {
        (the_log_is_found_without_vmcoreinfo)
        hidden: "linux-6.1-hidden",
        hidden_5_10: "linux-5.10-hidden",
        newest: "linux-sid-hidden",
    }
    tests_of_32_bit_guests!(the_log_is_found_without_vmcoreinfo);

    use super::the_log_is_found_without_vmcoreinfo;
}

mod by_search {
    tests_of_all_guests!(symbols_are_found_without_vmcoreinfo);

    use super::symbols_are_found_without_vmcoreinfo;
}

mod with_type_information {
    tests_of_64_bit_guests!(
        the_text_of_modules_is_known,
        the_clock_is_that_of_the_guest,
        the_log_is_found_without_vmcoreinfo
    );

    use super::{
        the_clock_is_that_of_the_guest, the_log_is_found_without_vmcoreinfo,
        the_text_of_modules_is_known,
    };
}

/// Spin locks have other members there, and what has one inside lies elsewhere.
mod real_time {
    guest_tests! {
        (
            symbols_are_those_of_proc_kallsyms,
            modules_are_those_of_proc_modules,
            the_log_is_that_of_dmesg,
            the_clock_is_that_of_the_guest
        )
        linux_6_12: "linux-6.12-rt",
    }

    use super::{
        modules_are_those_of_proc_modules, symbols_are_those_of_proc_kallsyms,
        the_clock_is_that_of_the_guest, the_log_is_that_of_dmesg,
    };
}

mod running {
    guest_tests! {
        (no_trouble_is_told_of_a_running_guest)
        linux_6_1: "linux-6.1",
        newest: "linux-sid",
        two_level: "linux-6.1-i386",
    }

    use super::no_trouble_is_told_of_a_running_guest;
}
