//! `qRcmd`: what gdb's `monitor` and lldb's `process plugin packet monitor` send.
//! Questions about the session itself are answered here.

use std::fmt::Write;

use vmss2core_mem::text::printable;

use super::Family;
use crate::parse;
use crate::reply::{EINVAL, Reply};
use crate::session::Session;
use crate::target::{MonitorCommand, Selected};

pub(super) const PACKETS: Family = &[("qRcmd,", run)];

const OWN: [MonitorCommand; 4] = [
    MonitorCommand {
        name: "help",
        usage: "[COMMAND]",
        about: "List the commands, or explain one",
        details: "",
        is_hidden: false,
    },
    MonitorCommand {
        name: "phys",
        usage: "[on|off]",
        about: "Read memory by physical address",
        details: "While it is on, every address is one of guest physical memory. gdb keeps what it \
                  has read before: type \"maint flush dcache\" too.\n",
        is_hidden: false,
    },
    MonitorCommand {
        name: "problems",
        usage: "",
        about: "Say what is missing or doubtful, and why something was refused",
        details: "",
        is_hidden: false,
    },
    MonitorCommand {
        name: "regs",
        usage: "",
        about: "Print every known register of the selected thread",
        details: "",
        is_hidden: false,
    },
];

/// Most text in one answer; each byte takes two.
const MOST_BYTES: usize = crate::packet::PACKET_BYTES / 2 - 1;

fn run(session: &mut Session, digits: &[u8]) -> Reply {
    let line = parse::bytes(digits).and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(line) = line else { return Reply::error(EINVAL) };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let text = answer(session, &words);
    say(session, &text)
}

/// The answer itself goes last: long ones come in console packets before it.
fn say(session: &mut Session, text: &str) -> Reply {
    let mut rest = text;
    while rest.len() > MOST_BYTES {
        let mut at = MOST_BYTES;
        while !rest.is_char_boundary(at) {
            at = at.saturating_sub(1);
        }
        let (part, behind) = rest.split_at(at);
        session.console.push(part.to_owned());
        rest = behind;
    }
    if rest.is_empty() { Reply::ok() } else { Reply::hex(rest.as_bytes()) }
}

fn answer(session: &mut Session, words: &[&str]) -> String {
    // gdb's users write the form behind the name: xp/8gx ADDR.
    if let [first, rest @ ..] = words
        && let Some(at) = first.find('/')
        && let Some((name, form)) = first.split_at_checked(at)
    {
        return answer(session, &[&[name, form], rest].concat());
    }
    let all = || OWN.iter().chain(session.monitor.commands());
    match *words {
        [] | ["help"] => list(all().filter(|command| !command.is_hidden)),
        ["help", name, ..] => {
            let found = all().find(|command| command.name == name);
            found.map_or_else(|| unknown(name), explain)
        }
        ["phys", ref state @ ..] => physical(session, state),
        ["problems", ..] => problems(session),
        ["regs", ..] => session.look(registers),
        [name, ref arguments @ ..] if all().any(|command| command.name == name) => {
            let said = session.look(|at| session.monitor.run(name, arguments, at));
            said.unwrap_or_else(|why| format!("{name}: {why}\n"))
        }
        [name, ..] => unknown(name),
    }
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().filter(|char| !char.is_control()).take(40).collect();
    format!("no monitor command is called {name}; \"monitor help\" lists them\n")
}

fn list<'c>(commands: impl Iterator<Item = &'c MonitorCommand>) -> String {
    let mut text = String::new();
    for command in commands {
        let left = format!("{} {}", command.name, command.usage);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{left:<22} {}", command.about);
    }
    text
}

fn explain(command: &MonitorCommand) -> String {
    let MonitorCommand { name, usage, about, details, .. } = command;
    let usage = format!("monitor {name} {usage}");
    format!("{}\n{about}.\n{details}", usage.trim_end())
}

fn physical(session: &mut Session, state: &[&str]) -> String {
    match state {
        [] => {}
        ["on"] => session.agreed.physical = true,
        ["off"] => session.agreed.physical = false,
        _ => return "phys: on or off\n".to_owned(),
    }
    let kind = if session.agreed.physical { "physical" } else { "virtual" };
    format!("addresses are {kind}; \"maint flush dcache\" makes gdb forget what it has read\n")
}

fn problems(session: &Session) -> String {
    let of_selected = session.current().map(|current| current.inferior.problems());
    let mut text = String::new();
    for problem in of_selected.unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", printable(&problem));
    }
    if let Some(why) = &session.refusal {
        let _ = writeln!(text, "refused: {}", printable(why));
    }
    if text.is_empty() { "none\n".to_owned() } else { text }
}

fn registers(at: Selected<'_>) -> String {
    let found = at.inferior.and_then(|inferior| Some((inferior, inferior.registers(at.tid)?)));
    let Some((inferior, values)) = found else { return "no thread is selected\n".to_owned() };
    let mut text = String::new();
    for register in inferior.description().registers() {
        if let Some(value) = register.value(&values) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<12} {value:#x}", register.name);
        }
    }
    for (name, value) in values.others() {
        let _ = writeln!(text, "{name:<12} {value:#x}");
    }
    text
}
