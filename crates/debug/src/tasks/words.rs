//! Words about a task in lists of threads.

use std::cell::RefCell;
use std::collections::HashMap;

use vmss2core_gdb::Thread;
use vmss2core_guest::linux::{Kernel, Task};

/// Longer command lines are cut in a list.
const MOST_CHARS: usize = 60;

/// Says it, and reads the command line of each process only once.
pub(super) struct Words<'k> {
    kernel: &'k Kernel,
    commands: RefCell<HashMap<u32, String>>,
}

impl<'k> Words<'k> {
    pub(super) fn of(kernel: &'k Kernel) -> Self {
        Self { kernel, commands: RefCell::default() }
    }

    /// A task as a thread.
    pub(super) fn thread(&self, tid: u32, task: &Task) -> Thread {
        let mut words = Vec::new();
        if tid != task.tid {
            words.push(format!("tid {}", task.tid));
        }
        words.push(format!("tgid {}", task.pid));
        words.extend(task.state.map(|state| state.letter.to_string()));
        words.extend(task.cpu.map(|cpu| match task.on_vcpu {
            Some(_) => format!("runs on CPU {cpu}"),
            None => format!("CPU {cpu}"),
        }));
        let has_ended = task.state.is_some_and(|state| matches!(state.letter, 'Z' | 'X'));
        words.push(if has_ended { "has ended".to_owned() } else { self.command(task) });
        words.retain(|word| !word.is_empty());
        let name = shown(&task.comm, MOST_CHARS);
        Thread { tid, name, extra: words.join(", "), core: task.cpu }
    }

    fn command(&self, task: &Task) -> String {
        if task.is_kernel_thread {
            return if task.tid == 0 { "idle" } else { "kernel thread" }.to_owned();
        }
        let read = || {
            let words = self.kernel.command_line(task).ok().flatten().unwrap_or_default().words;
            shown(&words.join(" "), MOST_CHARS)
        };
        self.commands.borrow_mut().entry(task.pid).or_insert_with(read).clone()
    }
}

/// Text of the guest without what a terminal would obey, and not too long.
fn shown(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let safe = |char: char| if is_unsafe(char) { '?' } else { char };
    let mut shown: String = chars.by_ref().take(most).map(safe).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// Control characters, and those that turn or hide what is beside them.
fn is_unsafe(char: char) -> bool {
    let turns = |char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    char.is_control() || turns(char) || matches!(char, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_hostile_guest_is_harmless_and_short() {
        assert_eq!(shown("sh\u{1b}[2J\u{202e}x", 60), "sh?[2J?x");
        assert_eq!(shown("abcdef", 3), "abc...");
        assert_eq!(shown("abc", 3), "abc");
    }
}
